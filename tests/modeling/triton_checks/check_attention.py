# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Router-riding attention and the learners' attention against plain torch."""

import pytest
import torch
from comparison import DEVICE, INTERPRETED, check, randn

from wings_hf.modeling import wings_triton_attention as kernels
from wings_hf.modeling import wings_triton_reference as plain
from wings_hf.modeling.wings_triton_attention_kernels import Tiles

HALF = [
    pytest.param(torch.bfloat16, marks=pytest.mark.skipif(INTERPRETED, reason="the interpreter's dot has no bfloat16")),
    torch.float16,
]


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Several blocks also at the lengths that the interpreter has time for."""
    monkeypatch.setattr(kernels, "tiles_for", lambda *_: Tiles(rows=32, keys=16, warps=4, stages=1))


def owners(batch: int, keys: int, classes: int) -> torch.Tensor:
    """Entry 0: runs of each class, longer than a block; the others: any class at each key; some are nobody's."""
    owner = torch.randint(-1, classes, (batch, keys), device=DEVICE)
    owner[0] = torch.arange(keys, device=DEVICE) * 2 * classes // keys % classes
    owner[0, : keys // 8] = -1
    return owner


def packed_starts(batch: int, rows: int, keys: int) -> torch.Tensor:
    """Samples of other lengths in each entry; nobody sees keys of the past, if t is above s."""
    position = torch.arange(rows, device=DEVICE).expand(batch, rows) + keys - rows
    return torch.stack([row // (rows // 3 + 3 * index + 1) * (rows // 3 + 3 * index + 1)
                        for index, row in enumerate(position)])  # fmt: skip


def layout(owner, classes=1, starts=None):
    return kernels.key_layout(owner, classes, starts, block=32)


# Sizes: b, H, K, s, t, e, c, and b, h, n, s, t, e
def check_router(batch, heads, key_heads, rows, keys, size, columns, packed=False, dtype=torch.float32):
    inputs = [randn(batch, heads, rows, size), *(randn(batch, key_heads, keys, size) for _ in range(2))]
    inputs.append(randn(batch, keys, columns))
    seeds = [randn(batch, rows, heads, size), randn(batch, rows, heads, columns)]
    owner, starts = owners(batch, keys, 1), packed_starts(batch, rows, keys) if packed else None
    check(
        lambda *states: kernels.router_attention(*states, layout(owner, 1, starts)),
        lambda *states: plain.router_attention(*states, owner, starts),
        inputs, seeds, dtype,
    )  # fmt: skip


def check_learners(batch, heads, learners, rows, keys, size, packed=False, dtype=torch.float32):
    inputs = [randn(batch, heads, learners, rows, size), *(randn(batch, heads, keys, size) for _ in range(2))]
    owner, starts = owners(batch, keys, learners), packed_starts(batch, rows, keys) if packed else None
    check(
        lambda *states: kernels.learner_attention(*states, layout(owner, learners, starts), 0.3),
        lambda *states: plain.learner_attention(*states, owner, starts, 0.3),
        inputs, [randn(batch, rows, learners, heads, size)], dtype,
    )  # fmt: skip


@pytest.mark.parametrize(
    "sizes", [(2, 4, 2, 37, 37, 24, 3), (1, 3, 1, 5, 70, 16, 2), (2, 2, 2, 1, 1, 16, 4), (1, 2, 2, 20, 7, 16, 2)]
)
def test_router(sizes):
    check_router(*sizes)


@pytest.mark.parametrize("sizes", [(2, 1, 2, 70, 70, 16), (1, 1, 1, 40, 40, 80), (1, 2, 2, 3, 50, 16)])
def test_learners(sizes):
    check_learners(*sizes)


def test_packed_samples():
    check_router(1, 2, 1, 70, 70, 16, 2, packed=True)
    check_learners(2, 1, 2, 40, 70, 16, packed=True)


@pytest.mark.parametrize("dtype", HALF)
def test_half_precision(dtype):
    check_router(1, 2, 1, 40, 40, 96, 3, dtype=dtype)
    check_learners(1, 2, 2, 40, 40, 32, dtype=dtype)


def test_tables_of_keys():
    owner = torch.tensor([[0] * 40 + [1] * 60 + [-1] * 28, [-1] * 128], device=DEVICE)
    found = kernels.key_layout(owner, 2, block=32)
    assert found.counts.tolist() == [[[0, 1, 2, 2, 2], [0, 0, 1, 2, 3]], [[0] * 5, [0] * 5]]
    assert found.blocks[0, 0, :2].tolist() == [0, 1] and found.blocks[0, 1, :3].tolist() == [1, 2, 3]
    starts = torch.tensor([[0] * 40 + [40] * 88, [0] * 128], device=DEVICE)
    assert kernels.key_layout(owner, 2, starts, block=32).ends.tolist() == [[40, 128, 128, 128], [128] * 4]


def test_blocks_without_an_own_key_are_not_read():
    owner = torch.tensor([[0] * 32 + [1] * 32 + [0] * 32], device=DEVICE)
    states = [torch.randn(1, 1, 1, 96, 16, device=DEVICE), *torch.randn(2, 1, 1, 96, 16, device=DEVICE)]
    expected = kernels.learner_attention(*states, layout(owner))
    states[1][:, :, 32:64] = states[2][:, :, 32:64] = float("nan")
    states = [each.requires_grad_() for each in states]
    found = kernels.learner_attention(*states, layout(owner))
    assert torch.equal(found, expected)
    for grad in torch.autograd.grad(found.sum(), states):
        assert grad.isfinite().all()


def test_rows_without_a_key_give_exactly_zero():
    states = [torch.randn(1, 2, 2, 20, 16), *torch.randn(2, 1, 2, 20, 16)]
    states = [each.to(DEVICE).requires_grad_() for each in states]
    owner = torch.tensor([[-1] * 5 + [1] * 15], device=DEVICE)
    found = kernels.learner_attention(*states, layout(owner, 2))
    assert not found[:, :, 0].any() and not found[:, :5].any() and found[:, 5:, 1].all()
    queries, keys, values = torch.autograd.grad(found.square().sum(), states)
    assert not queries[:, :, 0].any() and not keys[:, :, :5].any() and not values[:, :, :5].any()
    assert queries[:, :, 1, 6:].all() and values[:, :, 5:].all()


def test_other_strides():
    """Queries as the projections leave them, keys out of a longer buffer."""
    query = torch.randn(2, 20, 4, 16, device=DEVICE).transpose(1, 2)
    key, value = torch.randn(2, 2, 2, 64, 16, device=DEVICE)[:, :, :, :20]
    columns, owner = torch.randn(2, 20, 2, device=DEVICE), torch.zeros(2, 20, dtype=torch.int32, device=DEVICE)
    found = kernels.router_attention(query, key, value, columns, layout(owner))
    expected = plain.router_attention(query, key, value, columns, owner)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_wrong_arguments_are_refused():
    states = torch.zeros(3, 1, 1, 1, 20, 16, device=DEVICE)
    owner = torch.zeros(1, 20, dtype=torch.int32, device=DEVICE)
    with pytest.raises(ValueError, match="2 classes of keys: expected 1"):
        kernels.learner_attention(states[0], states[1, :, :, 0], states[2, :, :, 0], layout(owner, 2))
    with pytest.raises(ValueError, match=r"keys \(1, 19\): expected \(1, 20\)"):
        kernels.learner_attention(states[0], states[1, :, :, 0], states[2, :, :, 0], layout(owner[:, 1:]))
    with pytest.raises(ValueError, match="17 columns"):
        kernels.router_attention(*states[:, 0], torch.zeros(1, 20, 17), layout(owner))


def test_operators_and_compiled_graphs():
    states = [torch.randn(1, 1, 2, 20, 16), *torch.randn(2, 1, 1, 20, 16), torch.randn(1, 20, 3)]
    states = [each.to(DEVICE).requires_grad_() for each in states]
    owner = torch.randint(-1, 2, (1, 20), device=DEVICE)
    arguments = (*layout(owner, 2), 0.25, False)
    torch.library.opcheck(
        kernels.attention_operator, (*states, *arguments), test_utils=("test_schema", "test_faketensor")
    )

    def function(*states):
        out, attended = kernels.router_attention(states[0].flatten(1, 2), *states[1:], layout(owner.clamp(max=0)))
        added = kernels.learner_attention(*states[:3], layout(owner, 2))
        return out.square().sum() + attended.square().sum() + added.square().sum()

    expected = torch.autograd.grad(function(*states), states)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for ours, theirs in zip(torch.autograd.grad(compiled(*states), states), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
