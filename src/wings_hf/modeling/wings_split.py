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

from wings_hf.modeling.wings_learners import LearnerMaps
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

    def positions_per_piece(self) -> float:
        """How many positions there are for each kernel call: what the cost of the calls is spread over."""
        return len(self.order) / max(1, sum(map(len, self.pieces.values())))


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

    def __call__(self, states: torch.Tensor, where: slice) -> torch.Tensor:
        """Rotates states (1, h, m, e) at the sorted positions `where`."""
        cos, sin = self.tables
        return self.spec.rotate(states, (cos[where], sin[where]))

    def back(self, gradient: torch.Tensor, where: slice) -> torch.Tensor:
        """Turns the gradient of rotated states, (m, h, e), back."""
        cos, sin = self.tables
        return self.spec.rotate(gradient, (cos[where].unsqueeze(1), sin[where].unsqueeze(1)), back=True)


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

    def queries(self, rows: torch.Tensor, low: torch.Tensor, maps: LearnerMaps) -> torch.Tensor:
        """Queries of all rows (N, d), mapped down already (N, r): (1, h, N, e)."""
        return self.rotated(torch.addmm(rows, low, maps.q_b), slice(None))

    def keys_values(
        self, x: torch.Tensor, low: Sequence[torch.Tensor], name: str, maps: LearnerMaps
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values, (1, h, m, e), of the learner's own positions x (m, d), mapped down already, 2 x (m, r)."""
        keys, values = torch.addmm(x, low[0], maps.k_b), torch.addmm(x, low[1], maps.v_b)
        return self.rotated(keys, self.split.owned[name]), self.split_heads(values)

    def own(self, piece: Piece, name: str) -> slice:
        """The piece's keys, counted among the learner's own positions."""
        start = self.split.owned[name].start
        return slice(piece.keys.start - start, piece.keys.stop - start)

    def split_heads(self, states: torch.Tensor) -> torch.Tensor:
        """(m, d) -> (1, h, m, e), a view."""
        return states.unflatten(-1, (self.heads, -1)).transpose(0, 1).unsqueeze(0)

    def rotated(self, states: torch.Tensor, where: slice) -> torch.Tensor:
        """(m, d) at the sorted positions `where` -> (1, h, m, e), each head's rows side by side if anything rotates."""
        states = self.split_heads(states)
        return states if self.rotation is None else self.rotation(states, where)

    def straight(self, gradient: torch.Tensor, where: slice) -> torch.Tensor:
        """Gradient of rotated states (1, h, m, e), in memory as (m, h, e) -> of the states before, (m, d)."""
        gradient = gradient[0].transpose(0, 1)
        return (gradient if self.rotation is None else self.rotation.back(gradient, where)).flatten(1)


def map_down(states: torch.Tensor, downs: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    """States (m, d) through each of the maps (d, r), in one pass: (m, r) each."""
    return (states @ torch.cat(list(downs), dim=1)).chunk(len(downs), dim=1)


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
    x, made = x.flatten(0, 1).index_select(0, call.split.order), {}
    for name, each in maps.items():
        own = x[call.split.owned[name]]
        made[name] = call.keys_values(own, map_down(own, (each.k_a, each.v_a)), name, each)
    return made


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
    found = []
    lows = map_down(rows, [each.q_a for each in maps.values()])
    for (name, each), low in zip(maps.items(), lows, strict=True):
        queries, (keys, values) = call.queries(rows, low, each), made[name]
        found.append(rows.new_zeros(len(rows), each.o_a.shape[1]))
        for piece in call.split.pieces[name]:
            own = call.own(piece, name)
            states = queries[:, :, piece.rows], keys[:, :, own], values[:, :, own]
            attended, logsumexp = ATTEND(*states, 0.0, piece.causal, scale=queries.shape[-1] ** -0.5)
            found[-1][piece.rows] = attended[0].transpose(0, 1).flatten(1) @ each.o_a
            kept += [attended, logsumexp]
    return torch.cat(found, dim=1), kept


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
        learners = _by_learner(call, weights)
        rows, x, d_found = (states.index_select(0, call.split.order) for states in (hidden, x, gradient))
        d_rows, d_x = torch.zeros_like(rows), torch.zeros_like(x)
        d_lows, d_weights = [], []
        lows = map_down(rows, [maps.q_a for maps in learners.values()])
        parts = d_found.chunk(len(learners), dim=1)
        for (name, maps), low, part in zip(learners.items(), lows, parts, strict=True):
            where = call.split.owned[name]
            own_low = map_down(x[where], (maps.k_a, maps.v_a))
            queries, (keys, values) = call.queries(rows, low, maps), call.keys_values(x[where], own_low, name, maps)
            size = keys.shape[-1]
            d_keys, d_values = (x.new_empty(1, keys.shape[2], call.heads, size).transpose(1, 2) for _ in range(2))
            down = maps.o_a.unflatten(0, (call.heads, -1))  # (h, e, r)
            d_down, d_low, d_up = torch.zeros_like(down), torch.zeros_like(low), torch.zeros_like(maps.q_b)
            for piece in call.split.pieces[name]:
                attended, logsumexp, own = next(kept), next(kept), call.own(piece, name)
                share = part[piece.rows].expand(call.heads, -1, -1)  # (h, m, r)
                d_down.baddbmm_(attended[0].transpose(1, 2), share)
                states = queries[:, :, piece.rows], keys[:, :, own], values[:, :, own], attended, logsumexp
                d_attended = torch.bmm(share, down.transpose(1, 2)).unsqueeze(0)
                d_queries, *d_others = ATTEND_BACKWARD(d_attended, *states, 0.0, piece.causal, scale=size**-0.5)
                d_queries = call.straight(d_queries, piece.rows)
                d_rows[piece.rows] += d_queries
                torch.mm(d_queries, maps.q_b.t(), out=d_low[piece.rows])
                d_up.addmm_(low[piece.rows].t(), d_queries)
                for whole, some in zip((d_keys, d_values), d_others, strict=True):
                    if piece.causal:  # the triangles come first, and each key is in one
                        whole[:, :, own] = some
                    else:
                        whole[:, :, own] += some
            d_lows.append(d_low)
            d_keys, d_values = call.straight(d_keys, where), d_values[0].transpose(0, 1).flatten(1)
            torch.add(d_keys, d_values, out=d_x[where])
            d_own_low = d_keys @ maps.k_b.t(), d_values @ maps.v_b.t()
            d_k_a, d_v_a = _through(x[where], (maps.k_a, maps.v_a), d_own_low, d_x[where])
            d_k_b, d_v_b = own_low[0].t() @ d_keys, own_low[1].t() @ d_values
            # the up map of the output is applied outside
            d_weights.append(LearnerMaps(None, d_up, d_k_a, d_k_b, d_v_a, d_v_b, d_down.flatten(0, 1), None))
        d_downs = _through(rows, [maps.q_a for maps in learners.values()], d_lows, d_rows)
        d_weights = [d_maps._replace(q_a=down) for d_maps, down in zip(d_weights, d_downs, strict=True)]
        d_hidden, d_x = (_in_place(call, states, len(hidden)) for states in (d_rows, d_x))
        return None, d_hidden, d_x, *(gradient for d_maps in d_weights for gradient in d_maps)


def _through(
    states: torch.Tensor, downs: Sequence[torch.Tensor], d_lows: Sequence[torch.Tensor], d_states: torch.Tensor
) -> Sequence[torch.Tensor]:
    """
    Gradients of down maps (d, r), of what they made of states (m, d), d_lows (m, r).

    Adds to `d_states` what comes back through the maps.
    """
    d_low = torch.cat(list(d_lows), dim=1)
    d_states.addmm_(d_low, torch.cat(list(downs), dim=1).t())
    return (d_low.t() @ states).t().chunk(len(downs), dim=1)  # in this order: several times as fast as the other


def _by_learner(call: SplitCall, weights: Sequence[torch.Tensor]) -> dict[str, LearnerMaps]:
    size = len(LearnerMaps._fields)
    return {name: LearnerMaps(*weights[i * size : (i + 1) * size]) for i, name in enumerate(call.names)}
