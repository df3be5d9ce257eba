# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Builds a Wings model around pretrained parts, whose tensors it takes over without a copy."""

import json
import os
from typing import Any

import torch
from torch import nn
from transformers import (
    MODEL_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
)

from wings_hf.configuration.wings_image_tokens import IMAGE_TOKEN
from wings_hf.configuration.wings_sources import public_name
from wings_hf.configuration.wings_towers import without_pooling
from wings_hf.modeling.wings_vision import tower_arguments


def transplant(
    model_class: type,
    text_model: str | PreTrainedModel,
    vision_model: str | PreTrainedModel | None,
    tokenizer: Any,
    dtype: torch.dtype | str | None,
    attn_implementation: str | None,
    fields: dict[str, Any],
) -> Any:
    """See `WingsForCausalLM.from_backbones`."""
    text = _load_text(text_model, dtype, attn_implementation)
    vision = None if vision_model is None else _load_vision(vision_model, text.dtype, attn_implementation)
    for loaded, source in ((text, text_model), (vision, vision_model)):
        if loaded is not None and loaded is not source and not isinstance(source, nn.Module):
            for config in (loaded.config, loaded.config.get_text_config(decoder=True)):
                config._name_or_path = public_name(source)  # now, while it can be seen whether it is a folder
    if tokenizer is not None and "image_token_id" not in fields:
        fields["image_token_id"] = free_image_token_id(tokenizer)
    config = model_class.config_class(
        text_config=text.config, vision_config=None if vision is None else vision.config, **fields
    )
    config._attn_implementation = {
        "": text.config._attn_implementation,
        "text_config": text.config._attn_implementation,
    }
    config.dtype = text.dtype
    with torch.device("meta"):
        model = model_class(config)
    _take_over(model.model.language_model, text.base_model)
    for name in model.causal_head.names:
        _take_over(getattr(model, name), getattr(text, name))
    if vision is not None:
        _take_over(model.model.vision_tower, vision)
    _initialise_new(model, text.device, text.dtype)
    model.tie_weights()
    if text.generation_config is not None:
        model.generation_config = text.generation_config
    return model.eval()


def check_weights(name: Any, arguments: dict[str, Any]) -> None:
    """Sets `use_safetensors` in the arguments of `from_pretrained`, and looks at a folder's index of weights.

    Raises:
        ValueError: for `use_safetensors=False`, for a folder that holds pickled weights only, which may run code when
            they are read, and for an index that names files outside of the folder.
    """
    if arguments.get("use_safetensors") is False:
        raise ValueError("use_safetensors=False: weights are read from safetensors files only.")
    arguments["use_safetensors"] = True
    if not isinstance(name, str | os.PathLike) or not os.path.isdir(name):
        return
    folder = os.path.join(name, arguments.get("subfolder") or "")
    files = os.listdir(folder) if os.path.isdir(folder) else []
    pickled = sorted(file for file in files if file.endswith((".bin", ".pt", ".pth")))
    if pickled and not any(file.endswith((".safetensors", ".gguf")) for file in files):
        raise ValueError(
            f"{folder} holds weights as {pickled[0]}, which may run code when it is read: expected model.safetensors "
            "(save them anew with save_pretrained, in an environment that you can lose)."
        )
    for file in files:
        if file.endswith(".safetensors.index.json"):
            _check_index(os.path.join(folder, file))


def _check_index(path: str) -> None:
    with open(path, encoding="utf-8") as file:
        weight_map = json.load(file).get("weight_map", {})
    outside = [
        file for file in weight_map.values() if os.path.basename(file) != file or not file.endswith(".safetensors")
    ]
    if outside:
        raise ValueError(f"{path} names {outside[0]!r}: expected safetensors files of the same folder.")


def free_image_token_id(tokenizer: Any) -> int:
    """Id of the tokenizer's image token (`<image>`, or what it names), else the one that a new token would get."""
    names = (IMAGE_TOKEN, getattr(tokenizer, "image_token", None))
    known = [tokenizer.get_vocab()[name] for name in names if name in tokenizer.get_vocab()]
    return known[0] if known else len(tokenizer)


def _load_text(model: str | PreTrainedModel, dtype: Any, attn_implementation: str | None) -> PreTrainedModel:
    if not isinstance(model, nn.Module):
        check_weights(model, {})
        model = AutoModelForCausalLM.from_pretrained(
            model, dtype=dtype or "auto", attn_implementation=attn_implementation, use_safetensors=True
        )
    elif dtype is not None:
        model = model.to(dtype)
    if model.get_output_embeddings() is None:
        raise ValueError(f"text_model is a {type(model).__name__}: expected a causal language model with its head.")
    if getattr(model, "is_quantized", False):
        raise ValueError(
            "text_model is quantised: expected one in full precision. Build the model of that, save it, and load the "
            "saved model with quantization_config, which leaves learners, projector and vision tower as they are."
        )
    return model


def _load_vision(model: str | PreTrainedModel, dtype: torch.dtype, attn_implementation: str | None) -> PreTrainedModel:
    """The bare encoder: without text side, head and, where the family lets one leave it out, pooling head."""
    if isinstance(model, nn.Module):
        tower = getattr(model, "vision_model", model)
        return getattr(tower, "base_model", tower).to(dtype)
    check_weights(model, {})
    config = AutoConfig.from_pretrained(model)
    config = without_pooling(getattr(config, "vision_config", config))
    return MODEL_MAPPING[type(config)].from_pretrained(
        model,
        config=config,
        dtype=dtype,
        attn_implementation=attn_implementation,
        use_safetensors=True,
        **tower_arguments(config),
    )


def _take_over(target: nn.Module, source: nn.Module) -> None:
    """Puts the tensors of `source`, non-persistent buffers included, in the place of `target`'s of the same name."""
    ours = dict(target.named_modules())
    for name, module in source.named_modules():
        if name not in ours:
            continue  # a pooling head, left out of the tower
        for key, parameter in module._parameters.items():
            if parameter is not None:
                parameter.requires_grad_(ours[name]._parameters[key].requires_grad)
                ours[name]._parameters[key] = parameter
        for key, buffer in module._buffers.items():
            ours[name]._buffers[key] = buffer


def _initialise_new(model: PreTrainedModel, device: torch.device, dtype: torch.dtype) -> None:
    """Makes what no backbone had: projector, learners, routers."""
    for module in model.modules():
        if not any(parameter.is_meta for parameter in module.parameters(recurse=False)):
            continue
        for key, parameter in module._parameters.items():
            if parameter is not None:
                made = torch.empty_like(parameter, device=device, dtype=dtype)
                module._parameters[key] = nn.Parameter(made, requires_grad=parameter.requires_grad)
        model._init_weights(module)
