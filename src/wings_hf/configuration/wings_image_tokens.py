# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""How many tokens an image takes: the one place where processor and model count them."""

from typing import Any, Literal

from transformers import AddedToken

SelectStrategy = Literal["default", "full"]
Rounding = Literal["floor", "ceil"]

IMAGE_TOKEN = "<image>"


def count_image_tokens(
    height: int,
    width: int,
    *,
    patch_size: int | tuple[int, int],
    num_prefix_tokens: int = 0,
    select_strategy: SelectStrategy = "default",
    rounding: Rounding = "floor",
) -> int:
    """Number of visual tokens that the language model sees for one image.

    Args:
        height: height of the pixel values that enter the vision tower, in pixels.
        width: their width, in pixels.
        patch_size: pixels per feature along each axis, or `(vertical, horizontal)`. For a convolutional tower
            its total stride.
        num_prefix_tokens: features of the tower that are no patches (class token, registers).
        select_strategy: `"default"` drops the prefix tokens, `"full"` keeps them.
        rounding: `"floor"` for patch embeddings, which ignore an incomplete patch; `"ceil"` for convolutions
            with "same" padding (MobileNetV2: `ceil(height / 32)`).

    Raises:
        ValueError: an argument outside these values, or an image too small for a single feature.
    """
    _check_geometry(height, width, num_prefix_tokens, select_strategy, rounding)
    sides = patch_size if isinstance(patch_size, tuple | list) else (patch_size, patch_size)
    if len(sides) != 2 or not all(isinstance(side, int) for side in sides):
        raise ValueError(f"patch_size must be an integer or two, got {patch_size!r}.")
    vertical, horizontal = sides
    if vertical <= 0 or horizontal <= 0:
        raise ValueError(f"patch_size must be positive, got {patch_size}.")
    if rounding == "ceil":
        rows, columns = -(-height // vertical), -(-width // horizontal)
    else:
        rows, columns = height // vertical, width // horizontal
    if rows == 0 or columns == 0:
        raise ValueError(f"An image of {height}x{width} pixels is smaller than one patch of {patch_size}.")
    return rows * columns + (num_prefix_tokens if select_strategy == "full" else 0)


def _check_geometry(height: int, width: int, num_prefix_tokens: int, strategy: str, rounding: str) -> None:
    for name, value in (("height", height), ("width", width), ("num_prefix_tokens", num_prefix_tokens)):
        if not isinstance(value, int):
            raise ValueError(f"{name} must be an integer, got {value!r}.")
    if height <= 0 or width <= 0:
        raise ValueError(f"height and width must be positive, got {height}x{width}.")
    if num_prefix_tokens < 0:
        raise ValueError(f"num_prefix_tokens must not be negative, got {num_prefix_tokens}.")
    if strategy not in ("default", "full"):
        raise ValueError(f"select_strategy must be 'default' or 'full', got {strategy!r}.")
    if rounding not in ("floor", "ceil"):
        raise ValueError(f"rounding must be 'floor' or 'ceil', got {rounding!r}.")


def ensure_image_token(tokenizer: Any, image_token: str = IMAGE_TOKEN) -> int:
    """Id of `image_token` in `tokenizer`, which gains it as a special token where it has not got it.

    A new token gets the id `len(tokenizer)`: an unused row of the model's vocabulary where that is padded,
    else one past it. A token that is an ordinary vocabulary entry keeps its id and becomes special, so that
    it is never split or merged with the text around it.

    Raises:
        ValueError: the tokenizer does not encode the token as this one id.
    """
    if image_token not in tokenizer.get_added_vocab():
        tokenizer.add_tokens([AddedToken(image_token, special=True, normalized=False)], special_tokens=True)
    token_id = tokenizer.convert_tokens_to_ids(image_token)
    encoded = tokenizer.encode(image_token, add_special_tokens=False)
    if encoded != [token_id]:
        raise ValueError(f"The tokenizer encodes {image_token!r} as {encoded}, expected its id [{token_id}].")
    return token_id
