# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The one count of image tokens, against the towers' own feature maps."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModel,
    CLIPVisionConfig,
    Dinov2WithRegistersConfig,
    MobileNetV2Config,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
)

from wings_hf.configuration.wings_image_tokens import count_image_tokens, ensure_image_token


@pytest.mark.parametrize(
    ("size", "arguments", "expected"),
    [
        ((336, 336), {"patch_size": 14}, 576),
        ((336, 336), {"patch_size": 14, "num_prefix_tokens": 1}, 576),
        ((336, 336), {"patch_size": 14, "num_prefix_tokens": 1, "select_strategy": "full"}, 577),
        ((224, 224), {"patch_size": 14, "num_prefix_tokens": 5, "select_strategy": "full"}, 261),
        ((35, 27), {"patch_size": 14}, 2),
        ((35, 27), {"patch_size": 14, "rounding": "ceil"}, 6),
        ((28, 30), {"patch_size": (14, 10)}, 6),
        ((33, 32), {"patch_size": 32, "rounding": "ceil"}, 2),
        ((5, 5), {"patch_size": 32, "rounding": "ceil"}, 1),
    ],
)
def test_count(size, arguments, expected):
    assert count_image_tokens(*size, **arguments) == expected


@pytest.mark.parametrize(
    ("size", "arguments", "message"),
    [
        ((0, 8), {"patch_size": 4}, "positive, got 0x8"),
        ((3, 8), {"patch_size": 4}, "3x8 pixels is smaller than one patch of 4"),
        ((8, 8), {"patch_size": 0}, "patch_size must be positive, got 0"),
        ((8, 8), {"patch_size": 4, "num_prefix_tokens": -1}, "got -1"),
        ((8, 8), {"patch_size": 4, "select_strategy": "patch"}, "'default' or 'full', got 'patch'"),
        ((8, 8), {"patch_size": 4, "rounding": "round"}, "'floor' or 'ceil', got 'round'"),
    ],
)
def test_count_refuses(size, arguments, message):
    with pytest.raises(ValueError, match=message):
        count_image_tokens(*size, **arguments)


SMALL = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.mark.parametrize(
    ("config", "prefix", "patch"),
    [
        (CLIPVisionConfig(image_size=20, patch_size=6, **SMALL), 1, 6),
        (SiglipVisionConfig(image_size=20, patch_size=6, vision_use_head=False, **SMALL), 0, 6),
        (
            Dinov2WithRegistersConfig(
                image_size=21, patch_size=7, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, mlp_ratio=1
            ),
            5,
            7,
        ),
    ],
    ids=["clip", "siglip", "dinov2_with_registers"],
)
def test_count_is_what_a_transformer_tower_gives(config, prefix, patch):
    size = config.image_size
    features = AutoModel.from_config(config)(torch.zeros(1, 3, size, size)).last_hidden_state
    arguments = {"patch_size": patch, "num_prefix_tokens": prefix}
    assert count_image_tokens(size, size, **arguments, select_strategy="full") == features.shape[1]
    assert count_image_tokens(size, size, **arguments) == features.shape[1] - prefix


@pytest.mark.parametrize("size", [(64, 64), (65, 96), (33, 31)])
def test_count_is_what_a_convolutional_tower_gives(size):
    config = MobileNetV2Config(depth_multiplier=0.1, min_depth=2, depth_divisible_by=2)
    features = AutoModel.from_config(config).eval()(torch.zeros(1, 3, *size)).last_hidden_state
    expected = features.shape[-2] * features.shape[-1]
    assert count_image_tokens(*size, patch_size=32, rounding="ceil") == expected


def _tokenizer(**kwargs):
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "<image>": 2, "b": 3}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", **kwargs)


def test_a_missing_image_token_is_added_as_special_token():
    tokenizer = _tokenizer()
    length = len(tokenizer)
    assert ensure_image_token(tokenizer, "<img>") == length
    assert ensure_image_token(tokenizer, "<img>") == length  # once
    assert len(tokenizer) == length + 1
    assert tokenizer.decode([1, length, 3], skip_special_tokens=True).split() == ["a", "b"]


def test_an_ordinary_vocabulary_entry_keeps_its_id_and_is_split_off():
    tokenizer = _tokenizer()
    assert tokenizer("a<image>b")["input_ids"] == [0]
    assert ensure_image_token(tokenizer, "<image>") == 2
    assert tokenizer("a<image>b")["input_ids"] == [1, 2, 3]
