# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
The router's columns R on their way through the main branch's attention.

The router's logits are the attention weights times R (wings_router.py). R rides along as further columns of the
values, so that one kernel call returns attention output and attended columns, and no attention matrix is kept; for a
single row the weights are small, and are formed.

Shapes: `b` batch, `s` query rows, `t` keys, `H` query heads, `K` key heads, `e` head size, `c` router columns.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from wings_hf.modeling.wings_context import WingsContext

HEAD_SIZE_STEPS = {"cpu": 16}  # what fused kernels are fast at; eight elsewhere
HEAD_SIZE_STEP = 8
MAX_FLASH_HEAD_SIZE = 256
OTHER_MATHS = ("position_bias", "cache", "s_aux", "softcap")  # arguments with which weights are no plain softmax


def router_columns(
    module: Any, query: torch.Tensor, value: torch.Tensor, wings: WingsContext
) -> tuple[torch.Tensor, Callable]:
    """The router's columns R for the keys at hand, (b, t, c), and what makes logits of them once attended."""
    heads = module.config.num_attention_heads
    if query.shape[1] != heads:
        raise NotImplementedError(
            f"The router reads the attention weights of all {heads} heads, but this process holds {query.shape[1]} "
            "of them: expected router='uniform' under tensor parallelism."
        )
    classes, positions = wings.notes[1] if module.slides else wings.notes[0]
    weight, bias = module.router(query)

    def make() -> torch.Tensor:
        columns = module.router.key_columns(weight, classes.to(value.device), positions.to(value.device))
        return columns.to(value.dtype)

    shared = ("router columns", module.slides, value.device, value.dtype)
    columns = wings.once(shared, make) if module.router.columns_are_shared else make()
    return columns, lambda attended: module.router.logits(weight, bias, attended)


def weights_are_plain(module: Any, kwargs: dict[str, Any]) -> bool:
    """Whether the weights are a softmax of scaled and masked scores, as sdpa computes them, and may be formed here."""
    if module.config._attn_implementation != "sdpa" or module.visual_context_only or kwargs.get("dropout"):
        return False
    return all(kwargs.get(name) is None for name in OTHER_MATHS)


def attend_with_weights(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    columns: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Attention output (b, 1, H, e) and attended columns (b, 1, H, c) of one row, whose weights are small.

    Nothing as long as the keys is copied, as widened values would be at each step.
    """
    batch, heads, _, size = query.shape
    queries = query.reshape(batch * key.shape[1], -1, size)  # (b * K, H / K, e)
    scores = torch.bmm(queries * scaling, key.flatten(0, 1).transpose(1, 2)).float()
    if attention_mask is not None:
        if attention_mask.dtype == torch.bool:
            attention_mask = torch.where(attention_mask, 0.0, torch.finfo(torch.float32).min)
        scores = (scores.view(batch, heads, 1, -1) + attention_mask).view(scores.shape)
    weights = scores.softmax(-1).to(value.dtype)
    output = torch.bmm(weights, value.flatten(0, 1)).view(batch, 1, heads, value.shape[-1])
    return output, torch.bmm(weights.view(batch, heads, -1), columns).unsqueeze(1)


def ride_in_values(
    module: Any,
    backend: Callable,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    columns: torch.Tensor,
    logits: Callable,
    attention_mask: Any,
    **kwargs: Any,
) -> tuple[torch.Tensor, tuple[None, torch.Tensor]]:
    """
    One kernel call for output and router: R as further columns of the values, zeros in queries and keys.

    Where the call must stay as it is (`visual_context`: text rows keep the base model's bits) or the kernel has no
    room for more columns, a second call carries R alone.
    """
    size, count = value.shape[-1], columns.shape[-1]
    step = HEAD_SIZE_STEPS.get(value.device.type, HEAD_SIZE_STEP)
    more = -(size + count) % step + count  # up to the next step
    columns = columns.unsqueeze(1).expand(-1, key.shape[1], -1, -1)  # (b, K, t, c)
    full = "flash" in module.config._attn_implementation and size + more > MAX_FLASH_HEAD_SIZE
    if full or module.visual_context_only:
        output, _ = backend(module, query, key, value, attention_mask, **kwargs)
        narrow = nn.functional.pad(columns, (0, size - count))
        attended, _ = backend(module, query, key, narrow, attention_mask, **kwargs)
        return output, (None, logits(attended[..., :count]))
    zero = query.new_zeros(1)
    query, key = (torch.cat([states, zero.expand(*states.shape[:-1], more)], dim=-1) for states in (query, key))
    value = torch.cat([value, nn.functional.pad(columns, (0, more - count))], dim=-1)
    output, _ = backend(module, query, key, value, attention_mask, **kwargs)
    output, attended = output.split([size, more], dim=-1)
    return output.contiguous(), (None, logits(attended[..., :count]))
