# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Folders of runs: kept whole, gone on with, summed up, compared and drawn. No harness is needed here."""

import copy
import json
import sys
import xml.etree.ElementTree
from pathlib import Path

import numpy as np
import pytest
import scored_models
from PIL import Image

from wings_hf.cli.evaluate import _check_base
from wings_hf.cli.main import main
from wings_hf.evaluation.comparison import as_table, compare, pareto_front
from wings_hf.evaluation.local import LocalTask, overrides
from wings_hf.evaluation.models import chat_template_hash, describe
from wings_hf.evaluation.records import Run
from wings_hf.evaluation.run import Missing, _check_same, needs
from wings_hf.evaluation.sets import IMAGE_SETS, SETS, TEXT_SETS, choose
from wings_hf.evaluation.settings import Settings
from wings_hf.evaluation.summary import scores_of, sets_in, summarise
from wings_hf.evaluation.tables import grid, of_summary

MODEL = {"name": "models/a", "config_hash": "1"}


def make_run(folder: Path, name: str = "a", **sets) -> Run:
    """A run with the scores of questions given by set; those of names of image sets are image sets'."""
    run = Run.open(folder, {**MODEL, "name": name}, Settings().to_record())
    kinds = {each.name for each in IMAGE_SETS}
    for set_name, scores in sets.items():
        kind = "image" if set_name in kinds else "text"
        record = {"set": set_name, "task": f"{set_name}_x", "kind": kind, "metric": "acc", "n": len(scores), "shots": 0}
        record |= {"score": float(np.mean(scores))}
        samples = [{"id": f"{set_name}_x/{i}", "score": float(score)} for i, score in enumerate(scores)]
        if kind == "text":
            samples = [{**s, "continuations": ["a", "b"], "target": i % 3 % 2} for i, s in enumerate(samples)]
        run.finish(set_name, f"{set_name}_x", record, samples)
    return run


def test_the_sets_of_the_paper() -> None:
    assert len(TEXT_SETS) == 16 and len(IMAGE_SETS) == 9
    assert [each.name for each in choose("text")] == [each.name for each in TEXT_SETS]
    assert len(choose("all")) == len(SETS) == 25
    assert [each.name for each in choose("mmlu, hellaswag,mmlu")] == ["mmlu", "hellaswag"]
    other = choose("lambada_openai:perplexity")[0]
    assert (other.task, other.metric, other.format) == ("lambada_openai", "perplexity", "")
    with pytest.raises(ValueError, match="no tasks"):
        choose(" , ")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"limit": 0}, "limit 0"), ({"shots": -1}, "shots -1"), ({"system": "Be brief."}, "add --chat")],
)
def test_settings_that_make_no_sense(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**wrong)


def test_a_run_goes_on_only_as_it_began(tmp_path: Path) -> None:
    Run.open(tmp_path, MODEL, Settings(seed=1).to_record())
    again = Run.open(
        tmp_path, {**MODEL, "name": "elsewhere/a"}, Settings(seed=1, batch_size=8, device="cpu").to_record()
    )
    assert again.about()["model"]["name"] == "models/a" and again.about()["versions"]["torch"]
    with pytest.raises(ValueError, match=r"other settings \(seed: 1, now 2\)"):
        Run.open(tmp_path, MODEL, Settings(seed=2).to_record())
    with pytest.raises(ValueError, match="other model"):
        Run.open(tmp_path, {**MODEL, "config_hash": "2"}, Settings(seed=1).to_record())
    with pytest.raises(ValueError, match="folder of a run"):
        Run(tmp_path / "nothing").about()


def test_other_versions_are_kept_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began = make_run(tmp_path, mmlu=[1, 0])
    assert not began.changed_versions() and "continued_with" not in began.about()
    first = began.about()["versions"]
    monkeypatch.setattr("wings_hf.evaluation.records.versions", lambda: {**first, "torch": "9.9"})
    again = make_run(tmp_path, piqa=[1, 0])
    make_run(tmp_path, piqa=[1, 0])
    assert again.changed_versions() == {"torch": (first["torch"], "9.9")}
    assert again.about()["versions"] == first
    assert [each["torch"] for each in again.about()["continued_with"]] == ["9.9"]
    assert [again.tasks(name)[0]["versions"]["torch"] for name in ("mmlu", "piqa")] == [first["torch"], "9.9"]


def test_another_chat_template_is_another_model(tmp_path: Path) -> None:
    model, processor = scored_models.wings()
    before = describe(model, processor, "a")
    Run.open(tmp_path, before, Settings().to_record())
    processor.chat_template += " "
    after = describe(model, processor, "a")
    with pytest.raises(ValueError, match=r"other model \(chat_template_hash: "):
        Run.open(tmp_path, after, Settings().to_record())
    tokenizer = copy.deepcopy(processor.tokenizer)  # which other tests share
    tokenizer.chat_template = None
    assert chat_template_hash(tokenizer) is None and chat_template_hash(processor) == after["chat_template_hash"]


def test_files_that_name_no_split_do_not_join_those_that_do() -> None:
    config = {"task": "piqa", "validation_split": "validation"}
    row = {"goal": "g"}
    alone = overrides(config, LocalTask({"": [row]}, {"data.jsonl": "1"}))
    assert len(alone["custom_dataset"]()["validation"]) == 1
    both = LocalTask({"": [row], "validation": [row]}, {"data.jsonl": "1", "valid.jsonl": "2"})
    with pytest.raises(ValueError, match=r"split 'validation', and data\.jsonl, whose names say no split"):
        overrides(config, both)


def test_a_finished_task_of_another_metric_or_other_files_is_not_taken(tmp_path: Path) -> None:
    record = make_run(tmp_path, mmlu=[1, 0]).tasks("mmlu")[0] | {"data": {"files": {"a.csv": "1"}}}
    _check_same(record, SETS["mmlu"], LocalTask({}, {"a.csv": "1"}))
    _check_same(None, SETS["mmlu"], None)
    with pytest.raises(ValueError, match="metric acc, and acc_norm is asked for"):
        _check_same(record, SETS["hellaswag"], LocalTask({}, {"a.csv": "1"}))
    with pytest.raises(ValueError, match=r"a\.csv has changed since"):
        _check_same(record, SETS["mmlu"], LocalTask({}, {"a.csv": "2"}))


def test_a_task_is_finished_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    run = Run.open(tmp_path, MODEL, {})

    def broken():
        yield {"id": "1", "score": 1.0}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.finish("mmlu", "mmlu_x", {"kind": "text"}, broken())
    assert run.finished("mmlu", "mmlu_x") is None and sets_in(run) == []
    assert not list(tmp_path.glob("samples/*/*.jsonl"))


def test_summary_against_numbers_by_hand(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", mmlu=[1, 1, 0, 0], hellaswag=[1] * 9 + [0], ai2d=[1, 0])
    base = make_run(tmp_path / "b", "base", mmlu=[1, 1, 1, 0], hellaswag=[1] * 8 + [0] * 2)
    found = summarise(run, base)
    assert list(found["sets"]) == ["mmlu", "hellaswag", "ai2d"]
    assert found["means"]["text"]["score"] == pytest.approx((0.5 + 0.9) / 2)
    assert found["means"]["image"] == {"score": 0.5, "interval": (0.0, 1.0), "sets": 1}
    assert found["sets"]["mmlu"]["retention"] == pytest.approx(0.5 / 0.75)
    assert found["retention"]["mean"] == pytest.approx((0.5 / 0.75 + 0.9 / 0.8) / 2)
    low, high = found["retention"]["interval"]
    assert low < found["retention"]["mean"] < high
    assert found["sets"]["mmlu"]["base"]["difference"] == pytest.approx(-0.25)
    assert found["sets"]["mmlu"]["base"]["p"] == 1.0 and "base" not in found["sets"]["ai2d"]
    assert found["sets"]["mmlu"]["majority"] == 0.75 and found["sets"]["ai2d"]["majority"] is None
    text = of_summary(found)
    assert "66.7" in text and "retention of base" in text and "-25.0" in text


def test_a_run_against_itself_keeps_everything(tmp_path: Path) -> None:
    run = make_run(tmp_path, mmlu=[1, 0, 1], gsm8k=[0, 1])
    found = summarise(run, run)
    assert found["retention"] == {"mean": 1.0, "interval": (1.0, 1.0), "sets": 2}
    assert {each["base"]["p"] for each in found["sets"].values()} == {1.0}


@pytest.mark.parametrize(("field", "value"), [("shots", 5), ("metric", "acc_norm")])
def test_a_base_that_was_asked_otherwise_is_refused(tmp_path: Path, field: str, value: object) -> None:
    run, base = make_run(tmp_path / "a", mmlu=[1, 0]), make_run(tmp_path / "b", mmlu=[1, 0])
    (record,) = base.tasks("mmlu")
    base.write("tasks/mmlu/mmlu_x.json", {**record, field: value})
    with pytest.raises(ValueError, match=f"{field} .*, and {value} in the base's run"):
        summarise(run, base)


def test_a_base_that_was_asked_other_questions_is_refused(tmp_path: Path) -> None:
    run, base = make_run(tmp_path / "a", mmlu=[1, 0]), make_run(tmp_path / "b", mmlu=[1, 0])
    for each, word in ((run, "x"), (base, "y")):
        (record,) = each.tasks("mmlu")
        samples = [{**sample, "doc_hash": word} for sample in each.samples("mmlu")]
        each.finish("mmlu", "mmlu_x", record, samples)
    with pytest.raises(ValueError, match="mmlu_x/0 is another question"):
        summarise(run, base)


def test_only_questions_of_both_runs_are_paired(tmp_path: Path) -> None:
    run, base = make_run(tmp_path / "a", mmlu=[1, 0, 1]), make_run(tmp_path / "b", mmlu=[1, 0])
    assert summarise(run, base)["sets"]["mmlu"]["base"]["n"] == 2
    nothing = summarise(make_run(tmp_path / "c", mmlu=[1, 0]), make_run(tmp_path / "d", mmlu=[0, 0]))
    assert nothing["sets"]["mmlu"]["retention"] is None and nothing["retention"]["mean"] is None


def test_sets_without_answers_have_no_score(tmp_path: Path) -> None:
    run = make_run(tmp_path, mmlu=[1])
    record = {"kind": "image", "metric": "", "n": 1, "score": None, "shots": 0, "task": "mmmu_test"}
    run.finish("mmmu_test", "mmmu_test", record, [{"id": "mmmu_test/0", "score": None}])
    found = summarise(run)
    assert found["sets"]["mmmu_test"]["score"] is None and list(scores_of(run, sets_in(run))) == ["mmlu"]
    assert "mmmu_test" in of_summary(found) and "image" not in found["means"]


def test_pareto_front() -> None:
    points = {"a": (0.5, 0.9), "b": (0.9, 0.5), "c": (0.8, 0.5), "d": (0.7, 0.7), "e": (0.7, 0.7), "f": (0.1, 0.1)}
    assert sorted(pareto_front(points)) == ["a", "b", "d", "e"]
    assert pareto_front({}) == []


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, Run]:
    rng = np.random.default_rng(0)

    def draw(share: float) -> list[int]:
        return (rng.random(60) < share).astype(int).tolist()

    made = {"llm": make_run(tmp_path / "llm", "models/llm", mmlu=draw(0.6), piqa=draw(0.8))}
    for name, text, image in (("full", 0.4, 0.8), ("wings", 0.55, 0.75), ("weak", 0.3, 0.2)):
        made[name] = make_run(tmp_path / name, name, mmlu=draw(text), piqa=draw(text), ai2d=draw(image))
    return made


def test_comparison(runs: dict[str, Run]) -> None:
    found = compare(runs, runs["llm"])
    assert found["sets"] == ["mmlu", "piqa", "ai2d"] and found["left_out"] == []
    fronts = {name: each["front"] for name, each in found["runs"].items()}
    assert fronts["llm"] is None and fronts["weak"] is False and fronts["wings"] is True
    table = as_table(found)
    assert "retention" in table and "*" in table and len({len(line) for line in table.splitlines()[1:3]}) == 1
    assert "front" not in as_table(compare(runs))


def test_sets_that_a_run_lacks_are_left_out(runs: dict[str, Run], tmp_path: Path) -> None:
    more = make_run(tmp_path / "more", "more", mmlu=[1, 0], gsm8k=[1], ai2d=[1])
    found = compare({**runs, "more": more})
    assert found["left_out"] == ["gsm8k", "piqa"] and "left out" in as_table(found)
    with pytest.raises(ValueError, match="no set in common"):
        compare({"a": make_run(tmp_path / "x", gsm8k=[1]), "b": make_run(tmp_path / "y", mmlu=[1])})


def test_compare_command(runs: dict[str, Run], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra 'eval')")
    folders = [f"{name}={run.folder}" for name, run in runs.items()]
    stem = tmp_path / "plots" / "front"
    assert main(["compare", *folders, "--base", str(runs["llm"].folder), "--output", str(stem)]) == 0
    assert "wings" in capsys.readouterr().out
    picture = np.asarray(Image.open(f"{stem}.png").convert("L"))
    assert picture.shape[1] > 1000 and 0.001 < (picture < 128).mean() < 0.2
    words = "".join(xml.etree.ElementTree.parse(f"{stem}.svg").getroot().itertext())
    assert "wings" in words or (stem.with_suffix(".svg")).stat().st_size > 10_000
    data = json.loads(stem.with_suffix(".json").read_text())
    assert set(data["points"]) == {"full", "wings", "weak"} and "weak" not in data["front"]
    assert main(["compare", *folders, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["base"] is None
    assert main(["compare", *folders, "--output", str(stem)]) == 1
    assert "--base" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "none")]) == 1


def test_a_mistyped_base_is_no_model(runs: dict[str, Run], tmp_path: Path) -> None:
    there = runs["llm"].folder
    for name, message in (
        (there.parent / "lmm", f"no such folder of a run or a model; runs beside it: .*{there.name}"),
        (tmp_path, "holds neither a run"),
        ("./nothing", "no such folder"),
    ):
        with pytest.raises(ValueError, match=message):
            _check_base(str(name))
    (tmp_path / "config.json").write_text("{}")
    _check_base(str(tmp_path))
    _check_base("Qwen/Qwen2.5-7B")


@pytest.mark.parametrize(
    ("package", "hint"), [("lm_eval", r"wings_hf\[eval\]"), ("lmms_eval", "environment of its own")]
)
def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, package: str, hint: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(Missing, match=hint):
        needs(package, "these sets")
    needs("json", "all sets")


def test_grid() -> None:
    assert grid([["a", "long"], ["bb", "1"]]).splitlines() == ["a   long", "--------", "bb     1"]
