# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
The router: weights of the learners from the main attention's weights, Eq. 5 of arXiv 2406.03496.

Both routers are linear in the attention weights over keys, `Router(a)_i = sum_j a_ij R_j`, so they need no attention
matrix: the columns R ride in the values of whatever kernel computes the main attention (see wings_riding.py).

Shapes: `b` batch, `s` query rows, `t` keys, `H` query heads, `c` router columns.
"""

import torch
from torch import nn

# Class of a key. Text is split at its sample's first image: the terms of Eq. 1.
NO_KEY, VISUAL, TEXT_BEFORE, TEXT_AFTER = range(4)


class PositionRouter(nn.Module):
    """`sum over heads of a`, then a linear map from key positions to (visual, textual); as in the paper."""

    columns = 2

    def __init__(self, positions: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(positions, 2))
        self.bias = nn.Parameter(torch.empty(2))

    def forward(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias; see `LowRankLearner.forward`."""
        return self.weight, self.bias

    def key_columns(self, weight: torch.Tensor, classes: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """R for keys of `classes` and `positions`, both (b, t): (b, t, 2)."""
        return weight[positions]

    def logits(self, weight: torch.Tensor, bias: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Attended columns (b, s, H, 2) -> router logits, float32 (b, s, 2)."""
        return attended.float().sum(-2) + bias.float()


class ModalityRouter(nn.Module):
    """Per head, the attention mass on visual keys, on text before and on text after the first image; then linear."""

    columns = 3

    def __init__(self, heads: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(heads, 3, 2))
        self.bias = nn.Parameter(torch.empty(2))

    def forward(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias; see `LowRankLearner.forward`."""
        return self.weight, self.bias

    def key_columns(self, weight: torch.Tensor, classes: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Indicators of the three classes for keys (b, t): (b, t, 3)."""
        kinds = torch.tensor([VISUAL, TEXT_BEFORE, TEXT_AFTER], device=classes.device)
        return (classes.unsqueeze(-1) == kinds).to(weight.dtype)

    def logits(self, weight: torch.Tensor, bias: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Attended columns (b, s, H, 3) -> router logits, float32 (b, s, 2)."""
        return torch.einsum("bshc,hcl->bsl", attended.float(), weight.float()) + bias.float()


Router = PositionRouter | ModalityRouter


def blend(logits: torch.Tensor | None, present: torch.Tensor | None, learners: int) -> torch.Tensor | None:
    """
    `g = n softmax(SiLU(logits))` over the n learners that have a visible key for the row (Eq. 5).

    Args:
        logits: router logits, float32 (b, s, learners); `None` for weight 1 throughout.
        present: whether the row has a visible key of the learner, bool (b, s, learners); `None` where all have.
        learners: how many there are.

    Returns:
        g, float32 (b, s, learners), which sums to n in each row; `None` for weight 1.
    """
    if logits is None:
        return None
    scores = nn.functional.silu(logits)
    if present is None:
        return scores.softmax(-1) * learners
    scores = scores.masked_fill(~present, torch.finfo(torch.float32).min)
    return scores.softmax(-1) * present.sum(-1, keepdim=True)
