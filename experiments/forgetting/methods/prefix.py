# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Prefix tuning (Li and Liang, arXiv 2101.00190): learned keys and values before those of each layer.

The prefix itself is peft's `PrefixEncoder`. It is put in by a hook on the language model and not by peft's wrapper:
that one computes the same, but saves and resumes the prefix alone, while here the projector is trained, too. As the
paper advises, the prefix begins as the keys and values of real words: those that the language model has for some
tokens of its vocabulary. So the model begins as one that has read them before each input, not as it was.

Text and images stand after the prefix, on the positions that follow it, padding not counted. Attention has as many
keys more as the prefix is long, before all others.

Shapes: `b` batch, `s` positions, `p` length of the prefix, `l` layers, `h` key heads, `e` head size.
"""

from typing import Any

import torch
from peft import PrefixTuningConfig
from peft.tuners import PrefixEncoder
from torch import nn
from transformers import DynamicCache

from forgetting.methods.base import NEW, PROJECTOR, Method
from wings_hf.modeling.wings_masks import language_model_positions

LENGTH = 20


class Prefix(nn.Module):
    """
    Keys and values for all layers of a language model.

    Args:
        config: of the language model.
        length: p.
    """

    def __init__(self, config: Any, length: int) -> None:
        super().__init__()
        self.layers, self.heads = config.num_hidden_layers, config.num_key_value_heads
        self.head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.length = length
        self.encoder = PrefixEncoder(
            PrefixTuningConfig(num_virtual_tokens=length, num_layers=self.layers, token_dim=self.heads * self.head_size)
        )

    @torch.no_grad()
    def begin_as_words(self, language_model: Any) -> None:
        """Takes the keys and values of `length` tokens, spread evenly over the vocabulary."""
        rows = language_model.get_input_embeddings().num_embeddings
        words = torch.linspace(0, rows - 1, self.length, device=language_model.device).long()
        cache = language_model(input_ids=words.unsqueeze(0), use_cache=True).past_key_values
        states = [state[0] for layer in cache.layers for state in (layer.keys, layer.values)]  # (h, p, e) each
        self.encoder.embedding.weight.copy_(torch.stack(states).permute(2, 0, 1, 3).flatten(1))

    def cache(self, batch: int) -> DynamicCache:
        """A cache that holds the prefix in `batch` rows."""
        weight = self.encoder.embedding.weight  # (p, l * 2 * h * e)
        states = weight.view(1, self.length, self.layers, 2, self.heads, self.head_size)
        states = states.permute(2, 3, 0, 4, 1, 5).expand(-1, -1, batch, -1, -1, -1)  # (l, 2, b, h, p, e)
        cache = DynamicCache()
        for layer, (keys, values) in enumerate(states):
            cache.update(keys, values, layer)
        return cache

    def go_before(self, language_model: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        """Forward pre-hook of the language model."""
        given, mask, positions = (kwargs.get(name) for name in ("past_key_values", "attention_mask", "position_ids"))
        if given is not None and given.get_seq_length():
            raise ValueError("Prefix tuning takes whole sequences here: expected no past_key_values (use_cache=False).")
        batch = kwargs["inputs_embeds"].shape[0]
        changed = {"past_key_values": self.cache(batch), "use_cache": False}
        if mask is not None:
            if not isinstance(mask, torch.Tensor) or mask.ndim != 2:
                raise ValueError("Prefix tuning expects an attention_mask of shape (batch, tokens).")
            mask = torch.cat([mask.new_ones(batch, self.length), mask], dim=1)
            changed["attention_mask"] = mask
            changed["position_ids"] = language_model_positions(kwargs["inputs_embeds"], mask, self.length)
        elif positions is not None:
            changed["position_ids"] = positions + self.length
        return args, {**kwargs, **changed}

    def hide(self, language_model: nn.Module, args: tuple, output: Any) -> Any:
        """Forward hook of the language model: the cache is not for a next call."""
        output.past_key_values = None
        return output


def add_prefix(model: Any, length: int = LENGTH) -> Any:
    language_model = model.model.language_model
    prefix = Prefix(language_model.config, length).to(language_model.device, language_model.dtype)
    prefix.begin_as_words(language_model)
    language_model.prefix = prefix
    language_model.register_forward_pre_hook(prefix.go_before, with_kwargs=True)
    language_model.register_forward_hook(prefix.hide)
    return model


METHODS: tuple[Method, ...] = (
    Method("prefix", "prefix tuning", "adapters", {r"\.prefix\.": NEW, PROJECTOR: NEW}, install=add_prefix),
)
