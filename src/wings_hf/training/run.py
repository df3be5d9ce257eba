# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""From two backbones and a data file to a Wings model: the whole of `wings-hf train`."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, TrainingArguments
from transformers.models.auto.image_processing_auto import AutoImageProcessor
from transformers.trainer_utils import get_last_checkpoint

from wings_hf.data.collator import ConversationCollator
from wings_hf.data.records import DataError, OnError, Record, read_records, summarise
from wings_hf.modeling.modeling_wings import WingsForCausalLM
from wings_hf.processing.processing_wings import WingsProcessor
from wings_hf.training.stages import Recipe, Stage, build_recipe
from wings_hf.training.trainer import stage_trainer

logger = logging.getLogger(__name__)

# The argument's name: newer versions of transformers call it activation_checkpointing.
CHECKPOINTING = next(
    name for name in ("activation_checkpointing", "gradient_checkpointing") if hasattr(TrainingArguments, name)
)


@dataclass(frozen=True)
class TrainingRun:
    """What `train` needs to know; names as on the command line of `wings-hf train`, which explains them."""

    text_model: str
    vision_model: str
    data: Sequence[str]
    output: Path
    recipe: str = "wings"
    align_data: Sequence[str] = ()
    image_folder: str | None = None
    image_processor: str | None = None
    on_error: OnError = "raise"
    align_rate: float = 1e-3
    tune_rate: float = 1e-4
    language_model_rate: float = 1e-5
    align_epochs: float = 1.0
    tune_epochs: float = 1.0
    max_steps: int = -1
    batch_size: int = 8
    accumulate: int = 1
    max_length: int | None = None
    learner_rank: int = 64
    weight_decay: float = 0.0
    save_steps: int = 500
    workers: int = 0
    seed: int = 0
    bf16: bool = False
    gradient_checkpointing: bool = False
    resume: bool = False


def train(run: TrainingRun) -> Path:
    """Train in stages and return the folder of the finished model, with its processor.

    Each stage leaves a model folder, `output/align` and `output/tune`, and checkpoints beside it while it runs.

    Raises:
        ValueError: options, models or data that cannot be used. OSError: a model that cannot be loaded.
    """
    recipe = build_recipe(run.recipe, run.align_rate, run.tune_rate, run.language_model_rate)
    _check_output(run, recipe)
    data = {"align": _read(run.align_data or run.data, run), "tune": _read(run.data, run)}
    folder: Path | None = None
    for number, stage in enumerate(recipe.stages, 1):
        records = records_to_learn_from(data[stage.name], stage, recipe)
        target = run.output / stage.name
        if not _finished(target):
            moving = ", ".join(part.replace("_", " ") for part in stage.learning_rates)
            logger.info(
                "Stage %d of %d, %s: %d records; moving: %s",
                number,
                len(recipe.stages),
                stage.name,
                len(records),
                moving,
            )
            _train_stage(run, recipe, stage, records, start=folder)
        folder = target
    assert folder is not None
    return folder


def records_to_learn_from(records: Sequence[Record], stage: Stage, recipe: Recipe) -> list[Record]:
    """The records that something in `stage` can learn from.

    Text alone reaches neither the projector nor the visual learners, and no learner that acts in visual context only.

    Raises:
        DataError: there are none.
    """
    learns_text = "language_model" in stage.learning_rates or (
        "textual" in stage.learners and recipe.model.get("learner_scope") != "visual_context"
    )
    chosen = [record for record in records if learns_text or record.images]
    if not chosen:
        raise DataError(f"Stage {stage.name!r} learns from records with images, and none of {len(records)} has one.")
    if len(chosen) < len(records):
        logger.warning("stage %s: %d text-only records left out", stage.name, len(records) - len(chosen))
    return chosen


# -- models and data --------------------------------------------------------------------------------------


def build_model(run: TrainingRun, recipe: Recipe) -> tuple[WingsForCausalLM, WingsProcessor]:
    """The model before its first stage, and its processor."""
    tokenizer = AutoTokenizer.from_pretrained(run.text_model)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    image_processor = _load_image_processor(run)
    model = WingsForCausalLM.from_backbones(
        run.text_model, run.vision_model, tokenizer=tokenizer, learner_rank=run.learner_rank, **recipe.model
    )
    return model, WingsProcessor.from_model_config(model.config, image_processor, tokenizer)


def _load_image_processor(run: TrainingRun) -> Any:
    try:
        return AutoImageProcessor.from_pretrained(run.image_processor or run.vision_model)
    except OSError as error:
        if run.image_processor:
            raise
        raise ValueError(
            f"{run.vision_model} has no image processor (preprocessor_config.json): name a model or folder that has "
            "one that fits with --image-processor."
        ) from error


def _read(paths: Sequence[str], run: TrainingRun) -> list[Record]:
    records, problems = read_records(paths, run.image_folder, run.on_error)
    if problems:
        logger.warning("%d records left out:%s", len(problems), summarise(problems))
    return records


# -- stages -----------------------------------------------------------------------------------------------


def _finished(folder: Path) -> bool:
    return (folder / "config.json").exists()


def _checkpoints(run: TrainingRun, stage: Stage) -> Path:
    return run.output / f"{stage.name}-checkpoints"


def _check_output(run: TrainingRun, recipe: Recipe) -> None:
    used = [run.output / stage.name for stage in recipe.stages] + [_checkpoints(run, s) for s in recipe.stages]
    if not run.resume and any(folder.exists() for folder in used):
        raise ValueError(f"{run.output} holds a training run: continue it with --resume, or choose another --output.")


def _train_stage(run: TrainingRun, recipe: Recipe, stage: Stage, records: Sequence[Record], start: Path | None) -> None:
    """Train one stage from the folder `start` (None: from the backbones) and save it to `output/name`."""
    if start is None:
        model, processor = build_model(run, recipe)
    else:
        model, processor = WingsForCausalLM.from_pretrained(start), WingsProcessor.from_pretrained(start)
    trainer = stage_trainer(
        model,
        stage,
        _arguments(run, stage),
        list(records),
        ConversationCollator(processor, run.max_length, run.on_error),
    )
    checkpoints = _checkpoints(run, stage)
    resumable = run.resume and checkpoints.exists()
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(checkpoints)) if resumable else None)
    target = run.output / stage.name
    trainer.save_model(str(target))
    processor.save_pretrained(target)


def _arguments(run: TrainingRun, stage: Stage) -> TrainingArguments:
    checkpointing: dict[str, Any] = {CHECKPOINTING: True} if run.gradient_checkpointing else {}
    return TrainingArguments(
        output_dir=str(_checkpoints(run, stage)),
        num_train_epochs=run.align_epochs if stage.name == "align" else run.tune_epochs,
        max_steps=run.max_steps,
        per_device_train_batch_size=run.batch_size,
        gradient_accumulation_steps=run.accumulate,
        lr_scheduler_type="cosine",
        warmup_steps=0.03,
        weight_decay=run.weight_decay,
        logging_steps=10,
        save_steps=run.save_steps,
        save_total_limit=1,
        dataloader_num_workers=run.workers,
        dataloader_pin_memory=torch.accelerator.is_available(),
        remove_unused_columns=False,
        report_to="none",
        seed=run.seed,
        bf16=run.bf16,
        **checkpointing,
    )
