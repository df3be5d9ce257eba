# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Examples to begin with: drawn here, or told in a JSON file."""

import json
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

SIDE = 384


@dataclass(frozen=True)
class Example:
    """
    Args:
        text: the message.
        images: files of its pictures.
    """

    text: str
    images: tuple[str, ...] = ()


def drawn_examples(folder: Path, sees: bool = True) -> list[Example]:
    """Questions for any model, with pictures that are drawn into `folder` (none for a model that sees nothing)."""
    words = [Example("What has wings but cannot fly?"), Example("Write two lines about a bird and its wings.")]
    if not sees:
        return words
    folder.mkdir(parents=True, exist_ok=True)
    shapes, bars, moved = folder / "shapes.png", folder / "bars.png", folder / "moved.png"
    _shapes(40).save(shapes)
    _shapes(220).save(moved)
    _bars().save(bars)
    return [
        Example("Which shapes are there, and what colours have they?", (str(shapes),)),
        Example("What differs between the two pictures?", (str(shapes), str(moved))),
        Example("Which bar is the highest?", (str(bars),)),
        words[0],
    ]


def read_examples(file: Path) -> list[Example]:
    """
    Examples of a JSON file: a list of `{"text": ..., "images": [...]}`, images beside the file.

    Raises:
        ValueError: it is no such list, or an image is missing.
    """
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        found = [
            Example(str(each["text"]), tuple(str(file.parent / name) for name in each.get("images", ())))
            for each in entries
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f'{file}: expected a list of {{"text": ..., "images": [...]}} ({error}).') from error
    missing = [image for example in found for image in example.images if not Path(image).is_file()]
    if missing:
        raise ValueError(f"{file} names {missing[0]}, which is not there.")
    return found


def _shapes(left: int) -> Image.Image:
    """A red disc, a blue square and a green triangle; the disc begins at `left`."""
    image = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(image)
    draw.ellipse((left, 40, left + 120, 160), fill="#d62728")
    draw.rectangle((50, 220, 170, 340), fill="#1f77b4")
    draw.polygon([(290, 215), (225, 340), (355, 340)], fill="#2ca02c")
    return image


def _bars() -> Image.Image:
    """Four bars, the third of them the highest."""
    image = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(image)
    for index, height in enumerate((120, 200, 290, 90)):
        start = 40 + 80 * index
        draw.rectangle((start, 350 - height, start + 55, 350), fill=("#1f77b4", "#2ca02c", "#ff7f0e", "#9467bd")[index])
    draw.line((25, 350, 365, 350), fill="black", width=3)
    return image
