# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Tiny models with their processors, for scoring: Wings and others of transformers, with images and without."""

from pathlib import Path
from typing import Any

import demo_parts
import processor_parts
import torch
from PIL import Image
from transformers import (
    AutoProcessor,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from wings_hf.demo.parts import build_language_model

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 1,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
TOWER = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
CHAT = (
    "{% for m in messages %}[{{ m['role'] }}]{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}IMAGE{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)

_SAID = (
    "{{ m['content'] if m['content'] is string else m['content'] | selectattr('text', 'defined')"
    " | map(attribute='text') | join }}"
)
SPACED = (  # writes "ASSISTANT: A", and "ASSISTANT:" as its prompt; images stand before the text
    "{% for m in messages %}{% if m['content'] is not string %}{% for c in m['content'] %}{% if c['type'] == 'image' %}"
    "<image>{% endif %}{% endfor %}{% endif %}{% if m['role'] == 'user' %}USER: SAID {% else %}ASSISTANT: SAID</s>"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
).replace("SAID", _SAID)


def shaken(model: Any) -> Any:
    """Weights under which answers differ."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def wings() -> tuple[Any, Any]:
    return shaken(demo_parts.model()), demo_parts.processor()


def llava() -> tuple[Any, Any]:
    tokenizer = processor_parts.build_tokenizer(
        ("<image>",), adds_bos=True, extra_special_tokens={"image_token": "<image>"}
    )
    processor = LlavaProcessor(
        processor_parts.clip_images(),
        tokenizer,
        patch_size=processor_parts.PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT.replace("IMAGE", "<image>"),
    )
    tower = {"model_type": "clip_vision_model", **TOWER, "image_size": processor_parts.SIZE, "patch_size": 6}
    config = LlavaConfig(
        text_config={"model_type": "llama", "vocab_size": len(tokenizer), **TEXT},
        vision_config=tower,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=9,
    )
    torch.manual_seed(0)
    return shaken(LlavaForConditionalGeneration(config)), processor


def gemma3() -> tuple[Any, Any]:
    special = {"boi_token": "<boi>", "image_token": "<soft>", "eoi_token": "<eoi>"}
    tokenizer = processor_parts.build_tokenizer(tuple(special.values()), extra_special_tokens=special)
    processor = Gemma3Processor(
        Gemma3ImageProcessor(size={"height": 16, "width": 16}, do_pan_and_scan=False),
        tokenizer,
        image_seq_length=4,
        chat_template=CHAT.replace("IMAGE", "<boi>"),
    )
    config = Gemma3Config(
        text_config={**TEXT, "vocab_size": len(tokenizer), "head_dim": 16, "layer_types": ["full_attention"] * 2},
        vision_config={**TOWER, "image_size": 16, "patch_size": 4, "vision_use_head": False},
        image_token_index=tokenizer.convert_tokens_to_ids("<soft>"),
        mm_tokens_per_image=4,
    )
    torch.manual_seed(0)
    return shaken(Gemma3ForConditionalGeneration(config)), processor


MODELS = {"wings": wings, "llava": llava, "gemma3": gemma3}


def pictures(number: int) -> list[Image.Image]:
    return [processor_parts.picture(seed) for seed in range(number)]


def saved(name: str, folder: Path) -> Path:
    """The model `name` as a folder."""
    model, processor = MODELS[name]()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    AutoProcessor.from_pretrained(folder)
    return folder


def saved_text_model(folder: Path) -> Path:
    torch.manual_seed(0)
    shaken(build_language_model(demo_parts.tokenizer(), 32, 2)).save_pretrained(folder)
    demo_parts.tokenizer().save_pretrained(folder)
    return folder
