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
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    MllamaConfig,
    MllamaForConditionalGeneration,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
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


def paligemma(attn: str) -> Made:
    """Every row sees the whole of its prompt, images and text."""
    tower = {"model_type": "siglip_vision_model", **TOWER, "vision_use_head": False, "projection_dim": 32}
    config = PaliGemmaConfig(
        text_config={"model_type": "gemma", **TEXT, "head_dim": 8},
        vision_config={**tower, "image_size": 16, "patch_size": 4},
        image_token_index=IMAGE,
        projection_dim=32,
    )
    model = PaliGemmaForConditionalGeneration._from_config(config, attn_implementation=attn)
    batch = rows_of_text(16)
    batch["token_type_ids"] = torch.zeros_like(batch["input_ids"])
    return model, {**batch, "pixel_values": torch.randn(3, 3, 16, 16)}


def qwen3_vl(attn: str) -> Made:
    """Features of the tower's layers join the hidden states of the first decoder layers."""
    rope = {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [2, 1, 1]}
    tower = {
        **{"depth": 2, "hidden_size": 24, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32},
        **{"patch_size": 4, "num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1]},
    }
    config = Qwen3VLConfig(
        text_config={"model_type": "qwen3_vl_text", **TEXT, "head_dim": 8, "rope_parameters": rope},
        vision_config=tower,
        image_token_id=IMAGE,
        video_token_id=91,
        vision_start_token_id=92,
        vision_end_token_id=93,
    )
    model = Qwen3VLForConditionalGeneration._from_config(config, attn_implementation=attn)
    batch = rows_of_text(6)
    batch["mm_token_type_ids"] = (batch["input_ids"] == IMAGE).int()
    grid = torch.tensor([[1, 4, 6]] * 3)
    return model, {**batch, "pixel_values": torch.randn(3 * 24, 3 * 2 * 4 * 4), "image_grid_thw": grid}


def mllama(attn: str) -> Made:
    """One of four layers is cross-attention to the images, whose place in the text is one token each."""
    rope = {"rope_type": "default", "rope_theta": 100.0}
    tower = {
        **{"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_global_layers": 1},
        **{"attention_heads": 2, "image_size": 16, "patch_size": 4, "max_num_tiles": 2, "vision_output_dim": 48},
        **{"intermediate_layers_indices": [0], "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]]},
    }
    config = MllamaConfig(
        text_config={**TEXT, "num_hidden_layers": 4, "cross_attention_layers": [1], "rope_parameters": rope},
        vision_config=tower,
        image_token_index=IMAGE,
    )
    model = MllamaForConditionalGeneration._from_config(config, attn_implementation=attn)
    batch = rows_of_text(1)
    batch["cross_attention_mask"] = torch.ones(2, batch["input_ids"].shape[1], 1, 2).long()
    tiles = {"aspect_ratio_ids": torch.ones(2, 1).long(), "aspect_ratio_mask": torch.ones(2, 1, 2).long()}
    return model, {**batch, **tiles, "pixel_values": torch.randn(2, 1, 2, 3, 16, 16)}


def llava_next(attn: str) -> Made:
    """Two tiles and newline tokens for an image; a language model with a sliding window."""
    tower = {"model_type": "clip_vision_model", **TOWER, "image_size": 12, "patch_size": 4}
    config = LlavaNextConfig(
        text_config={"model_type": "mistral", **TEXT, "sliding_window": 6},
        vision_config=tower,
        image_token_index=IMAGE,
        image_grid_pinpoints=[[12, 12]],
    )
    model = LlavaNextForConditionalGeneration._from_config(config, attn_implementation=attn)
    sizes = torch.tensor([[12, 12]] * 3)
    return model, {**rows_of_text(9 + 9 + 3), "pixel_values": torch.randn(3, 2, 3, 12, 12), "image_sizes": sizes}


MODELS: dict[str, Callable[[str], Made]] = {
    "llava": llava,
    "qwen2_5_vl": qwen2_5_vl,
    "idefics3": idefics3,
    "smolvlm": smolvlm,
    "internvl": internvl,
    "gemma3": gemma3,
    "paligemma": paligemma,
    "qwen3_vl": qwen3_vl,
    "mllama": mllama,
    "llava_next": llava_next,
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
