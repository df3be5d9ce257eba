# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The `WingsConfig` of a released checkpoint: sizes from its tensors, the rest from configurations, and both agree."""

from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedConfig

from wings_hf.configuration.configuration_wings import WingsConfig
from wings_hf.conversion import shapes
from wings_hf.conversion.base_configs import (
    KNOWN_TEXT,
    KNOWN_VISION,
    read_config,
    text_config_of,
    vision_config_of,
)
from wings_hf.conversion.shapes import ReleasedShapes, TowerShapes

# First tokens of a row that hold no text of the user; in the released scripts.
SYSTEM_PROMPT_LENGTH = {"qwen2": 14, "llama": 17}
DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}


@dataclass(frozen=True)
class Given:
    """
    What is known besides the tensors.

    Args:
        released: the configuration beside the checkpoint, empty where there is none.
        text_config: file, folder or Hub name with the language model's configuration; goes before `released`.
        vision_config: likewise, the vision tower's.
        system_prompt_length: goes before that of `released`.
        learner_rope_dtype: see `WingsConfig`.
    """

    released: dict[str, Any]
    text_config: str | None = None
    vision_config: str | None = None
    system_prompt_length: int | None = None
    learner_rope_dtype: str = "float32"


def infer_config(found: ReleasedShapes, given: Given, image_token_id: int | None = None) -> WingsConfig:
    """
    The configuration of a released checkpoint.

    Args:
        found: what its tensors say.
        given: what else is known.
        image_token_id: see `WingsConfig`.

    Raises:
        ValueError: where tensors and configurations disagree, or something that only a configuration can say is
            not there.
    """
    text_config = _text_config(found, given)
    fields = _released_fields(found, given.released)
    vision_config = None
    if found.tower is not None:
        vision_config, fields["vision_feature_layer"] = _vision_config(found.tower, given)
        if vision_config.model_type == "clip_vision_model":
            fields.update(_clip_features(given.released))
    elif given.vision_config is not None:
        raise ValueError(
            f"--vision-config {given.vision_config}: the checkpoint holds no vision tower "
            "(model.vision_tower.*), so there is nothing that it could describe."
        )
    length = given.system_prompt_length
    if length is None:
        length = given.released.get("system_prompt_length", SYSTEM_PROMPT_LENGTH[text_config.model_type])
    config = WingsConfig(
        text_config=text_config,
        vision_config=vision_config,
        semantics="released",
        learner_rope_dtype=given.learner_rope_dtype,  # type: ignore[arg-type]
        system_prompt_length=length,
        image_token_id=image_token_id,
        **fields,
    )
    _check_image_length(config, given.released)
    return config


def _released_fields(found: ReleasedShapes, released: dict[str, Any]) -> dict[str, Any]:
    where = "The config.json beside the checkpoint"
    rank_tensor = f"model.layers.{found.learner_layers[0]}.attn_pool.q_proj.0.weight"
    _agree(where, released, "lora_dim", found.learner_rank, rank_tensor)
    _agree(where, released, "mm_hidden_size", found.feature_size, shapes.PROJECTOR)
    if "has_router" in released and bool(released["has_router"]) != (found.stage == 2):
        raise ValueError(
            f"{where} says has_router={released['has_router']}, but the tensors say {found.stage == 2}: it holds "
            f"{'a' if found.stage == 2 else 'no'} reweight_module."
        )
    if found.stage == 2:
        tensor = f"model.layers.{found.learner_layers[0]}.reweight_module.linear.weight"
        _agree(where, released, "router_max_len", found.router_positions, tensor)
    projector = released.get("mm_projector_type", "mlp2x_gelu")
    if projector != "mlp2x_gelu":
        raise ValueError(f"{where} says mm_projector_type={projector!r}: expected 'mlp2x_gelu', which Wings has.")
    every = found.learner_layers == list(range(found.layers))
    fields: dict[str, Any] = {
        "learners": ("visual", "textual") if found.stage == 2 else ("visual",),
        "learner_rank": found.learner_rank,
        "learner_layers": None if every else found.learner_layers,
        "vision_feature_size": found.feature_size,
    }
    if found.router_positions is not None:
        fields["router_positions"] = found.router_positions
    if found.tower is None and "image_token_length" in released:
        fields["image_seq_length"] = released["image_token_length"]
    return fields


def _text_config(found: ReleasedShapes, given: Given) -> PreTrainedConfig:
    if given.text_config is None and "num_attention_heads" not in given.released:
        raise ValueError(
            "The checkpoint's tensors do not tell its number of attention heads, its rotary base and more, and there "
            "is no config.json beside them. Expected --text-config with the language model that it was made from: a "
            f"folder, a config.json or a name. For the public checkpoint: --text-config {KNOWN_TEXT}"
        )
    where = (
        "The config.json beside the checkpoint" if given.text_config is None else f"--text-config {given.text_config}"
    )
    values = given.released if given.text_config is None else read_config(given.text_config, "--text-config")
    config = text_config_of(values, where)
    said = config.to_dict()
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    said["the query width, num_attention_heads * head size,"] = config.num_attention_heads * head
    said["the key width, num_key_value_heads * head size,"] = config.num_key_value_heads * head
    for field, size, tensor in (
        ("vocab_size", found.vocab_size, shapes.EMBEDDING),
        ("hidden_size", found.hidden_size, shapes.EMBEDDING),
        ("num_hidden_layers", found.layers, "model.layers.*"),
        ("intermediate_size", found.intermediate_size, shapes.MLP),
        ("the query width, num_attention_heads * head size,", found.query_size, shapes.QUERY),
        ("the key width, num_key_value_heads * head size,", found.key_size, shapes.KEY),
    ):
        _agree(where, said, field, size, tensor)
    return config


def _vision_config(found: TowerShapes, given: Given) -> tuple[PreTrainedConfig, int]:
    """The tower's configuration, and the hidden state that the released code takes from it."""
    source, values = given.vision_config, given.released
    if source is None and "vision_config" not in values:
        named = values.get("mm_vision_tower") or KNOWN_VISION
        raise ValueError(
            "The checkpoint holds a vision tower, whose tensors do not tell its kind, number of heads and image size. "
            "Expected --vision-config with the tower that it was made from: a folder, a config.json or a name. "
            f"{'As its config.json says' if 'mm_vision_tower' in values else 'For the public checkpoint'}: "
            f"--vision-config {named}"
        )
    where = "vision_config in the config.json beside the checkpoint" if source is None else f"--vision-config {source}"
    if source is not None:
        values = read_config(source, "--vision-config")
    config = vision_config_of(values if source is not None else values["vision_config"], where)
    is_clip = config.model_type == "clip_vision_model"
    said = {**config.to_dict(), "the number of positions": (config.image_size // config.patch_size) ** 2 + is_clip}
    for field, size, tensor in (
        ("hidden_size", found.hidden_size, shapes.PATCHES),
        ("num_channels", found.channels, shapes.PATCHES),
        ("patch_size", found.patch_size, shapes.PATCHES),
        ("intermediate_size", found.intermediate_size, shapes.TOWER_MLP),
        ("the number of positions", found.positions, shapes.POSITIONS),
    ):
        _agree(where, said, field, size, tensor)
    return config, _feature_layer(config, found.layers, where, given.released, values)


def _feature_layer(config: Any, layers: int, where: str, released: dict[str, Any], values: dict[str, Any]) -> int:
    """
    Which hidden state is used. `config` gets the number of layers that the checkpoint holds.

    The released code takes the last layer of a SigLIP tower away, and then the last hidden state. Of a CLIP tower it
    takes the one that `mm_vision_select_layer` names.
    """
    if config.model_type == "clip_vision_model":
        _agree(where, config.to_dict(), "num_hidden_layers", layers, "model.vision_tower.*.layers.*")
        return released.get("mm_vision_select_layer", -2)
    if values.get("model_type") == "wings" and config.num_hidden_layers == layers:
        return values["vision_feature_layer"]
    if layers == config.num_hidden_layers - 1:
        config.num_hidden_layers = layers
        return -1
    _agree(where, config.to_dict(), "num_hidden_layers", layers, "model.vision_tower.*.layers.*")
    return -2


def _clip_features(released: dict[str, Any]) -> dict[str, Any]:
    choice = released.get("mm_vision_select_feature", "patch")
    return {"vision_feature_select_strategy": "full" if choice == "cls_patch" else "default"}


def _agree(where: str, said: dict[str, Any], field: str, found: int | None, tensor: str) -> None:
    if field in said and said[field] != found:
        raise ValueError(f"{where} says {field}={said[field]}, but {tensor} in the checkpoint says {found}.")


def _check_image_length(config: WingsConfig, released: dict[str, Any]) -> None:
    length = released.get("image_token_length", config.image_seq_length)
    if config.vision_config is not None and length != config.image_seq_length:
        raise ValueError(
            f"The config.json beside the checkpoint says image_token_length={length}, but an image takes "
            f"{config.image_seq_length} tokens in its vision tower."
        )


def dtype_of(dtypes: set[str]) -> str | None:
    """The dtype that a model of tensors of `dtypes` is loaded in: the widest of them, so that no bit is lost."""
    order = ["F16", "BF16", "F32", "F64"]
    if {"F16", "BF16"} <= dtypes:
        dtypes = dtypes | {"F32"}
    present = [dtype for dtype in order if dtype in dtypes]
    return DTYPES[present[-1]] if present else None
