# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Scores over settings as a picture, like the paper's Figure 5: from text alone to images alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wings_hf.iit.conversation import named
from wings_hf.iit.results import Results, check_alike, reference_rows

COLORS = ("#1b7f79", "#e08e29", "#7a5c99", "#4f86c6", "#b3402e", "#6b7280")
INK = "#22262b"
REFERENCES = {"chance": "chance", "text only": "text alone (linear model)"}
STYLES = {"chance": ("-", INK), "text only": (":", "#c2185b")}


def draw(results: Sequence[Results], path: str | Path) -> None:
    """Writes a bar for each model and setting, with its 95% interval, and marks for what text alone gives.

    Args:
        path: its ending says the format: .png, .svg, .pdf.

    Raises:
        ValueError: no results, of different benchmarks, or matplotlib is missing.
    """
    check_alike(results)
    try:
        import matplotlib
    except ImportError as error:
        raise ValueError("pictures need the package matplotlib: pip install 'wings_hf[demo]'.") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    settings = list(dict.fromkeys(setting for one in results for setting in one.settings))
    plt.rcParams.update({"font.family": "DejaVu Sans", "font.size": 10, "svg.hashsalt": "iit"})
    figure, axes = plt.subplots(figsize=(max(6.5, 1.55 * len(settings) + 1.5), 4.4), layout="constrained")
    width = 0.78 / len(results)
    for index, one in enumerate(results):
        places = [place for place, setting in enumerate(settings) if setting in one.settings]
        scores = [one.last(settings[place]) for place in places]
        middle = np.array([100 * score.accuracy for score in scores])
        below = middle - [100 * score.low for score in scores]
        above = np.array([100 * score.high for score in scores]) - middle
        x = np.array(places) + (index - (len(results) - 1) / 2) * width
        color = COLORS[index % len(COLORS)]
        axes.bar(x, middle, width * 0.9, color=color, label=one.name, zorder=2)
        errors = np.clip([below, above], 0, None)
        axes.errorbar(x, middle, errors, fmt="none", ecolor=INK, elinewidth=1.1, capsize=2.5, zorder=3)
    _draw_references(axes, results[0], settings)
    axes.set_xticks(range(len(settings)), [named(setting) for setting in settings])
    axes.set(ylim=(0, 103), xlim=(-0.55, len(settings) - 0.45))
    axes.set_ylabel("last question right, %", color=INK)
    axes.set_title(
        "Text and images in one conversation", loc="left", fontsize=12.5, fontweight="bold", color=INK, pad=12
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0, colors=INK)
    axes.grid(axis="y", color="#e3e6e9", lw=0.8, zorder=0)
    axes.set_yticks(range(0, 101, 20))
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda index: labels[index] in REFERENCES.values())  # models first
    axes.legend(
        [handles[index] for index in order],
        [labels[index] for index in order],
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        labelcolor=INK,
    )
    figure.savefig(path, dpi=130, facecolor="white", metadata={"Date": None} if str(path).endswith("svg") else None)
    plt.close(figure)


def _draw_references(axes: Any, results: Results, settings: Sequence[str]) -> None:
    """A line across each setting's bars: chance, and dotted what a linear model of the text gives."""
    for name, scores in reference_rows(results, settings).items():
        label: str | None = REFERENCES[name]
        style, color = STYLES[name]
        for place, score in enumerate(scores):
            if score is not None:
                level = [100 * score.accuracy] * 2
                axes.plot([place - 0.44, place + 0.44], level, style, color=color, lw=1.8, label=label, zorder=4)
                label = None
