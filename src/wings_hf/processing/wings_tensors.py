# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Lists of token rows and of pixel arrays to what `return_tensors` asks for."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

TENSOR_KINDS = (None, "pt", "np")


def to_tensors(rows_by_name: dict[str, Any], kind: str | None) -> dict[str, Any]:
    """Each entry, a list with one row of integers for each sample, as an int64 array or tensor (b, s).

    Empty rows keep the type and the shape (b, 0). With `kind=None` the lists stay lists.

    Raises:
        ValueError: rows of different lengths, or an unknown kind.
    """
    if kind not in TENSOR_KINDS:
        raise ValueError(f"return_tensors must be one of {TENSOR_KINDS}, got {kind!r}.")
    if kind is None:
        return dict(rows_by_name)
    lengths = [len(row) for row in rows_by_name["input_ids"]]
    if len(set(lengths)) > 1:
        raise ValueError(f"return_tensors={kind!r} needs rows of one length, got {lengths} tokens: pass padding=True.")
    arrays = {name: np.asarray(rows, dtype=np.int64) for name, rows in rows_by_name.items()}
    return arrays if kind == "np" else {name: torch.from_numpy(array) for name, array in arrays.items()}


def stack_pixels(pixels: Sequence[Any], kind: str | None) -> Any:
    """(n, channels, height, width) from n arrays (channels, height, width); the list itself with `kind=None`.

    Raises:
        ValueError: the sizes differ.
    """
    if kind is None:
        return list(pixels)
    shapes = {tuple(pixel.shape) for pixel in pixels}
    if len(shapes) > 1:
        raise ValueError(
            f"The image processor returned images of different sizes, {sorted(shapes)}, which do not fit one "
            "tensor: have it crop, or resize to one height and width."
        )
    if kind == "np":
        return np.stack([np.asarray(pixel) for pixel in pixels])
    if all(isinstance(pixel, np.ndarray) for pixel in pixels):
        return torch.from_numpy(np.array(pixels, order="C"))  # numpy copies their transposed rows faster than torch
    return torch.stack([torch.as_tensor(pixel) for pixel in pixels])
