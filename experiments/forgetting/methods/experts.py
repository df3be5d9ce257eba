# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Weights of their own for image tokens. Attention stays shared: all tokens meet in one softmax.

    visual-expert      CogVLM (Wang et al., arXiv 2311.03079): q, k, v, o and MLP; the language model is frozen
    visual-expert-mlp  Mono-InternVL (Luo et al., arXiv 2410.08202): the MLP only, the language model frozen. Its later
                       stages also tune attention, which is left out
    mot                Mixture-of-Transformers (Liang et al., arXiv 2411.04996): q, k, v, o, MLP and the norms of each
                       layer, text and image weights both trained; the final norm and the head serve text only here
    mot-text-frozen    the same, with the text weights frozen

Image weights begin as copies of the language model's and move at the rate of weights that it had. They stand beside
the module that they are a copy of, whose forward hook puts their rows in; text rows are made as ever, so that text
without an image before it meets the base language model, bit for bit, as long as that is frozen.

Unlike in CogVLM's code, the last token of an image is an image token like the others.
"""

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from forgetting.methods.adapters import linear_maps
from forgetting.methods.base import LANGUAGE_MODEL, NEW, PROJECTOR, TUNED, Method
from forgetting.methods.modality import Modality

EXPERT = r"\.image_expert\."


class ImageExpert(nn.Module):
    """
    A copy of `host` that makes the rows of the image positions in its stead.

    Args:
        host: a module that maps each position on its own, (..., width) -> (..., width).
        modality: where the images are.
    """

    def __init__(self, host: nn.Module, modality: Modality) -> None:
        super().__init__()
        self.weights = copy.deepcopy(host)
        self.modality = modality

    def take_over(self, host: nn.Module, args: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        """Forward hook of the host."""
        return self.modality.replace_images(output, args[0], self.weights)


def attention_maps(layer: Any) -> Iterator[nn.Module]:
    attention = layer.self_attn
    yield from (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj)


def attention_and_mlp(layer: Any) -> Iterator[nn.Module]:
    yield from (*attention_maps(layer), layer.mlp)


def mlp_only(layer: Any) -> Iterator[nn.Module]:
    yield layer.mlp


def everything(layer: Any) -> Iterator[nn.Module]:
    yield from (*attention_and_mlp(layer), layer.input_layernorm, layer.post_attention_layernorm)


def add_image_experts(model: Any, hosts: Callable[[Any], Iterator[nn.Module]]) -> Any:
    """Gives the `hosts` of each layer weights for image positions, copies of their own: no logit changes."""
    linear_maps(model)  # raises for modules of other names
    modality = Modality.install(model)
    for layer in model.model.language_model.layers:
        for host in list(hosts(layer)):
            expert = ImageExpert(host, modality)
            host.image_expert = expert
            host.register_forward_hook(expert.take_over)
    return model


IMAGE_WEIGHTS = {EXPERT: TUNED, PROJECTOR: NEW}

METHODS: tuple[Method, ...] = (
    Method(
        "visual-expert",
        "visual expert: attention and MLP",
        "experts",
        IMAGE_WEIGHTS,
        install=partial(add_image_experts, hosts=attention_and_mlp),
    ),
    Method(
        "visual-expert-mlp",
        "visual expert: MLP",
        "experts",
        IMAGE_WEIGHTS,
        install=partial(add_image_experts, hosts=mlp_only),
    ),
    Method(
        "mot",
        "text and image weights",
        "experts",
        {PROJECTOR: NEW, LANGUAGE_MODEL: TUNED},
        install=partial(add_image_experts, hosts=everything),
    ),
    Method(
        "mot-text-frozen",
        "text and image weights, text frozen",
        "experts",
        IMAGE_WEIGHTS,
        install=partial(add_image_experts, hosts=everything),
    ),
)
