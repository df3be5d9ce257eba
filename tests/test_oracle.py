# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The oracle itself: its rotary embedding is each family's own, its plain backbone is the backbone."""

import sys

import pytest
import torch
from tiny import FAMILIES, tiny_text_config
from transformers import AutoModel

from oracle import INTERLEAVED_ROPE, resolve_learner_heads, rotate

PLAIN_ROPE = [family for family in FAMILIES if family not in ("llama3_rope", "llama_yarn")]


@pytest.mark.parametrize("family", PLAIN_ROPE)
def test_rotate_is_the_familys_rotary_embedding(family):
    config = tiny_text_config(family)
    backbone = AutoModel.from_config(config)
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads, positions = torch.randn(1, 3, 7, size), torch.arange(7)[None] + 5
    parameters, extra = config.rope_parameters, ()
    if family == "gemma3_text":  # the sliding layers have plain frequencies, the full ones scaled frequencies
        parameters, extra = parameters["sliding_attention"], ("sliding_attention",)
    cos, sin = backbone.rotary_emb(heads, positions, *extra)
    expected, _ = sys.modules[type(backbone).__module__].apply_rotary_pos_emb(heads, heads, cos, sin)

    theta, factor = parameters["rope_theta"], parameters.get("partial_rotary_factor", 1.0)
    interleaved = config.model_type in INTERLEAVED_ROPE
    rows = [rotate(heads[0, :, i].double(), int(positions[0, i]), theta, factor, interleaved) for i in range(7)]
    torch.testing.assert_close(torch.stack(rows, 1)[None], expected.double(), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("hidden", "heads", "expected"),
    [(32, 4, 4), (36, 4, 6), (2048, 8, 16), (4096, 32, 32), (30, 4, 5), (1984, 8, 8)],
)
def test_learner_heads_rule(hidden, heads, expected):
    assert resolve_learner_heads(hidden, heads) == expected


def test_learner_heads_rule_refuses_odd_sizes():
    with pytest.raises(ValueError, match="hidden_size=35"):
        resolve_learner_heads(35, 4)
