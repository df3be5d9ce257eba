# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What a vision tower's configuration says about the tokens it makes of an image."""

import copy
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedConfig

# Tokens in front of the patches, for the towers that have any (registers are counted from the configuration).
PREFIX_TOKENS = {
    "clip_vision_model": 1,
    "chinese_clip_vision_model": 1,
    "metaclip_2_vision_model": 1,
    "vit": 1,
    "vit_mae": 1,
    "vit_msn": 1,
    "deit": 2,
    "beit": 1,
    "data2vec-vision": 1,
    "dinov2": 1,
    "dinov2_with_registers": 1,
    "dinov3_vit": 1,
    "ijepa": 0,
    "siglip_vision_model": 0,
}
# Convolutional towers whose strided layers pad their input, so that a side of h pixels gives ceil(h / stride) cells.
CEIL_TOWERS = ("mobilenet_v1", "mobilenet_v2", "resnet", "regnet", "efficientnet")


@dataclass(frozen=True)
class Tower:
    """Geometry of a tower: one token per `patch_size` pixels each way, after `prefix_tokens` others."""

    convolutional: bool
    patch_size: int
    prefix_tokens: int
    rounding: Literal["floor", "ceil"]
    feature_size: int | None
    image_size: tuple[int, int] | None


def without_pooling(config: PreTrainedConfig) -> PreTrainedConfig:
    """`config` of a tower without its pooling head, a copy where it has one and the family lets one leave it out."""
    if not getattr(config, "vision_use_head", config.model_type == "siglip_vision_model"):
        return config
    config = copy.deepcopy(config)
    config.vision_use_head = False  # older versions of transformers know the field, but do not declare it
    return config


def describe_tower(config: PreTrainedConfig) -> Tower:
    """
    Geometry of the tower that `config` describes.

    Raises:
        ValueError: for a transformer tower without `patch_size`.
    """
    image_size = getattr(config, "image_size", None)
    if isinstance(image_size, int):
        image_size = (image_size, image_size)
    if not hasattr(config, "num_attention_heads"):
        return _convolutional_tower(config, image_size)
    patch_size = getattr(config, "patch_size", None)
    if isinstance(patch_size, (list, tuple)) and len(set(patch_size)) == 1:
        patch_size = patch_size[0]
    if not isinstance(patch_size, int):
        raise ValueError(
            f"vision_config of type {config.model_type!r} has patch_size={patch_size!r}: expected one integer, the "
            "side of a square patch in pixels."
        )
    prefix = PREFIX_TOKENS.get(config.model_type, 0) + getattr(config, "num_register_tokens", 0)
    return Tower(False, patch_size, prefix, "floor", config.hidden_size, tuple(image_size) if image_size else None)


def _convolutional_tower(config: PreTrainedConfig, image_size: tuple[int, int] | None) -> Tower:
    stride = getattr(config, "output_stride", None) or 32
    rounding: Literal["floor", "ceil"] = "ceil" if config.model_type in CEIL_TOWERS else "floor"
    return Tower(True, stride, 0, rounding, _feature_map_channels(config), image_size)


def _feature_map_channels(config: PreTrainedConfig) -> int | None:
    """Channels of the last feature map, `None` where the configuration does not tell."""
    if config.model_type == "mobilenet_v1":
        return max(int(1024 * config.depth_multiplier), config.min_depth)
    if config.model_type == "mobilenet_v2":
        from transformers.models.mobilenet_v2.modeling_mobilenet_v2 import apply_depth_multiplier

        narrow = config.finegrained_output and config.depth_multiplier < 1.0
        return 1280 if narrow else apply_depth_multiplier(config, 1280)
    sizes = getattr(config, "hidden_sizes", None)
    return sizes[-1] if sizes else getattr(config, "hidden_dim", getattr(config, "hidden_size", None))
