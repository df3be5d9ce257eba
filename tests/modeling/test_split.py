# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The learners' attention in pieces: where the pieces lie, and what they compute, against a masked softmax."""

import pytest
import torch

from wings_hf.modeling.wings_learners import LearnerMaps
from wings_hf.modeling.wings_rope import RopeSpec
from wings_hf.modeling.wings_split import Rotation, SplitCall, attend_made, attend_split, make_split, split_keys_values

HEADS, HIDDEN, RANK = 2, 12, 3
SPEC = RopeSpec(100.0, HIDDEN // HEADS, interleaved=False)

# Rows of the batch: t text, v visual, . padding; "|" starts a new packed sample, and is no position.
LAYOUTS = {
    "text": ["ttttt"],
    "image first": ["vvvtt"],
    "image in the middle": ["tvvtt"],
    "image last": ["ttvvv"],
    "image only": ["vvvv"],
    "several images": ["tvvtvtt"],
    "padding on the left": ["..tvvt"],
    "padding on the right": ["tvvt.."],
    "padding between": ["t.vv.t"],
    "packed": ["tvvt|ttt|vt"],
    "rows that differ": ["ttvvt", "ttttt", "vv...", ".....", "..tvt"],
    "packed rows": ["ttv|vtt", "vv|tttt"],
}


def parse(layout: list[str]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Visual and textual positions, bool (b, s), and the sample of each position, (b, s)."""
    rows = [row.replace("|", "") for row in layout]
    samples = torch.tensor([[i for i, part in enumerate(row.split("|")) for _ in part] for row in layout])
    visual, textual = (torch.tensor([[kind == wanted for kind in row] for row in rows]) for wanted in "vt")
    return visual, textual, samples


def ranges(split):
    """Each learner's pieces as (first row, row after the last, first key, key after the last, causal)."""
    return {
        name: [(*_ends(piece.rows), *_ends(piece.keys), piece.causal) for piece in pieces]
        for name, pieces in split.pieces.items()
    }


def _ends(span: slice) -> tuple[int, int]:
    return span.start, span.stop


BY_HAND = {
    "text": ([0, 1, 2, 3, 4], {"textual": [(0, 5, 0, 5, True)], "visual": []}),
    # sorted: t t v v v
    "image first": (
        [3, 4, 0, 1, 2],
        {"textual": [(0, 2, 0, 2, True)], "visual": [(2, 5, 2, 5, True), (0, 2, 2, 5, False)]},
    ),
    "image in the middle": (
        [0, 3, 4, 1, 2],
        {"textual": [(0, 3, 0, 3, True), (3, 5, 0, 1, False)], "visual": [(3, 5, 3, 5, True), (1, 3, 3, 5, False)]},
    ),
    "image last": (
        [0, 1, 2, 3, 4],
        {"textual": [(0, 2, 0, 2, True), (2, 5, 0, 2, False)], "visual": [(2, 5, 2, 5, True)]},
    ),
    # sorted: t t t t v v v
    "several images": (
        [0, 3, 5, 6, 1, 2, 4],
        {
            "textual": [(0, 4, 0, 4, True), (4, 6, 0, 1, False), (6, 7, 0, 2, False)],
            "visual": [(4, 7, 4, 7, True), (1, 2, 4, 6, False), (2, 4, 4, 7, False)],
        },
    ),
    "padding on the left": (
        [2, 5, 3, 4],
        {"textual": [(0, 2, 0, 2, True), (2, 4, 0, 1, False)], "visual": [(2, 4, 2, 4, True), (1, 2, 2, 4, False)]},
    ),
    # sorted: t t, t t t, t, v v, v
    "packed": (
        [0, 3, 4, 5, 6, 8, 1, 2, 7],
        {
            "textual": [(0, 2, 0, 2, True), (2, 5, 2, 5, True), (5, 6, 5, 6, True), (6, 8, 0, 1, False)],
            "visual": [(6, 8, 6, 8, True), (8, 9, 8, 9, True), (1, 2, 6, 8, False), (5, 6, 8, 9, False)],
        },
    ),
}


@pytest.mark.parametrize("name", list(BY_HAND))
def test_pieces_by_hand(name):
    visual, textual, samples = parse(LAYOUTS[name])
    split = make_split(visual, textual, samples if "|" in LAYOUTS[name][0] else None)
    order, pieces = BY_HAND[name]
    assert split.order.tolist() == order
    assert ranges(split) == pieces


def visible(layout: list[str]) -> dict[str, torch.Tensor]:
    """For each learner whether a position sees another's key, bool (b * s, b * s)."""
    visual, textual, samples = parse(layout)
    batch, length = visual.shape
    row = torch.arange(batch).repeat_interleave(length)
    place, sample = torch.arange(length).repeat(batch), samples.flatten()
    seen = (row[:, None] == row) & (sample[:, None] == sample) & (place[:, None] >= place)
    seen &= (visual | textual).flatten()[:, None]
    return {"textual": seen & textual.flatten(), "visual": seen & visual.flatten()}


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_pieces_cover_each_visible_key_once(name):
    visual, textual, samples = parse(LAYOUTS[name])
    split = make_split(visual, textual, samples)
    for learner, wanted in visible(LAYOUTS[name]).items():
        counted = torch.zeros(wanted.shape, dtype=torch.long)
        rows_met = torch.zeros(len(wanted), dtype=torch.long)
        for piece in split.pieces[learner]:
            rows, keys = split.order[piece.rows], split.order[piece.keys]
            pairs = torch.ones(len(rows), len(keys), dtype=torch.long)
            counted[rows[:, None], keys] += pairs.tril() if piece.causal else pairs
            rows_met[rows] += 1
        assert torch.equal(counted, wanted.long()), learner
        assert rows_met.max() <= 1  # each row's keys are in one piece, so that one softmax covers them


def problem(layout: list[str], rotates: bool, dtype: torch.dtype = torch.float64):
    """A call, what it attends with (leaves of the graph) and both learners' maps."""
    visual, textual, samples = parse(layout)
    split = make_split(visual, textual, samples)
    torch.manual_seed(0)
    hidden, x = (torch.randn(*visual.shape, HIDDEN, dtype=dtype).requires_grad_() for _ in range(2))
    shapes = [(HIDDEN, RANK), (RANK, HIDDEN)] * 4
    maps = [
        LearnerMaps(*((torch.randn(shape, dtype=dtype) / 3).requires_grad_() for shape in shapes)) for _ in range(2)
    ]
    rotation = None
    if rotates:
        cos, sin = (table.flatten(0, 2)[split.order] for table in SPEC.tables(places(visual)))
        rotation = Rotation(SPEC, (cos, sin))
    return SplitCall(split, ("textual", "visual"), HEADS, rotation), hidden, x, maps


def places(visual: torch.Tensor) -> torch.Tensor:
    return torch.arange(visual.shape[1]).expand(visual.shape)


def naive(layout: list[str], hidden: torch.Tensor, x: torch.Tensor, maps: list[LearnerMaps], rotates: bool):
    """(b, s, n, r): a softmax over all keys of the batch, all but the visible ones masked."""
    visual = parse(layout)[0]
    cos, sin = (table.to(x.dtype).flatten(0, 2) for table in SPEC.tables(places(visual)))  # (b * s, e)
    found = []
    for each, seen in zip(maps, visible(layout).values(), strict=True):
        rows, keys = hidden.flatten(0, 1), x.flatten(0, 1)
        q, k, v = (
            rows + rows @ each.q_a @ each.q_b,
            keys + keys @ each.k_a @ each.k_b,
            keys + keys @ each.v_a @ each.v_b,
        )
        q, k, v = (states.unflatten(-1, (HEADS, -1)).transpose(0, 1) for states in (q, k, v))
        if rotates:
            q, k = (states * cos + states.roll(states.shape[-1] // 2, -1) * sin for states in (q, k))
        scores = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).masked_fill(~seen, float("-inf"))
        weights = torch.where(seen, scores.softmax(-1), 0.0)
        found.append((weights @ v).transpose(0, 1).flatten(1) @ each.o_a)
    return torch.stack(found, dim=1).unflatten(0, visual.shape)


def gradients(output: torch.Tensor, leaves: list[torch.Tensor]) -> list[torch.Tensor | None]:
    cotangent = torch.linspace(-1, 2, output.numel()).to(output.dtype).view(output.shape)
    return torch.autograd.grad(output, leaves, cotangent, allow_unused=True)


@pytest.mark.parametrize("rotates", [False, True])
@pytest.mark.parametrize("name", list(LAYOUTS))
def test_equals_masked_attention(name, rotates):
    call, hidden, x, maps = problem(LAYOUTS[name], rotates)
    leaves = [hidden, x, *(weight for each in maps for weight in each[:-1])]
    actual = attend_split(call, hidden, x, maps)
    wanted = naive(LAYOUTS[name], hidden, x, maps, rotates)
    torch.testing.assert_close(actual, wanted)
    for ours, theirs in zip(gradients(actual, leaves), gradients(wanted, leaves), strict=True):
        torch.testing.assert_close(ours, theirs)
    with torch.no_grad():
        made = split_keys_values(call, x, dict(zip(call.names, maps, strict=True)))
        torch.testing.assert_close(attend_made(call, hidden, made, maps), wanted)


@pytest.mark.parametrize("name", ["textual", "visual"])
def test_one_learner_alone(name):
    call, hidden, x, maps = problem(LAYOUTS["rows that differ"], rotates=True)
    index = call.names.index(name)
    leaves = [hidden, x, *maps[index][:-1]]
    alone = attend_split(call._replace(names=(name,)), hidden, x, [maps[index]])
    both = attend_split(call, hidden, x, maps)[:, :, index : index + 1]
    torch.testing.assert_close(alone, both)
    for ours, theirs in zip(gradients(alone, leaves), gradients(both, leaves), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_frozen_inputs():
    """Training learners alone, or what is below them alone, gives the gradients of training both."""
    call, hidden, x, maps = problem(LAYOUTS["several images"], rotates=True)
    weights = [weight for each in maps for weight in each[:-1]]
    wanted = gradients(attend_split(call, hidden, x, maps), [hidden, x, *weights])
    frozen_maps = [LearnerMaps(*(weight.detach() for weight in each)) for each in maps]
    inputs_only = gradients(attend_split(call, hidden, x, frozen_maps), [hidden, x])
    maps_only = gradients(attend_split(call, hidden.detach(), x.detach(), maps), weights)
    for ours, theirs in zip((*inputs_only, *maps_only), wanted, strict=True):
        assert torch.equal(ours, theirs)


def test_autocast():
    """Maps and inputs in bfloat16, gradients in the leaves' own dtype."""
    call, hidden, x, maps = problem(LAYOUTS["several images"], rotates=True, dtype=torch.float32)
    leaves = [hidden, x, *(weight for each in maps for weight in each[:-1])]
    wanted = naive(LAYOUTS["several images"], hidden, x, maps, rotates=True)
    with torch.autocast("cpu", torch.bfloat16):
        actual = attend_split(call, hidden, x, maps)
    assert actual.dtype == torch.bfloat16
    assert (actual - wanted).norm() < 0.05 * wanted.norm()
    for ours, theirs in zip(gradients(actual, leaves), gradients(wanted, leaves), strict=True):
        assert ours.dtype == torch.float32
        assert (ours - theirs).norm() < 0.1 * theirs.norm()
