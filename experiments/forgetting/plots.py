# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The pictures of the experiment: sight against retention with its Pareto front, and attention shift against text."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from forgetting.methods import CORE
from forgetting.records import Record
from forgetting.summary import Row, front, rows
from wings_hf.analysis.curves import draw_shift_against_score
from wings_hf.analysis.laws import IMAGE
from wings_hf.analysis.style import INK, PALETTE, SOFT, bare, name_points, title, write
from wings_hf.evaluation.pareto_plot import draw_steps
from wings_hf.evaluation.statistics import Correlation

FAMILIES = (
    *("wings", "adapters", "fine-tuning", "cross-attention"),
    *("experts", "replay", "regularisation", "interpolation"),
)
COLORS = dict(zip(FAMILIES, PALETTE, strict=True))


TEXTS = {
    "retention": "text by itself, retained (mean over tasks of accuracy / the base model's)",
    "text_after_image": "accuracy in text tasks after a turn about an image",
}


def draw_pareto(stem: Path, records: Sequence[Record], about: str) -> list[Path]:
    """Every method by what it sees and what it kept of its text tasks, by themselves and after an image (means)."""
    made = rows(records)
    shown = [name for name in TEXTS if not any(math.isnan(row.measures[name].mean) for row in made)]
    fronts = {name: front(made, name) for name in shown}
    data = {"about": about, "points": [_point(row, [name for name in shown if row in fronts[name]]) for row in made]}

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for axes, name in zip(panels, shown, strict=True):
            _draw_panel(axes, made, fronts[name], name)
        panels[0].set(ylabel="accuracy on images")
        panels[-1].legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=9)
        title(panels[0], "Sight, and what is left of text", about)

    return write(stem, data, (2.2 + 7.4 * len(shown), 7.2), draw)


def _draw_panel(axes: Axes, made: Sequence[Row], best: Sequence[Row], name: str) -> None:
    bare(axes, "both")
    draw_steps(axes, [(row.measures[name].mean, row.measures["image"].mean) for row in best])
    for family in COLORS:
        _draw_family(axes, [row for row in made if row.family == family], family, name)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set(xlabel=TEXTS[name])
    axes.margins(0.08)
    named = sorted(made, key=lambda row: (row not in best, row.method not in CORE))
    looks = [{"color": INK, "fontweight": "bold"} if row in best else {"color": SOFT} for row in named]
    places = [(row.measures[name].mean, row.measures["image"].mean) for row in named]
    name_points(axes, places, [row.method for row in named], looks, leave_out=True)


def _point(row: Row, on_front: Sequence[str]) -> dict[str, Any]:
    point = {"method": row.method, "title": row.title, "family": row.family, "seeds": row.seeds, "on_front": on_front}
    for name in ("image", *TEXTS):
        estimate = row.measures[name]
        point |= {name: None if math.isnan(estimate.mean) else estimate.mean, f"{name}_half": estimate.half}
    return point


def _draw_family(axes: Axes, of_family: Sequence[Row], family: str, name: str) -> None:
    if not of_family:
        return
    x, y = ([row.measures[measure].mean for row in of_family] for measure in (name, "image"))
    axes.scatter(x, y, s=62, color=COLORS[family], edgecolor="white", linewidth=0.9, zorder=3, label=family)


def draw_shift(stem: Path, records: Sequence[Record]) -> Correlation:
    """Attention shift of every method against its accuracy in text, means over seeds: the paper's claim (its Figure 2),
    tested. One point for each method, since its seeds are no independent ones."""
    runs = [record for record in records if record["method"] == "base" or comparable(record)]
    made = rows(runs)
    points = [(row.method, row.measures["attention_shift"].mean, row.measures["text"].mean) for row in made]
    return draw_shift_against_score(stem, points, "accuracy in text tasks", [row.family for row in made])


def comparable(record: Record) -> bool:
    """Whether attention goes to text and images, and nowhere else: not to a prefix that is no token."""
    masses = np.array(record["attention"]["masses"])  # (layers, kinds of keys)
    return bool(np.allclose(masses.sum(1), 1, atol=1e-3) and masses[:, IMAGE].any())
