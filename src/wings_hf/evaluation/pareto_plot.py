# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The Pareto front of image score against retention, as a picture."""

from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from wings_hf.analysis.style import COLORS, INK, SOFT, bare, heading, write
from wings_hf.evaluation.comparison import pareto_front

FRONT, BEHIND, BASE = COLORS["after"], "#9aa0a6", COLORS["image"]
PLACES = tuple(product((9, 16, 26, 40, 60), (0, 180, 30, 330, 150, 210, 60, 300, 120, 240, 90, 270)))  # points, angles


class Point(NamedTuple):
    """Shares, not per cents: the value and its interval on either axis."""

    retention: float
    image: float
    retention_interval: tuple[float, float]
    image_interval: tuple[float, float]


def points_of(comparison: Mapping[str, Any]) -> dict[str, Point]:
    """The runs of a `comparison.compare` that have both coordinates."""
    points = {}
    for name, each in comparison["runs"].items():
        kept, seen = each.get("retention"), each["means"].get("image")
        if kept and seen and kept["mean"] is not None:
            points[name] = Point(kept["mean"], seen["score"], tuple(kept["interval"]), tuple(seen["interval"]))
    return points


def draw_pareto(points: Mapping[str, Point], stem: Path, base: str, text_sets: int, image_sets: int) -> list[Path]:
    """Write STEM.png, STEM.svg and STEM.json; returns their paths.

    Args:
        points: by the names of the runs.
        base: name of the language model.
        text_sets, image_sets: over how many sets the means are.

    Raises:
        ValueError: no points.
    """
    if not points:
        raise ValueError("no run has both image sets and retention: there is nothing to draw.")
    front = pareto_front({name: (point.retention, point.image) for name, point in points.items()})
    data = {"base": base, "front": front, "points": {name: point._asdict() for name, point in points.items()}}

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        _draw_front(axes, [points[name] for name in front])
        for name, point in points.items():
            _draw_point(axes, point, name in front)
        _draw_axes(axes, list(points.values()), base)
        below = f"text: mean over {_sets(text_sets)}, as a share of {Path(base).name}; "
        below += f"images: mean over {_sets(image_sets)}"
        heading(figure, "What a model sees, and what it kept of its language", below)
        figure.draw_without_rendering()
        _draw_names(axes, points, front)

    return write(stem, data, (8.4, 5.6), draw)


def _sets(number: int) -> str:
    return f"{number} set" if number == 1 else f"{number} sets"


def _draw_point(axes: Axes, point: Point, on_front: bool) -> None:
    color = FRONT if on_front else BEHIND
    x, y = 100 * point.retention, 100 * point.image
    errors: dict[str, Any] = {
        "xerr": [[x - 100 * point.retention_interval[0]], [100 * point.retention_interval[1] - x]],
        "yerr": [[y - 100 * point.image_interval[0]], [100 * point.image_interval[1] - y]],
    }
    errors = {name: np.maximum(np.asarray(value), 0) for name, value in errors.items()}
    axes.errorbar(x, y, **errors, color=color, alpha=0.45, lw=1.3, zorder=2, fmt="none")
    axes.plot(x, y, "o", color=color, ms=9 if on_front else 7.5, mec="white", mew=1.2, zorder=4)


def draw_steps(axes: Axes, front: Sequence[tuple[float, float]]) -> None:
    """The front of points in data coordinates, by rising x, as steps: what is below and left of them is dominated."""
    if front:
        xs, ys = zip(*front, strict=True)
        axes.step(xs, ys, where="pre", color=FRONT, lw=1.6, alpha=0.8, zorder=3)


def _draw_front(axes: Axes, front: Sequence[Point]) -> None:
    """Its steps, and where they end."""
    xs, ys = [100 * point.retention for point in front], [100 * point.image for point in front]
    draw_steps(axes, list(zip(xs, ys, strict=True)))
    if xs:
        axes.plot([-1e3, xs[0]], [ys[0], ys[0]], color=FRONT, lw=1, ls=(0, (2, 3)), alpha=0.7, zorder=1)
    if xs and abs(xs[-1] - 100) > 0.1:  # there the line of the base goes down
        axes.plot([xs[-1], xs[-1]], [ys[-1], -1e3], color=FRONT, lw=1, ls=(0, (2, 3)), alpha=0.7, zorder=1)


def _draw_axes(axes: Axes, points: Sequence[Point], base: str) -> None:
    bare(axes, "both")
    ends = np.asarray([[p.retention, *p.retention_interval] for p in points]) * 100
    heights = np.asarray([[p.image, *p.image_interval] for p in points]) * 100
    left, right = min(ends.min(), 100), max(ends.max(), 100)
    room = 0.08 * max(right - left, 1)
    axes.set_xlim(left - room, right + 2.6 * room)
    room = 0.1 * max(heights.max() - heights.min(), 1)
    axes.set_ylim(max(heights.min() - room, 0 if heights.min() >= 0 else -1), heights.max() + room)
    axes.axvline(100, color=BASE, lw=1.4, ls=(0, (4, 3)), zorder=1)
    axes.annotate("nothing lost ", (100, 0.01), xycoords=axes.get_xaxis_transform(), color=BASE, fontsize=9, ha="right")
    axes.set_xlabel("text ability kept (%)  →")
    axes.set_ylabel("image score (%)  →")


def _draw_names(axes: Axes, points: Mapping[str, Point], front: Sequence[str]) -> None:
    """Each name beside its point, where it covers least of the others."""
    canvas: Any = axes.figure.canvas
    frame = axes.get_window_extent()
    centres = {name: axes.transData.transform((100 * p.retention, 100 * p.image)) for name, p in points.items()}
    taken = [Bbox.from_bounds(x - 8, y - 8, 16, 16) for x, y in centres.values()]
    bars = [box for point in points.values() for box in _bars(axes, point)]
    bars += _lines(axes, [points[name] for name in front])
    halo = [patheffects.withStroke(linewidth=3, foreground="white")]
    scale = axes.figure.dpi / 72
    for name in sorted(points, key=lambda name: (name not in front, centres[name][0])):
        text = axes.text(0, 0, name, fontsize=9.5, color=INK if name in front else SOFT, zorder=5, path_effects=halo)
        if name in front:
            text.set_fontweight("bold")
        size = text.get_window_extent(canvas.get_renderer())
        spots = [
            (_spot(centres[name], size.width, size.height, far * scale, angle), 3 * far + place % 12)
            for place, (far, angle) in enumerate(PLACES)
        ]
        best = min(spots, key=lambda spot: spot[1] + _cost(spot[0], taken, bars, frame))[0]
        x, y = axes.transData.inverted().transform((best.x0, best.y0))
        text.set_position((float(x), float(y)))
        taken.append(best)


def _bars(axes: Axes, point: Point) -> list[Bbox]:
    x, y = 100 * point.retention, 100 * point.image
    left, right = (axes.transData.transform((100 * end, y)) for end in point.retention_interval)
    low, high = (axes.transData.transform((x, 100 * end)) for end in point.image_interval)
    return [
        Bbox.from_extents(left[0], left[1] - 1, right[0], left[1] + 1),
        Bbox.from_extents(low[0] - 1, low[1], low[0] + 1, high[1]),
    ]


def _lines(axes: Axes, front: Sequence[Point]) -> list[Bbox]:
    """The line of the base, and the steps of the front."""
    corners = [axes.transData.transform((100 * point.retention, 100 * point.image)) for point in front]
    base = axes.transData.transform((100, 0))[0]
    boxes = [Bbox.from_extents(base - 2, axes.bbox.y0, base + 2, axes.bbox.y1)]
    for (x0, y0), (x1, y1) in pairwise(corners):
        boxes += [Bbox.from_extents(x0, y1 - 1, x1, y1 + 1), Bbox.from_extents(x0 - 1, y1, x0 + 1, y0)]
    return boxes


def _spot(centre: Any, width: float, height: float, far: float, angle: float) -> Bbox:
    """A box of this size beside `centre`, in this direction."""
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    x = centre[0] + cosine * far + (cosine - 1) * width / 2
    y = centre[1] + sine * far + (sine - 1) * height / 2
    return Bbox.from_bounds(x, y, width, height)


def _cost(spot: Bbox, taken: Sequence[Bbox], bars: Sequence[Bbox], frame: Bbox) -> float:
    outside = spot.width * spot.height - _overlap(spot, frame)
    covered = sum(_overlap(spot, box) for box in taken)
    crossed = sum(_overlap(spot, box) for box in bars)
    return 20 * outside + 10 * covered + 2 * crossed


def _overlap(a: Bbox, b: Bbox) -> float:
    width, height = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
    return max(width, 0) * max(height, 0)
