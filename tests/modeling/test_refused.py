# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What cannot work is refused when the model is built, with a message that names it."""

import pytest
from tiny import PARALLEL_RESIDUAL, VISION_WIDTH, tiny_config, tiny_model
from transformers import AutoConfig

from wings_hf import WingsConfig, WingsForCausalLM

# Types whose decoder drops keyword arguments on the way to attention, or which have no attention at all.
UNSUITABLE = {
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "falcon": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "expansion_ratio": 1},
    "gptj": {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4},
    "gpt_neo": {
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "intermediate_size": 40,
    },
    "codegen": {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4},
    "nemotron": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "intermediate_size": 40,
    },
    "stablelm": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 40,
    },
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    "rwkv": {"hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32},
}


@pytest.mark.parametrize("model_type", UNSUITABLE)
def test_unsuitable_language_models(model_type):
    text_config = AutoConfig.for_model(model_type, vocab_size=99, **UNSUITABLE[model_type])
    with pytest.raises(ValueError, match=model_type):
        WingsForCausalLM(WingsConfig(text_config=text_config, vision_feature_size=VISION_WIDTH, learner_rank=4))


@pytest.mark.parametrize("family", PARALLEL_RESIDUAL)
def test_post_attention_needs_a_sequential_residual(family):
    with pytest.raises(ValueError, match="post_attention"):
        tiny_model(family, learner_query="post_attention")


def test_learner_rope_needs_a_rotary_backbone():
    text_config = AutoConfig.for_model("gpt2", vocab_size=99, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    options = {"text_config": text_config, "vision_feature_size": VISION_WIDTH, "learner_rank": 4}
    WingsForCausalLM(WingsConfig(**options))  # the default is False there
    assert tiny_config("llama").learner_rope and tiny_config("gemma3_text").learner_rope
    with pytest.raises(ValueError, match="learner_rope"):
        WingsForCausalLM(WingsConfig(**options, learner_rope=True))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"learners": ("auditory",)}, "auditory"),
        ({"learners": ("visual", "visual")}, "learners"),
        ({"learner_rank": 0}, "learner_rank"),
        ({"router": "mass", "router_power": 0.5}, "router_power=0.5"),
        ({"learner_layers": [2]}, "learner_layers"),
        ({"learner_layers": [-1]}, "learner_layers"),
        ({"learner_layers": [1, 1]}, "learner_layers"),
        ({"learner_heads": 5}, "learner_heads"),
        ({"learner_heads": 32}, "learner_heads"),
        ({"router_positions": 0}, "router_positions"),
    ],
    ids=str,
)
def test_conflicting_options(options, named):
    with pytest.raises(ValueError, match=named):
        tiny_config("llama", **options)


@pytest.mark.parametrize(
    "options",
    [
        {"learner_query": "output"},
        {"learner_scope": "never"},
        {"router": "linear"},
        {"semantics": "mine"},
        {"vision_feature_select_strategy": "patch"},
    ],
    ids=str,
)
def test_unknown_choices(options):
    with pytest.raises(Exception, match=next(iter(options))):
        tiny_config("llama", **options)


def test_released_semantics_are_not_mixed_in_silently():
    """Either the switch exists, or it says that it does not."""
    with pytest.raises(Exception, match="semantics"):
        tiny_config("llama", semantics="released", router="modality", learner_scope="visual_context")


def test_both_or_neither_input():
    model = tiny_model("llama")
    with pytest.raises(ValueError, match="input_ids"):
        model()
