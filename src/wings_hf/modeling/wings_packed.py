# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
The learners' maps side by side, for the one row of a decoding step, where each small operation counts.

Keys and values are made of the initial embedding, which is the same in all layers. So the first layer makes those of
all layers at once. In each layer the learners' queries, and their outputs, share their operations.

Maps are packed when a prompt is read, and kept with the cache: both are of the same weights, and as old.

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
        self.sources: list[tuple[torch.Tensor, ...] | None] = [None] * count
        self.layers: list[PackedLayer | None] = [None] * count
        self.specs: list[RopeSpec | None] = [None] * count
        self.stacked: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None

    def forget(self) -> None:
        """Has all maps packed again by the next prompt: they may have been trained."""
        self.names, self.sources = (), [None] * len(self.sources)

    def add(self, index: int, names: tuple[str, ...], maps: dict[str, LearnerMaps], spec: RopeSpec | None) -> None:
        """Packs the maps of one layer; the last one completes it."""
        source = tuple(weight for name in names for weight in maps[name])
        known = self.sources[index]
        if known is not None and len(known) == len(source) and all(a is b for a, b in zip(known, source, strict=True)):
            return
        at_work = [maps[name] for name in names]
        self.sources[index], self.specs[index] = source, spec
        packed = (
            torch.cat([each.q_a for each in at_work], dim=1),
            torch.stack([each.q_b for each in at_work]),
            torch.stack([each.o_a for each in at_work]),
            torch.cat([each.o_b for each in at_work]),
        )
        self.layers[index] = PackedLayer(*self._kept(packed, self.layers[index]))
        if index == len(self.layers) - 1:
            self._stack(names)

    def _stack(self, names: tuple[str, ...]) -> None:
        """Puts the maps that make keys and values of text side by side, where the layers allow it."""
        self.names = ()
        if "textual" not in names or None in self.sources or len(set(self.specs)) != 1:
            return
        start = names.index("textual") * len(LearnerMaps._fields)
        maps = [LearnerMaps(*source[start : start + len(LearnerMaps._fields)]) for source in self.sources if source]
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

    def layer(self, index: int, names: tuple[str, ...]) -> PackedLayer | None:
        """The packed maps of a layer for the learners at work, `None` where it has none."""
        return self.layers[index] if names == self.names else None

    def keys_values(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys, not rotated, and values of one text position in all layers: (b, 1, d) -> (L, b, d) each."""
        down, *ups = self.stacked
        flat = x.squeeze(1)
        low = (flat @ down).unflatten(-1, (2, len(self.layers), -1)).permute(1, 2, 0, 3)  # (2, L, b, r)
        base = flat.expand(len(self.layers), *flat.shape)
        keys, values = (torch.baddbmm(base, each, up) for each, up in zip(low, ups, strict=True))
        return keys, values


def can_pack(learners: Sequence[torch.nn.Module]) -> bool:
    """Whether the maps stay where they are: those that are brought in for each call cannot be kept."""
    return not any(hasattr(learner, "_hf_hook") for learner in learners)
