# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""From a recipe to a Wings model: the whole of `wings-hf train`."""

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments
from transformers.models.auto.image_processing_auto import AutoImageProcessor
from transformers.trainer_utils import set_seed

from wings_hf.data.collator import ConversationCollator
from wings_hf.data.records import DataError, Record, read_records, summarise
from wings_hf.modeling.modeling_wings import WingsForCausalLM
from wings_hf.processing.processing_wings import WingsProcessor
from wings_hf.training.checkpoints import newest_whole_checkpoint, save_whole
from wings_hf.training.recipes import Recipe
from wings_hf.training.retention import RetentionCallback, load_reference, read_texts
from wings_hf.training.speed import SpeedCallback
from wings_hf.training.stages import Stage, begin_stage, describe
from wings_hf.training.trainer import stage_trainer

logger = logging.getLogger(__name__)

# The argument's name: newer versions of transformers call it activation_checkpointing.
CHECKPOINTING = next(
    name for name in ("activation_checkpointing", "gradient_checkpointing") if hasattr(TrainingArguments, name)
)


def train(recipe: Recipe, output: Path, resume: bool = False) -> Path:
    """Train in stages and return the folder of the finished model, with its processor.

    Each stage leaves a model folder, `output/NAME`, and checkpoints beside it while it runs.

    Args:
        resume: go on with what an interrupted run left in `output`.

    Raises:
        ValueError: options, models or data that cannot be used. OSError: a model that cannot be loaded.
    """
    _check(recipe, output, resume)
    folder: Path | None = None
    read: dict[tuple, list[Record]] = {}
    for number, stage in enumerate(recipe.stages, 1):
        target = output / stage.name
        if not _finished(target):
            sources = tuple(stage.data or recipe.data)
            if sources not in read:
                read[sources] = _read(sources, recipe)
            records = records_to_learn_from(read[sources], stage, recipe)
            logger.info("Stage %d of %d, %s: %d records", number, len(recipe.stages), stage.name, len(records))
            _train_stage(recipe, stage, records, output, resume, Path(stage.start) if stage.start else folder)
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
        "textual_learner" in stage.learning_rates and recipe.model.get("learner_scope") != "visual_context"
    )
    chosen = [record for record in records if learns_text or record.images]
    if not chosen:
        raise DataError(f"Stage {stage.name!r} learns from records with images, and none of {len(records)} has one.")
    if len(chosen) < len(records):
        logger.warning("stage %s: %d text-only records left out", stage.name, len(records) - len(chosen))
    return chosen


# -- models and data --------------------------------------------------------------------------------------


def build_model(recipe: Recipe) -> tuple[WingsForCausalLM, WingsProcessor]:
    """The model before its first stage, and its processor."""
    assert recipe.text_model is not None and recipe.vision_model is not None
    tokenizer = AutoTokenizer.from_pretrained(recipe.text_model)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    image_processor = _load_image_processor(recipe)
    fields = {**recipe.model, "learners": tuple(recipe.stages[0].learners)}
    model = WingsForCausalLM.from_backbones(recipe.text_model, recipe.vision_model, tokenizer=tokenizer, **fields)
    return model, WingsProcessor.from_model_config(model.config, image_processor, tokenizer)


def _load_image_processor(recipe: Recipe) -> Any:
    try:
        return AutoImageProcessor.from_pretrained(recipe.image_processor or recipe.vision_model)
    except OSError as error:
        if recipe.image_processor:
            raise
        raise ValueError(
            f"{recipe.vision_model} has no image processor (preprocessor_config.json): name a model or folder that has "
            "one that fits with --image-processor."
        ) from error


def _read(sources: Sequence[Any], recipe: Recipe) -> list[Record]:
    records, problems = read_records(sources, recipe.image_folder, recipe.on_error)
    if problems:
        logger.warning("%d records left out:%s", len(problems), summarise(problems))
    return records


# -- stages -----------------------------------------------------------------------------------------------


def _finished(folder: Path) -> bool:
    return (folder / "config.json").exists()


def _checkpoints(output: Path, stage: Stage) -> Path:
    return output / f"{stage.name}-checkpoints"


def _check(recipe: Recipe, output: Path, resume: bool) -> None:
    for name in ("text_model", "vision_model"):
        if getattr(recipe, name) is None:
            raise ValueError(f"{name} is missing: give --{name.replace('_', '-')} or a recipe that has it.")
    for stage in recipe.stages:
        if not (stage.data or recipe.data):
            raise ValueError(f"stage {stage.name!r} has no data: give --data or a recipe that has it.")
    used = [folder for stage in recipe.stages for folder in (output / stage.name, _checkpoints(output, stage))]
    if not resume and any(folder.exists() for folder in used):
        raise ValueError(f"{output} holds a training run: continue it with --resume, or choose another --output.")


def _train_stage(
    recipe: Recipe, stage: Stage, records: Sequence[Record], output: Path, resume: bool, start: Path | None
) -> None:
    """Train one stage from the folder `start` (None: from the backbones) and save it to `output/name`."""
    set_seed(recipe.seed)  # new learners are the same whatever ran before: a stage may begin in a process of its own
    if start is None:
        model, processor = build_model(recipe)
    else:
        model, processor = WingsForCausalLM.from_pretrained(start), WingsProcessor.from_pretrained(start)
    begin_stage(model, stage)
    logger.info("%s", describe(model, stage))
    retention = _retention(recipe, processor.tokenizer, output)
    trainer = stage_trainer(
        model,
        stage,
        training_arguments(recipe, stage, output),
        list(records),
        ConversationCollator(processor, stage.max_length, recipe.on_error, sample_ids=True),
        [retention] if retention else [],
    )
    if retention:
        retention.trainer = trainer
    SpeedCallback().attach(trainer)
    checkpoints = _checkpoints(output, stage)
    whole = newest_whole_checkpoint(checkpoints, trainer.args.world_size) if resume else None
    trainer.train(resume_from_checkpoint=None if whole is None else str(whole))
    target = output / stage.name
    best = trainer.state.best_model_checkpoint if recipe.retention.keep_best else None

    def write(folder: Path) -> None:
        if best is None:
            trainer.save_model(str(folder))
        elif trainer.is_world_process_zero():
            logger.info("Kept: %s, with the lowest loss on the text", Path(best).name)
            WingsForCausalLM.from_pretrained(best).save_pretrained(folder)
        if trainer.is_world_process_zero():
            processor.save_pretrained(folder)

    save_whole(target, trainer, write)


def _retention(recipe: Recipe, tokenizer: Any, output: Path) -> RetentionCallback | None:
    """What measures how well the text survives, where the recipe asks for it."""
    plan = recipe.retention
    if plan.data is None:
        return None
    texts = read_texts(plan, tokenizer)

    def language_model() -> Any:
        device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        model: Any = AutoModelForCausalLM.from_pretrained(str(recipe.text_model))
        return model.to(device or "cpu").eval()

    return RetentionCallback(
        plan, texts, load_reference(language_model, texts, output / "retention_reference.safetensors")
    )


def training_arguments(recipe: Recipe, stage: Stage, output: Path) -> TrainingArguments:
    """What a stage asks of the Trainer."""
    further: dict[str, Any] = {
        "ddp_find_unused_parameters": False,  # the model leaves none without a gradient
        "logging_nan_inf_filter": False,  # a bad loss stops the run: it must not be hidden
        "accelerator_config": {"dispatch_batches": False},  # a batch cut into rows would part images from their text
        **({CHECKPOINTING: True} if recipe.activation_checkpointing else {}),
        **recipe.accelerator,
    }
    reporter = recipe.report_to
    if reporter == "auto":
        reporter = "tensorboard" if importlib.util.find_spec("tensorboard") else "none"
    arguments = TrainingArguments(
        output_dir=str(_checkpoints(output, stage)),
        num_train_epochs=stage.epochs,
        max_steps=stage.max_steps,
        per_device_train_batch_size=stage.per_device_batch_size,
        lr_scheduler_type=stage.schedule,
        warmup_steps=stage.warmup if stage.warmup < 1 else int(stage.warmup),
        optim=stage.optimizer,
        weight_decay=stage.weight_decay,
        adam_beta1=stage.adam_beta1,
        adam_beta2=stage.adam_beta2,
        adam_epsilon=stage.adam_epsilon,
        max_grad_norm=stage.max_grad_norm,
        logging_steps=recipe.logging_steps,
        save_steps=recipe.save_steps,
        save_total_limit=recipe.save_total_limit,
        dataloader_num_workers=recipe.workers,
        dataloader_pin_memory=torch.accelerator.is_available(),
        remove_unused_columns=False,
        report_to=reporter,
        seed=recipe.seed,
        bf16=recipe.precision == "bf16",
        fp16=recipe.precision == "fp16",
        **further,
    )
    arguments.gradient_accumulation_steps = stage.accumulation(arguments.world_size * max(arguments.n_gpu, 1))
    return arguments
