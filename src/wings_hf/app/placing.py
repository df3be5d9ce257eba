# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Where the images of a message stand among its words, in the terminal as on the page."""

from collections.abc import Sequence
from typing import Any

PLACE = "<image>"


def misplaced(text: str, images: int, called: str = "images") -> str | None:
    """What is wrong with where a text places so many images; `None` for nothing."""
    places = text.count(PLACE)
    if places in (0, images):
        return None
    return (
        f"The message has {places} {PLACE} and {images} {called}: write {PLACE} once for each, where it belongs, or "
        f"not at all, and {called} go before the text."
    )


def placed(text: str, images: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """
    Content items of a chat message.

    Args:
        text: where it has a `<image>` for each image, that is where they go; without any they go before it.
        images: content items of the images, in their order.

    Raises:
        ValueError: the text has some `<image>`, but not one for each.
    """
    if problem := misplaced(text, len(images)):
        raise ValueError(problem)
    text = text if PLACE in text else PLACE * len(images) + text
    items: list[dict[str, Any]] = []
    for index, piece in enumerate(text.split(PLACE)):
        items += [images[index - 1]] if index else []
        items += [{"type": "text", "text": piece}] if piece else []
    return items
