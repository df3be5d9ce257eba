# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
In plain torch, with the attention matrix, what the Triton kernels compute: what they are compared with.

In float64 it is the truth; in the kernels' dtype it is what that dtype costs. Arguments and results are those of the
functions of the same name in wings_triton_attention.py, wings_triton_latent.py and wings_triton_low_rank.py, but that
attention takes `owner` and `starts` instead of a layout.
"""

import torch


def visible_keys(
    owner: torch.Tensor, starts: torch.Tensor | None, classes: int, groups: int, rows: int
) -> torch.Tensor:
    """Which keys each row sees, bool (b, 1, G, s, t)."""
    keys = owner.shape[1]
    j = torch.arange(keys, device=owner.device)
    i = torch.arange(rows, device=owner.device)[:, None] + keys - rows
    visible = (j <= i)[None, None, None] & torch.stack([owner == group % classes for group in range(groups)], dim=1)[
        :, None, :, None
    ]
    return visible if starts is None else visible & (j >= starts[..., None])[:, None, None]


def softmax_of_visible(scores: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """Softmax over the visible keys, in float32 at least; 0 in rows that see none."""
    wide = scores if scores.dtype == torch.float64 else scores.float()
    weights = wide.masked_fill(~visible, -torch.inf).softmax(-1)
    return torch.where(visible.any(-1, keepdim=True), weights, 0.0).to(scores.dtype)


def router_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    columns: torch.Tensor,
    owner: torch.Tensor,
    starts: torch.Tensor | None = None,
    scaling: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output (b, s, H, e) and attended columns (b, s, H, c)."""
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    visible = visible_keys(owner, starts, 1, 1, query.shape[2])[:, :, 0]
    weights = softmax_of_visible(query @ key.transpose(2, 3) * scaling, visible)
    return (weights @ value).transpose(1, 2), (weights @ columns[:, None].to(weights.dtype)).transpose(1, 2)


def learner_attention(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    owner: torch.Tensor,
    starts: torch.Tensor | None = None,
    scaling: float | None = None,
) -> torch.Tensor:
    """(b, s, n, h, e)."""
    scaling = queries.shape[-1] ** -0.5 if scaling is None else scaling
    learners, rows = queries.shape[2:4]
    visible = visible_keys(owner, starts, learners, learners, rows)
    weights = softmax_of_visible(queries @ keys[:, :, None].transpose(3, 4) * scaling, visible)
    return (weights @ values[:, :, None]).permute(0, 3, 2, 1, 4)


def latent_decode(
    queries: torch.Tensor,
    x: torch.Tensor,
    key_states: torch.Tensor,
    value_states: torch.Tensor,
    key_up: torch.Tensor,
    value_up: torch.Tensor,
    owner: torch.Tensor,
    rope: tuple[torch.Tensor, torch.Tensor] | None = None,
    interleaved: bool = False,
    scaling: float | None = None,
) -> torch.Tensor:
    """(b, n, h, e), by forming keys and values."""
    scaling = queries.shape[-1] ** -0.5 if scaling is None else scaling
    attended = []
    for learner, query in enumerate(queries.unbind(1)):
        keys, values = x + key_states @ key_up[learner], x + value_states @ value_up[learner]  # (b, t, d)
        keys, values = (each.unflatten(-1, query.shape[1:]).transpose(1, 2) for each in (keys, values))
        if rope is not None:
            cos, sin = (table.unsqueeze(1).to(keys.dtype) for table in rope)
            keys = rotate(keys, cos, sin, interleaved)
        scores = (query.unsqueeze(2) @ keys.transpose(2, 3)) * scaling  # (b, h, 1, t)
        weights = softmax_of_visible(scores, (owner == learner)[:, None, None])
        attended.append((weights @ values).squeeze(2))
    return torch.stack(attended, dim=1)


def rotate(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, interleaved: bool) -> torch.Tensor:
    """Rotates the first columns of `states` (..., e), as many as the tables have; these broadcast to (..., p)."""
    part, rest = states[..., : cos.shape[-1]], states[..., cos.shape[-1] :]
    pairs = (-1, 2) if interleaved else (2, -1)
    swapped = part.unflatten(-1, pairs).flip(-1 if interleaved else -2).flatten(-2)
    return torch.cat([part * cos + swapped * sin, rest], dim=-1)


def low_rank_residual(
    x: torch.Tensor,
    down: torch.Tensor,
    up: torch.Tensor,
    rope: tuple[torch.Tensor, torch.Tensor] | None = None,
    head_size: int | None = None,
    interleaved: bool = False,
) -> torch.Tensor:
    """(N, n, d)."""
    projected = torch.stack([x + (x @ a) @ b for a, b in zip(down, up, strict=True)], dim=1)
    if rope is None:
        return projected
    cos, sin = (table[:, None, None].to(x.dtype) for table in rope)
    heads = projected.unflatten(-1, (-1, head_size or x.shape[1]))
    return rotate(heads, cos, sin, interleaved).flatten(-2)
