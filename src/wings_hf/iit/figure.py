# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Scores over settings as a picture, like the paper's Figure 5: from text alone to images alone."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from wings_hf.iit.conversation import named
from wings_hf.iit.results import Results, check_alike, reference_rows

REFERENCES = {"chance": "chance", "text only": "text alone (linear model)"}
STYLES = {"chance": "-", "text only": ":"}


def draw(results: Sequence[Results], stem: str | Path) -> list[Path]:
    """Writes a bar for each model and setting, with its 95% interval, and marks for what text alone gives.

    Args:
        stem: writes STEM.png, STEM.svg and STEM.json, and returns their paths.

    Raises:
        ValueError: no results, of different benchmarks, or matplotlib is missing.
    """
    check_alike(results)
    try:
        from wings_hf.analysis.style import title, write
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise ValueError("pictures need the package matplotlib: pip install 'wings_hf[demo]'.") from error

    settings = list(dict.fromkeys(setting for one in results for setting in one.settings))
    references = reference_rows(results[0], settings)

    def drawn(figure: Any) -> None:
        axes = figure.subplots()
        for index, one in enumerate(results):
            _draw_bars(axes, one, settings, index, len(results))
        _draw_references(axes, references)
        _draw_axes(axes, settings)
        title(axes, "Text and images in one conversation")

    return write(Path(stem), _data(results, settings, references), (max(6.5, 1.55 * len(settings) + 1.5), 4.4), drawn)


def _data(results: Sequence[Results], settings: Sequence[str], references: dict[str, Any]) -> dict[str, Any]:
    models = [
        {"name": one.name, "last": {setting: asdict(one.last(setting)) for setting in one.settings}} for one in results
    ]
    said = {name: [score and score.accuracy for score in scores] for name, scores in references.items()}
    return {"settings": list(settings), "models": models, "references": said}


def _draw_bars(axes: Any, one: Results, settings: Sequence[str], index: int, models: int) -> None:
    from wings_hf.analysis.style import INK, PALETTE

    width = 0.78 / models
    places = [place for place, setting in enumerate(settings) if setting in one.settings]
    scores = [one.last(settings[place]) for place in places]
    middle = np.array([100 * score.accuracy for score in scores])
    below = middle - [100 * score.low for score in scores]
    above = np.array([100 * score.high for score in scores]) - middle
    x = np.array(places) + (index - (models - 1) / 2) * width
    axes.bar(x, middle, width * 0.9, color=PALETTE[index % len(PALETTE)], label=one.name, zorder=2)
    errors = np.clip([below, above], 0, None)
    axes.errorbar(x, middle, errors, fmt="none", ecolor=INK, elinewidth=1.1, capsize=2.5, zorder=3)


def _draw_references(axes: Any, references: dict[str, Any]) -> None:
    """A line across each setting's bars: chance, and dotted what a linear model of the text gives."""
    from wings_hf.analysis.style import INK

    for name, scores in references.items():
        label: str | None = REFERENCES[name]
        for place, score in enumerate(scores):
            if score is not None:
                level = [100 * score.accuracy] * 2
                span = [place - 0.44, place + 0.44]
                axes.plot(span, level, STYLES[name], color=INK, lw=1.8, label=label, zorder=4)
                label = None


def _draw_axes(axes: Any, settings: Sequence[str]) -> None:
    from wings_hf.analysis.style import bare

    bare(axes)
    axes.set_xticks(range(len(settings)), [named(setting) for setting in settings])
    axes.set(ylim=(0, 103), xlim=(-0.55, len(settings) - 0.45), ylabel="last question right, %")
    axes.set_yticks(range(0, 101, 20))
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda index: labels[index] in REFERENCES.values())  # models first
    axes.legend(
        [handles[index] for index in order],
        [labels[index] for index in order],
        frameon=False,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
    )
