# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
The learners: low-rank residual attention (LoRRA), Eq. 4 of arXiv 2406.03496.

Shapes: `b` batch, `s` sequence length, `d` hidden size, `h` learner heads, `e = d / h` learner head size, `r` rank,
`n` learners at work in this call, `c` extra columns that carry the modality.

What differs from the equation as printed: nothing in the result. Every position is visual or textual, so a layer
makes *one* key and one value per position, with the maps of that position's modality, and both learners attend in
one grouped-query call. A learner must see the keys of its own modality only; instead of a mask, queries and keys get
extra columns (query 1 for its own modality, key -M for the other) whose product moves a foreign key out of reach:
the plain causal kernel of any backend then does the masking.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

MODALITY_COLUMNS = 8  # two are used; fused kernels take head sizes in steps of eight
# -M for a foreign key: far below any score, so that its weight underflows to exactly 0; a power of two, exact in
# every dtype. float16 cannot hold a larger one, and kernels that form scores in it must not overflow.
FOREIGN_KEY_SCORE = {torch.float16: -(2.0**14)}
DEFAULT_FOREIGN_KEY_SCORE = -(2.0**40)


class LearnerMaps(NamedTuple):
    """Down (d, r) and up (r, d) maps of one learner."""

    q_a: torch.Tensor
    q_b: torch.Tensor
    k_a: torch.Tensor
    k_b: torch.Tensor
    v_a: torch.Tensor
    v_b: torch.Tensor
    o_a: torch.Tensor
    o_b: torch.Tensor


class LowRankLearner(nn.Module):
    """
    One learner's maps: `W = A B` with `A` (d, r) Gaussian and `B` (r, d) zero, for query, key, value and output.

    At initialisation the output map is zero and it has no residual, so the learner outputs exactly 0.
    """

    def __init__(self, hidden_size: int, rank: int):
        super().__init__()
        for name in ("q", "k", "v", "o"):
            self.register_parameter(f"{name}_a", nn.Parameter(torch.empty(hidden_size, rank)))
            self.register_parameter(f"{name}_b", nn.Parameter(torch.empty(rank, hidden_size)))

    def forward(self, states: torch.Tensor) -> "LearnerMaps":
        """
        The maps, for attention to stack with other learners'.

        Attention fetches them by calling the module, since that is when offloading hooks bring its weights in.
        """
        if len(self._parameters) == len(LearnerMaps._fields):  # not so where a parametrization stands in for one
            return LearnerMaps(**self._parameters)
        return LearnerMaps(*(getattr(self, name) for name in LearnerMaps._fields))

    def extra_repr(self) -> str:
        return "hidden_size={}, rank={}".format(*self.q_a.shape)


def add_low_rank(states: torch.Tensor, down: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """`states (1 + down up)`: (..., d) -> (..., d), the residual added in the pass that writes the result."""
    flat = states.flatten(0, -2)
    return torch.addmm(flat, flat @ down, up).view(states.shape)


def project_queries(learners: Sequence[LearnerMaps], hidden_states: torch.Tensor) -> torch.Tensor:
    """`q = n (1 + Wq)` for each learner: (b, s, d) -> (b, s, n, d)."""
    return torch.stack([add_low_rank(hidden_states, each.q_a, each.q_b) for each in learners], dim=-2)


def project_keys_values(
    learners: Sequence[LearnerMaps], x: torch.Tensor, owners: Sequence[torch.Tensor] | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    `k = x (1 + Wk)` and `v = x (1 + Wv)` with the maps of each position's own modality.

    Args:
        learners: the layer's learners.
        x: initial embeddings, (b, s, d).
        owners: for each learner, the positions of its modality, bool (b, s); `None` where one learner owns all.

    Returns:
        keys and values, each (b, s, d).
    """
    if owners is None:
        (only,) = learners
        return add_low_rank(x, only.k_a, only.k_b), add_low_rank(x, only.v_a, only.v_b)
    down = torch.cat([weight for learner in learners for weight in (learner.k_a, learner.v_a)], dim=1)
    low = (x @ down).unflatten(-1, (len(learners), 2, -1))  # (b, s, n, 2, r)
    low = low * torch.stack(tuple(owners), dim=-1)[..., None, None].to(low.dtype)
    keys = low[..., 0, :].flatten(-2) @ torch.cat([learner.k_b for learner in learners])
    values = low[..., 1, :].flatten(-2) @ torch.cat([learner.v_b for learner in learners])
    return x + keys, x + values


def project_down(learners: Sequence[LearnerMaps], attended: torch.Tensor) -> torch.Tensor:
    """What each learner gathered through the down map of its output: (b, s, n, d) -> (b, s, n, r)."""
    return torch.stack([attended[..., i, :] @ learner.o_a for i, learner in enumerate(learners)], dim=-2)


def add_outputs(
    output: torch.Tensor, low: torch.Tensor, ups: torch.Tensor, gates: torch.Tensor | None, present: torch.Tensor | None
) -> torch.Tensor:
    """
    `output + sum over learners of g * out`, Eq. 5; exactly `output` where no learner adds anything.

    Args:
        output: the main attention's, (b, s, d).
        low: what each learner gathered, mapped down, (b, s, n, r).
        ups: up maps of the learners' outputs, (n * r, d).
        gates: router weights g, float32 (b, s, n); `None` for weight 1 throughout.
        present: whether the row gets something from that learner, bool (b, s, n); `None` where all do from all.
    """
    if gates is not None:
        low = low * gates.unsqueeze(-1).to(low.dtype)
    if present is not None:
        low = torch.where(present.unsqueeze(-1), low, 0.0)
    return torch.addmm(output.flatten(0, 1), low.reshape(-1, len(ups)), ups).view(output.shape)


def split_heads(states: torch.Tensor, heads: int) -> torch.Tensor:
    """(b, s, d) -> (b, h, s, e)."""
    return states.unflatten(-1, (heads, -1)).transpose(1, 2)


def append_key_columns(keys: torch.Tensor, foreign: Sequence[torch.Tensor]) -> torch.Tensor:
    """
    Appends the modality columns to keys (b, h, s, e): column i holds -M for keys foreign to learner i, else 0.

    Padding is foreign to none: the causal mask keeps it out, and a row of padding needs a key within reach.
    """
    score = FOREIGN_KEY_SCORE.get(attention_dtype(keys), DEFAULT_FOREIGN_KEY_SCORE)
    columns = keys.new_zeros(*keys.shape[:-1], MODALITY_COLUMNS)
    for index, is_foreign in enumerate(foreign):
        columns[..., index] = torch.where(is_foreign, score, 0.0).to(keys.dtype).unsqueeze(1)
    return torch.cat([keys, columns], dim=-1)


def attention_dtype(states: torch.Tensor) -> torch.dtype:
    """The dtype in which attention reads `states`: autocast changes it on the way to the kernel."""
    device = states.device.type
    if device != "meta" and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return states.dtype


def append_query_columns(queries: torch.Tensor, columns: Sequence[int]) -> torch.Tensor:
    """
    Appends the modality columns to queries (b, h, n, s, e): query i gets 1 in its learner's column, else 0.
    """
    selector = torch.zeros(len(columns), MODALITY_COLUMNS, dtype=queries.dtype, device=queries.device)
    for index, column in enumerate(columns):
        selector[index, column] = 1.0
    shape = (*queries.shape[:-1], MODALITY_COLUMNS)
    return torch.cat([queries, selector[:, None, :].expand(shape)], dim=-1)
