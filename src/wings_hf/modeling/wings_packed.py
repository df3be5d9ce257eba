# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
The learners' maps side by side, for the one row of a decoding step, where each small operation counts.

Keys and values are made of the initial embedding, which is the same in all layers. So the first layer makes those of
all layers at once. In each layer the learners' queries, and their outputs, share their operations.

Maps are packed when a prompt is read and kept with the cache; each use checks that they still are the learners'.

Shapes: `b` batch, `d` hidden size, `h` learner heads, `e` learner head size, `r` rank, `n` learners at work, `L` layers
with learners.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from wings_hf.modeling.wings_learners import LearnerMaps
from wings_hf.modeling.wings_rope import RopeSpec


class PackedLayer(NamedTuple):
    """
    Maps of one layer's learners at work.

    Args:
        q_a: (d, n * r).
        q_b: (n, r, d).
        o_a: (n, d, r).
        o_b: (n * r, d).
    """

    q_a: torch.Tensor
    q_b: torch.Tensor
    o_a: torch.Tensor
    o_b: torch.Tensor

    def queries(self, row: torch.Tensor) -> torch.Tensor:
        """`q = n (1 + Wq)` of each learner: (b, 1, d) -> (n, b, d)."""
        flat = row.squeeze(1)
        low = (flat @ self.q_a).unflatten(-1, (self.q_b.shape[0], -1)).transpose(0, 1)  # (n, b, r)
        return torch.baddbmm(flat.expand(len(low), *flat.shape), low, self.q_b)

    def down(self, attended: torch.Tensor) -> torch.Tensor:
        """What each learner gathered, (b, n, d), through the down map of its output: (b, 1, n, r)."""
        return torch.bmm(attended.transpose(0, 1), self.o_a).transpose(0, 1).unsqueeze(1)


class PackedLearners:
    """
    Packed maps of all layers.

    Args:
        count: layers with learners.
        keeps_addresses: whether compiled steps read them where they are: packing again then writes to the same place.
    """

    def __init__(self, count: int, keeps_addresses: bool):
        self.keeps_addresses = keeps_addresses
        self.names: tuple[str, ...] = ()
        self.sources: list[Source | None] = [None] * count
        self.layers: list[PackedLayer | None] = [None] * count
        self.specs: list[RopeSpec | None] = [None] * count
        self.stacked: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None

    def __reduce__(self) -> tuple:
        return PackedLearners, (len(self.layers), self.keeps_addresses)  # a copy of a cache packs its own

    def forget(self) -> None:
        """Has all maps packed again by the next prompt."""
        self.names, self.sources = (), [None] * len(self.sources)

    def add(self, index: int, names: tuple[str, ...], maps: dict[str, LearnerMaps], spec: RopeSpec | None) -> None:
        """Packs the maps of one layer; the last one completes it."""
        source = _source(names, maps)
        if not _same(self.sources[index], source):
            self.names, self.sources[index], self.specs[index] = (), source, spec
            at_work = [maps[name] for name in names]
            packed = (
                torch.cat([each.q_a for each in at_work], dim=1),
                torch.stack([each.q_b for each in at_work]),
                torch.stack([each.o_a for each in at_work]),
                torch.cat([each.o_b for each in at_work]),
            )
            self.layers[index] = PackedLayer(*self._kept(packed, self.layers[index]))
        if index == len(self.layers) - 1 and self.names != names:
            self._stack(names)

    def _stack(self, names: tuple[str, ...]) -> None:
        """Puts the maps that make keys and values of text side by side, where the layers allow it."""
        if None in self.sources or len(set(self.specs)) != 1:
            self.layers = [None] * len(self.layers)
            return
        start = names.index("textual") * len(LearnerMaps._fields)
        weights = [[weight for weight, _, _ in source] for source in self.sources if source is not None]
        maps = [LearnerMaps(*each[start : start + len(LearnerMaps._fields)]) for each in weights]
        if len({weight.device for each in maps for weight in each}) == 1:
            down = torch.cat([each.k_a for each in maps] + [each.v_a for each in maps], dim=1)
            stacked = down, torch.stack([each.k_b for each in maps]), torch.stack([each.v_b for each in maps])
            self.stacked = self._kept(stacked, self.stacked)
            self.names = names

    def _kept(self, new: tuple[torch.Tensor, ...], old: tuple[torch.Tensor, ...] | None) -> tuple[torch.Tensor, ...]:
        """The new tensors, at the addresses of the old ones where these matter."""
        if not self.keeps_addresses:
            return new
        if old is None or any(a.shape != b.shape or a.dtype != b.dtype for a, b in zip(new, old, strict=True)):
            for tensor in new:
                torch._dynamo.mark_static_address(tensor)
            return new
        for a, b in zip(new, old, strict=True):
            b.copy_(a)
        return old

    def layer(self, index: int, names: tuple[str, ...], learners: Sequence[torch.nn.Module]) -> PackedLayer | None:
        """The packed maps of a layer for the learners at work; `None` where they are not those of `learners` now."""
        if names != self.names:
            return None
        if not torch.compiler.is_compiling():
            maps = {name: LearnerMaps(**learner._parameters) for name, learner in zip(names, learners, strict=True)}
            if not _same(self.sources[index], _source(names, maps)):
                return None
        return self.layers[index]

    def keys_values(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys, not rotated, and values of one text position in all layers: (b, 1, d) -> (L, b, d) each."""
        down, *ups = self.stacked
        flat = x.squeeze(1)
        low = (flat @ down).unflatten(-1, (2, len(self.layers), -1)).permute(1, 2, 0, 3)  # (2, L, b, r)
        base = flat.expand(len(self.layers), *flat.shape)
        keys, values = (torch.baddbmm(base, each, up) for each, up in zip(low, ups, strict=True))
        return keys, values


def can_pack(names: tuple[str, ...], learners: Sequence[torch.nn.Module]) -> bool:
    """
    Whether packed maps can stand for the learners: text has maps, nobody wants to know of the learners' calls, and
    their parameters are their own and stay where they are.
    """
    return "textual" in names and not any(
        hasattr(learner, "_hf_hook")
        or learner._forward_hooks
        or learner._forward_pre_hooks
        or len(learner._parameters) != len(LearnerMaps._fields)
        for learner in learners
    )


# The maps that were packed, each with its version and address: in-place changes show in one of them.
Source = list[tuple[torch.Tensor, int, int]]


def _source(names: tuple[str, ...], maps: dict[str, LearnerMaps]) -> Source:
    weights = (weight for name in names for weight in maps[name])
    return [(weight, 0 if weight.is_inference() else weight._version, weight.data_ptr()) for weight in weights]


def _same(one: Source | None, other: Source) -> bool:
    if one is None or len(one) != len(other):
        return False
    return all(a[0] is b[0] and a[1:] == b[1:] for a, b in zip(one, other, strict=True))
