# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
The learners' attention in pieces, one for each rectangle or triangle of keys that a learner really sees.

A learner sees the keys of one modality only. Sorted by modality, textual positions first, its keys lie side by side,
and what a row sees of them is a prefix:

    rows of the learner's own modality     plain causal attention over the sorted keys of their sample
    a run of rows of the other modality    all of the sample's keys before the run: a rectangle without a mask

So no score of a foreign key is ever computed, padding and packed samples need no mask, and over both learners each row
meets as many keys as in the main attention: the least there is. The layout must be known on the host.

Memory: the backward pass computes queries, keys and values again, from the layer's input and the initial embeddings
that are kept anyway. What is kept for it is each piece's output and log-sum-exp.

Shapes: `b` batch, `s` positions of the call, `N` positions that are no padding, sorted; `d` hidden size, `h` learner
heads, `e` learner head size, `r` rank, `n` learners at work.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

from wings_hf.modeling.wings_learners import LearnerMaps, add_low_rank
from wings_hf.modeling.wings_rope import RopeSpec, RopeTables

PAD, TEXT, IMAGE = range(3)
ATTEND = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
ATTEND_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class Piece(NamedTuple):
    """Rows and keys of one attention call, as ranges of the sorted positions."""

    rows: slice
    keys: slice
    causal: bool


class Split(NamedTuple):
    """
    Args:
        order: places of the sorted positions among the b * s of the call, long (N,).
        owned: for each learner, the range of the sorted positions that holds its keys.
        pieces: for each learner, what it attends to; a row is in one of them at most.
    """

    order: torch.Tensor
    owned: dict[str, slice]
    pieces: dict[str, list[Piece]]


def make_split(visual: torch.Tensor, textual: torch.Tensor, samples: torch.Tensor | None) -> Split:
    """
    Sorts the positions of a call.

    Args:
        visual, textual: positions that hold an image feature, and text, and are no padding, bool (b, s).
        samples: index of the packed sample of each position, (b, s); `None` where a row is one sample.
    """
    kinds = textual.long() * TEXT + visual.long() * IMAGE
    flat = kinds.flatten()
    order = torch.cat([(flat == TEXT).nonzero(), (flat == IMAGE).nonzero()]).squeeze(1)
    texts = int((flat == TEXT).sum())
    owned = {"textual": slice(0, texts), "visual": slice(texts, len(order))}
    rectangles: dict[str, list[Piece]] = {name: [] for name in owned}
    triangles: dict[str, list[Piece]] = {name: [] for name in owned}
    ends = {name: keys.start for name, keys in owned.items()}  # of what was sorted so far
    starts, sample = dict(ends), None
    for key, kind, length in _runs(kinds, samples):
        if key != sample:
            _close(starts, ends, triangles)
            starts, sample = dict(ends), key
        if kind == PAD:
            continue
        own, other = ("textual", "visual") if kind == TEXT else ("visual", "textual")
        rows = slice(ends[own], ends[own] + length)
        ends[own] = rows.stop
        if ends[other] > starts[other]:
            rectangles[other].append(Piece(rows, slice(starts[other], ends[other]), causal=False))
    _close(starts, ends, triangles)
    return Split(order, owned, {name: triangles[name] + rectangles[name] for name in owned})


def _runs(kinds: torch.Tensor, samples: torch.Tensor | None) -> list[tuple[tuple[int, int], int, int]]:
    """Neighbours of one kind in one sample: ((row of the batch, sample), kind, length), in reading order."""
    rows, columns = kinds.shape
    samples = torch.zeros_like(kinds) if samples is None else samples
    row = torch.arange(rows).unsqueeze(1).expand(rows, columns)
    marks = torch.stack([row, samples, kinds]).flatten(1)  # (3, b * s)
    changes = (marks[:, 1:] != marks[:, :-1]).any(0).nonzero().squeeze(1) + 1
    first = torch.cat([changes.new_zeros(1), changes])
    lengths = first.diff(append=first.new_tensor([rows * columns]))
    return [
        ((i, sample), kind, n) for i, sample, kind, n in zip(*marks[:, first].tolist(), lengths.tolist(), strict=True)
    ]


def _close(starts: dict[str, int], ends: dict[str, int], triangles: dict[str, list[Piece]]) -> None:
    """Ends a sample: the rows of a modality see the keys of their own up to themselves."""
    for name, start in starts.items():
        if ends[name] > start:
            whole = slice(start, ends[name])
            triangles[name].append(Piece(whole, whole, causal=True))


class Rotation(NamedTuple):
    """A rotary embedding at the sorted positions: tables (N, p)."""

    spec: RopeSpec
    tables: RopeTables

    def __call__(self, states: torch.Tensor, where: slice, back: bool = False) -> torch.Tensor:
        """Rotates states (1, h, m, e) at the sorted positions `where`."""
        cos, sin = self.tables
        return self.spec.rotate(states, (cos[where], sin[where]), back)


class SplitCall(NamedTuple):
    """
    One layer's call.

    Args:
        split: where everything is.
        names: learners at work.
        heads: learner heads.
        rotation: of queries and keys, or `None`.
    """

    split: Split
    names: tuple[str, ...]
    heads: int
    rotation: Rotation | None

    def queries(self, rows: torch.Tensor, maps: LearnerMaps) -> torch.Tensor:
        """Queries of all rows, (1, h, N, e)."""
        return self._rotated(add_low_rank(rows, maps.q_a, maps.q_b), slice(None))

    def keys(self, x: torch.Tensor, name: str, maps: LearnerMaps) -> torch.Tensor:
        """Keys of the learner's own positions, (1, h, m, e)."""
        where = self.split.owned[name]
        return self._rotated(add_low_rank(x[where], maps.k_a, maps.k_b), where)

    def values(self, x: torch.Tensor, name: str, maps: LearnerMaps) -> torch.Tensor:
        """Values of the learner's own positions, (1, h, m, e)."""
        return self.split_heads(add_low_rank(x[self.split.owned[name]], maps.v_a, maps.v_b))

    def own(self, piece: Piece, name: str) -> slice:
        """The piece's keys, counted among the learner's own positions."""
        start = self.split.owned[name].start
        return slice(piece.keys.start - start, piece.keys.stop - start)

    def split_heads(self, states: torch.Tensor) -> torch.Tensor:
        """(m, d) -> (1, h, m, e), a view."""
        return states.unflatten(-1, (self.heads, -1)).transpose(0, 1).unsqueeze(0)

    def straight(self, gradient: torch.Tensor, where: slice) -> torch.Tensor:
        """Gradient of rotated states (1, h, m, e) -> of the states before, (m, d)."""
        return join_heads(gradient if self.rotation is None else self.rotation(gradient, where, back=True))

    def _rotated(self, states: torch.Tensor, where: slice) -> torch.Tensor:
        states = self.split_heads(states)
        return states if self.rotation is None else self.rotation(states, where)


def join_heads(states: torch.Tensor) -> torch.Tensor:
    """(1, h, m, e) -> (m, d)."""
    return states[0].transpose(0, 1).flatten(1)


Made = dict[str, tuple[torch.Tensor, torch.Tensor]]  # keys and values of each learner's own positions, (1, h, m, e)


def attend_split(
    call: SplitCall, hidden_states: torch.Tensor, x: torch.Tensor, maps: Sequence[LearnerMaps]
) -> torch.Tensor:
    """
    What each learner gathers, already mapped down by its output map: (b, s, n, r), 0 where it sees no key.

    Args:
        hidden_states: what the queries are made of, (b, s, d).
        x: initial embeddings, (b, s, d).
        maps: of the learners at work.
    """
    tensors = [hidden_states.flatten(0, 1), x.flatten(0, 1), *(weight for each in maps for weight in each)]
    device = x.device.type
    if torch.is_autocast_enabled(device):
        # Cast once here, where the casts are differentiated; what is computed again later is computed alike.
        tensors = [tensor.to(torch.get_autocast_dtype(device)) for tensor in tensors]
    with torch.autocast(device, enabled=False):
        low = _SplitAttention.apply(call, *tensors)
    return low.view(*x.shape[:2], len(maps), -1)


def split_keys_values(call: SplitCall, x: torch.Tensor, maps: dict[str, LearnerMaps]) -> Made:
    """Keys and values of each learner's own positions, for the initial embeddings x (b, s, d)."""
    x = x.flatten(0, 1).index_select(0, call.split.order)
    return {name: (call.keys(x, name, each), call.values(x, name, each)) for name, each in maps.items()}


def in_reading_order(call: SplitCall, made: Made, batch: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values for a cache, each (b, h, s, e), 0 at padding and where no learner owns the position."""
    full = []
    for part in range(2):
        some = next(iter(made.values()))[part]
        covered = sum(both[part].shape[2] for both in made.values()) == batch * length
        new = some.new_empty if covered else some.new_zeros
        states = new(batch * length, some.shape[1], some.shape[3])
        for name, both in made.items():
            states.index_copy_(0, call.split.order[call.split.owned[name]], both[part][0].transpose(0, 1))
        full.append(states.unflatten(0, (batch, length)).transpose(1, 2))
    return full[0], full[1]


def attend_made(call: SplitCall, hidden_states: torch.Tensor, made: Made, maps: Sequence[LearnerMaps]) -> torch.Tensor:
    """As [`attend_split`], with keys and values that are made already; not differentiable."""
    batch, length = hidden_states.shape[:2]
    rows = hidden_states.flatten(0, 1).index_select(0, call.split.order)
    low, _ = _gather(call, rows, made, dict(zip(call.names, maps, strict=True)))
    return _in_place(call, low, batch * length).view(batch, length, len(maps), -1)


def _gather(
    call: SplitCall, rows: torch.Tensor, made: Made, maps: dict[str, LearnerMaps]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Low-rank outputs at the sorted positions, (N, n * r), and each piece's output and log-sum-exp."""
    kept: list[torch.Tensor] = []
    low = []
    for name, each in maps.items():
        queries, (keys, values) = call.queries(rows, each), made[name]
        found = rows.new_zeros(len(rows), each.o_a.shape[1])
        for piece in call.split.pieces[name]:
            own = call.own(piece, name)
            states = queries[:, :, piece.rows], keys[:, :, own], values[:, :, own]
            attended, logsumexp = ATTEND(*states, 0.0, piece.causal, scale=queries.shape[-1] ** -0.5)
            found[piece.rows] = join_heads(attended) @ each.o_a
            kept += [attended, logsumexp]
        low.append(found)
    return torch.cat(low, dim=1), kept


def _in_place(call: SplitCall, states: torch.Tensor, count: int) -> torch.Tensor:
    """(N, c) at the sorted positions -> (count, c) in reading order, 0 at padding."""
    new = states.new_empty if len(states) == count else states.new_zeros
    return new(count, states.shape[1]).index_copy_(0, call.split.order, states)


class _SplitAttention(torch.autograd.Function):
    """See [`attend_split`]: (b * s, d), (b * s, d), maps -> (b * s, n * r)."""

    @staticmethod
    def forward(
        ctx: Any, call: SplitCall, hidden: torch.Tensor, x: torch.Tensor, *weights: torch.Tensor
    ) -> torch.Tensor:
        maps = _by_learner(call, weights)
        made = split_keys_values(call, x.unsqueeze(0), maps)
        low, kept = _gather(call, hidden.index_select(0, call.split.order), made, maps)
        ctx.call = call
        ctx.save_for_backward(hidden, x, *weights, *kept)
        return _in_place(call, low, len(hidden))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        call, (hidden, x, *rest) = ctx.call, ctx.saved_tensors
        count = len(call.names) * len(LearnerMaps._fields)
        weights, kept = rest[:count], iter(rest[count:])
        rows, x, low = (states.index_select(0, call.split.order) for states in (hidden, x, gradient))
        d_rows, d_x = torch.zeros_like(rows), torch.zeros_like(x)
        d_weights: list[torch.Tensor | None] = []
        parts = low.chunk(len(call.names), dim=1)
        for (name, maps), d_low in zip(_by_learner(call, weights).items(), parts, strict=True):
            queries, keys, values = call.queries(rows, maps), call.keys(x, name, maps), call.values(x, name, maps)
            d_keys, d_values = torch.empty_like(keys), torch.empty_like(values)
            d_maps = LearnerMaps(*(torch.zeros_like(weight) for weight in maps))
            for piece in call.split.pieces[name]:
                attended, logsumexp, own, part = next(kept), next(kept), call.own(piece, name), d_low[piece.rows]
                d_maps.o_a.addmm_(join_heads(attended).t(), part)
                d_attended = call.split_heads(part @ maps.o_a.t())
                states = queries[:, :, piece.rows], keys[:, :, own], values[:, :, own], attended, logsumexp
                d_queries, *d_others = ATTEND_BACKWARD(
                    d_attended, *states, 0.0, piece.causal, scale=queries.shape[-1] ** -0.5
                )
                d_part = call.straight(d_queries, piece.rows)
                _through(rows[piece.rows], d_part, maps.q_a, maps.q_b, d_rows[piece.rows], d_maps.q_a, d_maps.q_b)
                for whole, share in zip((d_keys, d_values), d_others, strict=True):
                    if piece.causal:  # the triangles come first, and each key is in one
                        whole[:, :, own] = share
                    else:
                        whole[:, :, own] += share
            where = call.split.owned[name]
            _through(x[where], call.straight(d_keys, where), maps.k_a, maps.k_b, d_x[where], d_maps.k_a, d_maps.k_b)
            _through(x[where], join_heads(d_values), maps.v_a, maps.v_b, d_x[where], d_maps.v_a, d_maps.v_b)
            d_weights += [*d_maps[:-1], None]  # the up map of the output is applied outside
        d_hidden, d_x = (_in_place(call, states, len(hidden)) for states in (d_rows, d_x))
        return None, d_hidden, d_x, *d_weights


def _through(
    states: torch.Tensor,
    gradient: torch.Tensor,
    down: torch.Tensor,
    up: torch.Tensor,
    d_states: torch.Tensor,
    d_down: torch.Tensor,
    d_up: torch.Tensor,
) -> None:
    """Adds to `d_states`, `d_down` and `d_up` what the gradient of `states + (states down) up` gives them."""
    through = gradient @ up.t()
    d_states.add_(gradient).addmm_(through, down.t())
    d_down.addmm_(states.t(), through)
    d_up.addmm_((states @ down).t(), gradient)


def _by_learner(call: SplitCall, weights: Sequence[torch.Tensor]) -> dict[str, LearnerMaps]:
    size = len(LearnerMaps._fields)
    return {name: LearnerMaps(*weights[i * size : (i + 1) * size]) for i, name in enumerate(call.names)}
