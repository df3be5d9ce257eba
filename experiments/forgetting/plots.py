# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The pictures of the experiment: sight against retention with its Pareto front, and attention shift against text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from forgetting.records import Record
from forgetting.summary import Row, front, rows
from wings_hf.analysis.curves import draw_shift_against_score
from wings_hf.analysis.laws import IMAGE
from wings_hf.analysis.style import INK, SOFT, bare, title, write
from wings_hf.evaluation.statistics import Correlation

COLORS = {
    "wings": "#1b7f79",
    "fine-tuning": "#7a5c99",
    "adapters": "#e08e29",
    "experts": "#b3402e",
    "cross-attention": "#3d6fb6",
    "replay": "#8a8d3c",
    "regularisation": "#5b6770",
    "interpolation": "#b0779c",
}


def draw_pareto(stem: Path, records: Sequence[Record], about: str) -> list[Path]:
    """Every method by what it kept of its text tasks and what it sees, means over seeds with their range."""
    made = rows(records)
    best = front(made)
    data = {"about": about, "points": [_point(row, row in best) for row in made]}

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        bare(axes, "both")
        _draw_front(axes, best)
        for family in COLORS:
            _draw_family(axes, [row for row in made if row.family == family], family)
        for row in made:
            _name(axes, row, row in best)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set(xlabel="text retained (mean over tasks of accuracy / the base model's)", ylabel="accuracy on images")
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=9)
        title(axes, "Sight, and what is left of text", about)

    return write(stem, data, (11.5, 6.6), draw)


def _point(row: Row, best: bool) -> dict[str, Any]:
    x, y = row.measures["retention"], row.measures["image"]
    return {"method": row.method, "title": row.title, "family": row.family, "seeds": row.seeds, "on_front": best} | {
        "retention": x.mean,
        "retention_half": x.half,
        "image": y.mean,
        "image_half": y.half,
    }


def _draw_front(axes: Axes, best: Sequence[Row]) -> None:
    x, y = ([row.measures[name].mean for row in best] for name in ("retention", "image"))
    axes.plot(x, y, color="#c5cacf", lw=6, solid_capstyle="round", zorder=1)


def _draw_family(axes: Axes, of_family: Sequence[Row], family: str) -> None:
    if not of_family:
        return
    x, y = ([row.measures[name].mean for row in of_family] for name in ("retention", "image"))
    axes.scatter(x, y, s=62, color=COLORS[family], edgecolor="white", linewidth=0.9, zorder=3, label=family)


def _name(axes: Axes, row: Row, best: bool) -> None:
    place = row.measures["retention"].mean, row.measures["image"].mean
    style: dict[str, Any] = {"color": INK, "fontweight": "bold"} if best else {"color": SOFT}
    axes.annotate(row.method, place, xytext=(5, 4), textcoords="offset points", fontsize=7.5, zorder=4, **style)


def draw_shift(stem: Path, records: Sequence[Record]) -> Correlation:
    """Attention shift of every run against its accuracy in text: the paper's claim (its Figure 2), tested."""
    runs = [record for record in records if record["method"] != "base" and comparable(record)]
    points = [(record["method"], record["attention_shift"], record["accuracy"]["text"]) for record in runs]
    return draw_shift_against_score(stem, points, "accuracy in text tasks", [record["family"] for record in runs])


def comparable(record: Record) -> bool:
    """Whether the run's attention goes to text and images alone: not to a prefix that is no token, and to images at all."""
    masses = np.array(record["attention"]["masses"])  # (layers, kinds of keys)
    return bool(np.allclose(masses.sum(1), 1, atol=1e-3) and masses[:, IMAGE].any())
