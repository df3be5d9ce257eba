# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Looking into a language model's self-attention while it runs, whatever backend computes it.

While a model is watched, each self-attention module of its language model sees a view of its configuration in which
`_attn_implementation` names a function of ours. That function calls the backend that the model would have called, with
the very same arguments, and hands the call on to whoever watches. The model's outputs stay what they are, bit for bit;
masks follow the real configuration; vision towers, learners and cross-attention are not touched.

Attention is linear in the values: with class indicators in their place the same backend returns the mass of attention
on each class of keys, and with one-hot columns the weights themselves. No attention matrix is made for it.

Shapes: `b` batch, `s` query rows, `t` keys, `H` query heads, `K` key heads, `e` size of values, `c` columns.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

WATCHED = "watched"  # goes before the name of the backend: some families look for a part of that, such as "flash"
ROWS_AT_ONCE = 256  # of eager attention, which makes its weights


@dataclass
class AttentionCall:
    """
    One layer's main attention in one forward pass.

    Args:
        layer: number of the layer, from 0.
        module: its attention module.
        query: (b, H, s, e'), after rotation.
        key: (b, K, t, e').
        value: (b, K, t, e).
        router_logits: of a Wings model with a router at work, float32 (b, s, 2); else None.
        wings: what the learners know of the call (`WingsContext`), or None.
    """

    layer: int
    module: Any
    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    attend_to: Callable[[torch.Tensor], torch.Tensor] = field(repr=False)
    router_logits: torch.Tensor | None = None
    wings: Any = None

    def attend(self, columns: torch.Tensor) -> torch.Tensor:
        """
        The attention weights times `columns`, (b, s, H, c).

        Args:
            columns: for the last keys (b, t', c); keys before them, such as those of a prefix, count as zeros.
        """
        size = self.value.shape[-1]
        keys = self.key.shape[2]
        columns = nn.functional.pad(columns.to(self.value), (0, 0, keys - columns.shape[1], 0))
        attended = []
        for part in columns.split(size, dim=-1):
            count = part.shape[-1]
            values = nn.functional.pad(part, (0, size - count))
            values = values.unsqueeze(1).expand(-1, self.value.shape[1], -1, -1).contiguous()
            attended.append(self.attend_to(values)[..., :count])
        return torch.cat(attended, dim=-1)


class WatchedConfig:
    """A configuration as a watched module sees it: only the attention function's name differs, and leads to `seen`."""

    def __init__(self, config: Any, seen: Callable[..., Any]):
        self.real_config, self.seen = config, seen
        self._attn_implementation = f"{WATCHED}:{config._attn_implementation}"
        AttentionInterface.register(self._attn_implementation, _watched_attention)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real_config, name)


def _watched_attention(module: Any, *args: Any, **kwargs: Any) -> Any:
    return module.config.seen(module, *args, **kwargs)


@contextmanager
def watch_attention(model: nn.Module, on_call: Callable[[AttentionCall], None]) -> Iterator[int]:
    """
    Calls `on_call` for each self-attention of the language model, in each forward pass; gives the number of layers.

    Raises:
        ValueError: no self-attention that goes through transformers' attention interface was found.
    """
    modules = self_attentions(model)
    with ExitStack() as stack:
        for layer, module in enumerate(modules):
            watch = _watch_wings if hasattr(type(module), "backbone_class") else _watch_plain
            stack.enter_context(watch(layer, module, on_call))
        yield len(modules)


@contextmanager
def _watch_plain(layer: int, module: Any, on_call: Callable[[AttentionCall], None]) -> Iterator[None]:
    real = module.config

    def seen(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **kwargs: Any) -> Any:
        with _replaced(module, "config", real):
            backend = _in_chunks(_backend(module)) if _makes_weights(module, query, kwargs) else _backend(module)
            output, weights = backend(module, query, key, value, attention_mask, **kwargs)

            def attend_to(values: torch.Tensor) -> torch.Tensor:
                if isinstance(weights, torch.Tensor):
                    return _weighted(weights, values)
                return backend(module, query, key, values, attention_mask, **kwargs)[0]

            on_call(AttentionCall(layer, module, query, key, value, attend_to))
        return output, weights

    with _replaced(module, "config", WatchedConfig(real, seen)):
        yield


@contextmanager
def _watch_wings(layer: int, module: Any, on_call: Callable[[AttentionCall], None]) -> Iterator[None]:
    """
    As `_watch_plain`, for a module with learners.

    Its main branch is the backbone's `forward` on a view of the module; the learners call the backend by themselves,
    with the module's own configuration. So it is the view that is watched.
    """
    base = module.backbone_class  # which may be watched already
    outer_watch = vars(module).get("backbone_class")

    class Watched:
        @staticmethod
        def forward(main: Any, *args: Any, **kwargs: Any) -> Any:
            wings_config = main.config

            def seen(main: Any, query: Any, key: Any, value: Any, attention_mask: Any, **kwargs: Any) -> Any:
                main.config = wings_config
                outer = ALL_ATTENTION_FUNCTIONS[wings_config._attn_implementation]
                output, (weights, logits) = outer(main, query, key, value, attention_mask, **kwargs)
                plain = {name: kept for name, kept in kwargs.items() if name != "wings"}
                plain["scaling"] = query.shape[-1] ** -0.5 if plain.get("scaling") is None else plain["scaling"]

                def attend_to(values: torch.Tensor) -> torch.Tensor:
                    if weights is not None:
                        return _weighted(weights, values)
                    return _backend(module)(module, query, key, values, attention_mask, **plain)[0]

                on_call(AttentionCall(layer, module, query, key, value, attend_to, logits, kwargs.get("wings")))
                return output, (weights, logits)

            main.config = WatchedConfig(wings_config, seen)
            return base.forward(main, *args, **kwargs)

    module.backbone_class = Watched
    try:
        yield
    finally:
        if outer_watch is None:
            del module.backbone_class
        else:
            module.backbone_class = outer_watch


@contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def _weighted(weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """weights (b, H, s, t), values (b, K, t, c), the same for all heads -> (b, s, H, c)."""
    return (weights @ values[:, :1]).transpose(1, 2)


def _makes_weights(module: Any, query: torch.Tensor, kwargs: dict[str, Any]) -> bool:
    """Whether this is eager attention over so many rows that its weights had better not be made at once."""
    asked_for = kwargs.get("output_attentions") or kwargs.get("position_bias") is not None
    return module.config._attn_implementation == "eager" and query.shape[2] > ROWS_AT_ONCE and not asked_for


def _in_chunks(eager: Callable) -> Callable:
    """Eager attention over `ROWS_AT_ONCE` query rows at a time; rows do not depend on each other."""

    def attend(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **kwargs: Any) -> Any:
        parts = query.split(ROWS_AT_ONCE, dim=2)
        if attention_mask is None or attention_mask.shape[2] == 1:  # one for all rows
            masks = [attention_mask] * len(parts)
        else:
            masks = attention_mask.split(ROWS_AT_ONCE, dim=2)
        outputs = [eager(module, rows, key, value, mask, **kwargs)[0] for rows, mask in zip(parts, masks, strict=True)]
        return torch.cat(outputs, dim=1), None

    return attend


def _backend(module: Any) -> Callable:
    return ALL_ATTENTION_FUNCTIONS.get_interface(module.config._attn_implementation, eager_attention(module))


# ---- finding them -------------------------------------------------------------------------------------------------


def eager_attention(module: nn.Module) -> Any:
    """The eager attention function of the module's own source file, or of the file of a class that it derives from."""
    for cls in type(module).__mro__:
        function = getattr(sys.modules.get(cls.__module__), "eager_attention_forward", None)
        if function is not None:
            return function
    return None


def self_attentions(model: nn.Module) -> list[nn.Module]:
    """
    The self-attention modules of the model's language model, in the order of its layers.

    Raises:
        ValueError: there is none, or one does not go through transformers' attention interface.
    """
    found = [module for layer in decoder_layers(model) for module in _attentions(layer)]
    if not found:
        raise ValueError(
            f"{type(model).__name__}: found no self-attention in its language model that goes through transformers' "
            "attention interface, so its attention cannot be measured."
        )
    return found


def decoder_layers(model: Any) -> nn.ModuleList:
    """The stack of layers of the language model inside `model`, which may be wrapped (peft, a Trainer's wrappers)."""
    for module in model.modules():
        decoder = module.get_decoder() if hasattr(module, "get_decoder") else None
        if decoder is not None:
            model = decoder
            break
    stacks = [m for m in model.modules() if isinstance(m, nn.ModuleList) and any(_attentions(layer) for layer in m)]
    if not stacks:
        raise ValueError(
            f"{type(model).__name__} has no stack of layers with attention that goes through transformers' attention "
            "interface: expected a decoder language model, alone or in an image-text model."
        )
    return stacks[0]


def _attentions(layer: nn.Module) -> list[nn.Module]:
    """The layer's self-attention: what has a configuration and an eager function, and no cross in its name."""
    found: list[nn.Module] = []
    for name, module in layer.named_modules():
        is_attention = (
            "cross" not in f"{name} {type(module).__name__}".lower()
            and "ttention" in type(module).__name__
            and hasattr(getattr(module, "config", None), "_attn_implementation")
            and eager_attention(module) is not None
        )
        if is_attention and not any(module in set(outer.modules()) for outer in found):
            found.append(module)
    return found
