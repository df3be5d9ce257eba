# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Low-rank projections with residual and rotation against plain torch."""

import pytest
import torch
from comparison import DEVICE, INTERPRETED, check, randn

from wings_hf.modeling import wings_triton_low_rank as kernels
from wings_hf.modeling import wings_triton_reference as plain
from wings_hf.modeling.wings_rope import RopeSpec


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(kernels, "tile_sides", lambda rows: (32, 32))


def check_low_rank(rows, width, learners, rank, spec=None, head_size=None, dtype=torch.float32):
    inputs = [randn(rows, width), randn(learners, width, rank) * width**-0.5, randn(learners, rank, width)]
    rope = None
    if spec is not None:
        rope = [table[0, 0] for table in spec.tables(torch.arange(rows, device=DEVICE)[None] + 3)]
    settings = (rope, head_size, spec is not None and spec.interleaved)
    check(
        lambda *states: kernels.low_rank_residual(*states, *settings),
        lambda *states: plain.low_rank_residual(*states, *settings),
        inputs, [randn(rows, learners, width)], dtype,
    )  # fmt: skip


@pytest.mark.parametrize("sizes", [(40, 48, 1, 8), (1, 16, 2, 3), (70, 100, 2, 24)])
def test_without_rotation(sizes):
    check_low_rank(*sizes)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("head_size, rotated", [(16, 16), (20, 12), (48, 2)])
def test_rotation(head_size, rotated, interleaved):
    check_low_rank(40, 240, 2, 8, RopeSpec(100.0, rotated, interleaved), head_size)


HALF = [
    pytest.param(torch.bfloat16, marks=pytest.mark.skipif(INTERPRETED, reason="the interpreter's dot has no bfloat16")),
    torch.float16,
]


@pytest.mark.parametrize("dtype", HALF)
def test_half_precision(dtype):
    check_low_rank(40, 64, 2, 16, RopeSpec(100.0, 32, False), 32, dtype=dtype)


def test_wrong_arguments_are_refused():
    x = torch.zeros(4, 30)
    with pytest.raises(ValueError, match="Rank 129: expected at most 128"):
        kernels.low_rank_residual(x, torch.zeros(1, 30, 129), torch.zeros(1, 129, 30))
    with pytest.raises(ValueError, match="Heads of 15 columns, 30 in all: expected an even size"):
        kernels.low_rank_residual(x, torch.zeros(1, 30, 4), torch.zeros(1, 4, 30), head_size=15)


def test_operator_and_compiled_graph():
    inputs = [torch.randn(*shape, device=DEVICE).requires_grad_() for shape in ((20, 32), (2, 32, 8), (2, 8, 32))]
    arguments = (*inputs, None, None, 32, False)
    torch.library.opcheck(kernels.low_rank_operator, arguments, test_utils=("test_schema", "test_faketensor"))
    expected = torch.autograd.grad(kernels.low_rank_residual(*inputs).square().sum(), inputs)
    compiled = torch.compile(kernels.low_rank_residual, fullgraph=True, backend="aot_eager")
    for ours, theirs in zip(torch.autograd.grad(compiled(*inputs).square().sum(), inputs), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
