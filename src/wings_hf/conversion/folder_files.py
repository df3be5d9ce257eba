# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What stands beside the weights: configuration, code, generation settings, tokenizer and processor."""

import json
import shutil
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoTokenizer, GenerationConfig
from transformers.models.auto.image_processing_auto import AutoImageProcessor

from wings_hf.configuration.configuration_wings import WingsConfig
from wings_hf.conversion.locate import is_hub_name
from wings_hf.conversion.writing import write_text
from wings_hf.modeling import modeling_wings
from wings_hf.modeling.wings_build import free_image_token_id

RELEASED_CONFIG = "released_config.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")
BICUBIC = 3  # PIL.Image.Resampling.BICUBIC


def load_tokenizer(asked: str | None, text_config: str | None, source: Path) -> Any:
    """
    The tokenizer: the one asked for, else the one beside the checkpoint, else the one beside the text configuration.

    Returns:
        `None` where there is none and none was asked for.

    Raises:
        ValueError: where the one asked for cannot be loaded.
    """
    if asked is None:
        beside = next((place for place in (str(source), text_config) if place and _has_tokenizer(place)), None)
        if beside is None and not (text_config and is_hub_name(text_config)):
            return None
        asked, optional = beside or str(text_config), beside is None
    else:
        optional = False
    try:
        return AutoTokenizer.from_pretrained(asked)
    except (OSError, ValueError) as error:
        if optional:
            return None
        raise ValueError(f"--tokenizer {asked}: no tokenizer can be loaded from there ({error}).") from error


def _has_tokenizer(place: str) -> bool:
    return any((Path(place).expanduser() / name).is_file() for name in TOKENIZER_FILES)


def image_token_id_for(tokenizer: Any) -> int | None:
    """A row of the vocabulary that the tokenizer leaves unused; `None`, the first id past it, without a tokenizer."""
    return None if tokenizer is None else free_image_token_id(tokenizer)


def save_config(config: WingsConfig, dtype: Any, folder: Path) -> None:
    """`config.json`, and the code that loads the model where wings_hf is not installed."""
    config.architectures = ["WingsForCausalLM"]
    config.dtype = dtype
    config.code_modules = [modeling_wings.__name__]
    config.save_pretrained(folder)


def save_generation_config(text_config: Any, places: list[str | None], folder: Path) -> None:
    """`generation_config.json`: the first one in `places`, folders or Hub names, else what `text_config` says."""
    for place in places:
        if place and ((Path(place) / "generation_config.json").is_file() or is_hub_name(place)):
            try:
                GenerationConfig.from_pretrained(place).save_pretrained(folder)
                return
            except (OSError, ValueError):
                continue
    GenerationConfig.from_model_config(text_config).save_pretrained(folder)


def make_processor(config: WingsConfig, tokenizer: Any, vision: str | None, asked: bool) -> tuple[Any, str]:
    """
    The processor, or the tokenizer alone, or `None`.

    Args:
        config: of the model.
        tokenizer: its tokenizer, if known.
        vision: where the vision tower's configuration came from.
        asked: whether the user named the tokenizer.

    Returns:
        what there is, and a sentence about it.

    Raises:
        ValueError: for a tokenizer that was asked for and does not fit the released prompts.
    """
    if tokenizer is None:
        return None, "no tokenizer is known, so no processor was written (--tokenizer names one)"
    if config.vision_config is None:
        return tokenizer, "the tokenizer; without a vision tower there is no processor"
    from wings_hf.processing.wings_released_prompts import released_processor

    try:
        processor = released_processor(config, make_image_processor(config.vision_config, vision), tokenizer)
    except ValueError as error:
        if asked:
            raise
        return None, f"no processor: {error}"
    return processor, "the processor, with the released prompts and image padding"


def make_image_processor(config: Any, vision: str | None) -> Any:
    """The released code's: its own for SigLIP, the tower's for CLIP."""
    size = config.image_size
    if config.model_type == "clip_vision_model":
        place = Path(vision).expanduser() if vision else None
        if vision and (is_hub_name(vision) or (place and (place / "preprocessor_config.json").is_file())):
            return AutoImageProcessor.from_pretrained(vision, backend="pil")
        crop = {"height": size, "width": size}
        return _with_pillow("CLIPImageProcessor")(size={"shortest_edge": size}, crop_size=crop)
    return _with_pillow("SiglipImageProcessor")(
        size={"height": size, "width": size},
        resample=BICUBIC,
        rescale_factor=1 / 255,
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )


def _with_pillow(name: str) -> Any:
    """The image processor class that resizes with Pillow, as the released code does, where there are two."""
    return getattr(transformers, f"{name}Pil", None) or getattr(transformers, name)


def keep_released_config(source: Path, folder: Path) -> None:
    """Keeps the released configuration for the way back; where there is none, that of an earlier run goes."""
    (folder / RELEASED_CONFIG).unlink(missing_ok=True)
    if (source / "config.json").is_file():
        shutil.copyfile(source / "config.json", folder / RELEASED_CONFIG)


def save_released_config(config: WingsConfig, source: Path, folder: Path) -> str:
    """`config.json` for the released code, as it was where it was kept and holds; returns a sentence about it."""
    made, kept = released_config_of(config), source / RELEASED_CONFIG
    if kept.is_file() and _still_holds(json.loads(kept.read_text()), made):
        shutil.copyfile(kept, folder / "config.json")
        return "config.json as it was released"
    write_text(folder / "config.json", json.dumps(made, indent=2) + "\n")
    return "config.json in the form of the released code"


def _still_holds(kept: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether a released configuration says what the model is now; training may add tokens, and the second stage."""
    return all(kept.get(name, now[name]) == now[name] for name in ("vocab_size", "has_router"))


def check_released_form(config: WingsConfig) -> None:
    """
    Raises:
        ValueError: for a model that no configuration of the released code describes.
    """
    tower: Any = config.vision_config
    layer = config.vision_feature_layer
    wanted = {
        "learner_layers": (bool(config.winged_layers), "at least one layer with learners"),
        "projector_hidden_act": (config.projector_hidden_act == "gelu", "'gelu'"),
        "projector_bias": (config.projector_bias, "True"),
    }
    if tower is not None:
        is_siglip = tower.model_type == "siglip_vision_model"
        wanted["vision_config"] = (is_siglip or tower.model_type == "clip_vision_model", "a SigLIP or CLIP tower")
        fits = layer in (-1, -2) if is_siglip else isinstance(layer, int)
        wanted["vision_feature_layer"] = (fits, "-1 or -2" if is_siglip else "one hidden state")
    for name, (fits, expected) in wanted.items():
        if not fits:
            value = tower.model_type if name == "vision_config" else getattr(config, name)
            raise ValueError(f"{name}={value!r}: the released code has no such model, expected {expected}.")


def released_config_of(config: WingsConfig) -> dict[str, Any]:
    """The flat configuration of the released code; `vision_config` is the tower's, with all the layers it once had."""
    text_config: Any = config.text_config
    text = text_config.to_dict()
    rope = dict(text.pop("rope_parameters", None) or {})
    text["rope_theta"] = rope.pop("rope_theta", 10000.0)
    text["rope_scaling"] = None if rope.get("rope_type", "default") == "default" else rope
    family = text.pop("model_type")
    fields = {
        **{name: value for name, value in text.items() if not name.startswith(("_", "id2label", "label2id"))},
        "model_type": f"wings_{family}",
        "architectures": [f"Wings{'Qwen2' if family == 'qwen2' else 'Llama'}ForCausalLM"],
        "variant": family,
        "lora_dim": config.learner_rank,
        "system_prompt_length": config.system_prompt_length,
        "mm_hidden_size": config.vision_feature_size,
        "mm_projector_type": "mlp2x_gelu",
        "mm_patch_merge_type": "flat",
        "image_aspect_ratio": "pad",
        "has_router": config.has_router,
        "image_token_index": -200,
    }
    if config.has_router:
        fields["router_max_len"] = config.router_positions
    if config.image_seq_length is not None:
        fields["image_token_length"] = config.image_seq_length
    if config.vision_config is not None:
        fields.update(_released_vision(config))
    return fields


def _released_vision(config: WingsConfig) -> dict[str, Any]:
    vision_config: Any = config.vision_config
    tower = vision_config.to_dict()
    if tower["model_type"] == "siglip_vision_model" and config.vision_feature_layer == -1:
        tower["num_hidden_layers"] += 1  # the released code takes the last one away
    whole = config.vision_feature_select_strategy == "full"
    return {
        "vision_config": tower,
        "mm_vision_select_layer": -2 if tower["model_type"] == "siglip_vision_model" else config.vision_feature_layer,
        "mm_vision_select_feature": "cls_patch" if whole else "patch",
    }
