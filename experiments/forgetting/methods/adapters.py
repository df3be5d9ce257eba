# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
LoRA (Hu et al., arXiv 2106.09685) on all linear maps of the language model's attention and MLP, through peft.

The product is added with weight 1 (`lora_alpha` equals the rank), as those of Wings' learners are, and moves at
their rate. "lora-image" is the same with a gate that is no part of peft: it is added only at
positions that have an image at or before them, so that text without images meets the base language model, bit for bit.
"""

import re
from functools import partial
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from forgetting.methods.base import LEARNERS, LOW_RANK, NEW, PROJECTOR, Method, note
from forgetting.methods.modality import Modality

ALL_LINEAR = r"layers\.\d+\.(self_attn|mlp)\.\w+_proj"  # names inside the language model
LORA = r"\.lora_[AB]\."


def linear_maps(model: Any) -> dict[str, nn.Linear]:
    """The linear maps of attention and MLP, by their names inside the language model of `model`.

    Raises:
        ValueError: there are none of the names that Llama and its relatives use.
    """
    language_model = model.model.language_model
    found = {name: module for name, module in language_model.named_modules() if re.fullmatch(ALL_LINEAR, name)}
    if not found:
        raise ValueError(f"{type(language_model).__name__} has no modules named as in {ALL_LINEAR!r}.")
    return found


def wings_parameters(model: Any, rank: int | None = None) -> int:
    """Parameters that learners of `rank` (the configuration's by default) and routers would add to `model`."""
    fields = {"learners": ("visual", "textual"), "learner_rank": rank or model.config.learner_rank}
    config = type(model.config).from_dict({**model.config.to_dict(), **fields})
    with torch.device("meta"):
        winged = type(model)(config)
    return sum(parameter.numel() for name, parameter in winged.named_parameters() if re.search(LEARNERS, name))


def matched_rank(model: Any, parameters: int) -> int:
    """The rank of LoRA on all linear maps whose number of parameters is nearest to `parameters`, at least 1."""
    per_rank = sum(module.in_features + module.out_features for module in linear_maps(model).values())
    return max(1, round(parameters / per_rank))


def add_lora(model: Any, rank: int) -> Any:
    """Adds LoRA of `rank`; its B is zero, so that no logit changes."""
    linear_maps(model)
    config = LoraConfig(r=rank, lora_alpha=rank, lora_dropout=0.0, target_modules=ALL_LINEAR)
    inject_adapter_in_model(config, model.model.language_model)
    note(model, rank=rank, alpha=rank)
    return model


def add_matched_lora(model: Any) -> Any:
    """LoRA with as many parameters as Wings of the configuration's `learner_rank` would add."""
    return add_lora(model, matched_rank(model, wings_parameters(model)))


def add_image_lora(model: Any) -> Any:
    """The same, at positions that have an image at or before them only."""
    add_matched_lora(model)
    modality = Modality.install(model)
    for name, module in model.model.language_model.named_modules():
        if re.fullmatch(ALL_LINEAR + r"\.lora_A\.default", name):
            module.register_forward_hook(modality.only_after_images)
    return model


TRAINED = {LORA: LOW_RANK, PROJECTOR: NEW}

METHODS: tuple[Method, ...] = (
    Method("lora-8", "LoRA, rank 8", "adapters", TRAINED, install=partial(add_lora, rank=8)),
    Method("lora-64", "LoRA, rank 64", "adapters", TRAINED, install=partial(add_lora, rank=64)),
    Method(
        "lora-matched",
        "LoRA, as many parameters as Wings",
        "adapters",
        TRAINED,
        install=add_matched_lora,
        core=True,
    ),
    Method(
        "lora-image",
        "LoRA with an image in context only",
        "adapters",
        TRAINED,
        install=add_image_lora,
        core=True,
    ),
)
