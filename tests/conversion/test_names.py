# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Names of tensors, both ways."""

import pytest

from wings_hf.conversion.names import TOWER, reason_without_place, to_released, to_wings

LAYER = "model.language_model.layers.31.self_attn"
PAIRS = [
    ("model.layers.31.attn_pool.q_proj.0.weight", f"{LAYER}.visual_learner.q_a", True),
    ("model.layers.31.attn_pool.o_proj.1.weight", f"{LAYER}.visual_learner.o_b", True),
    ("model.layers.31.attn_t_pool.k_proj.1.weight", f"{LAYER}.textual_learner.k_b", True),
    ("model.layers.31.attn_t_pool.v_proj.0.weight", f"{LAYER}.textual_learner.v_a", True),
    ("model.layers.31.reweight_module.linear.weight", f"{LAYER}.router.weight", True),
    ("model.layers.31.reweight_module.linear.bias", f"{LAYER}.router.bias", False),
    ("model.mm_projector.0.weight", "model.multi_modal_projector.linear_1.weight", False),
    ("model.mm_projector.2.bias", "model.multi_modal_projector.linear_2.bias", False),
    (f"{TOWER}encoder.layers.0.mlp.fc1.bias", "model.vision_tower.encoder.layers.0.mlp.fc1.bias", False),
    ("model.layers.31.self_attn.q_proj.bias", f"{LAYER}.q_proj.bias", False),
    ("model.embed_tokens.weight", "model.language_model.embed_tokens.weight", False),
    ("model.norm.weight", "model.language_model.norm.weight", False),
    ("lm_head.weight", "lm_head.weight", False),
]


@pytest.mark.parametrize(("released", "ours", "transposed"), PAIRS)
def test_both_ways(released: str, ours: str, transposed: bool) -> None:
    assert to_wings(released) == (ours, transposed)
    assert to_released(ours) == (released, transposed)


@pytest.mark.parametrize(
    "name", ["model.image_newline", "model.mm_projector.1.weight", "model.vision_tower.logit_scale", "extra", ""]
)
def test_a_name_of_nobody_is_none(name: str) -> None:
    assert to_wings(name) is None


@pytest.mark.parametrize(
    ("name", "stage", "tied", "reason"),
    [
        (f"{TOWER}head.probe", 2, False, "pooling head"),
        (f"{TOWER}embeddings.position_ids", 2, False, "computed"),
        ("model.layers.3.self_attn.rotary_emb.inv_freq", 2, False, "computed"),
        ("model.layers.3.attn_pool.rotary_emb.inv_freq", 2, False, "computed"),
        ("model.layers.3.attn_t_pool.q_proj.0.weight", 1, False, "stage 1"),
        ("model.layers.3.attn_t_pool.q_proj.0.weight", 2, False, None),
        ("model.layers.3.attn_pool.q_proj.0.weight", 1, False, None),
        ("lm_head.weight", 2, True, "tied"),
        ("lm_head.weight", 2, False, None),
        ("model.image_newline", 1, True, None),
    ],
)
def test_why_a_tensor_has_no_place(name: str, stage: int, tied: bool, reason: str | None) -> None:
    found = reason_without_place(name, stage, tied)
    assert found is None if reason is None else reason in str(found)
