# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Values of a configuration that no model can be built with are named when it is made, not when the model runs."""

import copy
import json
import signal

import pytest
from transformers import AutoConfig

from wings_hf import WingsConfig

MODEL = {
    "text_config": {"model_type": "llama", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    "vision_config": {
        "model_type": "siglip_vision_model",
        "hidden_size": 8,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 8,
        "patch_size": 4,
    },
}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("learner_layers", [[0], [0]], "expected integers"),
        ("learner_layers", [None], "expected integers"),
        ("learner_layers", ["0"], "expected integers"),
        ("learner_layers", [0.0], "expected integers"),
        ("learner_layers", [float("nan")], "expected integers"),
        ("learner_layers", [10**30], "from 0 to 1"),
        ("vision_feature_layer", [], "at least one"),
        ("vision_feature_layer", [[1]], "expected integers"),
        ("vision_feature_layer", ["a"], "expected integers"),
        ("vision_feature_layer", 4, "from -4 to 3"),
        ("vision_feature_layer", [-1, -5], "from -4 to 3"),
        ("vision_feature_size", 0, "at least 1"),
        ("image_seq_length", -1, "at least 1"),
        ("num_prefix_tokens", -1, "not be negative|at least 0"),
    ],
)
def test_a_value_of_no_use_is_named(name, value, said):
    with pytest.raises(ValueError, match=said) as refused:
        WingsConfig(**MODEL, **{name: value})
    assert name in str(refused.value)


def test_a_tower_without_a_vision_part_is_named():
    with pytest.raises(ValueError, match="vision_config of type 'wings' has no vision part"):
        WingsConfig(**{**MODEL, "vision_config": {"model_type": "wings"}})


def test_a_text_encoder_is_no_attribute_error():
    assert not WingsConfig(**{**MODEL, "text_config": {"model_type": "clip"}}).tie_word_embeddings


@pytest.mark.parametrize("value", [3, -4, 0, [-1, 0]])
def test_hidden_states_of_the_tower_are_taken(value):
    assert WingsConfig(**MODEL, vision_feature_layer=value).vision_feature_layer == value


@pytest.mark.parametrize("part", [None, "text_config", "vision_config"])
@pytest.mark.parametrize("name", ["attn_implementation", "_attn_implementation", "experts_implementation"])
@pytest.mark.parametrize("value", ["owner/kernel", {"": "owner/kernel@v1:function"}], ids=str)
def test_a_file_cannot_name_code_of_the_hub(tmp_path, part, name, value):
    values = copy.deepcopy({"model_type": "wings", **MODEL})
    (values[part] if part else values)[name] = value
    (tmp_path / "config.json").write_text(json.dumps(values))
    for config in (AutoConfig, WingsConfig):
        with pytest.raises(ValueError, match=f"{name}='owner/kernel.* code of the Hub"):
            config.from_pretrained(tmp_path)


def test_a_caller_can(tmp_path):
    WingsConfig(**MODEL).save_pretrained(tmp_path)
    assert (
        WingsConfig.from_pretrained(tmp_path, attn_implementation="owner/kernel")._attn_implementation == "owner/kernel"
    )
    loaded = AutoConfig.from_pretrained(tmp_path, attn_implementation="eager")
    assert loaded.text_config._attn_implementation == "eager"


def test_a_file_cannot_have_modules_of_this_process_copied(tmp_path):
    """Such as the script that saves, and whatever stands in it."""
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "wings", **MODEL, "code_modules": ["json.decoder"]})
    )
    config = AutoConfig.from_pretrained(tmp_path)
    config.save_pretrained(tmp_path / "again")
    saved = {path.name for path in (tmp_path / "again").iterdir()}
    assert "configuration_wings.py" in saved and "decoder.py" not in saved


@pytest.mark.parametrize("hidden_size", [2**61 - 1, 10**30])
def test_absurd_sizes_are_answered_at_once(hidden_size):
    """A prime, whose only divisor is itself, and a number with many."""
    text = {"model_type": "llama", "hidden_size": hidden_size, "num_attention_heads": 1, "vocab_size": 40}
    signal.alarm(20)
    try:
        if hidden_size % 2:
            with pytest.raises(ValueError, match="no learner_heads of 1 or more divides hidden_size"):
                WingsConfig(text_config=text)
        else:
            assert hidden_size // WingsConfig(text_config=text).learner_heads == 200
    finally:
        signal.alarm(0)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ({"model_type": "bloom", "num_hidden_layers": "wings"}, "num_hidden_layers='wings'"),
        ({"model_type": "resnet"}, "hidden_size=None"),
        ({"model_type": "bloom", "vocab_size": 0}, "vocab_size=0"),
    ],
)
def test_sizes_of_the_language_model_are_checked_before_they_are_used(text, named):
    with pytest.raises(
        ValueError, match=f"text_config of type '{text['model_type']}' has {named}: expected the positive"
    ):
        WingsConfig(text_config=text, image_token_id=1, learner_layers=[0])
