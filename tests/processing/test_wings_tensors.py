# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Rows and pixels as tensors, whichever library the image processor works with."""

import numpy as np
import pytest
import torch

from wings_hf.processing.wings_tensors import stack_pixels, to_tensors


def test_empty_rows_keep_type_and_shape():
    for kind in ("pt", "np"):
        array = to_tensors({"input_ids": [[], []]}, kind)["input_ids"]
        assert tuple(array.shape) == (2, 0)
        assert str(array.dtype).endswith("int64")


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor])
def test_pixels_of_either_library_stack(make):
    pixels = [make(np.full((3, 2, 4), i, np.float32)) for i in range(2)]
    for kind, expected in (("pt", torch.Tensor), ("np", np.ndarray)):
        stacked = stack_pixels(pixels, kind)
        assert type(stacked) is expected
        assert tuple(stacked.shape) == (2, 3, 2, 4)
        assert float(stacked[1].sum()) == 24
    assert all(a is b for a, b in zip(stack_pixels(pixels, None), pixels, strict=True))


def test_transposed_pixels_come_out_in_rows():
    """Image processors hand out views with the channels last in memory."""
    pixels = [np.random.default_rng(i).random((2, 4, 3), np.float32).transpose(2, 0, 1) for i in range(2)]
    stacked = stack_pixels(pixels, "pt")
    assert stacked.is_contiguous() and stacked.dtype == torch.float32
    assert all(np.array_equal(row.numpy(), pixel) for row, pixel in zip(stacked, pixels, strict=True))


def test_sizes_must_agree():
    with pytest.raises(ValueError, match=r"different sizes, \[\(3, 2, 4\), \(3, 4, 2\)\]"):
        stack_pixels([np.zeros((3, 2, 4)), np.zeros((3, 4, 2))], "np")
