# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Text sets from local files through the harness: its prompts, its metrics, every layout, and the command around it."""

import json
from pathlib import Path

import benchmark_files
import demo_parts
import pytest
import scored_models
import torch

pytest.importorskip("lm_eval", reason="lm-eval is not installed (extra 'eval')")

from wings_hf import WingsForCausalLM
from wings_hf.cli.main import main
from wings_hf.evaluation.records import Run
from wings_hf.evaluation.run import Evaluation
from wings_hf.evaluation.sets import SETS, choose
from wings_hf.evaluation.settings import Settings
from wings_hf.evaluation.text_runs import TextRunner

REAL = Path(__file__).parents[3] / "shared" / "data"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the real benchmark files are not beside this checkout")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return benchmark_files.write_all(tmp_path_factory.mktemp("data"))


def evaluation(folder: Path, wings: bool = False, **settings) -> Evaluation:
    """The language model of the demo, or Wings on top of it that acts with an image in context alone."""
    torch.manual_seed(0)
    base = scored_models.shaken(demo_parts.build_language_model(demo_parts.tokenizer(), 32, 2))
    model, processor = base, demo_parts.tokenizer()
    if wings:
        tower = demo_parts.build_digit_classifier()
        fields = {"tokenizer": demo_parts.tokenizer(), "learner_rank": 4, "vision_feature_layer": -1}
        model = WingsForCausalLM.from_backbones(base, tower, learner_scope="visual_context", **fields).eval()
        processor = demo_parts.processor()
    settings = Settings(data_folder=str(folder), device="cpu", **settings)
    return Evaluation("demo", settings, model=model, processor=processor, say=lambda text: None)


@pytest.mark.slow
def test_every_text_set_runs_from_its_files(folder: Path, tmp_path: Path) -> None:
    summary = evaluation(folder, run_code=True, batch_size=4).run(choose("text"), tmp_path / "run")
    counts = {name: found["n"] for name, found in summary["sets"].items()}
    assert counts == {
        **{"mmlu": 2, "cmmlu": 2, "arc_e": 2, "arc_c": 1, "winogrande": 1, "openbookqa": 1, "race_m": 1, "race_h": 1},
        **{"wsc": 1, "chid": 3, "hellaswag": 1, "siqa": 2, "piqa": 1, "ocnli": 1, "gsm8k": 1, "mbpp": 1},
    }
    assert summary["sets"]["mmlu"]["shots"] == 1 and summary["sets"]["gsm8k"]["shots"] == 0
    run = Run(tmp_path / "run")
    targets = {
        s["id"]: s["target"] for name in ("arc_e", "race_m", "race_h", "chid", "siqa") for s in run.samples(name)
    }
    assert list(targets.values()) == [2, 1, 0, 3, 1, 0, 2, 1, 2]
    (fill, *_) = run.samples("chid")
    assert [len(text) for text in fill["continuations"]] == [len("他画蛇添足了 ____")] * 3 and fill["context"] == ""
    (program,) = run.samples("mbpp")
    assert "Write a function f" in program["context"] and "[DONE]" in program["context"] and program["score"] == 0
    record = run.tasks("mmlu")[0]
    assert record["harness"].startswith("lm_eval 0.") and "choices[0]" in record["prompts"]["doc_to_text"]
    assert sorted(record["data"]["files"]) == ["mmlu/dev/anatomy_dev.csv", "mmlu/test/anatomy_test.csv"]


def test_prompts_are_the_harness_own_and_scores_follow_the_logits(folder: Path, tmp_path: Path) -> None:
    asked = evaluation(folder)
    asked.run([SETS["mmlu"]], tmp_path)
    samples = list(Run(tmp_path).samples("mmlu"))
    head = "The following are multiple choice questions (with answers) about anatomy.\n\n"
    shot = "Bones?\nA. One, two\nB. 206\nC. 300\nD. none\nAnswer: B\n\n"
    assert samples[0]["context"] == f'{head}{shot}Where is the "heart"?\nA. foot\nB. chest\nC. hand\nD. head\nAnswer:'
    for sample in samples:
        chances = []
        for choice in sample["continuations"]:
            ids = asked.processor(sample["context"] + choice, return_tensors="pt")["input_ids"]
            start = len(asked.processor(sample["context"])["input_ids"])
            with torch.no_grad():
                logs = asked.model(ids).logits[0].double().log_softmax(-1)
            chances.append(sum(float(logs[place - 1, ids[0, place]]) for place in range(start, ids.shape[1])))
        assert [value for value, _ in sample["outputs"]] == pytest.approx(chances, abs=1e-4)
        assert sample["score"] == float(chances.index(max(chances)) == sample["target"])


@pytest.mark.parametrize(("name", "length", "tokens"), [("mmlu", 40, 40 + 1), ("gsm8k", 258, 258 - 256)])
def test_prompts_that_are_cut_are_counted(folder: Path, tmp_path: Path, name: str, length: int, tokens: int) -> None:
    """The harness drops the beginning of what is too long: of a prompt with choices, and of one to go on from."""
    asked = evaluation(folder, max_length=length)
    asked.run([SETS[name]], tmp_path)
    samples = list(Run(tmp_path).samples(name))
    rows = [s["context"] + text for s in samples for text in s.get("continuations", [""])]
    long = sum(len(asked.processor(text)["input_ids"]) > tokens for text in rows)
    assert [record["cut"] for record in Run(tmp_path).tasks(name)] == [long] and long > 0


def test_wings_that_never_saw_an_image_answers_as_its_language_model(folder: Path, tmp_path: Path) -> None:
    sets = choose("mmlu,hellaswag,gsm8k")
    evaluation(folder).run(sets, tmp_path / "base")
    base = Run(tmp_path / "base")
    summary = evaluation(folder, wings=True).run(sets, tmp_path / "wings", base)
    for each in sets:
        ours, theirs = (list(run.samples(each.name)) for run in (Run(tmp_path / "wings"), base))
        assert ours == theirs
    assert summary["retention"]["mean"] in (1.0, None)
    about = Run(tmp_path / "wings").about()["model"]
    assert about["image_processor"]["size"] and about["config_hash"] != base.about()["model"]["config_hash"]


def test_finished_tasks_are_not_asked_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = choose("mmlu,piqa")
    real, asked = TextRunner.run, []

    def counted(self, chosen, task, local):
        asked.append(task)
        if task == "piqa" and len(asked) == 2:
            raise KeyboardInterrupt
        return real(self, chosen, task, local)

    monkeypatch.setattr(TextRunner, "run", counted)
    with pytest.raises(KeyboardInterrupt):
        evaluation(folder).run(sets, tmp_path)
    before = (tmp_path / "samples" / "mmlu" / "mmlu_anatomy.jsonl").stat().st_mtime_ns
    summary = evaluation(folder).run(sets, tmp_path)
    assert asked == ["mmlu_anatomy", "piqa", "piqa"] and set(summary["sets"]) == {"mmlu", "piqa"}
    assert (tmp_path / "samples" / "mmlu" / "mmlu_anatomy.jsonl").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="other settings"):
        evaluation(folder, shots=0).run(sets, tmp_path)


def test_what_cannot_be_asked(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--run-code"):
        evaluation(folder).run(choose("mbpp"), tmp_path)
    with pytest.raises(ValueError, match="takes none"):
        evaluation(folder).run(choose("mmmu_val"), tmp_path)
    with pytest.raises(ValueError, match="no files of gsm8k"):
        evaluation(folder / "piqa").run(choose("gsm8k"), tmp_path / "piqa")
    with pytest.raises(ValueError, match="no task 'unheard_of'"):
        evaluation(folder).run(choose("unheard_of"), tmp_path / "unheard")
    benchmark_files.lines(tmp_path / "only" / "train.jsonl", {"goal": "g", "sol1": "a", "sol2": "b", "label": 0})
    with pytest.raises(ValueError, match="asks the split 'validation', and the files hold"):
        evaluation(tmp_path / "only").run(choose("piqa"), tmp_path / "run")


def test_chat_limit_and_shots_reach_the_prompts(folder: Path, tmp_path: Path) -> None:
    evaluation(folder, chat=True, limit=1, shots=0).run(choose("mmlu"), tmp_path)
    (sample,) = Run(tmp_path).samples("mmlu")
    assert (
        "<user>" in sample["context"] and sample["context"].endswith("<assistant>") and "Bones" not in sample["context"]
    )


def test_programs_that_are_right_score(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = evaluation(folder, run_code=True)
    answers = ["def f(x):\n    return x + 1\n"]
    monkeypatch.setattr(type(asked.text().lm), "generate_until", lambda self, requests, **unused: answers)
    assert asked.run(choose("mbpp"), tmp_path)["sets"]["mbpp"]["score"] == 1.0
    (record,) = Run(tmp_path).tasks("mbpp")
    assert record["isolation"].keys() == {"network", "files", "processes"}


@pytest.mark.slow
def test_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    model = str(scored_models.saved_text_model(tmp_path / "llm"))
    wings = str(scored_models.saved("wings", tmp_path / "wings"))
    common = ["--tasks", "piqa,mmlu", "--data-folder", str(folder), "--device", "cpu"]
    assert main(["evaluate", model, *common, "--output", str(tmp_path / "a")]) == 0
    assert "mean of 2 text sets" in capsys.readouterr().out
    assert main(["evaluate", wings, *common, "--output", str(tmp_path / "b"), "--base", model, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["retention"]["sets"] == 2 and (tmp_path / "b" / "base" / "summary.json").is_file()
    assert main(["evaluate", wings, *common, "--output", str(tmp_path / "a")]) == 1
    assert "another --output" in " ".join(capsys.readouterr().err.split())
    assert main(["evaluate", "--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 25
    assert main(["evaluate", model]) == 1


@needs_real
@pytest.mark.slow
def test_real_questions(tmp_path: Path) -> None:
    """A real tiny Llama: about chance, the right number of questions, and the majority answers that are known."""
    settings = Settings(data_folder=str(REAL / "text_benchmarks"), device="cpu", batch_size=8, shots=0)
    asked = Evaluation(str(REAL / "stories260K_hf"), settings, say=lambda text: None)
    summary = asked.run(choose("mmlu,hellaswag"), tmp_path)
    mmlu, hellaswag = summary["sets"]["mmlu"], summary["sets"]["hellaswag"]
    assert (mmlu["n"], hellaswag["n"]) == (1601, 1000)
    assert hellaswag["majority"] == 0.267 and 0.2 < mmlu["score"] < 0.3 < 0.31 > hellaswag["score"] > 0.2
    assert len(mmlu["tasks"]) == 10 and mmlu["interval"][0] < mmlu["score"] < mmlu["interval"][1]
