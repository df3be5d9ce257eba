# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""From a recipe to a Wings model: the whole of `wings-hf train`."""

import importlib.util
import logging
import os
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments
from transformers.models.auto.image_processing_auto import AutoImageProcessor
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import set_seed

from wings_hf.conversion.writing import make_writable
from wings_hf.data.collator import ConversationCollator
from wings_hf.data.conversations import Conversations, open_data
from wings_hf.data.errors import DataError, summarise
from wings_hf.data.lengths import TokenCounter
from wings_hf.data.stream import ConversationStream
from wings_hf.modeling.modeling_wings import WingsForCausalLM
from wings_hf.processing.processing_wings import WingsProcessor
from wings_hf.training.checkpoints import newest_whole_checkpoint, save_whole
from wings_hf.training.recipes import Recipe
from wings_hf.training.record import write_record
from wings_hf.training.retention import RetentionCallback, load_reference, read_texts
from wings_hf.training.speed import SpeedCallback
from wings_hf.training.stages import Stage, begin_stage, describe
from wings_hf.training.trainer import stage_trainer

logger = logging.getLogger(__name__)

Data = Conversations | ConversationStream

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
        ValueError: options, models or data that cannot be used. OSError: a model that cannot be loaded, or a folder
            that cannot be written.
    """
    _check(recipe, output, resume)
    folder: Path | None = None
    opened: dict[str, Data] = {}
    total = len(recipe.stages)
    for number, stage in enumerate(recipe.stages, 1):
        target = output / stage.name
        if not _finished(target):
            data = data_to_learn_from(_open(recipe, stage, opened), stage, recipe)
            size = f"{len(data)} records" if isinstance(data, Conversations) else "a stream of records"
            logger.info("Stage %d of %d, %s: %s", number, total, stage.name, size)
            _train_stage(recipe, stage, data, output, resume, Path(stage.start) if stage.start else folder)
        else:
            logger.info("Stage %d of %d, %s: finished before, left as it is in %s", number, total, stage.name, target)
        folder = target
    assert folder is not None
    return folder


def data_to_learn_from(data: Data, stage: Stage, recipe: Recipe) -> Data:
    """The records that something in `stage` can learn from; of a stream all.

    Text alone reaches neither the projector nor the visual learners, and no learner that acts in visual context only.

    Raises:
        DataError: there are none.
    """
    learns_text = "language_model" in stage.learning_rates or (
        "textual_learner" in stage.learning_rates and recipe.model.get("learner_scope") != "visual_context"
    )
    if learns_text or not isinstance(data, Conversations):
        return data
    try:
        chosen = data.with_images()
    except DataError as error:
        raise DataError(f"Stage {stage.name!r} learns from records with images: {error}.") from error
    if len(chosen) < len(data):
        logger.warning("stage %s: %d text-only records left out", stage.name, len(data) - len(chosen))
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
    # Most models are published in bfloat16, in which a small step rounds to none: what is trained is float32.
    model = WingsForCausalLM.from_backbones(
        recipe.text_model, recipe.vision_model, tokenizer=tokenizer, dtype=torch.float32, **fields
    )
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


def _open(recipe: Recipe, stage: Stage, opened: dict[str, Data]) -> Data:
    """The stage's data; those that an earlier stage opened are not examined again."""
    sources = list(stage.data or recipe.data)
    key = repr((sources, stage.text_share))
    if key not in opened:
        opened[key] = open_data(
            sources,
            recipe.seed,
            recipe.on_error,
            recipe.image_folder,
            text_share=stage.text_share,
            workers=recipe.workers,
        )
        problems = opened[key].problems
        if problems:
            logger.warning("%d records left out:%s", len(problems), summarise(problems))
    data = opened[key]
    if not isinstance(data, Conversations) and stage.max_steps < 1:
        raise ValueError(f"stage {stage.name!r} reads a stream, whose length is not known: expected max_steps.")
    return data


def _in_rows(data: Data, stage: Stage, processor: WingsProcessor, workers: int, batch: int) -> Any:
    """The data as the stage's batches take them: packed into rows, or grouped by length and modality."""
    if stage.packing:
        assert stage.max_length is not None
        count = TokenCounter(processor, stage.max_length)
        if isinstance(data, Conversations):
            return data.measured(count, workers).packed(stage.max_length)
        return data.packed(count, stage.max_length)
    if stage.group_by_length:
        if not isinstance(data, Conversations):
            raise ValueError(f"stage {stage.name!r}: group_by_length=True needs data with an index, not a stream.")
        return data.grouped(batch)
    return data


# -- stages -----------------------------------------------------------------------------------------------


def _finished(folder: Path) -> bool:
    return (folder / "config.json").exists()


def _checkpoints(output: Path, stage: Stage) -> Path:
    return output / f"{stage.name}-checkpoints"


def _check(recipe: Recipe, output: Path, resume: bool) -> None:
    needed = [] if recipe.stages[0].start else ["text_model", "vision_model"]
    if recipe.retention.data is not None and "text_model" not in needed:
        needed.append("text_model")  # whose text the retention is measured against
    for name in needed:
        if getattr(recipe, name) is None:
            raise ValueError(f"{name} is missing: give --{name.replace('_', '-')} or a recipe that has it.")
    for stage in recipe.stages:
        if not (stage.data or recipe.data):
            raise ValueError(f"stage {stage.name!r} has no data: give --data or a recipe that has it.")
    used = [folder for stage in recipe.stages for folder in (output / stage.name, _checkpoints(output, stage))]
    if not resume and any(folder.exists() for folder in used):
        raise ValueError(f"{output} holds a training run: continue it with --resume, or choose another --output.")
    make_writable(output)


def _train_stage(recipe: Recipe, stage: Stage, data: Data, output: Path, resume: bool, start: Path | None) -> None:
    """Train one stage from the folder `start` (None: from the backbones) and save it to `output/name`."""
    set_seed(recipe.seed)  # new learners are the same whatever ran before: a stage may begin in a process of its own
    if start is None:
        model, processor = build_model(recipe)
    else:
        model = WingsForCausalLM.from_pretrained(start, dtype=torch.float32)
        processor = WingsProcessor.from_pretrained(start)
        other = {name for name, value in recipe.model.items() if getattr(model.config, name) != value}
        for name in sorted(other):
            logger.warning(
                "model.%s=%r has no effect: %s has %r", name, recipe.model[name], start, getattr(model.config, name)
            )
    begin_stage(model, stage)
    logger.info("%s", describe(model, stage))
    retention = _retention(recipe, processor.tokenizer, output)
    arguments = training_arguments(recipe, stage, output)
    collator = ConversationCollator(
        processor, stage.max_length, recipe.on_error, stage.learn, packing=stage.packing, sample_ids=True
    )
    trainer = stage_trainer(
        model,
        stage,
        arguments,
        _in_rows(data, stage, processor, recipe.workers, arguments.train_batch_size * arguments.world_size),
        collator,
        [retention] if retention else [],
    )
    if retention:
        retention.trainer = trainer
    SpeedCallback().attach(trainer)
    if not logger.isEnabledFor(logging.INFO):
        trainer.remove_callback(PrinterCallback)  # which is there where bars are not wanted
    collator.image_in_every_batch = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
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
            write_record(folder, recipe, stage, trainer, len(data) if isinstance(data, Conversations) else None, start)

    save_whole(target, trainer, write)


def _retention(recipe: Recipe, tokenizer: Any, output: Path) -> RetentionCallback | None:
    """What measures how well the text survives, where the recipe asks for it."""
    plan = recipe.retention
    if plan.data is None:
        return None
    texts = read_texts(plan, tokenizer)

    def language_model() -> Any:
        device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        model: Any = AutoModelForCausalLM.from_pretrained(
            str(recipe.text_model), dtype=torch.float32, use_safetensors=True
        )
        return model.to(device or "cpu").eval()

    return RetentionCallback(
        plan, texts, load_reference(language_model, texts, output / "retention_reference.safetensors")
    )


def training_arguments(recipe: Recipe, stage: Stage, output: Path) -> TrainingArguments:
    """What a stage asks of the Trainer."""
    further: dict[str, Any] = {
        "use_cpu": not torch.accelerator.is_available(),  # said, or processes on CPUs would not find each other
        "train_sampling_strategy": "sequential",  # the data have an order of their own, from the seed
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
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if arguments.world_size != started:
        raise ValueError(f"{started} processes were started, but each would train by itself: they do not communicate.")
    arguments.gradient_accumulation_steps = stage.accumulation(arguments.world_size * max(arguments.n_gpu, 1))
    return arguments
