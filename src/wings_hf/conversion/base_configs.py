# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Configurations that a conversion starts from: files, folders or Hub names that the user gave, and the released one.

The released code keeps everything in one flat configuration: the language model's fields, and its own beside them.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING, PreTrainedConfig

from wings_hf.conversion.locate import is_path

FAMILIES = ("qwen2", "llama")
ROPE_FIELDS = {"rope_theta", "rope_scaling"}
# Fields that say how the released model was run or trained, not what it computes.
OWN_FIELDS = {"use_cache"}
FORM_FIELDS = {"model_type", "dtype", "torch_dtype", "transformers_version", "architectures", "auto_map"}
KNOWN_TEXT, KNOWN_VISION = "Qwen/Qwen1.5-7B-Chat", "google/siglip-so400m-patch14-384"


def read_config(source: str, option: str) -> dict[str, Any]:
    """
    The configuration in `source`: a `config.json`, a folder that has one, or a name on the Hub.

    Raises:
        ValueError: where there is none; the message names `option`.
    """
    path = Path(source).expanduser()
    if is_path(source) and not (path.is_file() or (path / "config.json").is_file()):
        raise ValueError(f"{option} {source}: expected a config.json, a folder that has one, or a name on the Hub.")
    try:
        values, _ = PreTrainedConfig.get_config_dict(str(path) if path.exists() else source)
    except (OSError, ValueError) as error:
        raise ValueError(f"{option} {source}: it has no configuration that can be read ({error}).") from error
    if not values:
        raise ValueError(f"{option} {source}: it has no config.json.")
    return values


def read_released_config(folder: Path) -> dict[str, Any]:
    """The configuration beside a released checkpoint; empty where there is none."""
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON file: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds a {type(values).__name__}, expected a JSON object.")
    if values.get("model_type") == "wings":
        raise ValueError(f"{folder} is converted already. The released names again: wings-hf convert --to released.")
    return values


def family_of(values: dict[str, Any]) -> str | None:
    """The family of language model that a released configuration describes, `None` for another configuration."""
    kind = str(values.get("variant") or values.get("model_type") or values.get("architectures") or "").lower()
    is_released = "variant" in values or "wings" in kind
    return next((family for family in FAMILIES if is_released and family in kind), None)


def text_config_of(values: dict[str, Any], source: str) -> PreTrainedConfig:
    """
    The language model's configuration in `values`, which may be a released one, or a composite.

    Raises:
        ValueError: for a language model that the released code was not made for.
    """
    family = family_of(values)
    if family is not None:
        fields = _text_fields(CONFIG_MAPPING[family])
        return _made(family, {name: value for name, value in values.items() if name in fields}, source)
    values = _object(values.get("text_config", values), source, "text_config")
    model_type = values.get("model_type")
    if model_type not in FAMILIES:
        raise ValueError(
            f"{source} describes a model of type {model_type!r}: expected one of {', '.join(FAMILIES)}, the language "
            "models that the released code was made for."
        )
    return _made(str(model_type), _without_form(values), source)


def _made(model_type: str, values: dict[str, Any], source: str) -> PreTrainedConfig:
    """A configuration of that type.

    Raises:
        ValueError: for values that it does not take.
    """
    try:
        return CONFIG_MAPPING[model_type](**values)
    except Exception as error:  # each family checks, or trips over, its values in its own way
        raise ValueError(f"{source} is no configuration of type {model_type!r}: {error}") from error


def _object(value: Any, source: str, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{source} has {name}={value!r}, expected a JSON object.")
    return value


def _text_fields(config_class: type) -> set[str]:
    """Names of the fields that are the language model's own."""
    general = {field.name for field in dataclasses.fields(PreTrainedConfig)}
    return {field.name for field in dataclasses.fields(config_class)} - general - OWN_FIELDS | ROPE_FIELDS


def vision_config_of(values: dict[str, Any], source: str) -> PreTrainedConfig:
    """
    The vision tower's configuration in `values`, which may be that of a model with a text side too.

    Raises:
        ValueError: for a tower that the released code was not made for.
    """
    composite = values.get("model_type", "")
    if "vision_config" in values:
        inner = _object(values["vision_config"], source, "vision_config")
        values = {"model_type": f"{composite}_vision_model", **inner}
    model_type = values.get("model_type")
    if model_type not in ("siglip_vision_model", "clip_vision_model"):
        raise ValueError(
            f"{source} describes a vision model of type {model_type!r}: expected a SigLIP or CLIP tower, which the "
            "released code was made for."
        )
    return _made(str(model_type), _without_form(values), source)


def _without_form(values: dict[str, Any]) -> dict[str, Any]:
    """Without what a configuration says about its file, its weights' dtype, and how the model was run."""
    left_out = FORM_FIELDS | OWN_FIELDS
    return {name: value for name, value in values.items() if name not in left_out and not name.startswith("_")}
