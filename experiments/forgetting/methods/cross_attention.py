# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Gated cross-attention: text reads images in layers of its own, and the language model is frozen.

After Flamingo (Alayrac et al., arXiv 2204.14198) and Llama 3.2 Vision (arXiv 2407.21783, section 7): before each layer
of the language model (as in the smallest Flamingo) a layer of cross-attention from the residual stream to the images,
and an MLP, each added with weight tanh(gate), the gate zero at first. Queries and keys are normalised by head, as in
Llama 3.2. Where it follows one of the two or neither:
    - The projector's outputs are what is read, the same for all layers.
    - A position reads all images before it in its row. (Llama 3.2: those next before it; Flamingo: the last one.
      Questions that compare two images need both.)
    - A position with no image before it gets nothing from either part, as in Llama 3.2. So text without images meets
      the base language model, bit for bit.
    - The image placeholders stay in the sequence, but no text sees them in self-attention, and positions are counted
      without them where text surrounds them. So the model begins as the language model that reads the text alone,
      whatever stage 1 has taught the projector about self-attention.

Cross-attention does not go through transformers' attention interface: what measures self-attention there finds images
without any weight.

Shapes: `b` batch, `s` positions, `m` image positions in the row that has most, `d` hidden size, `h` heads, `e` head
size.
"""

from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from forgetting.methods.adapters import linear_maps
from forgetting.methods.base import NEW, PROJECTOR, Method
from forgetting.methods.modality import Modality
from wings_hf.modeling.wings_masks import language_model_positions


class Images:
    """
    The images of one call, by row.

    Args:
        embeddings: merged embeddings, (b, s, d).
        is_image: positions with an image feature, bool (b, s).
    """

    def __init__(self, embeddings: torch.Tensor, is_image: torch.Tensor) -> None:
        place = is_image.cumsum(-1) - 1  # of an image position among its row's
        row, column = is_image.nonzero(as_tuple=True)
        slots = (row, place[row, column])
        shape = (len(is_image), int(is_image.sum(-1).max()))
        self.features = embeddings.new_zeros(*shape, embeddings.shape[-1]).index_put(slots, embeddings[row, column])
        at = torch.full(shape, is_image.shape[1], device=is_image.device).index_put(slots, column)  # none: past the end
        before = at.unsqueeze(1) <= torch.arange(is_image.shape[1], device=is_image.device).unsqueeze(-1)
        self.visible = before.any(-1)  # bool (b, s)
        self.mask = (before | ~self.visible.unsqueeze(-1)).unsqueeze(1)  # (b, 1, s, m); rows of none are zeroed later


class GatedCrossAttention(nn.Module):
    """
    One layer: cross-attention and MLP, each behind its gate.

    Args:
        layer: the layer of the language model that it goes before; gives the kind of norm and MLP.
        config: of the language model.
    """

    def __init__(self, layer: Any, config: Any, sight: "Sight") -> None:
        super().__init__()
        width, self.heads = config.hidden_size, config.num_attention_heads
        norm = type(layer.input_layernorm)
        self.attention_norm, self.mlp_norm = (norm(width, eps=config.rms_norm_eps) for _ in range(2))
        self.q_norm, self.k_norm = (norm(width // self.heads, eps=config.rms_norm_eps) for _ in range(2))
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.mlp = type(layer.mlp)(config)
        self.attention_gate, self.mlp_gate = (nn.Parameter(torch.zeros(1)) for _ in range(2))
        self.sight = sight

    def forward(self, states: torch.Tensor, images: Images) -> torch.Tensor:
        """(b, s, d) -> (b, s, d)."""
        visible = images.visible.unsqueeze(-1)
        attended = self.attention_gate.tanh() * self.attend(self.attention_norm(states), images)
        states = states + torch.where(visible, attended, 0.0)
        made = self.mlp_gate.tanh() * self.mlp(self.mlp_norm(states))
        return states + torch.where(visible, made, 0.0)

    def attend(self, states: torch.Tensor, images: Images) -> torch.Tensor:
        queries = self.q_norm(self._split(self.q_proj(states)))  # (b, h, s, e)
        keys = self.k_norm(self._split(self.k_proj(images.features)))  # (b, h, m, e)
        values = self._split(self.v_proj(images.features))
        attended = scaled_dot_product_attention(queries, keys, values, attn_mask=images.mask)
        return self.o_proj(attended.transpose(1, 2).flatten(-2))

    def _split(self, states: torch.Tensor) -> torch.Tensor:
        return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def go_before(self, layer: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        """Forward pre-hook of the language model's layer."""
        images = self.sight.images
        return None if images is None else (self(args[0], images), *args[1:])


class Sight:
    """
    Takes the images of a call out of self-attention's sight and keeps them for the layers of cross-attention.

    Args:
        modality: where the images are.
    """

    def __init__(self, modality: Modality) -> None:
        self.modality = modality
        self.images: Images | None = None

    def begin(self, language_model: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        """Forward pre-hook of the language model."""
        call, mask = self.modality.now, kwargs.get("attention_mask")
        if call.past:
            raise ValueError(
                "Cross-attention takes whole sequences here: expected no past_key_values (use_cache=False)."
            )
        if not call.has_images:
            return args, kwargs
        if mask is not None and not (isinstance(mask, torch.Tensor) and mask.ndim == 2):
            raise ValueError("Cross-attention expects an attention_mask of shape (batch, tokens).")
        embeddings = kwargs["inputs_embeds"]
        self.images = Images(embeddings, call.is_image) if bool(call.is_image.any()) else None
        text = (call.is_token & ~call.is_image).long()
        positions = language_model_positions(embeddings, text, 0)
        return args, {**kwargs, "attention_mask": text, "position_ids": positions}

    def end(self, language_model: nn.Module, args: tuple, output: Any) -> None:
        self.images = None


def add_cross_attention(model: Any) -> Any:
    linear_maps(model)  # raises for modules of other names
    language_model = model.model.language_model
    sight = Sight(Modality.install(model))
    language_model.register_forward_pre_hook(sight.begin, with_kwargs=True)
    language_model.register_forward_hook(sight.end, always_call=True)
    for layer in language_model.layers:
        cross = GatedCrossAttention(layer, language_model.config, sight).to(model.device, model.dtype)
        layer.cross_attention = cross
        layer.register_forward_pre_hook(cross.go_before)
    return model


METHODS: tuple[Method, ...] = (
    Method(
        "cross-attention",
        "gated cross-attention",
        "cross-attention",
        {r"\.cross_attention\.": NEW, PROJECTOR: NEW},
        install=add_cross_attention,
    ),
)
