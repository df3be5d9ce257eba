# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Where the images of a message stand among its words, in the terminal as on the page."""

from collections.abc import Sequence
from typing import Any

PLACE = "<image>"


def placed(text: str, images: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """
    Content items of a chat message.

    Args:
        text: where it has a `<image>` for each image, that is where they go; without any they go before it.
        images: content items of the images, in their order.

    Raises:
        ValueError: the text has some `<image>`, but not one for each.
    """
    text = text if PLACE in text else PLACE * len(images) + text
    pieces = text.split(PLACE)
    if len(pieces) - 1 != len(images):
        raise ValueError(
            f"The message has {len(pieces) - 1} {PLACE} and {len(images)} images: write {PLACE} once for each, where "
            "it belongs, or not at all."
        )
    items: list[dict[str, Any]] = []
    for index, piece in enumerate(pieces):
        items += [images[index - 1]] if index else []
        items += [{"type": "text", "text": piece}] if piece else []
    return items
