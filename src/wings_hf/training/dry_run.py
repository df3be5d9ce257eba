# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What a recipe would train, without weights or data: `wings-hf train RECIPE --dry-run`."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, TrainingArguments

from wings_hf.configuration.configuration_wings import WingsConfig
from wings_hf.conversion.locate import is_path
from wings_hf.modeling.modeling_wings import WingsForCausalLM
from wings_hf.training.recipes import Recipe
from wings_hf.training.stages import Stage, begin_stage, describe, part_of

GIB = 2**30
# Bytes per activation element that a decoder layer keeps for its backward pass, in units of (tokens x hidden size):
# attention (queries, keys, values, output), two norms, and the MLP's three inner tensors.
ATTENTION_TENSORS, MLP_TENSORS = 8, 3


def report(recipe: Recipe) -> str:
    """Shapes, parameters, tokens in a step and an estimate of memory for each stage.

    The models are built without weights; their configurations are read from where the recipe says.

    Raises:
        ValueError: the recipe names no models to begin with.
    """
    model, lines = None, [f"{recipe.name}: {recipe.about}"]
    devices = max(TrainingArguments(use_cpu=not torch.accelerator.is_available()).world_size, 1)
    for number, stage in enumerate(recipe.stages, 1):
        if model is None or stage.start:
            model = _without_weights(_config(recipe, stage))
            lines += _shapes(model.config)
        begin_stage(model, stage)
        lines += [f"\nstage {number}, {stage.name}", describe(model, stage), *_step(recipe, stage, model, devices)]
    return "\n".join(lines)


def _config(recipe: Recipe, stage: Stage) -> WingsConfig:
    """Of the model that a stage begins with: of the folder it names, or of the backbones."""
    if stage.start:
        if is_path(stage.start) and not Path(stage.start).is_dir():
            raise ValueError(f"stage {stage.name!r} starts from {stage.start}: there is no such folder.")
        return WingsConfig.from_pretrained(stage.start)
    if recipe.text_model is None or recipe.vision_model is None:
        raise ValueError("--dry-run needs --text-model and --vision-model, or a recipe that has them.")
    return WingsConfig(
        text_config=AutoConfig.from_pretrained(recipe.text_model),
        vision_config=AutoConfig.from_pretrained(recipe.vision_model),
        **{**recipe.model, "learners": tuple(stage.learners)},
    )


def _without_weights(config: WingsConfig) -> WingsForCausalLM:
    with torch.device("meta"):
        return WingsForCausalLM(config)


def _shapes(config: WingsConfig) -> list[str]:
    text: Any = config.text_config
    tower: Any = config.vision_config
    return [
        f"language model {text.model_type}: {text.num_hidden_layers} layers, hidden size {text.hidden_size}, "
        f"vocabulary {text.vocab_size:,}",
        f"vision tower {tower.model_type if tower else 'none'}: {config.image_seq_length} tokens per image, features "
        f"{config.vision_feature_size} wide",
        f"learners: rank {config.learner_rank}, {config.learner_heads} heads, in {len(config.winged_layers)} layers",
    ]


def _step(recipe: Recipe, stage: Stage, model: WingsForCausalLM, devices: int) -> list[str]:
    accumulation = stage.accumulation(devices)
    samples = stage.per_device_batch_size * devices * accumulation
    shape = f"{devices} devices x {stage.per_device_batch_size} samples x {accumulation} batches"
    lines = [f"  a step           {samples:,} samples ({shape})"]
    if stage.max_length is None:
        return [*lines, "  memory           not estimated: max_length is not set"]
    tokens = samples * stage.max_length
    lines.append(f"  tokens           {tokens:,} in a step at most, samples of {stage.max_length:,}")
    weights, optimizer, activations = memory(recipe, stage, model)
    total = weights + optimizer + activations
    lines.append(
        f"  memory           about {total / GIB:.1f} GiB on each device without sharding: weights {weights / GIB:.1f}, "
        f"gradients and optimizer {optimizer / GIB:.1f}, activations {activations / GIB:.1f}"
    )
    return lines


def memory(recipe: Recipe, stage: Stage, model: WingsForCausalLM) -> tuple[float, float, float]:
    """Estimated bytes of weights, of gradients and Adam's moments, and of activations, on a device without sharding.

    Attention matrices are not counted: outside eager none is kept.
    """
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    moving = sum(
        p.numel() * p.element_size() for n, p in model.named_parameters() if part_of(n) in stage.learning_rates
    )
    moments = 0.5 if "8bit" in stage.optimizer else 2.0
    text: Any = model.config.text_config
    size = 4 if recipe.precision == "fp32" else 2
    tokens = stage.per_device_batch_size * (stage.max_length or 0)
    wings = 2 + 2 * len(stage.learners)  # keys, values, and for each learner queries and output
    inner = MLP_TENSORS * getattr(text, "intermediate_size", 4 * text.hidden_size)
    layer = tokens * size * ((ATTENTION_TENSORS + wings) * text.hidden_size + inner)
    boundary = tokens * size * text.hidden_size
    layers = text.num_hidden_layers
    kept = layers * boundary + layer if recipe.activation_checkpointing else layers * layer
    logits = tokens * text.vocab_size * 4 * 2  # float32, and their gradient
    return weights, moving * (1 + moments), kept + logits
