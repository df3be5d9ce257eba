# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
The main branch: a backbone's own attention, whose function is looked up under a name that leads here.

`wings_attention_forward` receives queries, keys and values after rotation and cache update, and calls the backend that
the user chose. It can widen the values by the router's columns R on the way (wings_riding.py), so that one kernel call
returns attention output and router logits, and no attention matrix is kept.

Shapes: `b` batch, `s` query rows, `t` keys, `H` query heads, `K` key heads, `e` head size; for learners `h` heads and
`n` at work.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, PreTrainedConfig
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from wings_hf.modeling.wings_context import WingsContext
from wings_hf.modeling.wings_fused import attend_router_fused, fuses_router
from wings_hf.modeling.wings_riding import attend_with_weights, ride_in_values, router_columns, weights_are_plain

ATTENTION_NAME = f"wings:{__name__}"  # its own for each copy of this module that is loaded as remote code


class AttentionConfigView:
    """A backbone's configuration as its attention `forward` sees it: only the attention function's name differs."""

    _attn_implementation = ATTENTION_NAME

    def __init__(self, backbone_config: PreTrainedConfig):
        self.backbone_config = backbone_config

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backbone_config, name)


class ModuleView:
    """An attention module with some attributes replaced: what a `forward` or a kernel takes for the module."""

    def __init__(self, module: nn.Module, **replaced: Any):
        self.module = module
        for name, value in replaced.items():
            setattr(self, name, value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)


def attention_function(config: PreTrainedConfig, eager: Callable) -> Callable:
    """The attention function that the user chose for the language model."""
    return ALL_ATTENTION_FUNCTIONS.get_interface(config._attn_implementation, eager)


def plain_eager_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Eager attention without softcap, sinks or bias: query (b, h * n, s, e), key and value (b, h, t, e)."""
    key = key.repeat_interleave(module.num_key_value_groups, dim=1)
    value = value.repeat_interleave(module.num_key_value_groups, dim=1)
    # float32 at least: in float16 a mask's lowest number and a foreign key's score together are -inf.
    scores = (query @ key.transpose(2, 3)).to(torch.promote_types(query.dtype, torch.float32)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(-1).to(query.dtype)
    return (weights @ value).transpose(1, 2), weights


def wings_attention_forward(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    scaling: float | None = None,
    wings: WingsContext | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, tuple[torch.Tensor | None, torch.Tensor | None]]:
    """
    The main branch's attention, and the router's logits where the call needs them.

    Args:
        module: the `ModuleView` of a winged attention module.
        query, key, value: (b, H, s, e), (b, K, t, e), (b, K, t, e), after rotation and cache update.

    Returns:
        attention output (b, s, H, e), and (attention weights of the eager backend, router logits (b, s, 2)).
    """
    module = module.module  # the attention module itself, behind the view that its `forward` ran on
    backend = attention_function(module.config, module.backbone_eager_attention)
    kwargs["scaling"] = query.shape[-1] ** -0.5 if scaling is None else scaling
    if wings is None or module.router is None or not wings.sees_images:
        output, weights = backend(module, query, key, value, attention_mask, **kwargs)
        return output, (weights, None)
    columns, logits = router_columns(module, query, value, wings)
    if query.shape[2] > 1 and fuses_router(module, query, attention_mask, wings, kwargs):
        output, attended = attend_router_fused(query, key, value, columns, wings, kwargs["scaling"])
        return output, (None, logits(attended))
    if query.shape[2] == 1 and weights_are_plain(module, kwargs):
        output, attended = attend_with_weights(query, key, value, columns, attention_mask, kwargs["scaling"])
        return output, (None, logits(attended))
    if module.config._attn_implementation == "eager":
        output, weights = backend(module, query, key, value, attention_mask, **kwargs)
        attended = (weights @ columns.unsqueeze(1)).transpose(1, 2)  # (b, s, H, c)
        return output, (weights, logits(attended))
    return ride_in_values(module, backend, query, key, value, columns, logits, attention_mask, **kwargs)


AttentionInterface.register(ATTENTION_NAME, wings_attention_forward)
