# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Tiny random image-text models of transformers, each with two samples of inputs: one of them is padded."""

from collections.abc import Callable

import torch
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    InternVLConfig,
    InternVLForConditionalGeneration,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)

IMAGE, PAD = 90, 0
TEXT = {
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": PAD,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
TOWER = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
Made = tuple[PreTrainedModel, dict[str, torch.Tensor]]


def rows_of_text(tokens: int) -> dict[str, torch.Tensor]:
    """Two rows: text, image, text, image, text; and text, image, text, padding."""
    first = [5, 6, 7, 8, *[IMAGE] * tokens, 9, 10, *[IMAGE] * tokens, 11, 12, 13, 14]
    second = [15, 16, *[IMAGE] * tokens, 17, 18, 19]
    ids = torch.tensor([first, second + [PAD] * (len(first) - len(second))])
    return {"input_ids": ids, "attention_mask": (ids != PAD).long()}


def llava(attn: str) -> Made:
    tower = {"model_type": "clip_vision_model", **TOWER, "image_size": 12, "patch_size": 4}
    config = LlavaConfig(
        text_config={"model_type": "llama", **TEXT}, vision_config=tower, image_token_index=IMAGE, image_seq_length=9
    )
    model = LlavaForConditionalGeneration._from_config(config, attn_implementation=attn)
    return model, {**rows_of_text(9), "pixel_values": torch.randn(3, 3, 12, 12)}


def qwen2_5_vl(attn: str) -> Made:
    rope = {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [2, 1, 1]}
    tower = {
        **{"depth": 2, "hidden_size": 24, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32},
        **{"patch_size": 4, "spatial_patch_size": 4, "window_size": 16, "fullatt_block_indexes": [1]},
    }
    config = Qwen2_5_VLConfig(
        text_config={"model_type": "qwen2_5_vl_text", **TEXT, "rope_parameters": rope},
        vision_config=tower,
        image_token_id=IMAGE,
        video_token_id=91,
        vision_start_token_id=92,
        vision_end_token_id=93,
    )
    model = Qwen2_5_VLForConditionalGeneration._from_config(config, attn_implementation=attn)
    batch = rows_of_text(6)
    batch["mm_token_type_ids"] = (batch["input_ids"] == IMAGE).int()
    grid = torch.tensor([[1, 4, 6]] * 3)  # patches, merged two by two
    return model, {**batch, "pixel_values": torch.randn(3 * 24, 3 * 2 * 4 * 4), "image_grid_thw": grid}


def idefics3(attn: str, config_class=Idefics3Config, model_class=Idefics3ForConditionalGeneration) -> Made:
    tower = {**TOWER, "image_size": 16, "patch_size": 4}
    config = config_class(
        text_config={"model_type": "llama", **TEXT},
        vision_config=tower,
        image_token_id=IMAGE,
        scale_factor=2,
        pad_token_id=PAD,
    )
    model = model_class._from_config(config, attn_implementation=attn)
    pixels = torch.randn(2, 2, 3, 16, 16)
    pixels[1, 1] = 0  # the second row has one image
    return model, {**rows_of_text(4), "pixel_values": pixels}


def smolvlm(attn: str) -> Made:
    return idefics3(attn, SmolVLMConfig, SmolVLMForConditionalGeneration)


def internvl(attn: str) -> Made:
    config = InternVLConfig(
        text_config={"model_type": "qwen2", **TEXT},
        vision_config={**TOWER, "image_size": [16, 16], "patch_size": [4, 4]},
        image_token_id=IMAGE,
        downsample_ratio=0.5,
        image_seq_length=4,
    )
    model = InternVLForConditionalGeneration._from_config(config, attn_implementation=attn)
    return model, {**rows_of_text(4), "pixel_values": torch.randn(3, 3, 16, 16)}


def gemma3(attn: str, **text) -> Made:
    """Sliding layers, heads of another size than hidden / heads, image rows that see all of their image."""
    config = Gemma3Config(
        text_config={
            **{**TEXT, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 5, **text},
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
        vision_config={**TOWER, "image_size": 16, "patch_size": 4, "vision_use_head": False},
        image_token_index=IMAGE,
        boi_token_index=92,
        eoi_token_index=93,
        mm_tokens_per_image=4,
    )
    model = Gemma3ForConditionalGeneration._from_config(config, attn_implementation=attn)
    batch = rows_of_text(4)
    batch["token_type_ids"] = (batch["input_ids"] == IMAGE).long()
    return model, {**batch, "pixel_values": torch.randn(3, 3, 16, 16)}


MODELS: dict[str, Callable[[str], Made]] = {
    "llava": llava,
    "qwen2_5_vl": qwen2_5_vl,
    "idefics3": idefics3,
    "smolvlm": smolvlm,
    "internvl": internvl,
    "gemma3": gemma3,
}


def make(name: str, attn: str, seed: int = 0) -> Made:
    """The model in evaluation mode, with weights large enough that attention is far from uniform; and its inputs."""
    torch.manual_seed(seed)
    model, batch = MODELS[name](attn)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape) * parameter[0].numel() ** -0.5 * 1.5)
    return model.eval(), batch
