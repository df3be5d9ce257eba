# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Plots of single samples: router weights over layers and tokens, attention over the image."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from PIL import Image

from wings_hf.analysis.maps import AttentionMap
from wings_hf.analysis.router import RouterWeights
from wings_hf.analysis.style import COLORS, INK, PALE, SOFT, heading, title, write

MOST_TOKENS = 120  # drawn of a sample; what is left out is said
LEARNER_COLORS = {"visual": COLORS["image"], "textual": COLORS["after"]}
# Of attention relative to an even share of the image: 0 to 1 leaves the picture alone.
HEAT = LinearSegmentedColormap.from_list("heat", ["#e08e2900", "#e08e2966", "#d1442cb8", "#7a1030e0"])
GROUND = LinearSegmentedColormap.from_list("ground", ["#f7f8f9", "#f2c98f", "#d1442c", "#7a1030"])
FEW_TOKENS = 8  # fewer on a side are drawn as they are, more are smoothed


# -- router -----------------------------------------------------------------------------------------------


def draw_router(stem: str | Path, sample: RouterWeights, name: str = "") -> list[Path]:
    """
    Weights of the learners over layers and tokens, to STEM.png, .svg and .json; an image is one column, its mean.

    Where both learners are at work their weights sum to 2, and one colour scale shows both.

    Raises:
        ValueError: no tokens.
    """
    if not sample.kinds:
        raise ValueError("a sample without tokens has no router weights to draw.")
    columns = _columns(sample)
    size = (2.2 + 0.24 * min(len(columns), MOST_TOKENS), 2.6 + 0.2 * len(sample.layers))
    data = {"name": name, **sample.to_dict()}
    return write(
        Path(stem), data, (max(size[0], 6.0), size[1]), lambda figure: _draw_router(figure, sample, columns, name)
    )


def _columns(sample: RouterWeights) -> list[tuple[str, np.ndarray, bool]]:
    """(label, weights (L, n), whether an image) of each token; the tokens of an image are one."""
    columns = []
    numbered = groupby(enumerate(sample.kinds), key=lambda pair: (pair[1] == "image") or pair[0] + 1)
    for is_image, group in numbered:
        where = [index for index, _ in group]
        label = f"image ({len(where)})" if is_image is True else _readable(sample.tokens[where[0]])
        columns.append((label, sample.weights[:, where].mean(1), is_image is True))
    return columns


def _readable(token: str) -> str:
    token = token.replace("\n", "↵").replace("\t", "⇥")
    token = token if token.isprintable() else ascii(token)[1:-1]
    token = token if token.strip() else "␣" * len(token)
    return token.strip() if len(token) <= 14 else f"{token.strip()[:13]}…"


def _draw_router(figure: Figure, sample: RouterWeights, columns: list[Any], name: str) -> None:
    shown = columns[:MOST_TOKENS]
    weights = np.stack([each for _, each, _ in shown], axis=1)  # (L, columns, n)
    axes = figure.subplots()
    both = len(sample.learners) == 2
    low, high = (sample.learners[1], sample.learners[0]) if both else ("none", sample.learners[0])
    colors = LinearSegmentedColormap.from_list(
        "learners", [LEARNER_COLORS.get(low, "#ffffff"), "#f7f8f9", LEARNER_COLORS.get(high, INK)]
    )
    at_work = (weights > 0).any(0).all(-1) if both else np.ones(len(shown), dtype=bool)
    share = np.where(at_work, weights[..., 0], np.nan)
    axes.set_facecolor(PALE)
    extent = (-0.5, len(shown) - 0.5, len(sample.layers) - 0.5, -0.5)
    image = axes.imshow(share, cmap=colors, vmin=0, vmax=2, aspect="auto", extent=extent, interpolation="nearest")
    axes.set_xticks(range(len(shown)), [label for label, _, _ in shown], rotation=90, fontsize=8.5)
    for tick, (_, _, is_image) in zip(axes.get_xticklabels(), shown, strict=True):
        if is_image:
            tick.set(fontweight="bold", color=COLORS["image"])
    steps = max(1, len(sample.layers) // 12)
    axes.set_yticks(range(0, len(sample.layers), steps), [str(layer + 1) for layer in sample.layers[::steps]])
    axes.set_ylabel("layer")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xticks(np.arange(len(shown) - 1) + 0.5, minor=True)
    axes.tick_params(which="minor", length=0)
    axes.grid(axis="x", which="minor", color="white", lw=0.6)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02, aspect=18, ticks=[0, 1, 2])
    bar.ax.set_yticklabels([f"{low} only" if both else "0", "equal" if both else "1", f"{high} only" if both else "2"])
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=9)
    left_out = f" (first {MOST_TOKENS} of {len(columns)} columns)" if len(columns) > MOST_TOKENS else ""
    text = f"{name}: which learner each token gets" if name else "Which learner each token gets"
    below = "" if at_work.all() else "grey: nothing to choose, one learner alone has keys in sight"
    title(axes, text + left_out, below)


# -- maps -------------------------------------------------------------------------------------------------


def draw_maps(
    stem: str | Path,
    maps: Sequence[AttentionMap],
    pictures: Sequence[Image.Image | None],
    question: str = "",
    name: str = "",
    most_layers: int = 6,
) -> list[Path]:
    """
    Attention laid over the pictures of one sample: a row for each, a column for each of some layers and for their mean.

    Args:
        stem: writes STEM.png, .svg and .json.
        pictures: what the model saw, one for each map; None for a plain ground.
        question: said below the title.
        most_layers: evenly spaced ones are shown, the first and the last included.

    Raises:
        ValueError: no maps, or another number of pictures.
    """
    if not maps or len(maps) != len(pictures):
        raise ValueError(f"{len(maps)} maps and {len(pictures)} pictures: expected a picture, or None, for each map.")
    count = len(maps[0].weights)
    layers = np.unique(np.linspace(0, count - 1, min(count, most_layers)).round().astype(int)).tolist()
    data = {"name": name, "question": question, "maps": [each.to_dict() for each in maps]}
    columns = 2 + len(layers)

    shares = [each.weights * each.weights[0].size / each.weights.sum((1, 2), keepdims=True) for each in maps]
    top = max(2.0, *(float(np.quantile(_panels(share, layers), 0.995)) for share in shares))

    def draw(figure: Figure) -> None:
        grid = figure.subplots(len(maps), columns, squeeze=False)
        for row, (each, share, picture) in enumerate(zip(maps, shares, pictures, strict=True)):
            shown = _draw_row(grid[row], each, share, picture, layers, top, first=row == 0)
        bar = figure.colorbar(shown, ax=grid, fraction=0.02, pad=0.015, aspect=14 * len(maps), extend="max")
        bar.outline.set_visible(False)
        bar.set_label("times an even share", fontsize=9, color=SOFT)
        bar.ax.tick_params(length=0, labelsize=8.5)
        heading(figure, f"{name}: where in the image it looks" if name else "Where in the image it looks", question)

    slimmest = max(each.weights.shape[1] / each.weights.shape[2] for each in maps)
    return write(Path(stem), data, (1.8 * columns + 0.8, 0.9 + (1.75 * slimmest + 0.35) * len(maps)), draw)


def _panels(weights: np.ndarray, layers: list[int]) -> np.ndarray:
    """The weights of the layers that are drawn, and of their mean over all layers, (panels, height, width)."""
    return np.concatenate([weights[layers], weights.mean(0, keepdims=True)])


def _draw_row(
    row: Any,
    each: AttentionMap,
    share: np.ndarray,
    picture: Image.Image | None,
    layers: list[int],
    top: float,
    first: bool,
) -> Any:
    height, width = each.weights.shape[1:]
    names = [*(f"layer {layer + 1}" for layer in layers), "all layers"]
    masses = _panels(each.weights, layers).sum((1, 2))
    smooth = "nearest" if max(height, width) < FEW_TOKENS else "bilinear"
    _show_picture(row[0], picture, (height, width))
    if first and picture is not None:
        row[0].set_title("what it saw", loc="left", fontsize=10, color=SOFT)
    for axes, label, heat, mass in zip(row[1:], names, _panels(share, layers), masses, strict=True):
        colors = GROUND if picture is None else HEAT
        if picture is not None:
            _show_picture(axes, picture, (height, width), faded=True)
        shown = axes.imshow(
            heat, cmap=colors, norm=_from_even(top), extent=(0, width, height, 0), interpolation=smooth, zorder=2
        )
        axes.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
        axes.spines[:].set_visible(False)
        if first:
            axes.set_title(label, loc="left", fontsize=10, color=SOFT)
        axes.set_xlabel(f"{mass:.0%} of attention" if mass >= 0.005 else "below 0.5 %", fontsize=8.5, color=SOFT)
    return shown


def _from_even(top: float) -> Normalize:
    """Colours begin at an even share; less than that is as good as nothing."""
    return Normalize(vmin=1, vmax=top)


def _show_picture(axes: Axes, picture: Image.Image | None, grid: tuple[int, int], faded: bool = False) -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    height, width = grid
    if picture is None:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no picture", transform=axes.transAxes, ha="center", va="center", color=SOFT)
        return
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255
    if faded:
        grey = pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
        pixels = np.repeat((0.35 + 0.65 * grey)[..., None], 3, axis=-1)
    smooth = "nearest" if max(pixels.shape[:2]) < 64 else "antialiased"
    axes.imshow(pixels, extent=(0, width, height, 0), interpolation=smooth, vmin=0, vmax=1)
    axes.set(xlim=(0, width), ylim=(height, 0))
