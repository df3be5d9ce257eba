# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Hostile configurations: one that a model can be built with and that comes back from JSON, or ValueError."""

import copy
import json

import pytest
from fuzz_parts import LARGE_INTS, REFUSED, SCALARS, TEXTS, VALUES, altered, result_or
from hypothesis import given
from hypothesis import strategies as st

from wings_hf import WingsConfig
from wings_hf.configuration.wings_image_tokens import count_image_tokens

VALUES_OF_A_MODEL = {
    "text_config": {
        "model_type": "qwen2",
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "intermediate_size": 32,
        "vocab_size": 40,
    },
    "vision_config": {
        "model_type": "siglip_vision_model",
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "image_size": 8,
        "patch_size": 4,
    },
    "learners": ["visual", "textual"],
    "learner_rank": 2,
    "learner_layers": [0, 1],
    "learner_heads": 2,
    "learner_query": "attention_input",
    "learner_rope": True,
    "learner_scope": "always",
    "learner_cache": "plain",
    "router": "position",
    "router_positions": 16,
    "semantics": "paper",
    "image_token_id": 41,
    "vision_feature_size": 8,
    "vision_feature_layer": -1,
    "vision_feature_select_strategy": "default",
    "num_prefix_tokens": 0,
    "image_seq_length": 4,
    "projector_hidden_act": "gelu",
}
OTHER = st.one_of(
    VALUES,
    LARGE_INTS,
    st.sampled_from(["released", "visual_context", "bloom", "wings", "clip", "resnet", "auto", "../x"]),
)


@pytest.mark.filterwarnings("ignore")
@given(values=altered(VALUES_OF_A_MODEL, OTHER))
def test_configurations(values):
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        return
    kept = copy.deepcopy(values)
    with result_or(*REFUSED):
        config = WingsConfig(**values)
        again = WingsConfig(**json.loads(config.to_json_string(use_diff=False)))
        assert again.to_dict() == config.to_dict()
    assert repr(values) == repr(kept), "the caller's values were changed"


@given(st.one_of(SCALARS, LARGE_INTS), LARGE_INTS, st.one_of(LARGE_INTS, VALUES), st.one_of(LARGE_INTS, SCALARS), TEXTS)
def test_image_token_counts(height, width, patch, prefix, strategy):
    with result_or(*REFUSED):
        count_image_tokens(height, width, patch_size=patch, num_prefix_tokens=prefix, select_strategy=strategy)
