# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`causalize`: the same weights, another semantics, and how far that moves the logits."""

import json
from pathlib import Path

import pytest
import torch
from released_checkpoints import assert_identical, read_tensors, released_config, released_tensors, write_released

from wings_hf import WingsConfig, WingsForCausalLM
from wings_hf.conversion.causalize import causalize
from wings_hf.conversion.compare import compare_logits
from wings_hf.conversion.convert import convert_to_wings


@pytest.fixture(params=[1, 2], ids=["stage 1", "stage 2"])
def converted(request, tmp_path: Path) -> Path:
    tensors, config = released_tensors(stage=request.param), released_config(stage=request.param)
    source = write_released(tmp_path / "released", tensors, config)
    convert_to_wings(str(source), tmp_path / "wings", max_shard_size=30_000)
    return tmp_path / "wings"


def test_weights_stay_and_semantics_change(converted):
    target = causalize(str(converted))
    assert target.name == "wings-causal" and target.parent == converted.parent
    before = {
        name: t for name, t in read_tensors(converted).items() if name.startswith(("model.lang", "model.multi", "lm"))
    }
    assert_identical(before, read_tensors(target))
    ours, theirs = (json.loads((folder / "config.json").read_text()) for folder in (target, converted))
    assert {name for name in theirs if ours[name] != theirs[name]} == {"semantics"} and ours.keys() == theirs.keys()
    config = WingsConfig.from_pretrained(target)
    assert (config.semantics, config.learner_query, config.learner_rope) == ("paper", "post_attention", True)
    _, loading = WingsForCausalLM.from_pretrained(target, output_loading_info=True)
    assert not any(loading.values())
    assert causalize(str(converted)) == target  # again: verified, and left


def test_the_state_of_a_training_run_is_left_behind(converted):
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "merges.txt"):
        (converted / name).write_text("large")
    assert {path.name for path in causalize(str(converted)).iterdir()} >= {"merges.txt"}
    assert not [path for path in causalize(str(converted)).iterdir() if path.suffix in (".pt", ".pth", ".bin")]


def test_text_alone_stays_and_images_move(converted):
    target = causalize(str(converted), converted.parent / "causal")
    movements = {m.rows: m for m in compare_logits(converted, target, prompts=2)}
    text, before, after = (movements[rows] for rows in ("text alone", "text before an image", "text after an image"))
    assert text.largest < 1e-5 and text.agreement == 1 and abs(text.divergence) < 1e-6
    for movement in (before, after):
        assert movement.largest > movement.mean > 1e-3 and movement.divergence > 1e-5
        assert str(movement).startswith(movement.rows)
    assert compare_logits(converted, converted, prompts=1)[1].largest == 0


def test_the_causal_model_is_causal(converted):
    """What changes after a position changes no logit before it; in the released computation it does."""
    changes = {}
    for folder in (causalize(str(converted)), converted):
        model = WingsForCausalLM.from_pretrained(folder).eval()
        ids = torch.randint(0, 290, (1, 30))
        ids[0, 10:19] = model.config.image_token_id
        features = torch.randn(1, 9, 24)
        with torch.no_grad():
            first = model(input_ids=ids, pixel_values=features).logits[:, :10]
            second = model(input_ids=ids, pixel_values=features + 1).logits[:, :10]
        changes[model.config.semantics] = float((first - second).abs().max())
    assert changes["paper"] == 0 < changes["released"]


def test_only_released_semantics(converted):
    target = causalize(str(converted))
    with pytest.raises(ValueError, match="semantics='paper'"):
        causalize(str(target))
    with pytest.raises(ValueError, match="no Wings model"):
        causalize(str(converted.parent / "released"))


def test_a_short_router_is_compared_on_short_prompts(tmp_path: Path):
    tensors = {
        name: tensor[:, :40].contiguous() if name.endswith("reweight_module.linear.weight") else tensor
        for name, tensor in released_tensors(stage=2).items()
    }
    source = write_released(tmp_path / "released", tensors, {**released_config(stage=2), "router_max_len": 40})
    convert_to_wings(str(source), tmp_path / "wings")
    moves = compare_logits(tmp_path / "wings", causalize(str(tmp_path / "wings")))
    assert {row.rows for row in moves} == {"text alone", "text before an image", "text after an image"}
