# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The demo's picture: what was asked, how sight came, and what of the text tasks was left."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from PIL import Image

COLORS = {"wings": "#1b7f79", "exact": "#e08e29", "plain": "#7a5c99", "before": "#9aa0a6"}
INK, PALE = "#22262b", "#eceff1"
Shown = tuple[str, Sequence[Path], str, str]  # question with <image>, images, the model's answer, the right one


def draw(
    path: Path,
    shown: Sequence[Shown],
    curves: Mapping[str, Sequence[Mapping[str, float]]],
    before: Mapping[str, Any],
    after: Mapping[str, Mapping[str, Any]],
    align_steps: int,
    rehearsed: Sequence[str],
) -> None:
    """Write the picture to `path`.

    Args:
        shown: questions about pictures, with Wings' answers.
        curves: for each recipe, "sight" and "text" scores by step, stage 2 counted on from stage 1.
        before, after: summaries (see `report.summarise`); `after` for each recipe.
        rehearsed: text tasks to mark.
    """
    plt.rcParams.update({"font.family": "DejaVu Sans", "font.size": 10, "text.color": INK, "axes.labelcolor": INK})
    figure, (cards, sight, kept) = plt.subplots(
        1, 3, figsize=(14.5, 5.4), width_ratios=[0.9, 1.25, 1.25], layout="constrained"
    )
    _draw_cards(cards, shown)
    _draw_curves(sight, curves, after, align_steps)
    _draw_kept(kept, before, after, rehearsed)
    figure.savefig(path, dpi=130, facecolor="white")
    plt.close(figure)


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=12.5, fontweight="bold", pad=12)


def _bare(axes: Axes) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#c5cacf")
    axes.tick_params(length=0, colors=INK)


# -- what was asked ---------------------------------------------------------------------------------------


def _draw_cards(axes: Axes, shown: Sequence[Shown]) -> None:
    """One card a question: its words and pictures in order, and the answer below."""
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(len(shown), 0))
    _title(axes, "Asked about pictures it never saw")
    for row, (question, images, answer, right) in enumerate(shown):
        axes.add_patch(plt.Rectangle((0, row + 0.06), 1, 0.86, color=PALE, linewidth=0, zorder=0))
        _write_question(axes, question, images, row)
        good = answer == right
        mark, color = ("✓", COLORS["wings"]) if good else (f"✗  ({right})", "#b3402e")
        axes.text(0.04, row + 0.75, f"{answer}  {mark}", color=color, fontweight="bold", fontsize=13, va="center")


def _write_question(axes: Axes, question: str, images: Sequence[Path], row: int) -> None:
    """Words and pictures from left to right; a piece of text is measured to know where the next begins."""
    figure = axes.get_figure()
    renderer = figure.canvas.get_renderer()  # type: ignore[union-attr]
    figure.draw_without_rendering()  # type: ignore[union-attr]
    x, size = 0.04, 0.125
    for index, piece in enumerate(question.split("<image>")):
        if index:
            axes.imshow(
                255 - np.asarray(Image.open(images[index - 1])),
                cmap="gray",
                vmin=0,
                vmax=255,
                extent=(x, x + size, row + 0.57, row + 0.13),
                aspect="auto",
                interpolation="nearest",
            )
            x += size + 0.012
        text = axes.text(x, row + 0.35, piece.strip(), va="center", fontsize=10.5)
        box = text.get_window_extent(renderer).transformed(axes.transData.inverted())
        x = box.x1 + 0.018 if piece.strip() else x
    axes.set(xlim=(0, 1))


# -- how sight came ---------------------------------------------------------------------------------------


def _draw_curves(
    axes: Axes,
    curves: Mapping[str, Sequence[Mapping[str, float]]],
    after: Mapping[str, Mapping[str, Any]],
    align_steps: int,
) -> None:
    _bare(axes)
    _title(axes, "Learning to see (—), keeping the text (···)")
    last = max(point["step"] for curve in curves.values() for point in curve)
    axes.axvspan(0, align_steps, color=PALE, zorder=0)
    for name, left, right in (("stage 1: align", 0, align_steps), ("stage 2: tune", align_steps, last)):
        axes.text((left + right) / 2, 1.045, name, ha="center", color="#6b7280", fontsize=9)
    for recipe, curve in curves.items():
        steps = [point["step"] for point in curve]
        axes.plot(steps, [p["sight"] for p in curve], color=COLORS[recipe], lw=2.4, label=after[recipe]["name"])
        axes.plot(steps, [p["text"] for p in curve], color=COLORS[recipe], lw=2.2, ls=(0, (1, 1.4)))
    axes.set(xlim=(0, last), ylim=(0, 1.09), xlabel="training steps")
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    axes.grid(axis="y", color="#e3e6e9", lw=0.8)
    axes.legend(frameon=False, loc="lower right", fontsize=9.5)


# -- what was left of the text tasks ----------------------------------------------------------------------


def _draw_kept(
    axes: Axes, before: Mapping[str, Any], after: Mapping[str, Mapping[str, Any]], rehearsed: Sequence[str]
) -> None:
    """A row for each task: a grey mark for what the language model knew, a dot for what each model still knows."""
    _bare(axes)
    _title(axes, "What is left of the text tasks")
    tasks = list(before["text"]["tasks"])
    offsets = np.linspace(-0.24, 0.24, len(after))
    for row, task in enumerate(tasks):
        known = before["text"]["tasks"][task]
        axes.plot([known, known], [row - 0.36, row + 0.36], color=COLORS["before"], lw=2.5, solid_capstyle="butt")
        for offset, (recipe, summary) in zip(offsets, after.items(), strict=True):
            left = summary["text"]["tasks"][task]
            axes.plot([left, known], [row + offset] * 2, color=COLORS[recipe], lw=2, alpha=0.35)
            axes.plot(left, row + offset, "o", color=COLORS[recipe], ms=7, mec="white", mew=0.8)
    names = [f"{task}\n(rehearsed)" if task in rehearsed else task for task in tasks]
    axes.set_yticks(range(len(tasks)), names)
    axes.set(ylim=(len(tasks) - 0.5, -0.5), xlim=(-0.02, 1.04))
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    axes.grid(axis="x", color="#e3e6e9", lw=0.8)
    axes.plot([], [], color=COLORS["before"], lw=2.5, label="before it could see")
    axes.legend(frameon=False, loc="lower left", fontsize=9.5)
