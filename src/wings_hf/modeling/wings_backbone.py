# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Gives wings to any decoder language model that transformers builds.

Each attention module's class is replaced by a subclass of itself (`WingsAttentionMixin` in front), made at run time
and kept once per base class; parameter names of the language model stay as they are. Decoder layers are replaced
likewise: the first hands its input, the initial embeddings, to the attention modules of all layers, and with
`learner_query="post_attention"` each tells its attention what the residual stream is.
"""

import ast
import functools
import inspect
import sys
import textwrap
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from wings_hf.modeling.wings_attention import WingsAttentionMixin
from wings_hf.modeling.wings_classes import winged_class
from wings_hf.modeling.wings_context import WingsContext
from wings_hf.modeling.wings_learners import LowRankLearner
from wings_hf.modeling.wings_rope import layer_rope
from wings_hf.modeling.wings_router import MassRouter, ModalityRouter, PositionRouter, Router


class WingsDecoderLayerMixin:
    """Hands the initial embeddings, and where asked for the residual stream, to the attention modules."""

    gradient_checkpointing: bool
    training: bool
    is_first_layer: bool
    tells_residual: bool
    residual_scale: float
    norm_after_attention: str | None

    def __call__(
        self,
        hidden_states: torch.Tensor,
        *args: Any,
        wings: WingsContext | Literal[False] | None = None,
        **kwargs: Any,
    ):
        # Before the layer and outside of what gradient checkpointing runs again.
        if wings and self.is_first_layer:
            if self._checkpoints_reentrantly():
                hidden_states, wings.x = share_across_reentrant_checkpoints(hidden_states)
            else:
                wings.x = hidden_states
        return super().__call__(hidden_states, *args, wings=wings, **kwargs)

    def forward(
        self,
        hidden_states: torch.Tensor,
        *args: Any,
        wings: WingsContext | Literal[False] | None = None,
        **kwargs: Any,
    ):
        if wings and self.tells_residual:
            wings.residual_stream = lambda attended: self.residual_after_attention(hidden_states, attended)
        return super().forward(hidden_states, *args, wings=wings, **kwargs)

    def residual_after_attention(self, residual: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """The residual stream once the main attention, with any norm or multiplier on it, was added."""
        if self.norm_after_attention is not None:
            attended = getattr(self, self.norm_after_attention)(attended)
        return residual + attended * self.residual_scale

    def _checkpoints_reentrantly(self) -> bool:
        if not (self.training and getattr(self, "gradient_checkpointing", False) and torch.is_grad_enabled()):
            return False
        keywords = getattr(self._gradient_checkpointing_func, "keywords", {})
        return keywords.get("use_reentrant", False)


class _ReturnSharedGradient(torch.autograd.Function):
    """Identity whose backward adds the gradient that a detached leaf, shared by all layers, has gathered."""

    @staticmethod
    def forward(ctx: Any, hidden_states: torch.Tensor, leaf: list[torch.Tensor]) -> torch.Tensor:
        ctx.leaf = leaf
        return hidden_states.view_as(hidden_states)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        shared = ctx.leaf[0].grad
        return (gradient if shared is None else gradient + shared), None


def share_across_reentrant_checkpoints(hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    `hidden_states` for the first layer, and for the learners of all layers, under reentrant gradient checkpointing.

    That kind runs one backward pass per layer, and would go through the graph of a shared tensor more than once. The
    learners get a detached leaf; what it gathers joins the gradient of the first layer's input, whose backward pass
    is the last.
    """
    if not hidden_states.requires_grad:
        return hidden_states, hidden_states
    leaf = hidden_states.detach().requires_grad_()
    return _ReturnSharedGradient.apply(hidden_states, [leaf]), leaf


# ---- attaching ----------------------------------------------------------------------------------------------------


def attach_wings(
    language_model: PreTrainedModel, config: PreTrainedConfig, mixin: type[WingsAttentionMixin] = WingsAttentionMixin
) -> None:
    """
    Puts learners and routers beside the attention of `language_model`, in place.

    Args:
        language_model: a base decoder (without head), freshly built.
        config: a `WingsConfig` whose `text_config` describes it.
        mixin: what to put before the attention classes.

    Raises:
        ValueError: for a language model that cannot carry wings; the message says why.
    """
    text_config = config.text_config
    layers = decoder_layers(language_model, text_config)
    for order, index in enumerate(config.winged_layers):
        attention = find_attention(layers[index], index, text_config.model_type)
        head_size = text_config.hidden_size // config.learner_heads
        rope = None
        if config.learner_rope:
            rope = layer_rope(text_config, index, attention, head_size, config.learner_rope_dtype)
        attention.__class__ = winged_class(mixin, type(attention))
        slides = _layer_slides(text_config, index, attention)
        attention.grow_wings(config, rope, order, slides)
        attention.router = make_router(config)
        add_layer_learners(attention, config)
    for index, layer in enumerate(layers):
        if index == 0 or index in config.winged_layers:
            _wrap_layer(layer, config, index)


def add_layer_learners(attention: nn.Module, config: PreTrainedConfig) -> None:
    """Adds the learners that `config` asks for and the layer has not, uninitialised."""
    for name in config.learners:
        if not hasattr(attention, f"{name}_learner"):
            learner = LowRankLearner(config.text_config.hidden_size, config.learner_rank)
            attention.add_module(f"{name}_learner", learner)


def find_winged(language_model: nn.Module) -> list[nn.Module]:
    """All attention modules with wings."""
    return [module for module in language_model.modules() if isinstance(module, WingsAttentionMixin)]


def checkpoints_activations(language_model: nn.Module) -> bool:
    """Whether gradient checkpointing is on in any of its layers."""
    return any(getattr(module, "gradient_checkpointing", False) for module in language_model.modules())


def make_router(config: PreTrainedConfig) -> Router | None:
    """One layer's router, uninitialised; `None` where the configuration has none."""
    if not config.has_router:
        return None
    if config.router == "mass":
        return MassRouter(config.router_power)
    if config.router == "position":
        return PositionRouter(config.router_positions)
    return ModalityRouter(config.text_config.num_attention_heads)


def decoder_layers(language_model: PreTrainedModel, text_config: PreTrainedConfig) -> nn.ModuleList:
    """The decoder's stack of layers."""
    count = text_config.num_hidden_layers
    stacks = [child for child in language_model.children() if isinstance(child, nn.ModuleList) and len(child) == count]
    if len(stacks) != 1:
        raise ValueError(
            f"The language model {text_config.model_type!r} cannot carry wings: {type(language_model).__name__} has "
            f"{len(stacks)} stacks of {count} layers, expected one."
        )
    _require_keywords(language_model, text_config.model_type)
    return stacks[0]


def find_attention(layer: nn.Module, index: int, model_type: str) -> nn.Module:
    """The layer's one self-attention module."""
    found = [child for child in layer.children() if "Attention" in type(child).__name__]
    if len(found) != 1:
        raise ValueError(
            f"Layer {index} of the language model {model_type!r} cannot carry learners: it has {len(found)} "
            "attention modules, expected one. Name the layers that have one in learner_layers."
        )
    _require_keywords(layer, model_type)
    _require_keywords(found[0], model_type)
    if not hasattr(sys.modules[type(found[0]).__module__], "eager_attention_forward"):
        raise ValueError(
            f"The language model {model_type!r} cannot carry wings: {type(found[0]).__name__} does not use "
            "transformers' attention interface."
        )
    return found[0]


def _require_keywords(module: nn.Module, model_type: str) -> None:
    """Raises unless the module's `forward` hands the keyword arguments that it does not know to a call inside."""
    forward = inspect.unwrap(type(module).forward)
    parameters = inspect.signature(forward).parameters.values()
    name = next((p.name for p in parameters if p.kind is inspect.Parameter.VAR_KEYWORD), None)
    if name is None or not _passes_on(forward, name):
        raise ValueError(
            f"The language model {model_type!r} cannot carry wings: {type(module).__name__}.forward does not pass "
            "keyword arguments on to attention, so the learners would not know where the images are."
        )


@functools.cache  # asked for each layer, and reading the source takes milliseconds
def _passes_on(function: Callable, name: str) -> bool:
    """Whether some call in the function's source has `**name` among its arguments."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError):
        return True  # no source to look at: the attention modules tell at the first call
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return any(
        keyword.arg is None and isinstance(keyword.value, ast.Name) and keyword.value.id == name
        for call in calls
        for keyword in call.keywords
    )


def _layer_slides(text_config: PreTrainedConfig, index: int, attention: nn.Module) -> bool:
    """Whether the layer's cache, made from the configuration, keeps a window only."""
    layer_types = getattr(text_config, "layer_types", None)
    if layer_types is not None:
        return layer_types[index] in ("sliding_attention", "chunked_attention")
    return any(getattr(text_config, name, None) is not None for name in ("sliding_window", "attention_chunk_size"))


def _wrap_layer(layer: nn.Module, config: PreTrainedConfig, index: int) -> None:
    tells_residual = config.learner_query == "post_attention" and index in config.winged_layers
    norm, scale = _after_attention(layer, config.text_config.model_type) if tells_residual else (None, 1.0)
    layer.__class__ = winged_class(WingsDecoderLayerMixin, type(layer))
    layer.is_first_layer = index == 0
    layer.tells_residual = tells_residual
    layer.norm_after_attention, layer.residual_scale = norm, scale


def _after_attention(layer: nn.Module, model_type: str) -> tuple[str | None, float]:
    """Name of the norm on the attention's output, if any, and the factor on it before it joins the residual."""
    norms = {name for name, child in layer.named_children() if "norm" in name.lower()}
    scale = float(getattr(layer, "residual_multiplier", 1.0))
    if getattr(layer, "use_parallel_residual", False) or norms == {"input_layernorm"}:
        raise ValueError(
            f"learner_query='post_attention' needs the residual stream after attention, which the language model "
            f"{model_type!r} has not: its attention and MLP read the same input. Expected 'attention_input'."
        )
    if norms == {"input_layernorm", "post_attention_layernorm"}:
        return None, scale
    if norms in (
        {"post_attention_layernorm", "post_feedforward_layernorm"},
        {
            "input_layernorm",
            "post_attention_layernorm",
            "pre_feedforward_layernorm",
            "post_feedforward_layernorm",
        },
    ):
        return "post_attention_layernorm", scale
    raise ValueError(
        f"learner_query='post_attention': it is not known where the layers of {model_type!r}, with norms "
        f"{sorted(norms)}, add attention to the residual stream. Expected 'attention_input'."
    )
