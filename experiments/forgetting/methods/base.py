# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A method of giving sight, as data: what it adds to the model, what moves and how fast, and what else it does."""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

# Patterns of parameter names, for `Method.trained`; the first that is found in a name decides.
PROJECTOR = r"multi_modal_projector\."
LEARNERS = r"\.(visual_learner|textual_learner|router)\."
ROUTER = r"\.self_attn\.router\."
LANGUAGE_MODEL = r"^(model\.language_model|lm_head)\."

State = Mapping[str, torch.Tensor]
# (model, frozen model as it was when stage 2 began, batch, outputs of model on batch) -> what is added to the loss
Penalty = Callable[[nn.Module, nn.Module, Mapping[str, Any], Any], torch.Tensor]
# (state when stage 2 began, state after training) -> state to measure
Transform = Callable[[State, State], State]


@dataclass(frozen=True)
class Rate:
    """A learning rate of stage 2: a multiple of one of the two that all methods share."""

    of: Literal["new_parts", "language_model"]
    factor: float = 1.0


NEW = Rate("new_parts")
LOW_RANK = Rate("new_parts", 0.3)  # of products of two maps, as LoRA's and the learners'
TUNED = Rate("language_model")


def unchanged(model: Any) -> Any:
    return model


def note(model: Any, **sizes: int) -> None:
    """Keeps for the record what an `install` chose by the model it was given: a rank, a width."""
    model.installed_sizes = {**getattr(model, "installed_sizes", {}), **sizes}


def options_of(function: Callable[..., Any] | None) -> dict[str, Any] | None:
    """Name and settings of a method's function: what a `partial` binds, defaults, fields of an object that is called.

    Returns:
        `{"name": "add_lora", "rank": 8}`; None for None.
    """
    if function is None:
        return None
    bound: Mapping[str, Any] = {}
    if isinstance(function, partial):
        function, bound = function.func, function.keywords
    if not inspect.isfunction(function):
        return {"name": type(function).__name__, **vars(function)}
    parameters = inspect.signature(function).parameters.values()
    values = {each.name: each.default for each in parameters if each.default is not each.empty} | bound
    return {"name": function.__name__, **{name: getattr(value, "__name__", value) for name, value in values.items()}}


@dataclass(frozen=True)
class Method:
    """
    One row of the table. All methods share the data, the steps, the batches and the two rates.

    Args:
        name: of its folder and records, "lora-8".
        title: in tables and plots.
        family: one of "fine-tuning", "adapters", "experts", "cross-attention", "replay", "regularisation",
            "interpolation", "wings".
        trained: what moves in stage 2: pattern of parameter names (`re.search`) -> rate; all others are frozen.
        fields: fields of `WingsConfig` in both stages, `learners` excepted.
        learners: those of stage 2. In stage 1 only the visual one is there and moves, with the projector; without
            learners the projector alone moves.
        install: adds the method's parts to the model of stage 1 and returns it (or what wraps it). Called before
            every loading of trained weights, too, so that it must make the same parameters each time.
        text_share: share of the turns in stage 2 that are replayed text.
        penalty: added to the loss in each step.
        derived_from, transform: no training: the weights of another method (same seed), transformed.
        core: one of the eight that are run first.
    """

    name: str
    title: str
    family: str
    trained: Mapping[str, Rate] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    learners: tuple[str, ...] = ()
    install: Callable[[Any], Any] = unchanged
    text_share: float = 0.0
    penalty: Penalty | None = None
    derived_from: str | None = None
    transform: Transform | None = None
    core: bool = False

    def rate_of(self, parameter_name: str) -> Rate | None:
        """The rate that a parameter moves at, `None` where it is frozen."""
        return next((rate for pattern, rate in self.trained.items() if re.search(pattern, parameter_name)), None)
