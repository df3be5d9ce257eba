# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What the models return. Shapes: `b` batch, `s` positions of the call, `d` hidden size, `t` tokens per image."""

from dataclasses import dataclass

import torch
from transformers.cache_utils import Cache
from transformers.modeling_outputs import ModelOutput


@dataclass
class WingsModelOutputWithPast(ModelOutput):
    """
    Args:
        last_hidden_state: (b, s, d).
        past_key_values: the cache, with the wings' own in its attribute `wings`.
        hidden_states, attentions: as the language model gives them.
        image_hidden_states: projected image features, a list of (t, d), one per image.
        router_logits: of a mixture-of-experts language model, where asked for.
        cross_attentions: `None`; heads of decoders that could have them ask.
    """

    last_hidden_state: torch.FloatTensor | None = None
    past_key_values: Cache | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    image_hidden_states: list[torch.FloatTensor] | None = None
    router_logits: tuple[torch.FloatTensor, ...] | None = None
    cross_attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class WingsCausalLMOutputWithPast(ModelOutput):
    """
    Args:
        loss: language modelling loss, where labels are given.
        logits: (b, s, vocabulary).
        aux_loss: load balancing loss of a mixture-of-experts language model.
        Others as in `WingsModelOutputWithPast`.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    past_key_values: Cache | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    image_hidden_states: list[torch.FloatTensor] | None = None
    aux_loss: torch.FloatTensor | None = None
    router_logits: tuple[torch.FloatTensor, ...] | None = None
