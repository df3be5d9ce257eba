# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
The router: weights of the learners from the main attention's weights, Eq. 5 of arXiv 2406.03496.

All routers are linear in the attention weights over keys, `Router(a)_i = sum_j a_ij R_j`, so they need no attention
matrix: the columns R ride in the values of whatever kernel computes the main attention (see wings_riding.py).

Shapes: `b` batch, `s` query rows, `t` keys, `H` query heads, `c` router columns.
"""

from collections.abc import Sequence

import torch
from torch import nn

from wings_hf.configuration.configuration_wings import LEARNERS

# Class of a key. Text is split at its sample's first image: the terms of Eq. 1.
NO_KEY, VISUAL, TEXT_BEFORE, TEXT_AFTER = range(4)


class LearnedRouter(nn.Module):
    """A router with a weight and a bias, which are zero at initialisation."""

    columns_are_shared = False

    def forward(self, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias; see `LowRankLearner.forward`."""
        return self.weight, self.bias

    def gates(
        self, logits: torch.Tensor, names: Sequence[str], present: torch.Tensor | None, in_sight: torch.Tensor
    ) -> torch.Tensor:
        """
        Weights g of the learners `names`, float32 (b, s, n).

        Args:
            logits: what `logits` gave, float32 (b, s, 2).
            present: whether the row has a visible key of each learner, bool (b, s, n); `None` where all have.
            in_sight: whether the row has a visible visual, a visible textual key, bool (b, s, 2).
        """
        return blend(logits, present, len(names))


class PositionRouter(LearnedRouter):
    """`sum over heads of a`, then a linear map from key positions to (visual, textual); as in the paper."""

    columns = 2

    def __init__(self, positions: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(positions, 2))
        self.bias = nn.Parameter(torch.empty(2))

    def key_columns(self, weight: torch.Tensor, classes: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """R for keys of `classes` and `positions`, both (b, t): (b, t, 2)."""
        return weight[positions]

    def logits(self, weight: torch.Tensor, bias: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Attended columns (b, s, H, 2) -> router logits, float32 (b, s, 2)."""
        return attended.float().sum(-2) + bias.float()


class ModalityRouter(LearnedRouter):
    """Per head, the attention mass on visual keys, on text before and on text after the first image; then linear."""

    columns = 3
    columns_are_shared = True

    def __init__(self, heads: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(heads, 3, 2))
        self.bias = nn.Parameter(torch.empty(2))

    def key_columns(self, weight: torch.Tensor, classes: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Indicators of the three classes for keys (b, t): (b, t, 3)."""
        kinds = torch.tensor([VISUAL, TEXT_BEFORE, TEXT_AFTER], device=classes.device)
        return (classes.unsqueeze(-1) == kinds).float()

    def logits(self, weight: torch.Tensor, bias: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Attended columns (b, s, H, 3) -> router logits, float32 (b, s, 2)."""
        return torch.einsum("bshc,hcl->bsl", attended.float(), weight.float()) + bias.float()


class MassRouter(nn.Module):
    """
    The attention mass itself, without parameters: a learner adds to a row as much as the main attention looks at what
    that learner sees. `g = (n m)^p`: m is the mass on the learner's modality, mean over heads, n the number of
    modalities in sight, p the power; 1 where the masses are equal, or where there is one modality.

    Where the main attention turns away from an image, as it does in a text question that comes after one, the visual
    learner falls silent, the more so the larger p is. The learned routers choose between learners that together always
    act at full strength. g does not depend on which learners there are: a single one is weighed, too.
    """

    columns = 2
    columns_are_shared = True

    def __init__(self, power: float):
        super().__init__()
        self.power = power

    def forward(self, states: torch.Tensor) -> tuple[None, None]:
        """No weight and no bias."""
        return None, None

    def key_columns(self, weight: None, classes: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Indicators of visual and of textual keys among keys (b, t): (b, t, 2)."""
        return torch.stack([classes == VISUAL, classes > VISUAL], dim=-1).float()

    def logits(self, weight: None, bias: None, attended: torch.Tensor) -> torch.Tensor:
        """Attended columns (b, s, H, 2) -> mass on each modality, float32 (b, s, 2)."""
        return attended.float().mean(-2)

    def gates(
        self, logits: torch.Tensor, names: Sequence[str], present: torch.Tensor | None, in_sight: torch.Tensor
    ) -> torch.Tensor:
        """See `LearnedRouter.gates`."""
        weights = (logits * in_sight.sum(-1, keepdim=True)) ** self.power
        if len(names) == len(LEARNERS):
            return weights
        return weights[..., [LEARNERS.index(name) for name in names]]


Router = PositionRouter | ModalityRouter | MassRouter


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
