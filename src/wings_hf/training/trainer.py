# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""One stage with the Hugging Face `Trainer`."""

from collections.abc import Callable, Sequence
from typing import Any

from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from wings_hf.training.guards import StopOnBadLoss
from wings_hf.training.stages import Stage, begin_stage, optimizer_for


def stage_trainer(
    model: Any,
    stage: Stage,
    arguments: TrainingArguments,
    data: Dataset | Sequence[Any],
    collator: Callable[[list[Any]], dict[str, Any]],
    callbacks: Sequence[TrainerCallback] = (),
) -> Trainer:
    """A `Trainer` for `model` in `stage`: learners are added, parts frozen, learning rates those of the stage.

    `arguments.learning_rate` is not used; its optimizer, weight decay and schedule are. A loss that is NaN or infinite
    stops training, see `StopOnBadLoss`.
    """
    begin_stage(model, stage)
    return Trainer(
        model,
        args=arguments,
        train_dataset=data,
        data_collator=collator,
        callbacks=[StopOnBadLoss(), *callbacks],
        optimizer_cls_and_kwargs=optimizer_for(model, stage, arguments),
    )
