# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Processor and model together: what one counts the other takes, for towers of every geometry."""

import pytest
import torch
from processor_parts import SIZE, build_tokenizer, picture
from transformers import (
    AutoModel,
    AutoProcessor,
    CLIPImageProcessor,
    CLIPVisionConfig,
    Dinov2WithRegistersConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MobileNetV2Config,
    SiglipVisionConfig,
)

from wings_hf import WingsForCausalLM, WingsProcessor

SMALL = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
TOWERS = {
    "clip": CLIPVisionConfig(image_size=SIZE, patch_size=6, **SMALL),
    "siglip": SiglipVisionConfig(image_size=SIZE, patch_size=6, vision_use_head=False, **SMALL),
    "registers": Dinov2WithRegistersConfig(
        image_size=SIZE, patch_size=6, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=1
    ),
    "convolutional": MobileNetV2Config(image_size=70, depth_multiplier=0.1, min_depth=2, depth_divisible_by=2),
}
CHAT = [
    [{"role": "user", "content": [{"type": "image", "image": picture(0)}, {"type": "text", "text": "what is it"}]}],
    [{"role": "user", "content": "no image here"}],
    [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "compare"},
                {"type": "image", "image": picture(1)},
                {"type": "image", "image": picture(2)},
            ],
        }
    ],
]


def build(tower, tokenizer, **fields):
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id, bos_token_id=tokenizer.bos_token_id,
    )  # fmt: skip
    text, vision = LlamaForCausalLM(config).eval(), AutoModel.from_config(TOWERS[tower]).eval()
    return WingsForCausalLM.from_backbones(text, vision, tokenizer=tokenizer, learner_rank=4, **fields)


@pytest.mark.parametrize("strategy", ["default", "full"])
@pytest.mark.parametrize("tower", TOWERS)
def test_counts_agree_and_text_comes_out(tower, strategy):
    tokenizer = build_tokenizer()
    model = build(tower, tokenizer, vision_feature_select_strategy=strategy)
    size = TOWERS[tower].image_size
    images = CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    processor = WingsProcessor.from_model_config(model.config, images, tokenizer)
    assert processor.image_token_id == model.config.image_token_id == model.config.text_config.vocab_size
    inputs = processor.apply_chat_template(
        CHAT, tokenize=True, return_dict=True, return_tensors="pt", padding=True, add_generation_prompt=True
    )
    per_image = model.config.image_seq_length
    assert inputs["mm_token_type_ids"].sum(-1).tolist() == [per_image, 0, 2 * per_image]
    with torch.no_grad():
        logits = model(**inputs).logits
        assert torch.isfinite(logits).all()
        generated = model.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert len(processor.post_process_image_text_to_text(generated)) == 3


def test_saved_together_and_loaded_by_the_auto_class(tmp_path):
    tokenizer = build_tokenizer()
    model = build("clip", tokenizer)
    images = CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    processor = WingsProcessor.from_model_config(model.config, images, tokenizer)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert type(loaded) is WingsProcessor
    assert loaded.to_dict() == processor.to_dict()
    assert loaded.chat_template == processor.chat_template
