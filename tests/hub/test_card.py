# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The model card: what it knows, what it says it does not know, and what of a person's it keeps."""

import json

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from safetensors.numpy import load_file

from wings_hf.analysis.laws import AttentionLaws
from wings_hf.cli.main import main
from wings_hf.evaluation.records import Run
from wings_hf.evaluation.settings import Settings
from wings_hf.evaluation.summary import summarise
from wings_hf.hub.card import write_card
from wings_hf.hub.licences import inherit
from wings_hf.hub.regions import Merged, merge, region

NAMES = {"text": "owner/llm", "vision": "owner/tower"}
FREE = {"text": "apache-2.0", "vision": "mit"}


def card_of(folder) -> ModelCard:
    return ModelCard.load(folder / "README.md")


def make_run(folder, kind: str = "wings", **scores) -> Run:
    about = {"name": "/home/ann/secret/model", "type": kind}
    run = Run.open(folder, about, Settings(limit=4).to_record())
    for name, values in scores.items():
        task = f"{name}_x"
        record = {"set": name, "task": task, "kind": "image" if name == "ai2d" else "text", "metric": "acc"}
        record |= {"n": len(values), "shots": 0, "score": float(np.mean(values))}
        run.finish(name, task, record, [{"id": f"{task}/{i}", "score": float(v)} for i, v in enumerate(values)])
    return run


@pytest.fixture
def run(tmp_path):
    base = make_run(tmp_path / "base", "llama", piqa=[1, 1, 1, 0], hellaswag=[1, 1, 0, 0])
    ours = make_run(tmp_path / "run", piqa=[1, 1, 0, 0], hellaswag=[1, 1, 0, 0], ai2d=[1, 0, 0, 0])
    ours.write("summary.json", summarise(ours, base))
    return ours.folder


@pytest.fixture
def laws(tmp_path):
    masses = np.array([[0.5, 0.3, 0.0, 0.2], [0.3, 0.3, 0.0, 0.4], [0.2, 0.2, 0.0, 0.6]])
    found = AttentionLaws(masses, samples=3, rows=70, settings={"rows": "all", "data": ["/home/ann/secret/chat.jsonl"]})
    (tmp_path / "laws.json").write_text(json.dumps({"name": "x", **found.to_dict()}))
    return tmp_path / "laws.json"


def test_a_card_of_which_little_is_known_says_so(folder):
    card = write_card(folder)
    text = (folder / "README.md").read_text()
    for part in ("no run of `wings-hf evaluate`", "no result of `wings-hf analyze`", "without a record of"):
        assert part in text
    assert "Not determined" in text and text.count("not recorded (") == 2
    data = card_of(folder).data
    assert (data.license, data.base_model, data.datasets, data.eval_results) == (None, None, None, None)
    assert (data.library_name, data.pipeline_tag) == ("transformers", "image-text-to-text")
    assert [each for each in card.remarks if "language model is not recorded" in each]
    assert str(folder) not in text


def test_metadata_and_numbers_are_those_of_the_folder(folder):
    write_card(folder, repo_id="ann/wings", names=NAMES, licences=FREE, languages=["en"])
    data, text = card_of(folder).data, (folder / "README.md").read_text()
    assert data.base_model == ["owner/llm", "owner/tower"] and data.to_dict()["base_model_relation"] == "merge"
    assert (data.license, data.language) == ("apache-2.0", ["en"])
    assert 'name = "ann/wings"' in text and "# wings\n" in text
    total = sum(tensor.size for tensor in load_file(folder / "model.safetensors").values())
    assert f"{total:,} (language model" in text
    assert f"runs the {len(list(folder.glob('*.py')))} Python files" in text


def test_results_retention_and_plots(folder, run, laws):
    write_card(folder, repo_id="ann/wings", evaluations=[run], analysis=laws)
    text = (folder / "README.md").read_text()
    assert "| piqa | 50.0 |" in text and "| 75.0 | -25.0 (" in text and "Text ability kept: **83.3 %**" in text
    assert "limit 4" in text, "a part of the questions is no whole set"
    assert f"shift **{AttentionLaws.from_dict(json.loads(laws.read_text())).shift:.3f}**" in text
    assert "secret" not in text and "/home" not in text
    results = {each.dataset_name: each for each in card_of(folder).data.eval_results}
    assert (results["piqa"].metric_value, results["ai2d"].task_type) == (50.0, "image-text-to-text")
    assert results["hellaswag"].dataset_type == "Rowan/hellaswag"
    for name in ("evaluation", "attention"):
        assert f"images/{name}.png" in text
        assert (folder / "images" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_of_another_model_is_told_from_this_ones(folder, run):
    record = json.loads((run / "run.json").read_text())
    total = sum(tensor.size for tensor in load_file(folder / "model.safetensors").values())
    for count, another in ((total, False), (total + 1, True)):
        record["model"]["parameters"] = count
        (run / "run.json").write_text(json.dumps(record))
        card = write_card(folder, evaluations=[run])
        assert ("**Of another model**" in (folder / "README.md").read_text()) == another
        assert any("parameters" in each for each in card.remarks) == another


def test_written_again_it_keeps_what_a_person_wrote_and_what_was_measured(folder, run):
    write_card(folder, repo_id="ann/wings", evaluations=[run], licences=FREE)
    path = folder / "README.md"
    text = path.read_text()
    text = text.replace("tags:\n", "gated: auto\ntags:\n- mine\n")
    text = text.replace("## Limits", "## Limits (mine)").replace(
        "<!-- wings-card:end use -->\n", "<!-- wings-card:end use -->\nWords.\n"
    )
    start, end = text.index("<!-- wings-card:begin citation"), text.index("<!-- wings-card:end citation -->")
    text = text[:start] + text[end + len("<!-- wings-card:end citation -->") :]
    path.write_text(text)
    card = write_card(folder, names=NAMES, licences={"text": "llama3.1", "vision": "mit"})
    again = path.read_text()
    assert "\nWords.\n" in again and "## Limits (mine)" in again and "wings-card:begin citation" not in again
    assert "| piqa | 50.0 |" in again and 'name = "ann/wings"' in again and "owner/llm" in again
    data = card_of(folder).data
    assert "mine" in data.tags and data.to_dict()["gated"] == "auto" and data.eval_results
    assert data.license == "llama3.1", "an inherited licence follows its parts"
    assert {"the part 'limits' was changed by hand and stays as it is"} <= set(card.remarks)
    assert {"the part 'citation' was taken out by hand and stays out"} <= set(card.remarks)
    write_card(folder)
    before = path.read_text()
    write_card(folder)
    assert path.read_text() == before


def test_a_licence_that_a_person_states_stays(folder):
    write_card(folder, licences=FREE, licence="cc-by-nc-4.0")
    assert card_of(folder).data.license == "cc-by-nc-4.0"
    write_card(folder, licences=FREE)
    assert card_of(folder).data.license == "cc-by-nc-4.0"
    assert "stated by the publisher" in (folder / "README.md").read_text()


def test_a_card_written_by_hand_gets_the_parts_below_it(folder):
    (folder / "README.md").write_text("---\nlicense: mit\nmodel_type: x\n---\n# Mine\n\nHello.\n")
    write_card(folder)
    text = (folder / "README.md").read_text()
    assert text.index("# Mine\n\nHello.\n") < text.index("wings-card:begin about")
    assert card_of(folder).data.license == "mit" and yaml.safe_load(text.split("---\n")[1])["model_type"] == "x"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"evaluations": ["no"]}, "run.json is missing"),
        ({"analysis": "config.json"}, "expected laws.json"),
        ({"evaluations": ["base"]}, "of a 'llama' model"),
    ],
)
def test_measurements_that_are_none_are_refused(folder, arguments, said, run):
    if "evaluations" in arguments:
        Run(run.parent / "base").write("summary.json", {})
        arguments = {"evaluations": [run.parent / arguments["evaluations"][0]]}
    else:
        arguments = {"analysis": folder / arguments["analysis"]}
    with pytest.raises(ValueError, match=said):
        write_card(folder, **arguments)
    assert not (folder / "README.md").exists()


def test_the_command(folder, capsys):
    assert main(["card", str(folder), "--name", "ann/wings", "--text-license", "mit", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["path"] == str(folder / "README.md") and any("licence" in each for each in document["remarks"])
    assert main(["card", str(folder / "images")]) == 1
    assert "no saved model" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("parts", "licence", "conflict"),
    [
        ({"a": "apache-2.0", "b": "apache-2.0"}, "apache-2.0", False),
        ({"a": "mit", "b": "apache-2.0"}, "apache-2.0", False),
        ({"a": "MIT", "b": "Apache-2.0"}, "apache-2.0", False),
        ({"a": "gemma", "b": "mit"}, "gemma", False),
        ({"a": "qwen-research", "b": "qwen-research"}, "qwen-research", False),
        ({"a": "cc-by-nc-4.0", "b": "apache-2.0"}, "cc-by-nc-4.0", False),
        ({"a": "llama3", "b": "gemma"}, None, True),
        ({"a": "cc-by-nc-4.0", "b": "gpl-3.0"}, None, True),
        ({"a": "cc-by-nd-4.0"}, None, True),
        ({"a": "mit", "b": None}, None, False),
        ({"a": "mit", "b": "strange"}, None, False),
        ({"a": "other", "b": "other"}, None, False),
        ({}, None, False),
    ],
)
def test_inherited_licences(parts, licence, conflict):
    found = inherit(parts)
    assert (found.licence, found.conflict) == (licence, conflict)
    assert all(name in found.text for name in parts)


def test_regions():
    first = merge("Mine.\n", {"a": "one", "b": "two"}).text
    assert first.startswith("Mine.\n\n") and region("a", "one") in first
    assert merge(first, {"a": "one", "b": "two"}).text == first
    changed = merge(first, {"a": "new", "b": "two"})
    assert "new" in changed.text and "one" not in changed.text and changed.kept == ()
    edited = merge(first.replace("one", "my one"), {"a": "new", "b": "2"})
    assert "my one" in edited.text and "\n2\n" in edited.text and edited.kept == ("a",)
    emptied = merge(first.replace("one\n", "\n"), {"a": "new", "b": "two"})
    assert "new" in emptied.text and emptied.kept == ()


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_card_edited_on_windows_keeps_its_line_ends(folder, mark):
    write_card(folder, repo_id="ann/wings", licences=FREE)
    path = folder / "README.md"
    edited = path.read_text().replace("## Limits", "## Limits (mine)") + "\nWords.\n"
    path.write_bytes(mark + edited.replace("\n", "\r\n").encode())
    card = write_card(folder, repo_id="ann/other", licences=FREE)
    again = path.read_bytes().decode()
    assert again.startswith("---\r\n") and again.count("\n") == again.count("\r\n") == edited.count("\n")
    assert "## Limits (mine)" in again and "ann/other" in again and "ann/wings" not in again
    assert again.endswith("\r\nWords.\r\n") and card_of(folder).data.license == "apache-2.0"
    assert any("'limits' was changed by hand" in each for each in card.remarks)
    write_card(folder, repo_id="ann/other", licences=FREE)
    assert path.read_bytes().decode() == again


def test_regions_with_both_line_ends():
    plain = merge("Mine.\n", {"a": "one\nline", "b": "two"}).text
    windows = plain.replace("\n", "\r\n")
    assert merge("Mine.\r\n", {"a": "one\nline", "b": "two"}).text == windows
    assert merge(windows, {"a": "one\nline", "b": "two"}) == Merged(windows), "changed line ends are no edit"
    assert merge(windows, {"a": "new", "b": "two"}).text.count("\r\n") == windows.count("\n") - 1
    mixed = windows.replace("Mine.\r\n", "Mine.\nYours.\r\r\n").replace("two\r\n", "my two\n")
    again = merge(mixed, {"a": "one\nline", "b": "2"})
    assert again.text == mixed and again.kept == ("b",)
