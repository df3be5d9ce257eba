# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""How plots look, and how they are written: PNG, SVG and the data in JSON beside them. No global state is changed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK, SOFT, GRID, PALE = "#22262b", "#6b7280", "#e3e6e9", "#eceff1"
COLORS = {"before": "#7a5c99", "image": "#e08e29", "after": "#1b7f79"}
FONT: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.hashsalt": "wings_hf",
    "text.parse_math": False,  # what models and data are called, and what they say, is no formula
}


def write(stem: Path, data: Any, size: tuple[float, float], draw: Callable[[Figure], None]) -> list[Path]:
    """
    Writes STEM.png, STEM.svg and STEM.json, and returns their paths.

    Args:
        data: what is drawn, for JSON.
        size: of the figure, in inches.
        draw: draws on an empty figure.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(FONT):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        paths = [stem.with_name(f"{stem.name}.{ending}") for ending in ("png", "svg", "json")]
        figure.savefig(paths[0], dpi=160, facecolor="white")
        figure.savefig(paths[1], facecolor="white", metadata={"Date": None})
    paths[2].write_text(json.dumps(data, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return paths


def bare(axes: Axes, grid: str | None = "y") -> None:
    """An axis without a frame, with a pale grid along `grid`."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#c5cacf")
    axes.tick_params(length=0, colors=INK)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=GRID, lw=0.8)  # type: ignore[arg-type]


def title(axes: Axes, text: str, below: str = "") -> None:
    """A bold title at the left, and a quiet line below it."""
    axes.set_title(text, loc="left", fontsize=12.5, fontweight="bold", pad=26 if below else 12)
    if below:
        axes.text(0, 1.02, below, transform=axes.transAxes, color=SOFT, fontsize=9.5, va="bottom")


def heading(figure: Figure, text: str, below: str = "", length: int = 110) -> None:
    """A bold title over the whole figure, and a quiet line below it, shortened to `length` characters."""
    below = " ".join(below.split())
    below = below if len(below) <= length else f"{below[: length - 1]}…"
    over = figure.suptitle(f"{text}\n " if below else text, x=0.008, ha="left", fontsize=12.5, fontweight="bold")
    if below:
        figure.draw_without_rendering()
        box = over.get_window_extent().transformed(figure.transFigure.inverted())
        figure.text(0.008, box.y0 + 0.22 * box.height, below, color=SOFT, fontsize=9.5, va="center")


def layer_ticks(layers: int) -> list[int]:
    """Layers to name on an axis, counted from 1: the first and round numbers."""
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, layers) if layers / step <= 12)
    return [1, *range(max(step, 2), layers + 1, step)] if step != 2 else list(range(1, layers + 1, 2))
