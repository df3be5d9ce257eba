# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
The latent form of the learners' cache: what keys and values are made of, instead of them.

Keys and values of all layers are made of the same initial embeddings, by maps of rank r:

    k_j = rotate(x_j + (x_j Ak) Bk)    v_j = x_j + (x_j Av) Bv

So a cache of x, once for all layers, and of the 2r numbers x_j Ak and x_j Av in each layer, with the maps of the
position's own modality, is exact. It takes (1 / (2 L) + r / d) of the plain form for L layers. A row of queries does
not need the values made: `sum p_j v_j = sum p_j x_j + (sum p_j x_j Av) Bv`; without rotation, nor the keys:
`q k_j = q x_j + (q Bk) (x_j Ak)`.

Shapes: `b` batch, `s` positions of the call, `t` keys, cached ones included, `d` hidden size, `h` learner heads, `e`
learner head size, `r` rank, `n` learners.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from wings_hf.modeling.wings_learners import LearnerMaps, split_heads
from wings_hf.modeling.wings_rope import RopeSpec, RopeTables


class LatentKeys(NamedTuple):
    """
    What one layer finds in a latent cache.

    Args:
        x: initial embeddings, (b, t, d).
        key_states, value_states: `x Ak` and `x Av` with the maps of each position's own modality, (b, t, r).
        owned: for each learner, the keys that are its own, bool (b, t).
        rope, tables: rotary embedding of the keys, and its tables at their positions; or `None`.
    """

    x: torch.Tensor
    key_states: torch.Tensor
    value_states: torch.Tensor
    owned: dict[str, torch.Tensor]
    rope: RopeSpec | None
    tables: RopeTables | None

    def keys_values(self, maps: dict[str, LearnerMaps], heads: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values as the plain form keeps them, each (b, h, t, e)."""
        keys = self.x + self._up(self.key_states, {name: each.k_b for name, each in maps.items()})
        values = self.x + self._up(self.value_states, {name: each.v_b for name, each in maps.items()})
        return self.rotated(split_heads(keys, heads)), split_heads(values, heads)

    def rotated(self, keys: torch.Tensor) -> torch.Tensor:
        """Rotates (b, h, t, e) at the keys' positions."""
        return keys if self.rope is None else self.rope.rotate(keys, self.tables)

    def attend_one_row(
        self,
        queries: torch.Tensor,
        names: tuple[str, ...],
        maps: dict[str, LearnerMaps],
        bias: torch.Tensor,
        rotated_x: torch.Tensor,
    ) -> torch.Tensor:
        """
        What each of the learners `names` gathers for one row, (b, n, d).

        Args:
            queries: rotated, (b, h, n, e).
            bias: 0 for keys that the learner sees, else a lowest score, (b, 1, n, t).
            rotated_x: x as keys are rotated, the same for all layers that share a rotary embedding, (b, h, t, e).
        """
        heads, scaling = queries.shape[1], queries.shape[-1] ** -0.5
        scores = queries @ rotated_x.transpose(2, 3)  # (b, h, n, t)
        if self.rope is None:
            ups = _by_head([maps[name].k_b for name in names], heads)  # (h, n, r, e)
            lifted = torch.einsum("bhne,hnre->bhnr", queries, ups)
            scores = scores + lifted @ self.key_states.unsqueeze(1).transpose(2, 3)
        else:
            more = self._up(self.key_states, {name: maps[name].k_b for name in names})
            scores = scores + queries @ self.rotated(split_heads(more, heads)).transpose(2, 3)
        weights = (scores.float() * scaling + bias).softmax(-1).to(self.x.dtype)
        low = weights @ self.value_states.unsqueeze(1)  # (b, h, n, r)
        ups = _by_head([maps[name].v_b for name in names], heads)
        attended = weights @ split_heads(self.x, heads) + torch.einsum("bhnr,hnre->bhne", low, ups)
        return attended.transpose(1, 2).flatten(2)

    def _up(self, states: torch.Tensor, ups: dict[str, torch.Tensor]) -> torch.Tensor:
        """States (b, t, r) through the up map (r, d) of each position's own modality, (b, t, d)."""
        own = [states * self.owned[name].unsqueeze(-1).to(states) for name in ups]
        return torch.cat(own, dim=-1) @ torch.cat(list(ups.values()))


def _by_head(ups: Sequence[torch.Tensor], heads: int) -> torch.Tensor:
    """Up maps (r, d) of n learners -> (h, n, r, e)."""
    return torch.stack(list(ups)).unflatten(-1, (heads, -1)).permute(2, 0, 1, 3)


def own_low_states(
    x: torch.Tensor, maps: dict[str, LearnerMaps], owned: dict[str, torch.Tensor] | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    `x Ak` and `x Av` with the maps of each position's own modality, each (b, s, r).

    Args:
        owned: for each learner, the positions of its modality, bool (b, s); `None` where the textual one owns all.
    """
    if owned is None and "textual" in maps:
        return x @ maps["textual"].k_a, x @ maps["textual"].v_a
    rank = next(iter(maps.values())).k_a.shape[1]
    keys = values = x.new_zeros(*x.shape[:2], rank)
    for name, own in (owned or {}).items():
        keys = torch.where(own.unsqueeze(-1), x @ maps[name].k_a, keys)
        values = torch.where(own.unsqueeze(-1), x @ maps[name].v_a, values)
    return keys, values


def remember_embeddings(cache: Any, x: torch.Tensor) -> torch.Tensor:
    """Appends the call's initial embeddings to an extended latent cache, and returns all of them, (b, t, d)."""
    nothing = x.new_empty(x.shape[0], 1, x.shape[1], 0)
    return cache.wings.update(x.unsqueeze(1), nothing, len(cache.wings.layers) - 1)[0][:, 0]
