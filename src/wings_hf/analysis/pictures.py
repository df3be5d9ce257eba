# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Plots of single samples: router weights over layers and tokens, attention over the image."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from PIL import Image

from wings_hf.analysis.maps import AttentionMap
from wings_hf.analysis.router import RouterWeights
from wings_hf.analysis.style import COLORS, INK, PALE, SOFT, write

MOST_TOKENS = 120  # drawn of a sample; what is left out is said
LEARNER_COLORS = {"visual": COLORS["image"], "textual": COLORS["after"]}
HEAT = LinearSegmentedColormap.from_list("heat", ["#e08e2900", "#e08e29b0", "#d1442cd8", "#7a1030f0"])
GROUND = LinearSegmentedColormap.from_list("ground", ["#f7f8f9", "#e08e29", "#7a1030"])


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
    share = np.where(weights.sum(-1) > 0, weights[..., 0], np.nan)
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
    axes.grid(axis="x", which="minor", color="white", lw=0.6)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02, aspect=18, ticks=[0, 1, 2])
    bar.ax.set_yticklabels([f"{low} only" if both else "0", "equal" if both else "1", f"{high} only" if both else "2"])
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=9)
    left_out = f" (first {MOST_TOKENS} of {len(columns)} columns)" if len(columns) > MOST_TOKENS else ""
    heading = f"{name}: which learner each token gets{left_out}" if name else f"Which learner each token gets{left_out}"
    axes.set_title(heading, loc="left", fontsize=12.5, fontweight="bold", pad=12)


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

    def draw(figure: Figure) -> None:
        grid = figure.subplots(len(maps), columns, squeeze=False)
        for row, (each, picture) in enumerate(zip(maps, pictures, strict=True)):
            _draw_row(grid[row], each, picture, layers, first=row == 0)
        heading = f"{name}: where in the image it looks" if name else "Where in the image it looks"
        below = f"\n{_shortened(question)}" if question else ""
        figure.suptitle(heading + below, x=0.008, ha="left", fontsize=12.5, fontweight="bold", color=INK)

    return write(Path(stem), data, (1.9 * columns, 1.05 + (0.25 if question else 0) + 2.15 * len(maps)), draw)


def _shortened(text: str, length: int = 110) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _draw_row(row: Any, each: AttentionMap, picture: Image.Image | None, layers: list[int], first: bool) -> None:
    height, width = each.weights.shape[1:]
    panels = [(f"layer {layer + 1}", each.weights[layer]) for layer in layers]
    panels.append(("all layers", each.weights.mean(0)))
    _show_picture(row[0], picture, (height, width))
    if first:
        row[0].set_title("what it saw", loc="left", fontsize=10, color=SOFT)
    for axes, (label, weights) in zip(row[1:], panels, strict=True):
        total = float(weights.sum())
        if picture is None:
            axes.imshow(
                weights, cmap=GROUND, vmin=0, vmax=max(float(weights.max()), 1e-12), extent=(0, width, height, 0)
            )
        else:
            _show_picture(axes, picture, (height, width), faded=True)
            heat = weights / max(float(weights.max()), 1e-12)
            axes.imshow(heat, cmap=HEAT, vmin=0, vmax=1, extent=(0, width, height, 0), interpolation="bilinear")
        axes.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
        axes.spines[:].set_visible(False)
        if first:
            axes.set_title(label, loc="left", fontsize=10, color=SOFT)
        axes.set_xlabel(f"{total:.0%} of attention" if total >= 0.005 else "below 0.5 %", fontsize=8.5, color=SOFT)


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
