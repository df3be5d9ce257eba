# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Where the Triton kernels take over from torch, and in which calls they may.

They compute plain causal attention over keys that end with this call's: no sliding window, soft-cap, sinks, masks of
the user, or static cache in front. `wings_triton.kernels_for` says whether they are wanted at all.

Shapes: `b` batch, `s` positions of the call, `t` keys, `H` query heads, `K` key heads, `e` head size, `h` learner
heads, `n` learners, `c` router columns.
"""

from typing import Any

import torch

from wings_hf.modeling.wings_context import WingsContext
from wings_hf.modeling.wings_latent import LatentKeys
from wings_hf.modeling.wings_learners import LearnerMaps, attention_dtype
from wings_hf.modeling.wings_riding import OTHER_MATHS
from wings_hf.modeling.wings_router import NO_KEY
from wings_hf.modeling.wings_triton import kernels_for
from wings_hf.modeling.wings_triton_attention import key_layout, learner_attention, router_attention
from wings_hf.modeling.wings_triton_latent import latent_decode


def fuses_learners(query_input: torch.Tensor, wings: WingsContext, head_size: int) -> bool:
    """Whether the learners' attention over several rows runs in its kernel."""
    return wings.plain and wings.keys_end_here and kernels_for("learner_attention", query_input, head_size) == "triton"


def attend_learners_fused(
    names: tuple[str, ...], queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, wings: WingsContext
) -> torch.Tensor:
    """Rotated queries (b, h, n, s, e), keys and values (b, h, t, e) -> what each learner gathers, (b, s, n, d)."""
    layout = wings.once(("layout", names), lambda: key_layout(wings.owner_index(names), len(names), wings.starts))
    dtype = attention_dtype(queries)
    queries, keys, values = (each.to(dtype).contiguous() for each in (queries, keys, values))
    return learner_attention(queries, keys, values, layout).flatten(3)


def fuses_router(module: Any, query: torch.Tensor, attention_mask: Any, wings: WingsContext, kwargs: dict) -> bool:
    """Whether the main branch's attention runs in the kernel that carries the router's columns."""
    plain = wings.plain and wings.keys_end_here and not module.slides and not module.visual_context_only
    plain = (
        plain
        and not kwargs.get("dropout")
        and all(kwargs.get(name) is None for name in (*OTHER_MATHS, "sliding_window"))
    )
    if not plain or module.config._attn_implementation == "eager":
        return False
    return kernels_for("router_attention", query, query.shape[-1]) == "triton"


def attend_router_fused(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    columns: torch.Tensor,
    wings: WingsContext,
    scaling: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention output (b, s, H, e) and attended columns, float32 (b, s, H, c)."""

    def layout() -> Any:
        return key_layout(torch.where(wings.notes[0][0] == NO_KEY, -1, 0), starts=wings.starts)

    dtype = attention_dtype(query)
    query, key, value, columns = (each.to(dtype).contiguous() for each in (query, key, value, columns))
    return router_attention(query, key, value, columns, wings.once("layout of all", layout), scaling)


def fuses_latent(queries: torch.Tensor) -> bool:
    """Whether one row reads a latent cache through its kernel."""
    return not torch.is_grad_enabled() and kernels_for("latent_decode", queries, queries.shape[-1]) == "triton"


def attend_latent_fused(
    names: tuple[str, ...],
    maps: dict[str, LearnerMaps],
    queries: torch.Tensor,
    latent: LatentKeys,
    wings: WingsContext,
) -> torch.Tensor:
    """Rotated queries (b, h, n, e) -> what each learner gathers, (b, n, d)."""
    key_up = torch.stack([maps[name].k_b for name in names])
    value_up = torch.stack([maps[name].v_b for name in names])
    owner = wings.once(("owner", names), lambda: wings.owner_index(names)).to(queries.device)
    tables, interleaved = None, False
    if latent.rope is not None and latent.tables is not None:
        cos, sin = latent.tables
        tables, interleaved = (
            (cos.squeeze(1).to(owner.device), sin.squeeze(1).to(owner.device)),
            latent.rope.interleaved,
        )
    return latent_decode(
        queries.transpose(1, 2),
        latent.x,
        latent.key_states,
        latent.value_states,
        key_up,
        value_up,
        owner,
        tables,
        interleaved,
    ).flatten(2)
