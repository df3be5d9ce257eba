# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Stages and recipes: every parameter has a part, moves in the stages that say so, and stays in the others."""

from pathlib import Path

import demo_parts
import pytest
import torch
from transformers import TrainingArguments

from wings_hf.data.collator import ConversationCollator
from wings_hf.training.recipes import available, load_recipe
from wings_hf.training.stages import PARTS, Stage, begin_stage, describe, optimizer_for, part_of
from wings_hf.training.trainer import stage_trainer

RATES = {"stage1.learning_rate": 1e-2, "stage2.learning_rate": 2e-3}


def test_each_part_of_the_model_is_told_from_its_parameters_names() -> None:
    model = demo_parts.model()
    found = {part_of(name) for name, _ in model.named_parameters()}
    assert found == set(PARTS)
    layer = "model.language_model.layers.0"
    assert part_of(f"{layer}.self_attn.router.weight") == "router"
    assert part_of(f"{layer}.mlp.router.weight") == "language_model", "a mixture of experts has its own router"
    assert part_of("lm_head.weight") == part_of(f"{layer}.self_attn.q_proj.weight") == "language_model"


def test_unknown_and_missing_parts_raise() -> None:
    with pytest.raises(ValueError, match="stage 'tune', part 'rooter': unknown; did you mean 'router'"):
        Stage("tune", {"rooter": 1.0})
    model, stage = demo_parts.model(learners=()), Stage("align", {"visual_learner": 1.0})
    begin_stage(model, stage)
    with pytest.raises(ValueError, match="has not got"):
        optimizer_for(model, stage, TrainingArguments(use_cpu=True))


def test_weight_decay_is_on_matrices_only() -> None:
    model, stage = demo_parts.model(), load_recipe("wings").stages[1]
    begin_stage(model, stage)
    _, options = optimizer_for(model, stage, TrainingArguments(weight_decay=0.1, use_cpu=True))
    for group in options["params"]:
        assert {parameter.ndim > 1 for parameter in group["params"]} == {group["weight_decay"] > 0}
    grouped = sum(len(group["params"]) for group in options["params"])
    assert grouped == sum(parameter.requires_grad for parameter in model.parameters())


@pytest.fixture
def batch(tmp_path: Path) -> dict[str, torch.Tensor]:
    image = demo_parts.picture(tmp_path / "a.png")
    rows = [demo_parts.chat("Read", "7", image), demo_parts.chat("What is 1 plus 1?", "2")]
    return ConversationCollator(demo_parts.processor())(rows)


@pytest.mark.parametrize("name", available())
def test_exactly_the_parts_of_a_stage_move(name: str, batch: dict[str, torch.Tensor], tmp_path: Path) -> None:
    """For every recipe of the package: what its stages name moves, bit for bit nothing else does."""
    recipe = load_recipe(name, RATES | {"stage2.learning_rates": None})
    fields = {**recipe.model, "learner_rank": 4, "router_positions": 128}
    model = demo_parts.model(**fields, learners=tuple(recipe.stages[0].learners))
    for stage in recipe.stages:
        # Three steps: products start at zero, and so do the gradients of all but one factor.
        arguments = TrainingArguments(
            str(tmp_path), max_steps=3, report_to="none", use_cpu=True, save_strategy="no", disable_tqdm=True
        )
        begin_stage(model, stage)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        stage_trainer(model, stage, arguments, [0] * 8, lambda _: dict(batch)).train()
        moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
        assert {part_of(key) for key in moved} == set(stage.learning_rates)
        missed = {key for key, parameter in model.named_parameters() if parameter.requires_grad} - moved
        assert not missed, "trainable, but without a gradient"
        table = describe(model, stage)
        for part in stage.learning_rates:
            assert f"moves at {stage.learning_rates[part]:g}" in table


def test_learning_rates_reach_their_parts(batch: dict[str, torch.Tensor], tmp_path: Path) -> None:
    stage = Stage("tune", {"projector": 1e-2, "language_model": 1e-4})
    model = demo_parts.model(learners=())
    arguments = TrainingArguments(
        str(tmp_path),
        max_steps=1,
        report_to="none",
        use_cpu=True,
        save_strategy="no",
        disable_tqdm=True,
        lr_scheduler_type="constant",
    )
    before = {key: value.clone() for key, value in model.state_dict().items()}
    stage_trainer(model, stage, arguments, [0] * 8, lambda _: dict(batch)).train()
    steps = {
        part: max(
            (value - before[key]).abs().max().item()
            for key, value in model.state_dict().items()
            if part_of(key) == part
        )
        for part in stage.learning_rates
    }
    # The first step of Adam is as long as the learning rate.
    assert steps["projector"] == pytest.approx(1e-2, rel=0.01)
    assert steps["language_model"] == pytest.approx(1e-4, rel=0.01)
