# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The experiment on forgetting: what its parts promise, and the whole in a few steps."""

import copy
import importlib.util
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import demo_parts
import pytest
import torch
from forgetting.differences import differences
from forgetting.driver import Job, Place, plan, run
from forgetting.methods import CORE, METHODS
from forgetting.methods.base import LANGUAGE_MODEL, NEW, PROJECTOR, TUNED, Method, Rate, options_of
from forgetting.methods.fine_tuning import Interpolation, kl_to_start, l2_to_start
from forgetting.methods.instance_experts import instances
from forgetting.real_text import TextBatches, held_out_part, paragraphs, training_part
from forgetting.records import read_records
from forgetting.report import RECORDED, differences_table, replace_region, table
from forgetting.settings import QUICK
from forgetting.summary import Estimate, front, rows
from forgetting.training import Runs, parameter_groups, state_of
from forgetting.world import World
from forgetting.worlds import build_world

from wings_hf.modeling.modeling_wings import WingsForCausalLM

SCRIPT = Path(__file__).parents[2] / "experiments" / "run_forgetting.py"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Place(tmp_path_factory.mktemp("forgetting"), "quick", "digits").runs()


def test_the_core_has_the_eight_it_is_said_to_have() -> None:
    assert set(CORE) == {
        *("full", "full-low", "projector", "replay-10", "lora-matched", "lora-image", "wings", "wings-exact"),
    }
    assert all(method.derived_from in METHODS for method in METHODS.values() if method.derived_from)


def test_held_out_text_is_not_learned() -> None:
    texts = paragraphs()
    assert len(texts) > 300 and len(set(texts)) == len(texts)
    assert not set(held_out_part(texts)) & set(training_part(texts))


def test_a_text_without_paragraphs_is_named(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("Too short.")
    with pytest.raises(ValueError, match=r"short\.txt: no paragraph"):
        paragraphs([tmp_path / "short.txt"])


def test_rows_of_text_are_the_text(runs: Runs) -> None:
    texts = held_out_part(paragraphs())
    batch = TextBatches(texts, runs.world.tokenizer, 1, 3, 20)[0]
    whole = "".join(texts).replace("<end>", "")
    for row in batch["input_ids"]:
        written = runs.world.tokenizer.decode(row).split("<end>")
        assert all(piece in whole for piece in written)


def test_replay_changes_its_share_of_turns_only(runs: Runs) -> None:
    """No image in a batch of text alone; the same batches for the same share and seed, others for another seed."""
    none, all_text = (runs.world.tune_batches(0, share)[0] for share in (0.0, 1.0))
    assert int(none["mm_token_type_ids"].sum()) > 0 and "pixel_values" not in all_text
    again, other = runs.world.tune_batches(0, 0.0)[0], runs.world.tune_batches(1, 0.0)[0]
    assert torch.equal(none["input_ids"], again["input_ids"])
    assert none["input_ids"].shape != other["input_ids"].shape or not torch.equal(none["input_ids"], other["input_ids"])


@pytest.mark.parametrize("name", ["full", "wings", "wings-exact", "attention"])
def test_what_a_method_says_moves_and_nothing_else(runs: Runs, name: str) -> None:
    method = METHODS[name]
    runs.align(method, 0)
    start = state_of(runs.start(method, 0))
    runs.tune(method, 0)
    trained = state_of(runs.trained(method, 0))
    moved = {name for name, weight in trained.items() if not torch.equal(weight, start[name])}
    expected = {name for name in trained if method.rate_of(name) is not None}
    assert moved <= expected and len(moved) > 0.8 * len(expected)  # some get no gradient in so few steps


@pytest.mark.parametrize("name", ["wings-exact", "wings-exact-lora", "lora-image"])
def test_exact_retention_leaves_text_alone(runs: Runs, name: str) -> None:
    method = METHODS[name]
    runs.align(method, 0)
    runs.tune(method, 0)
    ids = torch.tensor(runs.world.held_out_texts())
    with torch.no_grad():
        before = runs.world.untrained(learners=()).eval()(ids).logits
        assert torch.equal(runs.trained(method, 0)(ids).logits, before)


def test_methods_without_learners_share_their_first_stage(runs: Runs) -> None:
    assert len({runs.align_key(METHODS[name]) for name in ("full", "lora-8", "cross-attention", "replay-50")}) == 1
    assert runs.align_key(METHODS["wings"]) == runs.align_key(METHODS["wings-exact-uniform"]) != "projector"
    assert runs.align_key(METHODS["wings-no-rope"]) != runs.align_key(METHODS["wings"])
    assert runs.align_key(METHODS["wings-mass"]) == runs.align_key(METHODS["wings-exact-mass"])
    assert runs.align_key(METHODS["wings-mass"]) != runs.align_key(METHODS["wings"])


def test_rates_are_multiples_of_the_shared_ones(runs: Runs) -> None:
    trained = {PROJECTOR: NEW, r"layers\.0\.": Rate("language_model", 0.1), LANGUAGE_MODEL: TUNED}
    groups = parameter_groups(runs.world.untrained(learners=()), trained, QUICK)
    assert {group["lr"] for group in groups} == {QUICK.new_parts_rate, QUICK.tuned_rate, QUICK.tuned_rate * 0.1}
    with pytest.raises(ValueError, match="match no parameter"):
        parameter_groups(runs.world.untrained(learners=()), {"nothing": NEW}, QUICK)


def test_interpolation_is_on_the_line() -> None:
    start, end = (
        {"a.b": torch.zeros(2), "c.visual_learner.d": torch.zeros(2)},
        {
            "a.b": torch.ones(2),
            "c.visual_learner.d": torch.ones(2),
        },
    )
    half = Interpolation(0.25)(start, end)
    assert half["a.b"].tolist() == [0.25] * 2 and half["c.visual_learner.d"].tolist() == [1.0] * 2


def test_penalties_are_zero_at_the_start_and_grow(runs: Runs) -> None:
    start = runs.world.untrained(learners=()).eval()
    model = copy.deepcopy(start)
    batch = dict(runs.world.tune_batches(0, 0.0)[0])
    for penalty in (l2_to_start, kl_to_start):
        at_start = penalty(model, start, batch, model(**batch, use_cache=False))
        assert abs(float(at_start)) < 1e-5
    with torch.no_grad():
        model.model.language_model.layers[0].mlp.down_proj.weight.add_(0.5)
    moved = 0.5**2 * model.model.language_model.layers[0].mlp.down_proj.weight.numel()
    outputs = model(**batch, use_cache=False)
    assert float(l2_to_start(model, start, batch, outputs)) == pytest.approx(0.1 / 2 * moved, rel=1e-4)
    assert float(kl_to_start(model, start, batch, outputs)) > 1e-3


def test_a_run_is_recorded_once_and_shown(runs: Runs) -> None:
    """The whole, through the command: runs, records, table; a second call finds nothing to do."""
    output = runs.folder.parent
    command = [sys.executable, str(SCRIPT), "quick", "--methods", "projector", "interpolation-50", "--seeds", "1"]
    command += ["--output", str(output), "--workers", "1"]
    first = subprocess.run(command, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    records = read_records(runs.folder)
    assert {record["method"] for record in records} == {"base", "projector", "interpolation-50"}
    record = next(record for record in records if record["method"] == "projector")
    projector = runs.world.untrained(learners=()).model.multi_modal_projector
    assert record["cost"]["trained_parameters"] == sum(weight.numel() for weight in projector.parameters())
    assert record["held_out_kl"] == 0 and math.isfinite(record["attention_shift"])
    assert "projector only" in first.stdout
    half = next(record for record in records if record["method"] == "interpolation-50")
    assert half["options"]["transform"] == {"name": "Interpolation", "share": 0.5, "of": ""}
    assert record["options"]["config"]["learner_rank"] == QUICK.learner_rank and record["constants"]["tune_batch"] == 16
    assert record["constants"]["optimizer"]["betas"] == [0.9, 0.98]
    assert plan(Place(output, "quick", "digits"), ["projector", "interpolation-50"], range(1)) == []
    wrong = subprocess.run([*command, "--methods", "wing"], capture_output=True, text=True)
    assert wrong.returncode != 0 and "wing: expected core, all" in wrong.stderr


def test_a_record_says_what_a_method_was_made_with(runs: Runs) -> None:
    assert options_of(METHODS["lora-8"].install) == {"name": "add_lora", "rank": 8}
    assert options_of(METHODS["l2"].penalty) == {"name": "l2_to_start", "weight": 0.1}
    assert options_of(METHODS["prefix"].install) == {"name": "add_prefix", "length": 20}
    assert options_of(METHODS["mot"].install) == {"name": "add_image_experts", "hosts": "everything"}
    for method in METHODS.values():
        json.dumps([options_of(each) for each in (method.install, method.penalty, method.transform)])
    runs.align(METHODS["lora-matched"], 0)
    model = runs.start(METHODS["lora-matched"], 0)
    rank = model.model.language_model.layers[0].mlp.up_proj.lora_A["default"].weight.shape[0]
    assert model.installed_sizes == {"rank": rank, "alpha": rank}


def test_questions_and_answers_are_found_in_the_batches(runs: Runs) -> None:
    """As many instances as turns, and instructions that read as what the user said."""
    batch = runs.world.tune_batches(0, 0.5)[0]
    is_text = (batch["attention_mask"] == 1) & (batch["mm_token_type_ids"] == 0)
    instance, asks = instances(batch["input_ids"], is_text, runs.world.turn_marks)
    assert instance.max(-1).values.tolist() == [2] * len(instance)
    assert not (asks & (batch["labels"] != -100)).any()
    said = runs.world.tokenizer.decode(batch["input_ids"][0][asks[0] & (instance[0] == 1)])
    assert said.startswith("<user>") and "<assistant>" not in said


def test_questions_and_answers_are_found_where_no_token_marks_them() -> None:
    """A template of words, whose pieces depend on what stands before them."""
    processor = demo_parts.processor()
    processor.chat_template = processor.chat_template.replace("<user>", "USER: ").replace("<assistant>", " ASSISTANT: ")
    world = SimpleNamespace(processor=processor, tokenizer=processor.tokenizer)
    marks = World.turn_marks.func(world)
    turns = [{"role": "user", "content": "What is 1?"}, {"role": "assistant", "content": "2"}]
    text = processor.apply_chat_template(turns * 2)
    ids = torch.tensor([processor.tokenizer(text, add_special_tokens=False)["input_ids"]])
    instance, asks = instances(ids, torch.ones_like(ids, dtype=torch.bool), marks)
    said = [processor.tokenizer.decode(ids[0][asks[0] & (instance[0] == turn)]) for turn in (1, 2)]
    assert instance.max() == 2 and all("What" in each and "ASSISTANT" not in each for each in said)


def test_a_failed_job_names_itself(runs: Runs) -> None:
    """It holds up what comes after it, nothing else."""
    failing = Job("record", ("wings", 7))
    jobs = [failing, Job("record", ("wings", 8), after=(failing,)), Job("tune", ("projector", 0))]
    runs.align(METHODS["projector"], 0)
    with pytest.raises(RuntimeError, match=r"^record wings 7 failed: [^;]*$"):
        run(Place(runs.folder.parent, "quick", "digits"), jobs, workers=1)
    assert runs.weights(METHODS["projector"], 0).exists()


def test_a_first_stage_that_was_cut_short_is_run_again(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    method = METHODS["wings-post-attention"]

    def killed(model: WingsForCausalLM, folder: Path) -> None:
        Path(folder).mkdir(parents=True)
        model.config.save_pretrained(folder)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(WingsForCausalLM, "save_pretrained", killed)
        runs.align(method, 0)
    place = Place(runs.folder.parent, "quick", "digits")
    assert [job.action for job in plan(place, [method.name], range(1)) if job.action != "base"] == [
        *("align", "tune", "record"),
    ]
    runs.align(method, 0)
    assert runs.start(method, 0).config.learners == ("visual", "textual")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kills a process")
def test_processes_end_with_the_one_that_started_them() -> None:
    program = (
        "import os, signal, sys, time; sys.path[:0] = sys.argv[1:]\n"
        "from concurrent.futures import ProcessPoolExecutor; from multiprocessing import get_context\n"
        "from forgetting.driver import _start_process\n"
        "if __name__ == '__main__':\n"
        "    pool = ProcessPoolExecutor(1, get_context('spawn'), _start_process, (1,))\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = SCRIPT.parent
    # reading ends when the last process that could write has ended
    killed = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=300)
    assert killed.stdout.strip().isdecimal(), killed.stderr


def test_a_folder_of_other_settings_or_texts_is_refused(runs: Runs, tmp_path: Path) -> None:
    runs.world.check_folder()
    with pytest.raises(ValueError, match=r"other settings \(align_steps\)"):
        build_world("digits", runs.world.folder, replace(QUICK, align_steps=9)).check_folder()
    (tmp_path / "other.txt").write_text("\n\n".join(f"{number} " * 200 for number in range(20)))
    with pytest.raises(ValueError, match=r"other settings \(data\)"):
        build_world("digits", runs.world.folder, QUICK, [tmp_path / "other.txt"]).check_folder()


def test_methods_are_chosen_by_name_and_group() -> None:
    specification = importlib.util.spec_from_file_location("run_forgetting", SCRIPT)
    assert specification is not None and specification.loader is not None
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    assert script.chosen(["core", "lora-8", "full"]) == (*CORE, "lora-8")
    assert script.chosen(["lora-8", "all"])[0] == "lora-8" and set(script.chosen(["all"])) == set(METHODS)
    with pytest.raises(SystemExit, match="wing: expected core, all"):
        script.chosen(["core", "wing"])


def test_estimates() -> None:
    """Student's interval of 1, 2, 3: 2 ± 4.303 / sqrt(3), from a table."""
    estimate = Estimate.of([1.0, 2.0, 3.0])
    assert estimate.mean == 2 and estimate.half == pytest.approx(4.3027 / math.sqrt(3), rel=1e-4)
    assert Estimate.of([0.5]).percent() == "50.0%" and Estimate.of([math.nan]).percent() == "-"
    assert Estimate.of([math.nan] * 3).percent() == "-"  # a world without such questions


def record_of(method: str, image: float, text: str, seed: int = 0) -> dict:
    return {
        "method": method,
        "title": method,
        "family": "base" if method == "base" else "wings",
        "world": "digits",
        "seed": seed,
        "accuracy": {"image": image, "text": text.count("1") / len(text)},
        "answers": {"text": {"task": text}},
        "held_out_loss": 1.0,
        "held_out_kl": 0.0,
        "attention_shift": 0.1,
        "cost": {},
    }


def test_the_front_holds_what_no_other_beats() -> None:
    records = [record_of("base", 0.0, "1111"), record_of("a", 0.9, "1000"), record_of("b", 0.5, "1111")]
    records += [record_of("c", 0.5, "1100"), record_of("d", 0.7, "1110")]
    made = rows(records)
    assert [row.method for row in front(made)] == ["a", "d", "b"]
    assert "**d**" in table(records) and "**c**" not in table(records)


def test_a_page_without_the_lines_is_refused() -> None:
    assert replace_region("x <!-- n:start -->old<!-- n:end --> y", "n", "new") == (
        "x <!-- n:start -->\nnew\n<!-- n:end --> y"
    )
    with pytest.raises(ValueError, match="no lines"):
        replace_region("", "n", "new")


@pytest.mark.parametrize("folder", sorted(RECORDED.glob("*/records")), ids=lambda folder: folder.parent.name)
def test_the_page_shows_the_recorded_results(folder: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "forgetting.md").read_text()
    records = read_records(folder.parent)
    assert table(records) in page and differences_table(records, differences(records)) in page
    for path in folder.glob("*.json"):
        assert {"method", "seed", "settings"} <= json.loads(path.read_text()).keys()


def test_worlds_say_what_they_need(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs one folder with"):
        build_world("photos", tmp_path, QUICK)
    with pytest.raises(ValueError, match="world 'moon'"):
        build_world("moon", tmp_path, QUICK)
    assert replace(QUICK, size="other").size == "other" and isinstance(METHODS["full"], Method)
