# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Tiny models with the parts of a method, and inputs for them.

A layout is a string with one character per token: ``t`` text, ``v`` visual (four to an image), ``.`` padding.
"""

import copy
from typing import Any

import torch
from forgetting.methods import adapters, cross_attention, experts, instance_experts, lora_experts, pill, prefix
from forgetting.methods.base import Method
from torch import nn

TOKENS = 4  # of an image
FAMILIES = (adapters, prefix, experts, lora_experts, instance_experts, pill, cross_attention)
METHODS: dict[str, Method] = {method.name: method for family in FAMILIES for method in family.METHODS}
CHANGED_AT_START = {"prefix", "pill", "cross-attention"}
# Methods that leave text without an image before it as it was, whatever they learned.
EXACT_ON_TEXT = {"lora-image", "visual-expert", "visual-expert-mlp", "mot-text-frozen", "cross-attention"}
LAYOUT = ["ttvvvvttt", "vvvvtvvvv", "ttttttttt"]
TOLERANCE = dict(rtol=1e-4, atol=2e-5)


def fitted(plain: Any, name: str) -> Any:
    """A copy with the method's parts."""
    torch.manual_seed(1)
    return METHODS[name].install(copy.deepcopy(plain)).eval()


def trained(model: Any, name: str) -> dict[str, nn.Parameter]:
    return {key: p for key, p in model.named_parameters() if METHODS[name].rate_of(key) is not None}


@torch.no_grad()
def shaken(plain: Any, name: str, scale: float = 0.1, projector: bool = False) -> Any:
    """Likewise, with other weights in all that the method trains; the projector only where it is asked for."""
    model = fitted(plain, name)
    generator = torch.Generator().manual_seed(2)
    for key, parameter in trained(model, name).items():
        if projector or "multi_modal_projector" not in key:
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return model


def inputs(layout: list[str], image_token: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Rows of `layout`; each row's tokens and images are the same in whatever batch and wherever padding is."""
    ids, mask, images = [], [], []
    for row in layout:
        generator = torch.Generator().manual_seed(seed + sum(map(ord, row.strip("."))))
        text = iter(torch.randint(10, 300, (len(row.strip(".")),), generator=generator).tolist())
        ids.append([next(text) if c == "t" else image_token if c == "v" else 0 for c in row])
        mask.append([int(c != ".") for c in row])
        images.append(torch.randn(row.count("v") // TOKENS, 3, 16, 16, generator=generator))
    batch = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
    batch["mm_token_type_ids"] = (batch["input_ids"] == image_token).long()
    pixels = torch.cat(images)
    return {**batch, "pixel_values": pixels} if len(pixels) else batch


@torch.no_grad()
def logits(model: Any, layout: list[str], **changes: Any) -> torch.Tensor:
    """At all positions, (b, s, v)."""
    return model(**{**inputs(layout, model.config.image_token_id), **changes}, use_cache=False).logits


def tokens_of(values: torch.Tensor, layout: list[str]) -> list[torch.Tensor]:
    """The rows without padding."""
    return [row[[c != "." for c in text]] for row, text in zip(values, layout, strict=True)]
