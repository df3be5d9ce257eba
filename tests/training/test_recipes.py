# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Recipes: what they say, what may be changed from outside, and what is refused with a hint."""

import dataclasses
from pathlib import Path

import pytest

from wings_hf.training.recipes import Recipe, Retention, available, fields, load_recipe
from wings_hf.training.stages import Stage


def test_recipes_as_described() -> None:
    wings, exact, plain = (load_recipe(name) for name in ("wings", "exact", "plain"))
    assert set(wings.stages[0].learning_rates) == {"projector", "visual_learner"}
    assert set(wings.stages[1].learning_rates) == {
        "projector",
        "visual_learner",
        "textual_learner",
        "router",
        "language_model",
    }
    assert [stage.learners for stage in wings.stages] == [("visual",), ("visual", "textual")]
    assert "language_model" not in exact.stages[1].learning_rates
    assert exact.model["learner_scope"] == "visual_context"
    assert [stage.learners for stage in plain.stages] == [(), ()]
    assert set(plain.stages[1].learning_rates) == {"projector", "language_model"}
    for recipe in (wings, exact, plain):
        rates = recipe.stages[1].learning_rates
        assert rates["projector"] >= rates.get("language_model", 0.0)


def test_the_released_settings() -> None:
    """As the released scripts have them; the paper differs in the first rate and in the learner."""
    released, paper = load_recipe("wings-base-released"), load_recipe("wings-base-paper")
    align, tune = released.stages
    assert align.learning_rates == {"projector": 2e-5, "visual_learner": 2e-5}
    assert (align.batch_size, align.weight_decay, tune.batch_size, tune.weight_decay) == (256, 1e-9, 64, 1e-8)
    assert tune.learning_rates == {
        "projector": 1e-5,
        "visual_learner": 2e-6,
        "textual_learner": 2e-6,
        "router": 2e-6,
        "language_model": 2e-6,
    }
    for stage in released.stages:
        assert (stage.schedule, stage.warmup, stage.epochs, stage.max_grad_norm) == ("cosine", 0.03, 1.0, 1.0)
        assert (stage.adam_beta1, stage.adam_beta2, stage.adam_epsilon, stage.max_length) == (0.9, 0.999, 1e-8, 2048)
    assert set(paper.stages[0].learning_rates.values()) == {1e-3}
    assert paper.stages[1] == tune
    assert load_recipe("wings-llama3.1-released").stages[0].learning_rates["projector"] == 2e-4


def test_all_recipes_load_and_say_what_they_are() -> None:
    names = available()
    assert {"wings-base-paper", "wings-pro-paper", "wings-1.8b-paper", "wings-qwen3-siglip2"} <= set(names)
    for name, about in names.items():
        assert about and isinstance(load_recipe(name), Recipe)


def test_fields_may_be_set_from_outside(tmp_path: Path) -> None:
    changes = ["stage2.learning_rate=5e-5", "stages.max_steps=7", "model.learner_rank=8", "data=[a.json, b.json]"]
    recipe = load_recipe("wings", changes)
    assert recipe.stages[1].learning_rates["router"] == 5e-5
    assert recipe.stages[1].learning_rates["language_model"] == 1e-5, "it has a rate of its own"
    assert [stage.max_steps for stage in recipe.stages] == [7, 7]
    assert recipe.model["learner_rank"] == 8 and recipe.data == ("a.json", "b.json")
    path = tmp_path / "mine.yaml"
    path.write_text("extends: exact\nseed: 3\nstage1: {epochs: 2}\n")
    mine = load_recipe(str(path), {"stage1.batch_size": "32"})
    assert (mine.name, mine.seed, mine.stages[0].epochs, mine.stages[0].batch_size) == ("mine", 3, 2.0, 32)
    assert mine.model["learner_scope"] == "visual_context"
    (tmp_path / "more.yaml").write_text("extends: mine.yaml\nname: more\n")
    assert load_recipe(str(tmp_path / "more.yaml")).seed == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("stage2.learning_rat=1", "stage2.learning_rat: unknown; did you mean 'learning_rates'"),
        ("text_modle=a", "text_modle: unknown; did you mean 'text_model'"),
        ("stage1.epochs=many", "stage1.epochs='many': expected a number"),
        ("stage1.per_device_batch_size=1.5", "per_device_batch_size=1.5: expected a whole number"),
        ("stage1.per_device_batch_size=0", "per_device_batch_size=0: expected at least 1"),
        ("stage1.train=[projektor]", r"stage1.train\[0\]='projektor': unknown; did you mean 'projector'"),
        ("stage1.learning_rates={language_model: 1}", "names language_model, which stage1.train does not"),
        ("stage1.learn=some", "stage1.learn='some': unknown"),
        ("stage1.packing=true", "packing=True needs max_length"),
        ("precision=fp8", "precision='fp8': unknown; expected one of fp32"),
        ("seed=true", "seed=True: expected a whole number"),
        ("retention.every.x=1", "retention.every has no fields"),
        ("stage1", "expected path=value"),
        ("stage2=null", "stage2=None: expected fields with values"),
        ("model.learner_rnk=4", "model.learner_rnk: unknown; did you mean 'learner_rank'"),
        ("model.learners=[textual]", "model.learners has no effect: it is set by the stages' learners"),
        ("accelerator.gradient_accumulation_steps=4", "expected a stage's batch_size instead"),
        ("accelerator.learning_rate=1", "expected a stage's learning_rate instead"),
        ("accelerator.deepsped=a", "accelerator.deepsped: unknown; did you mean 'deepspeed'"),
        ("stage2.name=align", "stage2.name='align' is an earlier stage's"),
        ("stage2.name=../x", "stage2.name='../x': expected the name of a folder"),
        ("stage2.learners=[textual]", "stage2.learners leaves out visual, which stage1 has"),
        ("stage2.learners=[visual, textul]", "learners='textul': unknown; did you mean 'textual'"),
        ("stage2.optimizer=adamw_torc", "optimizer='adamw_torc': unknown; did you mean 'adamw_torch'"),
        ("stage2.schedule=cosin", "schedule='cosin': unknown; did you mean 'cosine'"),
        ("stage2.learning_rate=-1", r"learning rate -1.0 of projector: expected more than 0"),
        ("stage2.learning_rates.language_model=.nan", "learning rate nan of language_model: expected more than 0"),
        ("stage2.train=null", "stage2.learning_rate is for parts without a rate of their own"),
        ("stage2.batch_size=-8", "batch_size=-8: expected at least 1"),
        ("stage2.max_length=0", "max_length=0: expected at least 1"),
        ("stage2.max_steps=0", "max_steps=0: expected at least 1, or -1"),
        ("stage2.epochs=0", "epochs=0.0: expected more than 0"),
        ("stage2.text_share=2", "text_share=2.0: expected a share between 0 and 1"),
        ("stage2.max_grad_norm=-1", "max_grad_norm=-1.0: expected at least 0"),
        ("save_steps=0", "save_steps=0: expected at least 1"),
        ("workers=-1", "workers=-1: expected at least 0"),
        ("retention.stop_at=0.1", "retention.data is missing"),
        ("retention={data: a.txt, max_length: 1}", "retention.max_length=1: expected at least 2"),
        ("retention={data: a.txt, every: 0}", "retention.every=0: expected at least 1"),
    ],
)
def test_what_is_wrong_is_said_with_its_path(change: str, message: str) -> None:
    changes = [change] if "every.x" not in change else ["retention.every=5", change]
    with pytest.raises(ValueError, match=message):
        load_recipe("wings", changes)


def test_a_row_is_not_grouped_by_length() -> None:
    changes = ["stages.max_length=9", "stage2.packing=true", "stage2.group_by_length=true"]
    with pytest.raises(ValueError, match="packing=True leaves nothing to group_by_length=True"):
        load_recipe("wings", changes)


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="recipe 'wing': unknown; did you mean 'wings'"):
        load_recipe("wing")
    with pytest.raises(ValueError, match=r"There is no recipe file .*gone.yaml"):
        load_recipe(str(tmp_path / "gone.yaml"))
    bad = tmp_path / "bad.yaml"
    for text, message in (
        ("- a", "expected fields with values"),
        ("a: [", "is no YAML"),
        ("extends: bad.yaml", "extends itself"),
        ("name: x", "expected stage1, stage2, ... in order, got none"),
        ("stage1: {name: tune}", "stage1.train is missing"),
        ("stage2: {name: tune}", "expected stage1, stage2, ... in order, got 2"),
    ):
        bad.write_text(text)
        with pytest.raises(ValueError, match=message):
            load_recipe(str(bad))


def test_steps_are_made_of_whole_batches() -> None:
    stage = Stage("tune", {"projector": 1.0}, per_device_batch_size=4, batch_size=64)
    assert stage.accumulation(devices=8) == 2
    assert Stage("tune", {"projector": 1.0}, per_device_batch_size=4).accumulation(devices=2) == 1
    with pytest.raises(ValueError, match=r"batch_size=64 is no multiple .* on 3 devices \(12\)"):
        stage.accumulation(devices=3)


def test_every_field_is_documented() -> None:
    text = fields()
    for cls in (Recipe, Stage, Retention):
        for field in dataclasses.fields(cls):
            assert field.metadata["help"]
            assert field.name == "stages" or f"  {field.name}" in text
