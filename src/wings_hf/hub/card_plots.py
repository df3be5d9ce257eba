# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The plots of a model card."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from wings_hf.analysis.curves import draw_laws
from wings_hf.analysis.laws import AttentionLaws
from wings_hf.analysis.style import COLORS, bare, heading, write

MODEL, BASE = COLORS["after"], COLORS["image"]


def draw_scores(path: Path, sets: Mapping[str, Mapping[str, Any]]) -> bool:
    """A line for each set: the model's score with its interval, and the language model's. False where none has one."""
    rows = [(name, found) for name, found in reversed(list(sets.items())) if found["score"] is not None]
    if not rows:
        return False

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        bare(axes, "x")
        for y, (_, found) in enumerate(rows):
            score, base = 100 * found["score"], found.get("base")
            low, high = (100 * end for end in found["interval"])
            axes.plot([low, high], [y, y], color=MODEL, lw=5, alpha=0.25, solid_capstyle="butt", zorder=2)
            if base is not None:
                axes.plot([100 * base["score"], score], [y, y], color=BASE, lw=1.2, zorder=3)
                axes.plot(100 * base["score"], y, "D", color=BASE, ms=6, mec="white", zorder=4, label="language model")
            axes.plot(score, y, "o", color=MODEL, ms=8, mec="white", zorder=5, label="this model")
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.set(xlim=(0, 100), ylim=(-0.7, len(rows) - 0.3), xlabel="score (%), with its 95 % interval")
        handles, labels = axes.get_legend_handles_labels()
        shown = dict(zip(labels, handles, strict=True))
        figure.legend(shown.values(), shown.keys(), loc="outside lower right", ncols=2, frameon=False, fontsize=9)
        heading(
            figure,
            "What it scores",
            "" if "language model" not in shown else "and what its language model scored before",
        )

    _only_png(path, lambda stem: write(stem, {}, (7.6, 1.6 + 0.34 * len(rows)), draw))
    return True


def draw_attention(path: Path, laws: AttentionLaws) -> None:
    """The three curves over layers."""
    _only_png(path, lambda stem: draw_laws(stem, laws))


def _only_png(path: Path, draw: Callable[[Path], Any]) -> None:
    """A card needs neither the SVG nor the data that are written beside a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        stem = Path(folder) / path.stem
        draw(stem)
        path.write_bytes(stem.with_name(f"{stem.name}.png").read_bytes())
