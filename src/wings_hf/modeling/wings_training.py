# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What training asks of the model: learners that join later, and gradients for parts that a call leaves aside."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from wings_hf.modeling.wings_backbone import add_layer_learners, find_winged, make_router
from wings_hf.modeling.wings_learners import LowRankLearner

WINGS_OF_A_LAYER = ("visual_learner", "textual_learner", "router")


def join_learners(language_model: nn.Module, config: PreTrainedConfig, initialise: Callable[[nn.Module], None]) -> None:
    """
    Adds what the configuration has and the layers have not: learners, and the router where there are two.

    Args:
        config: a `WingsConfig` with the learners that there shall be.
        initialise: fills one new module; new ones are made where the layer's other learners are, in their dtype.
    """
    for attention in find_winged(language_model):
        reference = next(module for module in attention.modules() if isinstance(module, LowRankLearner))
        present = set(attention.children())
        attention.learner_names = config.learners
        add_layer_learners(attention, config)
        if attention.router is None:
            attention.router = make_router(config)
        for module in set(attention.children()) - present:
            module.to(reference.q_a.device, reference.q_a.dtype)
            initialise(module)
            module.train(attention.training)


def zero_of_idle_parameters(
    model: PreTrainedModel, vision_tower: nn.Module | None, has_images: bool
) -> torch.Tensor | float:
    """
    Zero, as a function of the parameters that a call may leave aside: without images all that look at images, and
    in any case the vision tower's, of whose last layers and head the features may need none.

    They get a gradient of zero instead of none, as data parallel training needs it where other processes have
    images, and as a stage that trains nothing else needs it to have a loss to differentiate.
    """
    modules: list[Any] = [vision_tower]
    if not has_images:  # by name, not by class: peft may have wrapped them
        modules += [getattr(attention, name, None) for attention in find_winged(model) for name in WINGS_OF_A_LAYER]
        modules += [model.multi_modal_projector]
    parameters = [p for module in modules if module is not None for p in module.parameters() if p.requires_grad]
    return sum((p.flatten()[:1].sum() * 0.0).to(model.dtype) for p in parameters)
