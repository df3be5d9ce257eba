# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Stages of training as data: which learners the model has, which parts move, how fast, and on what."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from transformers import SchedulerType, Trainer, TrainingArguments
from transformers.training_args import OptimizerNames

from wings_hf.training.schema import did_you_mean, help_for

PARTS = ("vision_tower", "projector", "visual_learner", "textual_learner", "router", "language_model")
LEARNERS = ("visual", "textual")
OPTIMIZERS = tuple(each.value for each in OptimizerNames)
SCHEDULES = tuple(each.value for each in SchedulerType)
LEAST = {
    **dict.fromkeys(("per_device_batch_size", "batch_size", "max_length"), 1),
    **dict.fromkeys(("weight_decay", "warmup", "max_grad_norm", "adam_beta1", "adam_beta2", "adam_epsilon"), 0),
}


@dataclass(frozen=True)
class Stage:
    """One stage of training, as data. `wings-hf train --fields` prints what each field means, too."""

    name: str = help_for("of its folder and its progress bar")
    learning_rates: Mapping[str, float] = help_for(
        f"learning rate of each part that moves, all others are frozen; parts are {', '.join(PARTS)}. In a recipe "
        "`train`, a list of parts, and `learning_rate`, for those that have none of their own, may stand for it",
        factory=dict,
    )
    learners: Sequence[str] = help_for("learners that the model has in this stage; missing ones are added", ())
    start: str | None = help_for("model folder to start from (default: what the stage before it left)", None)
    data: Sequence[Any] = help_for("sources of records, see docs/data.md (default: the recipe's)", ())
    epochs: float = help_for("passes over the data", 1.0)
    max_steps: int = help_for("optimizer steps at most; -1: as many as the epochs have", -1)
    per_device_batch_size: int = help_for("samples in a batch on each device; rows with packing", 8)
    batch_size: int | None = help_for(
        "samples (rows with packing) in an optimizer step over all devices; batches are accumulated to it (default: "
        "one batch per device)",
        None,
    )
    max_length: int | None = help_for(
        "longest sample in tokens, images included; of longer ones the oldest turns go, whole and with their images",
        None,
    )
    learn: Literal["all", "last"] = help_for("assistant turns that are learned", "all")
    text_share: float | None = help_for("share of samples without images in the mix (default: as they come)", None)
    group_by_length: bool = help_for("put samples of like length into a batch, with images or without", False)
    packing: bool = help_for("put several samples into rows of max_length tokens, kept apart", False)
    optimizer: str = help_for("`optim` of transformers' TrainingArguments", "adamw_torch")
    weight_decay: float = help_for("on matrices; norms and biases have none", 0.0)
    adam_beta1: float = help_for("decay of Adam's first moment", 0.9)
    adam_beta2: float = help_for("decay of Adam's second moment", 0.999)
    adam_epsilon: float = help_for("Adam's epsilon", 1e-8)
    max_grad_norm: float = help_for("gradients are clipped to this norm; 0: not", 1.0)
    schedule: str = help_for("`lr_scheduler_type` of transformers' TrainingArguments", "cosine")
    warmup: float = help_for("steps in which rates rise from 0: below 1 their share of all, else their number", 0.03)

    def __post_init__(self) -> None:
        for part, rate in self.learning_rates.items():
            if part not in PARTS:
                raise ValueError(f"stage {self.name!r}, part {part!r}: {did_you_mean(part, PARTS)}")
            if not 0 < rate < math.inf:
                raise ValueError(
                    f"stage {self.name!r}, learning rate {rate} of {part}: expected more than 0; a part that is left "
                    "out is frozen."
                )
        for field, values, known in (
            ("learners", self.learners, LEARNERS),
            ("optimizer", [self.optimizer], OPTIMIZERS),
            ("schedule", [self.schedule], SCHEDULES),
        ):
            for value in values:
                if value not in known:
                    raise ValueError(f"stage {self.name!r}, {field}={value!r}: {did_you_mean(value, known)}")
        for name, low in LEAST.items():
            value = getattr(self, name)
            if value is not None and not low <= value < math.inf:
                raise ValueError(f"stage {self.name!r}, {name}={value}: expected at least {low}.")
        if not (self.max_steps == -1 or self.max_steps > 0):
            raise ValueError(f"stage {self.name!r}, max_steps={self.max_steps}: expected at least 1, or -1.")
        if not 0 < self.epochs < math.inf:
            raise ValueError(f"stage {self.name!r}, epochs={self.epochs}: expected more than 0.")
        if self.text_share is not None and not 0 <= self.text_share <= 1:
            raise ValueError(f"stage {self.name!r}, text_share={self.text_share}: expected a share between 0 and 1.")
        if self.packing and self.max_length is None:
            raise ValueError(f"stage {self.name!r}: packing=True needs max_length, the tokens in a row.")
        if self.packing and self.group_by_length:
            raise ValueError(f"stage {self.name!r}: packing=True leaves nothing to group_by_length=True: expected one.")

    def accumulation(self, devices: int) -> int:
        """Batches in an optimizer step.

        Raises:
            ValueError: `batch_size` is no multiple of what one batch on all devices holds.
        """
        batch = self.per_device_batch_size * devices
        total = self.batch_size or batch
        if total % batch:
            raise ValueError(
                f"stage {self.name!r}: batch_size={total} is no multiple of per_device_batch_size="
                f"{self.per_device_batch_size} on {devices} devices ({batch})."
            )
        return total // batch


def begin_stage(model: Any, stage: Stage) -> None:
    """Add the learners that `stage` has and `model` lacks, and freeze every part that it does not train."""
    if hasattr(model, "peft_config"):
        raise ValueError("begin_stage would unfreeze what lies under the adapters of peft: use optimizer_for alone.")
    missing = [name for name in stage.learners if name not in model.config.learners]
    if missing:
        model.add_learners(*missing)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name) in stage.learning_rates)


def part_of(parameter_name: str) -> str:
    """The part of the model, one of `PARTS`, that a parameter of `WingsForCausalLM` belongs to."""
    names = parameter_name.split(".")
    for part in ("visual_learner", "textual_learner", "router"):
        # a mixture's own router has another parent
        if part in names and names[names.index(part) - 1].startswith(("self_att", "attention")):
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


def optimizer_for(model: Any, stage: Stage, arguments: TrainingArguments) -> tuple[type, dict[str, Any]]:
    """What `Trainer(optimizer_cls_and_kwargs=...)` takes: the optimizer of `arguments`, and a rate for each part."""
    optimizer, options = Trainer.get_optimizer_cls_and_kwargs(arguments, model)
    groups = parameter_groups(model, stage, arguments.weight_decay)
    return optimizer, {**options, "params": groups, "lr": max(stage.learning_rates.values())}


def describe(model: nn.Module, stage: Stage) -> str:
    """A table of the model's parts: what trains, how many parameters it has, and at which learning rate."""
    counts: dict[str, int] = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():
        counts[part_of(name)] += parameter.numel()
    lines = [
        f"  {part.replace('_', ' '):16} {count:>15,}  {_rate(stage, part)}" for part, count in counts.items() if count
    ]
    moving = sum(count for part, count in counts.items() if part in stage.learning_rates)
    total = sum(counts.values())
    lines.append(f"  {'in all':16} {total:>15,}  {moving:,} of them move ({moving / total:.1%})")
    return "\n".join(lines)


def _rate(stage: Stage, part: str) -> str:
    return f"moves at {stage.learning_rates[part]:g}" if part in stage.learning_rates else "frozen"


def _trained(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)
