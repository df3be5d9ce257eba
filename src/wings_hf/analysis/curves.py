# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Plots of MLLM-LAWS: the three curves over layers, heads one by one, and shift against text score over models."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from wings_hf.analysis.laws import AFTER, BEFORE, BETWEEN, IMAGE, AttentionLaws
from wings_hf.analysis.style import COLORS, INK, bare, heading, layer_ticks, name_points, title, write
from wings_hf.evaluation.statistics import Correlation, pearson

LABELS = {"before": "text before", "image": "image", "after": "text after"}
ROWS = {
    "all": "all tokens look",
    "image": "image tokens look",
    "after": "the text after the image looks",
    "answer": "the model looks while it answers",
    "last": "the last token looks",
}

CROWD = 20  # of more points only names that cover no other are written; the JSON has all


def draw_laws(stem: str | Path, laws: AttentionLaws, name: str = "") -> list[Path]:
    """The attention on text before, image and text after, layer by layer, to STEM.png, .svg and .json.

    Args:
        laws: with masses per head, the middle four fifths of the heads are shaded.
        name: what was measured, for the title.
    """
    data = {"name": name, **laws.to_dict()}
    return write(Path(stem), data, (7.6, 4.6), lambda figure: _draw_laws(figure.subplots(), laws, name))


def draw_heads(stem: str | Path, laws: AttentionLaws, name: str = "") -> list[Path]:
    """The attention of each head in each layer, to STEM.png, .svg and .json.

    Raises:
        ValueError: not measured per head.
    """
    if laws.head_masses is None:
        raise ValueError("these laws have no masses of heads: measure with per_head=True.")
    size = (3.2 + 3 * min(2.8, 0.16 * laws.head_masses.shape[1] + 1.4), min(9.0, 1.9 + 0.2 * len(laws.masses)))
    return write(Path(stem), {"name": name, **laws.to_dict()}, size, lambda figure: _draw_heads(figure, laws, name))


def draw_shift_against_score(
    stem: str | Path,
    models: Sequence[tuple[str, float, float]],
    score_name: str = "text score",
    groups: Sequence[str] | None = None,
) -> Correlation:
    """
    One point per model: its attention shift and its score on text, their Pearson correlation with its 95 % interval.

    Args:
        stem: writes STEM.png, .svg and .json.
        models: name, shift, score.
        groups: of the models, for colours; names of the same group look alike.

    Returns:
        the correlation.

    Raises:
        ValueError: no models.
    """
    if not models:
        raise ValueError("no models to draw: expected (name, shift, score) of at least one.")
    names, shifts, scores = (list(each) for each in zip(*models, strict=True))
    found = pearson(shifts, scores)
    groups = list(groups or [""] * len(names))
    points = [
        {"name": name, "shift": shift, "score": score, "group": group}
        for name, shift, score, group in zip(names, shifts, scores, groups, strict=True)
    ]
    data = {"score_name": score_name, "pearson": found._asdict(), "models": points}

    def draw(figure: Figure) -> None:
        _draw_scatter(figure.subplots(), points, found, score_name)

    write(Path(stem), data, (7.6 if len(set(groups)) == 1 else 9.0, 5.4), draw)
    return found


# -- curves -----------------------------------------------------------------------------------------------


def _draw_laws(axes: Axes, laws: AttentionLaws, name: str) -> None:
    bare(axes)
    layers = np.arange(1, len(laws.masses) + 1)
    curves = {"before": laws.before, "image": laws.image, "after": laws.after}
    bands = _bands(laws)
    for key, curve in curves.items():
        if key in bands:
            axes.fill_between(layers, *bands[key], color=COLORS[key], alpha=0.13, lw=0)
        axes.plot(layers, curve, color=COLORS[key], lw=2.4, marker="o", ms=4.5, mec="white", mew=0.8)
    heights = _apart([float(curve[-1]) for curve in curves.values()], 0.06 * _top(curves, bands))
    for key, height in zip(curves, heights, strict=True):
        text = axes.annotate(
            LABELS[key],
            (1, height),
            xycoords=("axes fraction", "data"),
            color=COLORS[key],
            fontweight="bold",
            va="center",
        )
        text.set_in_layout(True)
    axes.set(xlabel="layer", xlim=(layers[0] - 0.3, layers[-1] + 0.3), ylim=(0, _top(curves, bands)))
    axes.set_xticks(layer_ticks(len(layers)))
    if laws.settings.get("per_token"):
        axes.set_ylabel("attention on one token")
    else:
        axes.set_ylabel("share of attention")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    where = ROWS.get(str(laws.settings.get("rows")), "tokens look")
    title(axes, f"{name}: where {where}" if name else f"Where {where}", _sentence(laws))


def _sentence(laws: AttentionLaws) -> str:
    shift = f"attention shift {laws.shift:.2f}"
    if not laws.shift_is_defined:
        shift += " (a curve is constant: no correlation)"
    elif laws.sample_shift is not None:
        shift += f" (mean of samples {laws.sample_shift:.2f})"
    return f"{shift}  ·  {laws.samples:,} samples, {laws.rows:,} rows"


def _bands(laws: AttentionLaws) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    heads = laws.head_masses
    if heads is None or heads.shape[1] < 2:
        return {}
    parts = {"before": heads[..., BEFORE], "image": heads[..., IMAGE], "after": heads[..., BETWEEN] + heads[..., AFTER]}
    return {key: (np.quantile(part, 0.1, axis=1), np.quantile(part, 0.9, axis=1)) for key, part in parts.items()}


def _top(curves: dict[str, np.ndarray], bands: dict[str, Any]) -> float:
    highest = max(float(curve.max()) for curve in curves.values())
    highest = max([highest, *(float(band[1].max()) for band in bands.values())])
    return max(highest * 1.08, 1e-6)


def _apart(heights: list[float], distance: float) -> list[float]:
    """The heights, moved so that neighbours are at least `distance` apart."""
    order = np.argsort(heights)
    moved = np.array(heights)
    for _ in range(50):
        for lower, upper in pairwise(order):
            overlap = distance - (moved[upper] - moved[lower])
            if overlap > 1e-12:
                moved[lower] -= overlap / 2
                moved[upper] += overlap / 2
    return [float(height) for height in moved]


# -- heads ------------------------------------------------------------------------------------------------


def _draw_heads(figure: Figure, laws: AttentionLaws, name: str) -> None:
    heads = laws.head_masses
    assert heads is not None
    parts = {"before": heads[..., BEFORE], "image": heads[..., IMAGE], "after": heads[..., BETWEEN] + heads[..., AFTER]}
    top = max(float(part.max()) for part in parts.values()) or 1.0
    for axes, (key, part) in zip(figure.subplots(1, 3, sharey=True), parts.items(), strict=True):
        colors = LinearSegmentedColormap.from_list(key, ["#f7f8f9", COLORS[key]])
        shown = axes.imshow(
            part, cmap=colors, vmin=0, vmax=top, aspect="auto", extent=(0.5, part.shape[1] + 0.5, len(part) + 0.5, 0.5)
        )
        axes.set_title(LABELS[key], loc="left", fontsize=11, color=COLORS[key], fontweight="bold")
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.set_xlabel("head")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
        axes.set_yticks(layer_ticks(len(part)))
        bar = figure.colorbar(shown, ax=axes, orientation="horizontal", fraction=0.05, aspect=30)
        bar.outline.set_visible(False)
        bar.ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        bar.ax.tick_params(length=0, labelsize=8.5)
    figure.axes[0].set_ylabel("layer")
    heading(figure, f"{name}: where each head looks" if name else "Where each head looks", _sentence(laws))


# -- shift against score ----------------------------------------------------------------------------------


def _draw_scatter(axes: Axes, points: list[dict[str, Any]], found: Correlation, score_name: str) -> None:
    bare(axes, "both")
    shifts = np.array([point["shift"] for point in points])
    scores = np.array([point["score"] for point in points])
    palette = [
        COLORS["after"],
        COLORS["image"],
        COLORS["before"],
        "#b3402e",
        "#4a78b5",
        "#8a9a3b",
        "#9aa0a6",
        "#5d4037",
    ]
    groups = list(dict.fromkeys(point["group"] for point in points))
    axes.margins(0.14)
    if np.ptp(shifts) > 0 and len(points) > 2:
        slope, start = np.polyfit(shifts, scores, 1)
        ends = np.array([shifts.min(), shifts.max()])
        axes.plot(ends, start + slope * ends, color=INK, lw=1.3, ls=(0, (4, 3)), alpha=0.45, zorder=1)
    for number, group in enumerate(groups):
        here = [index for index, point in enumerate(points) if point["group"] == group]
        color = palette[number % len(palette)]
        axes.scatter(shifts[here], scores[here], s=70, color=color, ec="white", lw=1, label=group or None, zorder=3)
    axes.set(xlabel="attention shift  (1 - Pearson of text before and text after, over layers)", ylabel=score_name)
    if found.n < 4:
        how_sure = f"r = {found.r:.2f} of {found.n} models: too few for an interval"
    else:
        how_sure = f"r = {found.r:.2f}, 95 % interval {found.low:.2f} to {found.high:.2f}, {found.n} models"
    title(axes, f"Attention shift and {score_name}", how_sure)
    if len(groups) > 1:
        figure = axes.get_figure()
        figure.legend(loc="outside right upper", frameon=False, fontsize=9, handletextpad=0.2)  # type: ignore[union-attr]
    places = [(point["shift"], point["score"]) for point in points]
    name_points(axes, places, [point["name"] for point in points], leave_out=len(points) > CROWD)
