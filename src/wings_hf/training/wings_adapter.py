# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Wings as an adapter: projector, learners and router by themselves, for a language model that stayed as it was.

A folder, or a repository on the Hub, with

    wings_adapter.json            configuration of the wings, and the identity of the language model they belong to
    wings_adapter.safetensors     their weights, and those of the vision tower where it is not referred to by name
    generation_config.json
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CONFIG_MAPPING, GenerationConfig, PreTrainedConfig, PreTrainedModel

from wings_hf.configuration.configuration_wings import WingsConfig
from wings_hf.modeling.modeling_wings import WingsForCausalLM
from wings_hf.modeling.wings_backbone import find_winged
from wings_hf.modeling.wings_build import _load_text, _load_vision
from wings_hf.modeling.wings_vision import build_vision_tower
from wings_hf.training.base_identity import differences, identity, saved_tensors

CONFIG_FILE = "wings_adapter.json"
WEIGHTS_FILE = "wings_adapter.safetensors"
FORMAT = 1
TOWER = "model.vision_tower."


def save_wings_adapter(
    model: WingsForCausalLM,
    folder: str | os.PathLike,
    *,
    text_model: str | None = None,
    vision_model: str | None = None,
) -> Path:
    """
    Saves what `model` has beside its language model, which must not have been trained.

    Args:
        model: a `WingsForCausalLM`, without adapters of peft.
        folder: where to; made where it is not there. `huggingface_hub.upload_folder` publishes it.
        text_model: name or path of the language model, to be remembered, and to be checked now: its weights must be
            those in `model`. Without it they are compared when the adapter is attached.
        vision_model: name or path of the vision model. It must have the weights of the vision tower in `model`, which
            are then left out and taken from there. Without it the vision tower is saved with the wings.

    Raises:
        ValueError: `text_model` or `vision_model` have other weights than `model`; adapters of peft.
    """
    if hasattr(model, "peft_config"):
        raise ValueError("The model has adapters of peft: merge them first (merge_and_unload), or save it with peft.")
    record: dict[str, Any] = {"format": FORMAT, "wings": _wings_fields(model.config)}
    record["text_model"] = _text_identity(model.config, _text_tensors(model), model.dtype)
    if text_model is not None:
        _check_text(record["text_model"], _load_text(text_model, model.dtype, None), f"the model, and {text_model}")
        record["text_model"]["name"] = text_model
    weights = _wings_tensors(model)
    tower = model.model.vision_tower
    if tower is not None:
        record["vision_config"] = json.loads(tower.config.to_json_string(use_diff=False))
        tensors = saved_tensors(tower)
        if vision_model is None:
            weights |= {TOWER + name: tensor for name, tensor in tensors.items()}
        else:
            record["vision_model"] = identity(tower.config, tensors, model.dtype) | {"name": vision_model}
            _check_tower(record["vision_model"], _load_vision(vision_model, model.dtype, None), tensors, "the model")
    return _write(Path(folder), record, weights, model.generation_config)


def load_wings_adapter(
    text_model: str | PreTrainedModel | None,
    folder: str | os.PathLike,
    vision_model: str | PreTrainedModel | None = None,
    *,
    check: bool = True,
    dtype: torch.dtype | None = None,
    attn_implementation: str | None = None,
) -> WingsForCausalLM:
    """
    Attaches the wings in `folder` to the language model that they were trained with. The logits are bit for bit those
    of the model that was saved.

    Args:
        text_model: name, path or causal language model, which gives its parameters to the new model; `None` for the
            name in the folder.
        folder: what `save_wings_adapter` wrote: a folder, or the name of a repository on the Hub.
        vision_model: name, path or module, in place of the name in the folder; not for a vision tower that was saved
            with the wings.
        check: compare language model and vision model with those that the wings were saved from. `False` is for
            others of the same shapes, such as a language model that was trained further.
        dtype: dtype of all weights; by default as they were saved, or that of a given language model.
        attn_implementation: attention backend of all parts that are loaded here.

    Raises:
        ValueError: another language model or vision model; a folder without wings.
    """
    path = _find(folder)
    record = _read(path)
    recorded = record["text_model"]
    stored_dtype = getattr(torch, recorded["dtype"])
    if text_model is None and not recorded["name"]:
        raise ValueError(f"{folder} does not name its language model: expected text_model.")
    chosen = recorded["name"] if text_model is None else text_model
    wanted = dtype or (None if isinstance(chosen, nn.Module) else stored_dtype)
    text = _load_text(chosen, wanted, attn_implementation)
    if check:
        _check_text(recorded, text, f"{folder}, and {text.config.name_or_path or type(text).__name__}")
    tower = _tower(record, vision_model, text, attn_implementation, folder)
    model = WingsForCausalLM.from_backbones(text, tower, **record["wings"])
    if check and "vision_model" in record:
        _check_tower(record["vision_model"], tower, saved_tensors(model.model.vision_tower), str(folder))
    _put(model, load_file(path / WEIGHTS_FILE), stored_dtype, folder)
    model.generation_config = GenerationConfig.from_pretrained(path)
    return model


# -- what is saved ------------------------------------------------------------------------------------------


def _wings_fields(config: PreTrainedConfig) -> dict[str, Any]:
    """The wings' own fields of a `WingsConfig`."""
    values = json.loads(config.to_json_string(use_diff=False))
    return {name: values[name] for name in WingsConfig.__annotations__ if name in values and "_config" not in name}


def _wings_modules(model: WingsForCausalLM) -> dict[str, nn.Module]:
    names = {module: name for name, module in model.named_modules()}
    attentions = find_winged(model.model.language_model)
    children = [getattr(attention, f"{name}_learner") for attention in attentions for name in model.config.learners]
    children += [attention.router for attention in attentions if attention.router is not None]
    return {names[module]: module for module in [model.model.multi_modal_projector, *children]}


def _wings_tensors(model: WingsForCausalLM) -> dict[str, torch.Tensor]:
    modules = _wings_modules(model).items()
    return {f"{prefix}.{name}": tensor for prefix, module in modules for name, tensor in saved_tensors(module).items()}


def _text_tensors(model: WingsForCausalLM) -> dict[str, torch.Tensor]:
    """The language model's tensors, its decoder's under `decoder.` and its head's as they are called."""
    heads = {name: getattr(model, name) for name in model.causal_head.names}
    return _named_tensors(model.model.language_model, heads, [*_wings_modules(model).values()])


def _tensors_of_base(text: PreTrainedModel) -> dict[str, torch.Tensor]:
    heads = {name: child for name, child in text.named_children() if child is not text.base_model}
    return _named_tensors(text.base_model, heads)


def _named_tensors(
    decoder: nn.Module, heads: Mapping[str, nn.Module], left_out: list[nn.Module] | tuple = ()
) -> dict[str, torch.Tensor]:
    parts = {"decoder": saved_tensors(decoder, left_out), **{name: saved_tensors(head) for name, head in heads.items()}}
    return {f"{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}


def _text_identity(config: PreTrainedConfig, tensors: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, Any]:
    return identity(config.get_text_config(decoder=True), tensors, dtype)


def _write(
    folder: Path, record: dict[str, Any], weights: Mapping[str, torch.Tensor], generation: GenerationConfig | None
) -> Path:
    """Each file whole or not at all, the one that says what the folder is last."""
    folder.mkdir(parents=True, exist_ok=True)
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    _replace(folder / WEIGHTS_FILE, lambda path: save_file(own, path, metadata={"format": "pt"}))
    if generation is not None:
        generation.save_pretrained(folder)
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    _replace(folder / CONFIG_FILE, lambda path: path.write_text(text))
    return folder


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    partial = path.with_name(f"{path.name}.partial")
    write(partial)
    os.replace(partial, path)


# -- what is loaded -----------------------------------------------------------------------------------------


def _find(folder: str | os.PathLike) -> Path:
    if os.path.isdir(folder):
        return Path(folder)
    return Path(snapshot_download(str(folder), allow_patterns=["*.json", "*.safetensors"]))


def _read(path: Path) -> dict[str, Any]:
    if not (path / CONFIG_FILE).exists():
        raise ValueError(f"{path} holds no wings: expected {CONFIG_FILE}, which save_wings_adapter writes.")
    record = json.loads((path / CONFIG_FILE).read_text())
    if record.get("format") != FORMAT:
        raise ValueError(f"{path / CONFIG_FILE} has format {record.get('format')!r}, expected {FORMAT}.")
    return record


def _tower(record: dict[str, Any], given: Any, text: PreTrainedModel, attn: str | None, folder: Any) -> Any:
    """The vision model to build with: the one referred to, or an empty one for weights that were saved."""
    if "vision_config" not in record:
        return None
    if "vision_model" in record:
        chosen = record["vision_model"]["name"] if given is None else given
        return _load_vision(chosen, text.dtype, attn)
    if given is not None:
        raise ValueError(f"vision_model: {folder} has a vision tower of its own, expected none.")
    fields = dict(record["vision_config"])
    return build_vision_tower(CONFIG_MAPPING[fields.pop("model_type")](**fields))


def _put(model: WingsForCausalLM, weights: dict[str, torch.Tensor], stored: torch.dtype, folder: Any) -> None:
    """Replaces values of `model`; of floating-point ones, those saved in the model's dtype get its dtype now."""
    expected = {*_wings_tensors(model)}
    targets = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    wrong = [name for name in weights if name not in targets or targets[name].shape != weights[name].shape]
    missing = sorted(expected - {*weights})
    if wrong or missing:
        raise ValueError(f"{folder} does not fit its own configuration: {len(missing)} missing, {len(wrong)} other.")
    for name, value in weights.items():
        dtype = model.dtype if value.dtype == stored else value.dtype
        targets[name].data = value.to(targets[name].device, dtype)


# -- checks -------------------------------------------------------------------------------------------------


def _check_text(recorded: Mapping[str, Any], text: PreTrainedModel, both: str) -> None:
    """Raises unless `text` is the language model that was `recorded`."""
    given = _text_identity(text.config, _tensors_of_base(text), getattr(torch, recorded["dtype"]))
    different = differences(recorded, given)
    if different:
        name = f" ({recorded['name']})" if recorded["name"] else ""
        raise ValueError(f"Not the same language model: the one of {both}{name} differ in {different}.")


def _check_tower(recorded: Mapping[str, Any], given: Any, expected: Mapping[str, torch.Tensor], of: str) -> None:
    """Raises unless the tower `given` is the one `recorded`."""
    tensors = {name: tensor for name, tensor in saved_tensors(given).items() if name in expected}
    dtype = getattr(torch, recorded["dtype"])
    different = differences(recorded, identity(given.config, tensors, dtype))
    if different:
        raise ValueError(f"Not the same vision model: the tower of {of} and {recorded['name']} differ in {different}.")
