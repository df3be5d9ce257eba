# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Decoding from the latent cache against keys and values that are formed."""

import pytest
import torch
from comparison import DEVICE, INTERPRETED, compare, randn

from wings_hf.modeling import wings_triton_latent as kernels
from wings_hf.modeling import wings_triton_reference as plain
from wings_hf.modeling.wings_rope import RopeSpec

ROPES = {
    "none": None,
    "half split": RopeSpec(100.0, 16, False),
    "interleaved": RopeSpec(100.0, 16, True),
    "partial": RopeSpec(100.0, 6, False),
}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(kernels, "BLOCK_T", 32)
    monkeypatch.setattr(kernels, "split_count", lambda blocks, *_: min(2, blocks))


def inputs(batch, learners, heads, keys, size, rank):
    width = heads * size
    states = [randn(batch, learners, heads, size), randn(batch, keys, width)]
    states += [randn(batch, keys, rank) * rank**-0.5 for _ in range(2)]
    states += [randn(learners, rank, width) for _ in range(2)]
    owner = torch.randint(-1, learners, (batch, keys), device=DEVICE)
    owner[-1, : keys // 2] = 0  # a run, longer than a block where there are enough keys
    return states, owner


def tables(spec, batch, keys):
    positions = torch.arange(keys, device=DEVICE) + 3 * torch.arange(batch, device=DEVICE)[:, None]
    return None if spec is None else tuple(table.squeeze(1) for table in spec.tables(positions))


def check(sizes, spec, dtype):
    states, owner = inputs(*sizes)
    rope, interleaved = tables(spec, sizes[0], sizes[3]), spec is not None and spec.interleaved
    rounded = [each.to(dtype) for each in states]
    found = kernels.latent_decode(*rounded, owner, rope, interleaved, 0.3)
    base = plain.latent_decode(*rounded, owner, rope, interleaved, 0.3)
    exact_rope = None if rope is None else tuple(table.double() for table in rope)
    exact = plain.latent_decode(*(each.double() for each in rounded), owner, exact_rope, interleaved, 0.3)
    compare([found], [base], [exact])


@pytest.mark.parametrize("rope", ROPES)
def test_rotations(rope):
    check((2, 2, 2, 70, 16, 8), ROPES[rope], torch.float32)


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 16, 4), (1, 2, 1, 17, 80, 24), (3, 2, 3, 48, 24, 16)])
def test_odd_shapes(sizes):
    check(sizes, ROPES["none"], torch.float32)
    check(sizes, ROPES["half split"], torch.float32)


@pytest.mark.skipif(INTERPRETED, reason="the interpreter's dot has no bfloat16")
def test_bfloat16():
    check((2, 2, 2, 70, 32, 16), ROPES["none"], torch.bfloat16)
    check((2, 2, 2, 70, 32, 16), ROPES["half split"], torch.bfloat16)


def test_float16():
    check((2, 2, 2, 70, 32, 16), ROPES["none"], torch.float16)
    check((2, 2, 2, 70, 32, 16), ROPES["half split"], torch.float16)


def test_a_learner_without_keys_gives_exactly_zero():
    states, owner = inputs(2, 2, 1, 40, 16, 8)
    owner[0], owner[1] = 1, -1
    found = kernels.latent_decode(*(each.float() for each in states), owner)
    assert not found[0, 0].any() and found[0, 1].all() and not found[1].any()


def test_a_part_of_a_longer_buffer():
    """As a static cache gives it, with slots that are not filled."""
    states, owner = inputs(2, 2, 2, 40, 16, 8)
    states = [each.float() for each in states]
    expected = kernels.latent_decode(*states, owner)
    buffers = [torch.nn.functional.pad(each, (0, 0, 0, 24), value=9.0) for each in states[1:4]]
    parts = [each[:, :40] for each in buffers]
    torch.testing.assert_close(kernels.latent_decode(states[0], *parts, *states[4:], owner), expected)
    owner = torch.nn.functional.pad(owner, (0, 24), value=-1)
    torch.testing.assert_close(kernels.latent_decode(states[0], *buffers, *states[4:], owner), expected)


def test_wrong_arguments_are_refused():
    states, owner = inputs(1, 2, 2, 4, 16, 8)
    with pytest.raises(ValueError, match="x is 31 wide: expected 2 heads of 16 columns"):
        kernels.latent_decode(states[0], states[1][..., 1:], *states[2:], owner)


def test_operator_and_compiled_graph():
    states, owner = inputs(1, 2, 1, 20, 16, 8)
    states = [each.float() for each in states]
    arguments = (*states, owner, None, None, False, 0.25)
    torch.library.opcheck(kernels.latent_decode_operator, arguments, test_utils=("test_schema", "test_faketensor"))
    compiled = torch.compile(kernels.latent_decode, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*states, owner), kernels.latent_decode(*states, owner))


@pytest.mark.skipif(INTERPRETED, reason="asks the device")
def test_splits():
    assert 1 <= kernels.split_count(64, 32, torch.device(DEVICE)) <= kernels.MAX_SPLITS
