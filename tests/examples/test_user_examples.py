# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The scripts of `examples/` that users begin with, run as they would run them, on tiny models made here."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from example_parts import EXAMPLES, SIZE, example, save_backbones
from processor_parts import picture
from transformers import AutoModelForCausalLM

from wings_hf import WingsForCausalLM, WingsProcessor
from wings_hf.training.stages import part_of

WORDS = "what is shown here a cat and a dog"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model, a vision model, what `give_wings_to_a_language_model.py` makes of them, photos and a text."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("examples")
    save_backbones(folder)
    picture(0).save(folder / "photo.png")
    (folder / "held_out.txt").write_text("\n\n".join([WORDS] * 5))
    give(folder, "wings")
    return folder


def give(folder: Path, name: str, *options: str) -> None:
    models = [str(folder / "llm"), str(folder / "siglip"), "--output", str(folder / name), "--rank", "4"]
    example("give_wings_to_a_language_model").main([*models, *options])


def test_wings_for_a_language_model(folder: Path, capsys: pytest.CaptureFixture) -> None:
    give(folder, "exact", "--exact")
    said = capsys.readouterr().out
    assert "on text: 0\n" in said, "the language model's own logits, bit for bit"
    model = WingsForCausalLM.from_pretrained(folder / "exact")
    assert model.config.learner_scope == "visual_context"
    for part in ("visual_learner", "router", "language_model"):
        size = sum(each.numel() for name, each in model.named_parameters() if part_of(name) == part)
        assert f"{part:<20}{size:>16,} parameters" in said
    inputs = WingsProcessor.from_pretrained(folder / "exact")(
        text=["<image> what"], images=[picture(1)], return_tensors="pt"
    )
    assert model(**inputs).logits.isfinite().all()


def test_an_image_processor_from_elsewhere(folder: Path) -> None:
    bare = shutil.copytree(folder / "siglip", folder / "bare", ignore=shutil.ignore_patterns("preprocessor*", "proc*"))
    models = [str(folder / "llm"), str(bare), "--output", str(folder / "joined"), "--rank", "4"]
    with pytest.raises(OSError, match="image processor"):
        example("give_wings_to_a_language_model").main(models)
    example("give_wings_to_a_language_model").main([*models, "--image-processor", str(folder / "siglip")])
    processor = WingsProcessor.from_pretrained(folder / "joined")
    assert processor.image_processor.size["height"] == SIZE


def test_turns_about_an_image(folder: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = [str(folder / "wings"), "what is shown", "a cat", "--image", str(folder / "photo.png")]
    example("load_and_chat").main([*arguments, "--max-new-tokens", "3", "--device-map", "cpu"])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("> ")] == ["> what is shown", "> a cat"]

    model = WingsForCausalLM.from_pretrained(folder / "wings")
    processor = WingsProcessor.from_pretrained(folder / "wings")
    image, question = {"type": "image", "path": str(folder / "photo.png")}, {"type": "text", "text": "what is shown"}
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": [image, question]}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    ids = model.generate(**inputs, max_new_tokens=3, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    answer = processor.decode(ids, skip_special_tokens=True)
    assert "\n".join(lines[1 : lines.index("> a cat")]).strip() == answer.strip()


def test_fine_tuning_leaves_the_language_model_alone(folder: Path) -> None:
    chat = [{"role": "user", "content": "<image>what is shown"}, {"role": "assistant", "content": "a cat and a dog"}]
    rows = [{"messages": chat, "images": ["photo.png"]}] * 6 + [{"messages": chat, "images": ["nothing.png"]}]
    (folder / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    elsewhere = folder / "lists" / "data.jsonl"
    elsewhere.parent.mkdir()
    (folder / "data.jsonl").rename(elsewhere)
    arguments = [str(folder / "wings"), "--data", str(elsewhere), "--output", str(folder / "tuned")]
    arguments += ["--image-folder", str(folder)]
    example("fine_tune_on_your_images").main([*arguments, "--batch-size", "2", "--epochs", "2", "--rate", "1e-2"])
    before, after = (WingsForCausalLM.from_pretrained(folder / name).state_dict() for name in ("wings", "tuned"))
    moved = {part_of(name) for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved == {"projector", "visual_learner", "textual_learner", "router"}
    assert WingsProcessor.from_pretrained(folder / "tuned").chat_template


def test_what_was_forgotten(folder: Path) -> None:
    model = WingsForCausalLM.from_pretrained(folder / "wings")
    base = AutoModelForCausalLM.from_pretrained(folder / "llm")
    with torch.no_grad():
        model.model.language_model.layers[0].mlp.up_proj.weight.mul_(1.5)
    model.save_pretrained(folder / "changed")
    WingsProcessor.from_pretrained(folder / "wings").save_pretrained(folder / "changed")
    names = [str(folder / name) for name in ("llm", "wings", "changed")]
    arguments = [*names, "--text", str(folder / "held_out.txt"), "--json", str(folder / "found.json")]
    example("measure_forgetting").main(arguments)
    found = [json.loads((folder / "found.json").read_text())[name] for name in names]
    assert found[1] == found[0] and found[0]["retention_kl"] == 0, "new wings forget nothing"

    ids = WingsProcessor.from_pretrained(folder / "wings").tokenizer(WORDS, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        theirs, ours = (each(input_ids=ids, labels=ids) for each in (base, model))
    assert found[0]["retention_loss"] == pytest.approx(theirs.loss.item(), abs=1e-5)
    assert found[2]["retention_loss"] == pytest.approx(ours.loss.item(), abs=1e-5)
    assert found[2]["retention_kl"] > 0


def test_another_tokenizer_is_refused(folder: Path) -> None:
    model = WingsForCausalLM.from_pretrained(folder / "wings")
    model.save_pretrained(folder / "foreign")
    processor = WingsProcessor.from_pretrained(folder / "wings")
    processor.save_pretrained(folder / "foreign")
    file = folder / "foreign" / "tokenizer.json"
    tokens = json.loads(file.read_text())
    vocabulary = tokens["model"]["vocab"]
    vocabulary["x"], vocabulary["z"] = vocabulary["z"], vocabulary["x"]
    file.write_text(json.dumps(tokens))
    text = folder / "few.txt"
    text.write_text("xzx")
    with pytest.raises(ValueError, match="has another tokenizer than"):
        example("measure_forgetting").main([str(folder / "llm"), str(folder / "foreign"), "--text", str(text)])


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_each_says_what_it_takes(path: Path) -> None:
    if path.stem == "train_with_trl":
        pytest.importorskip("trl")
    done = subprocess.run([sys.executable, str(path), "--help"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {path.name}") and "-h, --help" in done.stdout


def test_the_index_names_each() -> None:
    named = re.findall(r"\]\(\.\./examples/([\w.]+)", (EXAMPLES / "README.md").read_text())
    assert set(named) == {path.name for path in EXAMPLES.iterdir()} - {"__pycache__", "README.md"}
