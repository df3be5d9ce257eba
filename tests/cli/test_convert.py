# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`wings-hf convert` and `wings-hf causalize`, as a user runs them: from the released files to a model that answers."""

from pathlib import Path

import pytest
import torch
from processor_parts import build_tokenizer, picture
from released_checkpoints import (
    VOCABULARY,
    assert_identical,
    read_tensors,
    released_config,
    released_tensors,
    siglip_config,
    write_released,
)
from transformers import AutoModelForCausalLM, AutoProcessor, Qwen2Config

from wings_hf.cli import main as cli


@pytest.fixture
def named(tmp_path: Path) -> list[str]:
    """Options that name a language model, with its tokenizer, and a vision tower."""
    fields = {name: value for name, value in released_config().items() if name in Qwen2Config().to_dict()}
    Qwen2Config(**{**fields, "model_type": "qwen2"}).save_pretrained(tmp_path / "text")
    tokenizer = build_tokenizer()
    assert len(tokenizer) < VOCABULARY
    tokenizer.save_pretrained(tmp_path / "text")
    siglip_config().save_pretrained(tmp_path / "tower")
    return ["--text-config", str(tmp_path / "text"), "--vision-config", str(tmp_path / "tower")]


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """Shards and an index, nothing else, in bfloat16: what the Hub repository holds."""
    tensors = released_tensors(tower="siglip", dtype=torch.bfloat16)
    return write_released(tmp_path / "hub", tensors, shards=3)


def fails(argv: list[str], capsys: pytest.CaptureFixture) -> str:
    assert cli.main(argv) == 1
    return " ".join(capsys.readouterr().err.split())


def test_from_the_released_files_to_an_answer(hub, named, tmp_path, capsys):
    target = tmp_path / "wings"
    assert cli.main(["convert", str(hub), str(target), *named, "--max-shard-size", "40KB"]) == 0
    printed = capsys.readouterr().out
    assert "missing: none. unexpected: none." in printed and "the processor" in printed and "bfloat16" in printed
    model = AutoModelForCausalLM.from_pretrained(target)
    processor = AutoProcessor.from_pretrained(target)
    tokenizer = processor.tokenizer
    assert model.config.image_token_id == tokenizer.convert_tokens_to_ids("<image>") == len(build_tokenizer())
    images = processor.image_processor
    assert (images.size["height"], images.resample, list(images.image_mean)) == (12, 3, [0.5, 0.5, 0.5])
    question = [{"type": "image", "image": picture()}, {"type": "text", "text": "What is shown?"}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": question}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    assert int(inputs["mm_token_type_ids"].sum()) == 9
    inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
    answer = model.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert answer.shape[1] == inputs["input_ids"].shape[1] + 3

    assert cli.main(["convert", str(target), str(tmp_path / "back"), "--to", "released"]) == 0
    assert_identical(read_tensors(hub), read_tensors(tmp_path / "back"))


def test_a_name_on_the_hub(hub, named, tmp_path, capsys, monkeypatch):
    asked = {}

    def download(name: str, allow_patterns: list[str]) -> str:
        asked[name] = allow_patterns
        return str(hub)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert cli.main(["convert", "AIDC-AI/Wings-Qwen1_5-8B", str(tmp_path / "wings"), *named]) == 0
    assert asked == {"AIDC-AI/Wings-Qwen1_5-8B": ["*.safetensors", "*.json"]}


def test_a_name_that_cannot_be_fetched(tmp_path, capsys):
    message = fails(["convert", "nobody/nothing", str(tmp_path / "wings")], capsys)
    assert "no folder nobody/nothing" in message and not (tmp_path / "wings").exists()


def test_options_that_do_not_fit(hub, named, tmp_path, capsys):
    target = str(tmp_path / "wings")
    assert "Qwen/Qwen1.5-7B-Chat" in fails(["convert", str(hub), target], capsys)
    assert "google/siglip-so400m-patch14-384" in fails(["convert", str(hub), target, *named[:2]], capsys)
    assert "expected one like 5GB" in fails(["convert", str(hub), target, *named, "--max-shard-size", "big"], capsys)
    assert "--tokenizer" in fails(["convert", str(hub), target, *named, "--tokenizer", str(hub)], capsys)
    assert "--text-config" in fails(["convert", str(hub), target, "--text-config", str(tmp_path / "gone")], capsys)
    offline = fails(["convert", str(hub), target, "--text-config", "Qwen/Qwen1.5-7B-Chat"], capsys)
    assert "--text-config Qwen/Qwen1.5-7B-Chat" in offline
    assert not Path(target).exists()
    assert "--text-config: not used" in fails(["convert", str(hub), target, "--to", "released", *named[:2]], capsys)


def test_a_tokenizer_of_other_prompts(hub, named, tmp_path, capsys):
    """Named, it is an error; found beside the configuration, it leaves the processor out."""
    build_tokenizer(special=()).save_pretrained(tmp_path / "text")
    asked = ["--tokenizer", str(tmp_path / "text")]
    assert "<|im_start|>" in fails(["convert", str(hub), str(tmp_path / "wings"), *named, *asked], capsys)
    assert cli.main(["convert", str(hub), str(tmp_path / "wings"), *named]) == 0
    assert "no processor: The tokenizer has no <|im_end|>" in capsys.readouterr().out


def test_causalize(hub, named, tmp_path, capsys):
    assert cli.main(["convert", str(hub), str(tmp_path / "wings"), *named]) == 0
    assert cli.main(["causalize", str(tmp_path / "wings"), str(tmp_path / "causal"), "--prompts", "2"]) == 0
    printed = capsys.readouterr().out
    assert all(rows in printed for rows in ("text alone", "text before an image", "text after an image", "KL"))
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "causal").config.semantics == "paper"
    assert AutoProcessor.from_pretrained(tmp_path / "causal").chat_template
    assert cli.main(["causalize", str(tmp_path / "wings"), str(tmp_path / "other"), "--no-compare"]) == 0
    assert "KL" not in capsys.readouterr().out


def test_what_does_not_fit_in_memory_is_not_compared(hub, named, tmp_path, capsys, monkeypatch):
    assert cli.main(["convert", str(hub), str(tmp_path / "wings"), *named]) == 0
    monkeypatch.setattr("wings_hf.conversion.compare.fits_in_memory", lambda folder: False)
    assert cli.main(["causalize", str(tmp_path / "wings"), str(tmp_path / "causal")]) == 0
    assert "was not measured" in " ".join(capsys.readouterr().err.split())
