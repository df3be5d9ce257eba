# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Stages of training as data: which learners the model has, which parts move, and how fast.

The vision tower stays frozen in all of them, and the language model in the first.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

RECIPES = ("wings", "exact", "plain")
PARTS = ("vision_tower", "projector", "visual_learner", "textual_learner", "router", "language_model")


@dataclass(frozen=True)
class Stage:
    """One stage of training.

    Args:
        name: of its folder and its progress bar.
        learning_rates: learning rate of each part that moves; the others are frozen. Parts are those of `PARTS`;
            the language model's head belongs to it.
        learners: learners that the model has in this stage; missing ones are added when the stage begins.
    """

    name: str
    learning_rates: Mapping[str, float]
    learners: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unknown = set(self.learning_rates) - set(PARTS)
        if unknown:
            raise ValueError(f"stage {self.name!r}: unknown parts {sorted(unknown)}, expected some of {PARTS}.")


@dataclass(frozen=True)
class Recipe:
    """A way to give a language model sight: what the model is built with, and its stages in order.

    Args:
        name: what it is called on the command line.
        model: fields of `WingsConfig` that the recipe fixes.
        stages: the stages, each continuing with the model that the one before it left.
    """

    name: str
    model: Mapping[str, Any]
    stages: tuple[Stage, ...]


def build_recipe(name: str, align_rate: float, tune_rate: float, language_model_rate: float) -> Recipe:
    """The recipe called `name`.

    - `"wings"`: the paper's (section 3.3). Align: the projector and visual learners move. Tune: the textual learners
      and the router join, and the language model moves in smaller steps.
    - `"exact"`: the language model never moves and learners act only in the context of an image, so that text-only
      answers stay what they were, to the bit.
    - `"plain"`: no learners, LLaVA's shape. Align: the projector moves. Tune: the language model moves with it.

    Args:
        align_rate: learning rate of all that moves in the first stage.
        tune_rate: learning rate in the second stage, except of the language model.
        language_model_rate: learning rate of the language model in the second stage, where it moves.

    Raises:
        ValueError: there is no such recipe.
    """
    if name not in RECIPES:
        raise ValueError(f"recipe {name!r}: expected one of {', '.join(RECIPES)}.")
    learners = () if name == "plain" else ("visual", "textual")
    first = learners[:1]
    joining = ("textual_learner", "router") if learners else ()
    aligned = ("projector", *(f"{learner}_learner" for learner in first))
    tune_rates = dict.fromkeys((*aligned, *joining), tune_rate)
    if name != "exact":
        tune_rates["language_model"] = language_model_rate
    stages = (Stage("align", dict.fromkeys(aligned, align_rate), first), Stage("tune", tune_rates, learners))
    scope = {"learner_scope": "visual_context"} if name == "exact" else {}
    return Recipe(name, {"learners": first, **scope}, stages)


def begin_stage(model: Any, stage: Stage) -> None:
    """Add the learners that `stage` has and `model` lacks, and freeze every part that it does not train."""
    missing = [name for name in stage.learners if name not in model.config.learners]
    if missing:
        model.add_learners(*missing)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name) in stage.learning_rates)


def part_of(parameter_name: str) -> str:
    """The part of the model, one of `PARTS`, that a parameter of `WingsForCausalLM` belongs to."""
    names = parameter_name.split(".")
    for part in ("visual_learner", "textual_learner", "router"):
        if part in names and names[names.index(part) - 1].startswith("self_att"):  # others may have routers too
            return part
    if "vision_tower" in names:
        return "vision_tower"
    return "projector" if "multi_modal_projector" in names else "language_model"


def parameter_groups(model: nn.Module, stage: Stage, weight_decay: float = 0.0) -> list[dict[str, Any]]:
    """Optimizer groups: for each part its learning rate, with weight decay on matrices only.

    Raises:
        ValueError: the stage names a part that the model has no parameters of.
    """
    groups: list[dict[str, Any]] = []
    for part, rate in stage.learning_rates.items():
        parameters = [parameter for name, parameter in _trained(model) if part_of(name) == part]
        if not parameters and part != "router":  # a uniform router has no parameters
            raise ValueError(f"stage {stage.name!r} trains {part}, which this model has not got.")
        for decays in (True, False):
            chosen = [parameter for parameter in parameters if (parameter.ndim > 1) == decays]
            if chosen:
                groups.append({"params": chosen, "lr": rate, "weight_decay": weight_decay if decays else 0.0})
    return groups


def optimizer_for(model: nn.Module, stage: Stage, weight_decay: float = 0.0) -> tuple[type, dict[str, Any]]:
    """What `Trainer(optimizer_cls_and_kwargs=...)` takes: AdamW with a learning rate for each part."""
    groups = parameter_groups(model, stage, weight_decay)
    return torch.optim.AdamW, {"params": groups, "lr": max(stage.learning_rates.values()), "betas": (0.9, 0.98)}


def _trained(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)
