# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Draw the figures of docs/concepts: `python scripts/draw_concepts.py [FOLDER]` (docs/images).

They are SVG on a white card, so that they read in light and dark alike, and letters stay legible at a phone's width.
Nothing here is measured: what is drawn follows the equations.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from wings_hf.analysis.style import COLORS, FONT, GRID, INK, PALE, SOFT, bare

FOLDER = Path(__file__).parents[1] / "docs" / "images"
VISUAL, TEXTUAL, ROUTER, MAIN = "#b5620d", COLORS["after"], COLORS["before"], "#5b6570"  # white letters read on all
WIDTH = 64  # units; what a figure's height is given in, too
INCHES = 5.6 / WIDTH  # for each unit
TEXT, SMALL = 12.5, 11.0


def canvas(figure: Figure) -> Axes:
    """Axes without a frame over the whole figure, in units."""
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(0, figure.get_figheight() / INCHES))
    axes.axis("off")
    return axes


def box(axes: Axes, x: float, y: float, width: float, height: float, text: str, colour: str, **look) -> None:
    """A box with its lower left corner at (x, y); `filled=False` draws its edge alone."""
    filled = look.pop("filled", True)
    axes.add_patch(
        FancyBboxPatch(
            (x, y), width, height, boxstyle="round,pad=0,rounding_size=1.1", lw=1.8, edgecolor=colour,
            facecolor=colour if filled else "white", linestyle=look.pop("linestyle", "-"), zorder=2,
        )
    )  # fmt: skip
    look = {"fontsize": TEXT, "color": "white" if filled else INK, "fontweight": "bold" if filled else "normal", **look}
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", zorder=3, linespacing=1.35, **look)


def arrow(axes: Axes, *points: tuple[float, float], colour: str = INK, head: bool = True) -> None:
    """A line through points, with a head at the last."""
    axes.plot(*zip(*points, strict=True), color=colour, lw=1.8, solid_capstyle="round", zorder=1)
    if head:
        look = {"arrowstyle": "-|>", "color": colour, "lw": 1.8, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 15}
        axes.annotate("", xy=points[-1], xytext=points[-2], arrowprops=look, zorder=1)


def say(axes: Axes, x: float, y: float, text: str, **look) -> None:
    look = {"fontsize": SMALL, "color": SOFT, "ha": "center", "va": "center", "linespacing": 1.35, **look}
    axes.text(x, y, text, zorder=3, **look)


def layer(figure: Figure) -> None:
    """One decoder layer: main attention between its two wings."""
    axes = canvas(figure)
    box(axes, 21, 26, 22, 12, "main attention\n(the LLM's own)", MAIN)
    box(axes, 1.5, 26, 16, 12, "visual\nlearner", VISUAL)
    box(axes, 46.5, 26, 16, 12, "textual\nlearner", TEXTUAL)
    box(axes, 30, 44, 14, 6.5, "router", ROUTER)
    box(axes, 28.5, 57, 7, 7, "+", INK, filled=False, fontsize=20, fontweight="bold")
    arrow(axes, (37, 38), (37, 44), colour=ROUTER)
    say(axes, 38, 41, "weights $a$", ha="left", color=ROUTER)
    arrow(axes, (9.5, 38), (9.5, 60.5), (28.5, 60.5), colour=VISUAL)
    arrow(axes, (54.5, 38), (54.5, 60.5), (35.5, 60.5), colour=TEXTUAL)
    for x, learner in ((9.5, "V"), (54.5, "T")):
        box(axes, x - 4, 44.2, 8, 6, f"$\\times\\, g_{{\\mathrm{{{learner}}}}}$", ROUTER, filled=False)
    arrow(axes, (30, 47.2), (13.7, 47.2), colour=ROUTER)
    arrow(axes, (44, 47.2), (50.3, 47.2), colour=ROUTER)
    axes.plot((25.5, 25.5), (45.8, 48.6), color="white", lw=8, zorder=1)  # one line passes over the other
    arrow(axes, (25.5, 38), (25.5, 53), (32, 53), (32, 57), colour=MAIN)
    arrow(axes, (32, 64), (32, 70.5))
    say(axes, 34, 67.6, "to the rest of the layer", ha="left")
    box(axes, 12, 11.5, 40, 6.5, "hidden states of this layer", INK, filled=False)
    arrow(axes, (32, 18), (32, 26), colour=MAIN)
    arrow(axes, (16, 18), (16, 21.8), (11.5, 21.8), (11.5, 26))
    arrow(axes, (48, 18), (48, 21.8), (52.5, 21.8), (52.5, 26))
    say(axes, 20.6, 21.8, "queries", ha="center")
    arrow(axes, (5, 7.5), (5, 26), colour=VISUAL)
    arrow(axes, (59, 7.5), (59, 26), colour=TEXTUAL)
    say(axes, 1.5, 4.5, "keys, values: the\nimages' features", ha="left", color=VISUAL)
    say(axes, 62.5, 4.5, "keys, values: the\ntext's embeddings", ha="right", color=TEXTUAL)


def lorra(figure: Figure) -> None:
    """Eq. 4: one learner."""
    axes = canvas(figure)
    box(axes, 1.5, 3, 17, 8, "hidden state\n$n$", INK, filled=False, fontsize=SMALL + 1)
    box(axes, 26, 3, 36, 8, "initial embeddings $x_j$\nof its own modality", INK, filled=False, fontsize=SMALL + 1)
    for x, name, source in ((2, "q", "n"), (24, "k", "x"), (46, "v", "x")):
        box(axes, x, 18, 16, 8.5, f"${source}\\,(1 + A_{name} B_{name})$", TEXTUAL, filled=False)
        arrow(axes, (x + 8, 11.2), (x + 8, 18))
        say(axes, x + 8, 29, {"q": "query", "k": "key", "v": "value"}[name], color=TEXTUAL)
    for x in (10, 32):
        arrow(axes, (x, 31), (x, 35.5))
    arrow(axes, (54, 31), (54, 49.5), (43.5, 49.5))
    box(axes, 2, 35.5, 40, 7.5, "softmax over the visible keys", TEXTUAL)
    arrow(axes, (22, 43), (22, 46.5))
    box(axes, 2, 46.5, 41.5, 6.5, "weighted sum of values", TEXTUAL, filled=False)
    arrow(axes, (22, 53), (22, 57.5))
    box(axes, 11, 57.5, 22, 7, "$A_o B_o$", ROUTER)
    say(axes, 35, 61, "no residual, and $B_o$ is 0 at first:\na new learner adds exactly 0", ha="left")
    arrow(axes, (22, 64.5), (22, 69.5))
    say(axes, 24, 67.8, "out", ha="left", color=INK)


def visibility(figure: Figure) -> None:
    """Which keys each learner sees."""
    kinds = "TTVVVTT"
    axes = canvas(figure)
    cell, left, top = 5.0, 18.0, 37.0
    for column, kind in enumerate(kinds):
        colour = {"T": TEXTUAL, "V": VISUAL}[kind]
        name = {"T": "text", "V": "image"}[kind]
        say(axes, left + cell * (column + 0.5), top + 1.4, name, rotation=90, va="bottom", color=colour)
        say(axes, left - 1.5, top - cell * (column + 0.5), f"{name} {column + 1}", ha="right", color=colour)
        for row in range(len(kinds)):
            seen = column <= row
            axes.add_patch(
                Rectangle(
                    (left + cell * column, top - cell * (row + 1)), cell, cell, lw=1.4, edgecolor="white",
                    facecolor=colour if seen else PALE, alpha=1 if seen else 0.75,
                )
            )  # fmt: skip
    say(axes, 2.3, top - cell * 3.5, "rows (who asks)", rotation=90)
    say(axes, left + cell * 3.5, top + 11, "keys (what is read)")
    for y, colour, text in ((32, VISUAL, "visual\nlearner"), (21, TEXTUAL, "textual\nlearner"), (10, PALE, "nobody")):
        axes.add_patch(Rectangle((left + cell * 7 + 1.4, y - 1.6), 3.2, 3.2, facecolor=colour))
        say(axes, left + cell * 7 + 1.4, y - 2.4, text, ha="left", va="top", color=INK)


def router(figure: Figure) -> None:
    """Eq. 5: from a row of attention weights to two weights."""
    axes = canvas(figure)
    masses, kinds = np.array([0.06, 0.1, 0.22, 0.26, 0.16, 0.08, 0.12]), "TTVVVTT"
    for number, (mass, kind) in enumerate(zip(masses, kinds, strict=True)):
        colour = {"T": TEXTUAL, "V": VISUAL}[kind]
        axes.add_patch(Rectangle((5 + 7.9 * number, 51), 6.3, 44 * mass, facecolor=colour, zorder=2))
    axes.plot((3.5, 60.5), (51, 51), color=INK, lw=1.2)
    say(axes, 32, 65.4, "one row of the main attention: where this token looks", color=INK)
    for x, text, colour in ((12, "text", TEXTUAL), (31.8, "image", VISUAL), (51.5, "text", TEXTUAL)):
        say(axes, x, 48.6, text, color=colour)
    arrow(axes, (32, 46.8), (32, 41.5), colour=ROUTER)
    box(axes, 12, 34, 40, 7.5, "linear map, SiLU, softmax, times 2", ROUTER)
    for x, end in ((22, 17), (42, 47)):
        arrow(axes, (x, 34), (end, 25), colour=ROUTER)
    box(axes, 6, 17, 22, 8, "$g_{\\mathrm{V}} = 1.3$", VISUAL, fontsize=15)
    box(axes, 36, 17, 22, 8, "$g_{\\mathrm{T}} = 0.7$", TEXTUAL, fontsize=15)
    say(axes, 17, 13.6, "visual learner", color=VISUAL)
    say(axes, 47, 13.6, "textual learner", color=TEXTUAL)
    say(
        axes,
        32,
        5.6,
        "The two sum to 2, and start at 1 and 1. A row with\none learner to ask gives it weight 1.",
        color=INK,
    )


PARTS = (
    ("vision tower", (0, 0)),
    ("projector", (2, 2)),
    ("visual learners", (2, 2)),
    ("textual learners", (None, 2)),
    ("router", (None, 2)),
    ("language model", (0, 1)),
)
STATES = {0: ("frozen", MAIN, False), 1: ("moves in\nsmall steps", ROUTER, False), 2: ("learns", ROUTER, True)}


def stages(figure: Figure) -> None:
    """What is there in each stage, and what learns (recipe `wings`)."""
    axes = canvas(figure)
    for x, title, below in ((22, "stage 1", "images with captions"), (44, "stage 2", "instructions")):
        say(axes, x + 9.3, 56.5, title, color=INK, fontsize=14, fontweight="bold")
        say(axes, x + 9.3, 53, below)
    for number, (part, states) in enumerate(PARTS):
        y = 43.5 - 8.4 * number
        say(axes, 1.5, y + 3.4, part, ha="left", color=INK, fontsize=TEXT)
        for x, state in zip((22, 44), states, strict=True):
            if state is None:
                box(axes, x, y, 18.6, 6.8, "not there", GRID, filled=False, color=SOFT, linestyle="--", fontsize=SMALL)
            else:
                text, colour, filled = STATES[state]
                box(axes, x, y, 18.6, 6.8, text, colour, filled=filled, fontsize=SMALL if state != 1 else 10)


def shift(figure: Figure) -> None:
    """Eq. 1 on two drawn models of 24 layers."""
    layers = np.arange(1, 25)
    before = 0.30 + 0.14 * np.cos(layers / 24 * 2 * np.pi) * np.exp(-layers / 40)
    along = before * 1.25 - 0.02 + 0.01 * np.sin(layers)
    against = 0.36 - 0.12 * np.cos(layers / 24 * 2 * np.pi + 0.5) * np.exp(-layers / 50)
    both = figure.subplots(2, 1, sharex=True)
    for axes, after, text in zip(both, (along, against), ("keep the same course", "part"), strict=True):
        bare(axes)
        axes.plot(layers, before, color=COLORS["before"], lw=3)
        axes.plot(layers, after, color=COLORS["after"], lw=3)
        value = 1 - np.corrcoef(before, after)[0, 1]
        axes.set_title(f"the two {text}: shift {value:.2f}", loc="left", fontsize=TEXT, fontweight="bold", pad=9)
        axes.set(ylim=(0.05, 0.62), yticks=(0.2, 0.4, 0.6), xticks=(1, 6, 12, 18, 24))
        axes.set_yticklabels(("20 %", "40 %", "60 %"))
        axes.tick_params(labelsize=SMALL)
        for line, name, curve in ((COLORS["before"], "text before", before), (COLORS["after"], "text after", after)):
            axes.text(24.4, curve[-1], name, color=line, fontsize=SMALL, fontweight="bold", va="center")
        axes.set_xlim(0.5, 30)
    both[1].set_xlabel("layer", fontsize=SMALL)
    figure.supylabel("share of attention", fontsize=SMALL)


def exact(figure: Figure) -> None:
    """`learner_scope="visual_context"`: where the learners act."""
    axes = canvas(figure)
    rows = (("text only", "TTTTTTT", 37), ("with an image", "TTVVVTT", 20))
    for name, kinds, y in rows:
        first = kinds.find("V") if "V" in kinds else len(kinds)
        say(axes, 1.5, y + 9.6, name, ha="left", color=INK, fontsize=TEXT, fontweight="bold")
        for number, kind in enumerate(kinds):
            x = 1.5 + 8.8 * number
            colour = {"T": TEXTUAL, "V": VISUAL}[kind]
            box(axes, x, y, 7.7, 6.6, {"T": "text", "V": "image"}[kind], colour, filled=False, fontsize=SMALL)
            if number >= first:
                box(axes, x, y - 4.6, 7.7, 3.4, "wings", ROUTER, fontsize=10)
            else:
                say(axes, x + 3.85, y - 2.9, "none", fontsize=10)
    say(axes, 32, 6.2, "Where no image is visible nothing is added:\nwith the language model frozen, the logits "
        "of text\nare the language model's own.", color=INK)  # fmt: skip


FIGURES: dict[str, tuple[Callable[[Figure], None], float]] = {
    "layer": (layer, 72),
    "lorra": (lorra, 71),
    "visibility": (visibility, 50),
    "router": (router, 68),
    "stages": (stages, 59),
    "shift": (shift, 58),
    "exact": (exact, 50),
}


def draw(folder: Path) -> list[Path]:
    """Writes concept-NAME.svg for each figure, and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with matplotlib.rc_context({**FONT, "text.parse_math": True, "mathtext.fontset": "dejavusans"}):
        for name, (drawing, height) in FIGURES.items():
            figure = Figure(
                figsize=(WIDTH * INCHES, height * INCHES), layout="constrained" if name == "shift" else None
            )
            drawing(figure)
            paths.append(folder / f"concept-{name}.svg")
            figure.savefig(paths[-1], facecolor="white", metadata={"Date": None})
    return paths


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER, help="where to write (docs/images)")
    for path in draw(parser.parse_args(arguments).folder):
        print(path)


if __name__ == "__main__":
    main()
