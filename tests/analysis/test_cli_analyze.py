# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`wings-hf analyze`: a folder with a model and conversations in, numbers and plots out."""

import json
import subprocess
import sys
from pathlib import Path

import demo_parts
import image_text_models as models
import numpy as np
import pytest
import torch
from PIL import Image
from processor_parts import build_tokenizer, picture
from transformers import CLIPImageProcessorPil, LlavaProcessor

from wings_hf.analysis import AttentionLaws, measure_attention
from wings_hf.analysis.inputs import Encoder, load_model, open_images, pictures_for
from wings_hf.analysis.measure import AttentionMeter
from wings_hf.cli.main import main
from wings_hf.data.records import read_records


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A Wings model, `chat.jsonl` with four conversations, one of them without an image."""
    folder = tmp_path_factory.mktemp("analyze")
    model = demo_parts.model().eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(folder / "model")
    demo_parts.processor().save_pretrained(folder / "model")
    images = [demo_parts.picture(folder / f"{shade}.png", shade) for shade in (20, 120, 220)]
    chats = [demo_parts.chat("Read a b.", "a b", *images[:1]), demo_parts.chat("What is 1 plus 2?", "3")]
    chats += [demo_parts.chat("Read.", "c", *images[1:]), demo_parts.chat("Read a.", "a", images[2])]
    for messages in chats[:1]:
        messages[0]["content"].insert(0, {"type": "text", "text": "What is "})
    (folder / "chat.jsonl").write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    return folder


def analyze(folder: Path, *arguments: str) -> int:
    return main(["analyze", str(folder / "model"), "--data", str(folder / "chat.jsonl"), "--device", "cpu", *arguments])


def test_everything_at_once(folder, tmp_path, capsys):
    options = ["--per-head", "--per-row-kind", "--router", "2", "--maps", "1", "--name", "a model", "--debug"]
    assert analyze(folder, "--output", str(tmp_path / "out"), *options) == 0
    printed = capsys.readouterr().out
    values = json.loads((tmp_path / "out" / "laws.json").read_text())
    laws = AttentionLaws.from_dict(values)
    model, processor = load_model(str(folder / "model"), "cpu")
    records, _ = read_records([folder / "chat.jsonl"])
    expected = measure_attention(model, [Encoder(processor)(records)], per_head=True)
    np.testing.assert_allclose(laws.head_masses, expected.head_masses, atol=1e-5)
    assert (laws.samples, laws.skipped) == (3, {"no image": 1})
    assert values["name"] == "a model" and values["settings"]["interrupted"] is False
    assert (
        f"attention shift {laws.shift:.4f}" in printed and "3 samples" in printed and "1 left out (no image)" in printed
    )
    stems = ["heads", "laws", "map-1", "router-1", "router-2"]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == sorted(["router.json", *(f"{stem}.{end}" for stem in stems for end in ("json", "png", "svg"))])
    means = json.loads((tmp_path / "out" / "router.json").read_text())
    assert means["samples"] == 2 and list(means["means"]["after"]) == ["visual", "textual"]


def test_batches_and_limits_and_rows(folder, tmp_path, capsys):
    assert analyze(folder, "--output", str(tmp_path / "one"), "--rows", "answer", "--limit", "3", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document.pop("output") == str(tmp_path / "one") and "laws.json" in document.pop("files")
    assert document == json.loads((tmp_path / "one" / "laws.json").read_text())
    assert (
        analyze(folder, "--output", str(tmp_path / "two"), "--rows", "answer", "--limit", "3", "--batch-size", "2") == 0
    )
    one, two = (
        AttentionLaws.from_dict(json.loads((tmp_path / name / "laws.json").read_text())) for name in ("one", "two")
    )
    assert one.samples == two.samples == 2 and one.settings["rows"] == "answer"
    np.testing.assert_allclose(one.masses, two.masses, atol=1e-5)


def test_ctrl_c_keeps_what_was_measured(folder, tmp_path, capsys, monkeypatch):
    real = AttentionMeter.update

    def stopped(self, batch):
        if self.samples:
            raise KeyboardInterrupt
        real(self, batch)

    monkeypatch.setattr(AttentionMeter, "update", stopped)
    assert analyze(folder, "--output", str(tmp_path / "out")) == 130
    values = json.loads((tmp_path / "out" / "laws.json").read_text())
    assert values["samples"] == 1 and values["settings"]["interrupted"] is True
    assert "interrupted after 1 samples" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("size", ["1", "2"])
def test_a_record_with_a_damaged_image_is_left_out(folder, tmp_path, capsys, size):
    whole = (folder / "20.png").read_bytes()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:2000])
    (tmp_path / "20.png").write_bytes(whole)
    chats = [demo_parts.chat("Read a.", "a", tmp_path / name) for name in ("20.png", "cut.png", "20.png")]
    (tmp_path / "chat.jsonl").write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    arguments = [str(folder / "model"), "--data", str(tmp_path / "chat.jsonl"), "--device", "cpu", "--batch-size", size]
    assert main(["analyze", *arguments, "--maps", "3", "--output", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "laws.json").read_text())["samples"] == 2
    assert "record 1" in " ".join(capsys.readouterr().err.split())
    assert sorted(path.name for path in (tmp_path / "out").glob("map-*.json")) == ["map-1.json", "map-2.json"]


def test_data_without_images_fail(folder, tmp_path, capsys):
    chat = {"messages": demo_parts.chat("What is 1 plus 2?", "3")}
    (tmp_path / "chat.jsonl").write_text(json.dumps(chat) + "\n")
    arguments = [str(folder / "model"), "--data", str(tmp_path / "chat.jsonl"), "--device", "cpu"]
    assert main(["analyze", *arguments, "--output", str(tmp_path / "out")]) == 1
    assert "nothing was measured" in " ".join(capsys.readouterr().err.split())


def test_without_matplotlib_numbers_are_written(folder, tmp_path, capsys, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    assert analyze(folder, "--output", str(tmp_path / "out"), "--limit", "1") == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["laws.json"]
    assert "wings_hf[demo]" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a MODEL and --data"),
        (["./nowhere", "--data", "x.jsonl"], "no folder ./nowhere"),
        (["--compare", "a.json"], "needs --scores"),
        (["--compare", "a.json", "--scores", "none.json"], "none.json: cannot be read"),
    ],
)
def test_what_is_wrong_is_said(arguments, message, capsys):
    assert main(["analyze", *arguments]) == 1
    assert message in capsys.readouterr().err.replace("\n", " ")


def test_a_model_of_transformers_with_its_own_processor(tmp_path, capsys):
    model, _ = models.make("llava", "sdpa")
    special = ("<|im_start|>", "<|im_end|>", "<image>")
    tokenizer = build_tokenizer(special)
    model.config.image_token_index = tokenizer.convert_tokens_to_ids("<image>")
    model.resize_token_embeddings(len(tokenizer))
    images = CLIPImageProcessorPil(size={"shortest_edge": 12}, crop_size={"height": 12, "width": 12})
    item = (
        "{% for item in message['content'] %}{{ '<image>' if item['type'] == 'image' else item['text'] }}{% endfor %}"
    )
    start = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    template = start + item + "{{ '<|im_end|>\\n' }}{% endfor %}"
    processor = LlavaProcessor(
        images,
        tokenizer,
        patch_size=4,
        chat_template=template,
        num_additional_image_tokens=1,
        vision_feature_select_strategy="default",
    )
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    picture().save(tmp_path / "a.png")
    turns = [{"from": "human", "value": "What is <image> ?"}, {"from": "gpt", "value": "A cat."}]
    records = [
        {"image": "a.png", "conversations": turns},
        {"image": "a.png", "conversations": [turns[0], {**turns[1], "value": "No, it is a dog."}]},
    ]
    (tmp_path / "data.json").write_text(json.dumps(records))
    arguments = [str(tmp_path / "model"), "--data", str(tmp_path / "data.json"), "--device", "cpu", "--maps", "1"]
    assert main(["analyze", *arguments, "--output", str(tmp_path / "out"), "--batch-size", "2", "--debug"]) == 0
    assert main(["analyze", *arguments, "--output", str(tmp_path / "other"), "--rows", "answer"]) == 1
    assert "LlavaProcessor does not tell" in " ".join(capsys.readouterr().err.split())
    laws = AttentionLaws.from_dict(json.loads((tmp_path / "out" / "laws.json").read_text()))
    assert laws.samples == 2 and laws.masses.shape == (3, 4) and laws.image.min() > 0
    np.testing.assert_allclose(laws.masses.sum(1), 1, atol=1e-5)
    assert np.array(json.loads((tmp_path / "out" / "map-1.json").read_text())["maps"][0]["weights"]).shape == (3, 3, 3)


def test_the_picture_is_what_the_model_saw(folder):
    _, processor = load_model(str(folder / "model"), "cpu")
    records, _ = read_records([folder / "chat.jsonl"])
    batch = Encoder(processor)(records[:1])
    originals = open_images(records[0])
    (seen,) = pictures_for(1, batch, processor, originals)
    assert seen.size == (batch["pixel_values"].shape[-1], batch["pixel_values"].shape[-2])
    assert abs(np.asarray(seen).mean() - 20) < 2  # the shade of the picture
    assert pictures_for(1, {}, processor, originals) == originals
    assert pictures_for(2, {}, processor, originals) == [None, None]


def laws_file(path: Path, name: str, after: list[float]) -> str:
    masses = np.array([[before, 0.0, 0.0, a] for before, a in zip([0.1, 0.2, 0.4], after, strict=True)])
    path.parent.mkdir(parents=True, exist_ok=True)
    laws = AttentionLaws(masses, 1, 1, sample_shift=0.5, shifted_samples=1)
    path.write_text(json.dumps({"name": name, **laws.to_dict()}))
    return str(path)


def test_compare(tmp_path, capsys):
    files = [
        laws_file(tmp_path / n / "laws.json", n, curve) for n, curve in [("a", [0.1, 0.2, 0.3]), ("b", [0.3, 0.1, 0.2])]
    ]
    files.append(laws_file(tmp_path / "c" / "laws.json", "another name", [0.2, 0.3, 0.1]))
    files.append(laws_file(tmp_path / "flat" / "laws.json", "flat", [0.2, 0.2, 0.2]))
    scores = {"a": 0.9, "b": {"score": 0.4, "group": "LoRA"}, "c": 0.5, "flat": 0.1}
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    arguments = ["--scores", str(tmp_path / "scores.json"), "--output", str(tmp_path / "out"), "--score-name", "MMLU"]
    assert main(["analyze", "--compare", *files, *arguments]) == 0
    captured = capsys.readouterr()
    assert "flat/laws.json has no defined shift" in " ".join(captured.err.split())
    data = json.loads((tmp_path / "out" / "shift-against-score.json").read_text())
    assert [(each["name"], each["score"], each["group"]) for each in data["models"]] == [
        ("a", 0.9, ""),
        ("b", 0.4, "LoRA"),
        ("c", 0.5, ""),
    ]
    shifts = [
        1 - np.corrcoef([0.1, 0.2, 0.4], after)[0, 1] for after in ([0.1, 0.2, 0.3], [0.3, 0.1, 0.2], [0.2, 0.3, 0.1])
    ]
    np.testing.assert_allclose([each["shift"] for each in data["models"]], shifts)
    r = np.corrcoef(shifts, [0.9, 0.4, 0.5])[0, 1]
    assert f"Pearson r = {r:.3f}" in captured.out and "3 models" in captured.out
    assert main(["analyze", "--compare", *files[:2], *arguments, "--of-samples", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    data = json.loads((tmp_path / "out" / "shift-against-score.json").read_text())
    assert [each["shift"] for each in data["models"]] == [0.5, 0.5]
    assert {**document, **data} == document and Path(document["output"]) == tmp_path / "out"
    (tmp_path / "scores.json").write_text(json.dumps({"a": 1}))
    assert main(["analyze", "--compare", *files, *arguments]) == 1
    assert "has no score for" in " ".join(capsys.readouterr().err.split())


def test_results_of_one_name_do_not_share_a_score(tmp_path, capsys):
    curves = {"x": [0.1, 0.2, 0.3], "y": [0.3, 0.1, 0.2]}
    files = [laws_file(tmp_path / n / "run" / "laws.json", "tune", curve) for n, curve in curves.items()]
    scores = tmp_path / "scores.json"
    arguments = ["analyze", "--compare", *files, "--scores", str(scores), "--output", str(tmp_path / "out")]
    scores.write_text(json.dumps({"tune": 0.5}))
    assert main(arguments) == 1
    assert "would both take the score of 'tune'" in " ".join(capsys.readouterr().err.split())
    scores.write_text(json.dumps({"tune": 0.5, **dict(zip(files, (0.25, 0.75), strict=True))}))
    assert main(arguments) == 0
    data = json.loads((tmp_path / "out" / "shift-against-score.json").read_text())
    assert [each["score"] for each in data["models"]] == [0.25, 0.75]


@pytest.mark.parametrize("score", ['{"group": "a"}', '"high"', "true", "NaN"])
def test_a_score_that_is_none_is_named(tmp_path, capsys, score):
    file = laws_file(tmp_path / "a" / "laws.json", "a", [0.1, 0.2, 0.3])
    (tmp_path / "scores.json").write_text(f'{{"a": {score}}}')
    assert main(["analyze", "--compare", file, "--scores", str(tmp_path / "scores.json")]) == 1
    assert "the score of 'a' is" in " ".join(capsys.readouterr().err.split())


def test_matplotlib_is_not_imported_before_something_is_drawn():
    modules = "wings_hf.analysis, wings_hf.analysis.router, wings_hf.analysis.maps, wings_hf.analysis.inputs"
    code = f"import sys, {modules}, wings_hf.cli.analyze; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
