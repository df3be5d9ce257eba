# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""How plots look, and how they are written: PNG, SVG and the data in JSON beside them. No global state is changed."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

INK, SOFT, GRID, PALE = "#22262b", "#6b7280", "#e3e6e9", "#eceff1"
COLORS = {"before": "#7a5c99", "image": "#e08e29", "after": "#1b7f79"}
# of kinds of things that have no colour of their own: models, families of methods
PALETTE = ("#1b7f79", "#e08e29", "#7a5c99", "#3d6fb6", "#b3402e", "#8a8d3c", "#5b6770", "#b0779c")
NAME_PLACES = (  # alignment, points to the right, points up
    *(("left", 8.0, 0.0), ("right", -8.0, 0.0), ("center", 0.0, 11.0), ("center", 0.0, -11.0)),
    *(("left", 6.0, 8.0), ("left", 6.0, -8.0), ("right", -6.0, 8.0), ("right", -6.0, -8.0)),
)
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


def name_points(
    axes: Axes,
    places: Sequence[tuple[float, float]],
    names: Sequence[str],
    looks: Sequence[dict[str, Any]] | None = None,
    leave_out: bool = False,
) -> None:
    """
    Names beside, over or under their points, where they hit the fewest other names and points.

    Args:
        places: of the points, in data coordinates. The first named have the first choice.
        looks: of each name, for `Axes.annotate`.
        leave_out: do not write a name that would lie on another name, or outside the axes.
    """
    figure: Any = axes.get_figure()
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    dots = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in axes.transData.transform(places)]
    taken: list[Bbox] = []
    for number, (place, name) in enumerate(zip(places, names, strict=True)):
        look = {"fontsize": 8.5, "color": INK, "va": "center", **(looks[number] if looks else {})}
        text = axes.annotate(name, place, xytext=(0, 0), textcoords="offset points", **look)
        obstacles = [*taken, *dots[:number], *dots[number + 1 :]]
        best = min(NAME_PLACES, key=lambda where: _hits(text, where, obstacles, axes, renderer))
        _hits(text, best, obstacles, axes, renderer)
        if leave_out and _hits(text, best, taken, axes, renderer):
            text.remove()
        else:
            taken.append(text.get_window_extent(renderer).padded(2))


def _hits(text: Any, where: tuple[str, float, float], obstacles: list[Bbox], axes: Axes, renderer: Any) -> int:
    """Puts a name somewhere and counts what it lies on; the frame counts more than all."""
    text.set(horizontalalignment=where[0], position=where[1:])
    box = text.get_window_extent(renderer).padded(2)
    outside = box.x0 < axes.bbox.x0 or box.x1 > axes.bbox.x1 or box.y0 < axes.bbox.y0 or box.y1 > axes.bbox.y1
    return sum(box.overlaps(other) for other in obstacles) + (1000 if outside else 0)


def layer_ticks(layers: int) -> list[int]:
    """Layers to name on an axis, counted from 1: the first and round numbers."""
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, layers) if layers / step <= 12)
    return [1, *range(max(step, 2), layers + 1, step)] if step != 2 else list(range(1, layers + 1, 2))
