# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Padding images to squares, so that resizing to a square keeps their proportions."""

from typing import Any

from PIL import Image


def check_colour(colour: Any) -> list[int] | None:
    """`colour` as a list (red, green, blue), each 0 to 255; None stays None.

    Raises:
        ValueError: something else.
    """
    if colour is None:
        return None
    if isinstance(colour, list | tuple) and len(colour) == 3 and all(_is_level(level) for level in colour):
        return list(colour)
    raise ValueError(
        f"pad_to_square must be a colour [red, green, blue] of integers from 0 to 255, or None, got {colour!r}."
    )


def _is_level(level: Any) -> bool:
    return isinstance(level, int) and not isinstance(level, bool) and 0 <= level <= 255


def pad_to_square(image: Image.Image, colour: list[int] | None, max_pixels: int | None) -> Image.Image:
    """An RGB image in the middle of a square of `colour` as wide as its longer side; itself without one, or if square.

    Where the border is an odd number of pixels, the right or lower part has the one more.

    Raises:
        ValueError: the square would have more than `max_pixels`.
    """
    if colour is None or image.width == image.height:
        return image
    side = max(image.size)
    if max_pixels is not None and side * side > max_pixels:
        raise ValueError(
            f"An image of {image.width}x{image.height} pixels would be padded to {side}x{side}, more than "
            f"max_image_pixels={max_pixels}. Cut it to a usual shape or scale it down first."
        )
    red, green, blue = colour
    square = Image.new("RGB", (side, side), (red, green, blue))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square
