# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`wings-hf iit build|score|card` from files to a picture."""

import json
from pathlib import Path

import iit_parts
import pytest
from PIL import Image

from wings_hf.cli import main as cli
from wings_hf.cli.iit import _check_same_model, _folder_names
from wings_hf.evaluation.models import weights_hash
from wings_hf.evaluation.readers import write_items
from wings_hf.iit.benchmark import Benchmark
from wings_hf.iit.results import Results, Sample


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sets, a benchmark built of them, and two saved models."""
    folder = tmp_path_factory.mktemp("command")
    write_items(iit_parts.text_items(24), folder / "words.jsonl")
    write_items(iit_parts.image_items(folder / "discs", 12), folder / "discs.jsonl")
    argv = ["iit", "build", "--text", str(folder / "words.jsonl"), "--image", f"{folder / 'discs.jsonl'}:items"]
    assert cli.main([*argv, "--output", str(folder / "iit"), "--per-setting", "4", "--debug"]) == 0
    model, processor = iit_parts.wings()
    for part in (model, processor):
        part.save_pretrained(folder / "tiny-wings")
    for part in iit_parts.language_model():
        part.save_pretrained(folder / "tiny-llm")
    return folder


def test_a_benchmark_is_built_from_files(folder: Path) -> None:
    benchmark = Benchmark.load(folder / "iit")
    assert benchmark.settings == ("T", "TT", "TTT", "TTV", "TV", "V") and len(benchmark.conversations) == 24


def test_models_are_scored_side_by_side(folder: Path, capsys: pytest.CaptureFixture) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    before = dict(matplotlib.rcParams)
    argv = ["iit", "score", "--benchmark", str(folder / "iit"), "--output", str(folder / "out"), "--debug"]
    assert cli.main([*argv, str(folder / "tiny-wings"), str(folder / "tiny-llm"), "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "| tiny-wings | " in said and "| tiny-llm | " in said and "*chance*" in said
    runs = sorted(path.parent for path in (folder / "out").glob("*/results.json"))
    assert [json.loads((run / "results.json").read_text())["name"] for run in runs] == ["tiny-llm", "tiny-wings"]
    assert dict(matplotlib.rcParams) == before  # no picture changes how others look
    with Image.open(folder / "out/scores.png") as picture:
        assert min(picture.size) > 300
    assert (folder / "out/scores.svg").read_text().count("tiny-wings") >= 1
    drawn = json.loads((folder / "out/scores.json").read_text())
    assert [each["name"] for each in drawn["models"]] == ["tiny-wings", "tiny-llm"] and drawn["references"]["chance"]
    again = ["iit", "score", *map(str, runs), "--output", str(folder / "again"), "--json", "--debug"]
    assert cli.main(again) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["models"] == [
        {"name": run["name"], "scores": run["scores"]}
        for run in (json.loads((each / "results.json").read_text()) for each in runs)
    ]
    assert all(Path(path).is_file() for path in [document["table"], *document["picture"]])
    rows = [(folder / name / "table.md").read_text().splitlines() for name in ("out", "again")]
    assert sorted(rows[0]) == sorted(rows[1])


def test_a_build_is_told_as_json(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    argv = ["iit", "build", "--text", str(folder / "words.jsonl"), "--output", str(tmp_path / "iit"), "--settings", "T"]
    assert cli.main([*argv, "--per-setting", "3", "--json", "--debug"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["conversations"] == 3 and Path(document["card"]).is_file()
    assert document["facts"] == json.loads((tmp_path / "iit/benchmark.json").read_text())


def test_models_do_not_share_a_folder(folder: Path, tmp_path: Path) -> None:
    names = ["x/run/tune", "y/run/tune", "Qwen/Qwen2.5-7B", "tune"]
    assert list(_folder_names(names).values()) == ["x-run-tune", "y-run-tune", "Qwen-Qwen2.5-7B", "tune"]
    with pytest.raises(ValueError, match="x/tune would share a folder"):
        _folder_names(["./x/tune", "x/tune"])
    model, _ = iit_parts.language_model()
    own = {"model": {"weights_hash": weights_hash(list(model.parameters()))}}
    for name, facts in (("own", own), ("other", {"model": {"weights_hash": "another"}})):
        Results(name, (Sample("T/0", "T", 0, "i", "T", 0, 0, (0.0, -1.0)),), facts).save(tmp_path / name)
    _check_same_model(tmp_path / "own", model)
    _check_same_model(tmp_path / "none", model)
    with pytest.raises(ValueError, match="results of another model"):
        _check_same_model(tmp_path / "other", model)


def test_options_reach_the_scoring(folder: Path) -> None:
    argv = [
        "iit",
        "score",
        str(folder / "tiny-wings"),
        "--benchmark",
        str(folder / "iit"),
        "--device",
        "cpu",
        "--debug",
    ]
    argv += ["--output", str(folder / "blind"), "--blind", "blank", "--history", "model", "--answers", "text"]
    assert cli.main([*argv, "--settings", "T,V", "V", "--limit", "2", "--cache", "recompute"]) == 0
    (kept,) = (folder / "blind").glob("*/results.json")
    whole = json.loads(kept.read_text())
    assert kept.parent.name.endswith("-answers=text-history=model-blind=blank-limit=2")
    assert whole["name"] == "tiny-wings answers=text history=model blind=blank limit=2"
    assert list(whole["scores"]["settings"]) == ["TV", "V"]
    assert whole["options"]["blind"] == "blank" and whole["options"]["history"] == "model"
    assert whole["scores"]["settings"]["V"]["conversations"] == 2 and whole["cache"]["TV"] == "recompute"


def test_the_card_is_written_again(folder: Path, capsys: pytest.CaptureFixture) -> None:
    card = (folder / "iit/README.md").read_text()
    (folder / "iit/README.md").write_text("lost")
    assert cli.main(["iit", "card", str(folder / "iit"), "--debug"]) == 0
    assert (folder / "iit/README.md").read_text() == card == capsys.readouterr().out
    assert cli.main(["iit", "card", str(folder / "iit"), "--json", "--debug"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["card"] == str(folder / "iit/README.md") and document["text"] == card


def test_mistakes_are_told_in_a_paragraph(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["iit", "card", str(folder / "nowhere")]) == 1
    assert "is no benchmark" in " ".join(capsys.readouterr().err.split())
    assert cli.main(["iit", "build", "--text", str(folder / "words.jsonl"), "--output", str(folder / "new")]) == 1
    assert "200 questions wanted, 24 usable items" in " ".join(capsys.readouterr().err.split())
    assert cli.main(["iit", "score", str(folder / "tiny-llm"), "--output", str(folder / "x")]) == 1
    assert "name the --benchmark" in " ".join(capsys.readouterr().err.split())
