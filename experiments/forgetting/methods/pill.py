# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
PILL (Zhang et al., arXiv 2311.02126): adapters by modality, and a gate on what attention reads of images.

What is built, after the paper and the authors' code; the language model is frozen:
    - Adapters with a gated linear unit, in each layer: one on what attention reads, shared by the modalities; one for
      image and one for text positions on what the MLP reads. What they make is added to what they read, and is zero
      at first.
    - Modality-Attention-Gating: the values of image positions are multiplied, head by head, by tanh(gate(x)), with x
      what attention reads there. The gate is zero at first, so that images begin to count from nothing: the model
      starts as one whose attention finds zeros at the images, text without images as it was.
Left out: their stage 1, which already trains the image adapters (here stage 1 is the same for all methods).

The adapters are as wide as gives the model as many parameters as Wings would add, gates included.

Shapes: `b` batch, `s` positions, `d` hidden size, `w` width of an adapter, `h` key heads, `e` head size.
"""

from typing import Any

import torch
from torch import nn
from torch.nn.functional import silu

from forgetting.methods.adapters import linear_maps, wings_parameters
from forgetting.methods.base import LOW_RANK, NEW, PROJECTOR, Method, note
from forgetting.methods.modality import Modality

PARTS = 9  # maps of the three adapters of a layer, d x w each


class GatedAdapter(nn.Module):
    """`up(silu(gate x) * down x)`, (..., d) -> (..., d); zero at first."""

    def __init__(self, hidden_size: int, width: int) -> None:
        super().__init__()
        self.down = nn.Linear(hidden_size, width, bias=False)
        self.gate = nn.Linear(hidden_size, width, bias=False)
        self.up = nn.Linear(width, hidden_size, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.up(silu(self.gate(states)) * self.down(states))


class Pill(nn.Module):
    """
    What one layer gets.

    Args:
        hidden_size, width, heads: d, w, h.
        modality: where the images are.
    """

    def __init__(self, hidden_size: int, width: int, heads: int, modality: Modality) -> None:
        super().__init__()
        self.attention, self.image, self.text = (GatedAdapter(hidden_size, width) for _ in range(3))
        self.gate = nn.Linear(hidden_size, heads, bias=False)
        nn.init.zeros_(self.gate.weight)
        self.modality = modality

    def before_attention(self, norm: nn.Module, args: tuple, output: torch.Tensor) -> torch.Tensor:
        """Forward hook of the norm before attention."""
        return output + self.attention(output)

    def before_mlp(self, norm: nn.Module, args: tuple, output: torch.Tensor) -> torch.Tensor:
        """Forward hook of the norm before the MLP."""
        return output + self.modality.replace_images(self.text(output), output, self.image)

    def gate_values(self, v_proj: nn.Module, args: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        """Forward hook of the map to values, (b, s, h * e)."""

        def gated(both: torch.Tensor) -> torch.Tensor:
            read, values = both.split([args[0].shape[-1], output.shape[-1]], dim=-1)
            gates = self.gate(read).tanh()  # (n, h)
            return (values.unflatten(-1, (gates.shape[-1], -1)) * gates.unsqueeze(-1)).flatten(-2)

        return self.modality.replace_images(output, torch.cat([args[0], output], dim=-1), gated)


def matched_width(model: Any, parameters: int) -> int:
    """The width of the adapters at which all that is added has nearest to `parameters`, at least 1."""
    text = model.config.text_config
    gates = text.num_hidden_layers * text.hidden_size * text.num_key_value_heads
    return max(1, round((parameters - gates) / (text.num_hidden_layers * PARTS * text.hidden_size)))


def add_pill(model: Any) -> Any:
    linear_maps(model)  # raises for modules of other names
    text, width = model.config.text_config, matched_width(model, wings_parameters(model))
    note(model, width=width)
    modality = Modality.install(model)
    for layer in model.model.language_model.layers:
        pill = Pill(text.hidden_size, width, text.num_key_value_heads, modality).to(model.device, model.dtype)
        layer.pill = pill
        layer.input_layernorm.register_forward_hook(pill.before_attention)
        layer.post_attention_layernorm.register_forward_hook(pill.before_mlp)
        layer.self_attn.v_proj.register_forward_hook(pill.gate_values)
    return model


METHODS: tuple[Method, ...] = (
    Method(
        "pill",
        "modality adapters, attention gate (PILL)",
        "adapters",
        {r"\.pill\.": LOW_RANK, PROJECTOR: NEW},
        install=add_pill,
    ),
)
