# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`wings-hf train`, as a user runs it: from folders and a data file to a model that answers."""

import json
from pathlib import Path

import demo_parts
import pytest
import torch
from PIL import Image
from transformers import AutoModelForCausalLM, AutoProcessor, AutoTokenizer

from wings_hf.cli import main as cli
from wings_hf.training.recipes import available, load_recipe
from wings_hf.training.stages import part_of


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo_parts.saved_parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight records: one image, two images, none; and one whose image is missing."""
    folder = tmp_path_factory.mktemp("data")
    for name in "ab":
        Image.effect_noise((30, 20), 50).save(folder / f"{name}.png")
    shown: list[dict] = [{"image": "a.png"}, {"image": ["a.png", "b.png"]}, {}, {"image": "b.png"}] * 2
    records = [{**images, **_talk(len(images.get("image", [])))} for images in shown]
    (folder / "data.json").write_text(json.dumps(records))
    (folder / "flawed.json").write_text(json.dumps([*records, {"image": "gone.png", **_talk(1)}]))
    return folder


def _talk(images: int) -> dict:
    question = {"from": "human", "value": "What is this?"}
    return {"conversations": [question, {"from": "gpt", "value": f"There are {images}."}]}


def command(parts: Path, data: Path, output: Path, *more: str, recipe: str = "wings") -> list[str]:
    models = ["--text-model", str(parts / "text"), "--vision-model", str(parts / "vision")]
    rest = [
        "--data",
        str(data),
        "--output",
        str(output),
        "--max-steps",
        "2",
        "--per-device-batch-size",
        "2",
        "--learner-rank",
        "4",
    ]
    return ["train", recipe, *models, *rest, *more]


@pytest.mark.parametrize("recipe", ["wings", "exact", "plain"])
def test_two_stages_leave_models_that_answer(recipe: str, parts: Path, data: Path, tmp_path: Path) -> None:
    assert cli.main(command(parts, data / "data.json", tmp_path, "--debug", recipe=recipe)) == 0
    base = AutoModelForCausalLM.from_pretrained(parts / "text").state_dict()
    align, tune = (AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in ("align", "tune"))
    assert align.config.learners == (() if recipe == "plain" else ("visual",))
    assert tune.config.learners == (() if recipe == "plain" else ("visual", "textual"))
    assert _same_language_model(align, base)
    assert _same_language_model(tune, base) == (recipe == "exact")
    processor = AutoProcessor.from_pretrained(tmp_path / "tune")
    chat = [{"role": "user", "content": [{"type": "image", "path": str(data / "a.png")}]}]
    inputs = processor.apply_chat_template(
        chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert tune.generate(**inputs, max_new_tokens=2, do_sample=False).shape[0] == 1


def _same_language_model(model, base: dict[str, torch.Tensor]) -> bool:
    ours = {name: value for name, value in model.state_dict().items() if part_of(name) == "language_model"}
    renamed = {name.replace("model.language_model.", "model."): value for name, value in ours.items()}
    assert set(renamed) <= set(base)
    return all(torch.equal(value, base[name]) for name, value in renamed.items())


def test_a_run_is_continued_only_on_request(
    parts: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    argv = command(parts, data / "data.json", tmp_path)
    assert cli.main(argv) == 0
    finished = (tmp_path / "align" / "model.safetensors").stat().st_mtime_ns
    assert cli.main(argv) == 1
    assert "--resume" in capsys.readouterr().err
    (tmp_path / "tune" / "config.json").unlink()  # as if it had been interrupted in the second stage
    assert cli.main([*argv, "--resume"]) == 0
    assert (tmp_path / "tune" / "config.json").exists()
    assert (tmp_path / "align" / "model.safetensors").stat().st_mtime_ns == finished


def test_flawed_records_stop_the_run_or_are_skipped(
    parts: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    argv = command(parts, data / "flawed.json", tmp_path)
    assert cli.main(argv) == 1
    message = " ".join(capsys.readouterr().err.split())
    assert "1 of 9 records cannot be used" in message and "flawed.json, record 8" in message
    assert "gone.png does not exist" in message and not list(tmp_path.iterdir())
    assert cli.main([*argv, "--on-error", "skip", "--debug"]) == 0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_small_steps_move_a_model_that_is_published_in_bfloat16(
    precision: str, parts: Path, data: Path, tmp_path: Path
) -> None:
    model = AutoModelForCausalLM.from_pretrained(parts / "text", dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "text")
    AutoTokenizer.from_pretrained(parts / "text").save_pretrained(tmp_path / "text")
    rate = "stage2.learning_rates={language_model: 2e-6}"
    argv = command(parts, data / "data.json", tmp_path / "out", "--debug", "--precision", precision, "--set", rate)
    argv[argv.index("--text-model") + 1] = str(tmp_path / "text")
    assert cli.main(argv) == 0
    align, tune = (demo_parts.state(tmp_path / "out" / name) for name in ("align", "tune"))
    moved = [(align[name] != tune[name]).float().mean() for name in align if part_of(name) == "language_model"]
    assert min(moved) > 0.5, "steps of 2e-6 are rounded away in bfloat16"
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "text").state_dict()
    frozen = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "align", dtype=torch.bfloat16)
    assert _same_language_model(frozen, base)


def test_what_has_no_effect_is_said(parts: Path, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    argv = command(parts, data / "data.json", tmp_path / "out", "--debug", "--max-steps", "1", recipe="exact")
    assert cli.main(argv) == 0
    assert "has no effect" not in caplog.text and "finished before" not in caplog.text
    assert cli.main([*argv, "--resume", "--max-steps", "3"]) == 0
    assert "Stage 1 of 2, align: finished before, left as it is" in caplog.text
    argv[argv.index("--output") + 1] = str(tmp_path / "other")
    start = f"stage1.start={tmp_path / 'out' / 'tune'}"
    assert cli.main([*argv, "--set", start, "model.learner_rank=16"]) == 0
    assert "model.learner_rank=16 has no effect" in caplog.text and "tune has 4" in caplog.text


def test_backbones_are_asked_for_where_they_are_read(parts: Path, data: Path, tmp_path: Path) -> None:
    argv = command(parts, data / "data.json", tmp_path / "out", "--debug", "--max-steps", "1", recipe="exact")
    assert cli.main(argv) == 0
    begin = ["--set", f"stage1.start={tmp_path / 'out' / 'tune'}"]
    unnamed = [*argv[:2], *argv[6:], *begin]
    assert "--text-model" not in unnamed and "--vision-model" not in unnamed
    unnamed[unnamed.index("--output") + 1] = str(tmp_path / "other")
    texts = f"retention.data={data / 'data.json'}"
    with pytest.raises(ValueError, match="text_model is missing"):
        cli.main([*unnamed, texts])
    assert cli.main(unnamed) == 0
    assert (tmp_path / "other" / "tune" / "config.json").exists()


def test_what_is_missing_is_said(parts: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "texts.jsonl").write_text(
        json.dumps({"messages": [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hi."}]})
    )
    argv = command(parts, tmp_path / "texts.jsonl", tmp_path / "out")
    assert cli.main(argv) == 1
    assert "learns from records with images: none of 1 records has an image" in " ".join(
        capsys.readouterr().err.split()
    )
    bare = [part for part in argv if part not in (str(parts / "vision"), "--vision-model")]
    for argument, message in ((bare, "vision_model is missing"), ([*argv, "--set", "stage2.x=1"], "stage2.x: unknown")):
        assert cli.main(argument) == 1
        assert message in " ".join(capsys.readouterr().err.split())
    argv[argv.index("--vision-model") + 1] = str(parts / "text")
    argv[argv.index("--data") + 1] = str(data / "data.json")
    assert cli.main(argv) == 1
    assert "--image-processor" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes",
    [
        ["stages.packing=true", "stages.max_length=60"],
        ["stages.group_by_length=true", "stages.learn=last"],
        ["stages.text_share=0.25"],
        ["data=[{path: DATA, streaming: true}]"],
        ["data=[{path: DATA, weight: 2}, {path: DATA, weight: 1, limit: 2}]", "workers=1"],
    ],
    ids=str,
)
def test_data_as_the_recipe_mixes_them(changes: list[str], parts: Path, data: Path, tmp_path: Path) -> None:
    changes = [change.replace("DATA", str(data / "data.json")) for change in changes]
    argv = command(parts, data / "data.json", tmp_path, "--debug", "--set", *changes)
    assert cli.main(argv) == 0
    assert (tmp_path / "tune" / "config.json").exists()


def test_a_stream_needs_a_number_of_steps(
    parts: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    stream = f"data=[{{path: {data / 'data.json'}, streaming: true}}]"
    assert cli.main(command(parts, data / "data.json", tmp_path, "--set", stream, "stages.max_steps=-1")) == 1
    assert "length is not known: expected max_steps" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
@pytest.mark.parametrize("recipe", sorted(set(available()) - {"wings", "exact", "plain"}))
def test_every_recipe_from_end_to_end(recipe: str, parts: Path, data: Path, tmp_path: Path) -> None:
    """With tiny parts and few samples in a step, all else as the recipe says."""
    argv = command(parts, data / "data.json", tmp_path, "--debug", "--workers", "0", "--batch-size", "4", recipe=recipe)
    assert cli.main(argv) == 0
    stages = load_recipe(recipe).stages
    tune = AutoModelForCausalLM.from_pretrained(tmp_path / stages[-1].name)
    assert tune.config.learners == tuple(stages[-1].learners)
    wanted = {name: value for name, value in load_recipe(recipe).model.items() if name != "learner_rank"}
    assert {name: getattr(tune.config, name) for name in wanted} == wanted
    base = AutoModelForCausalLM.from_pretrained(parts / "text").state_dict()
    assert not _same_language_model(tune, base)


def test_a_dry_run_prints_what_would_be_trained(parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    argv = command(parts, tmp_path / "nothing.json", tmp_path / "out", "--dry-run", "--debug", "--max-length", "100")
    assert cli.main([*argv, "--batch-size", "6"]) == 0
    text = capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    assert "4 tokens per image" in text and "stage 2, tune" in text
    assert "6 samples (1 devices x 2 samples x 3 batches)" in text and "600 in a step at most" in text
    assert "memory           about" in text
    model = AutoModelForCausalLM.from_pretrained(parts / "text")
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert f"language model   {counted:>15,}  frozen" in text


def test_a_dry_run_reads_the_model_that_a_stage_starts_from(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    model = demo_parts.model()
    model.save_pretrained(tmp_path / "begun")
    argv = ["train", "wings", "--dry-run", "--debug", "--max-length", "100", "--set"]
    assert cli.main([*argv, f"stage1.start={tmp_path / 'begun'}"]) == 0
    text = capsys.readouterr().out
    parts_of = ((part_of(name), parameter.numel()) for name, parameter in model.named_parameters())
    counted = sum(count for part, count in parts_of if part == "language_model")
    assert f"language model   {counted:>15,}  frozen" in text and "learners: rank 4," in text
    assert cli.main([*argv[:3], "--set", f"stage1.start={tmp_path / 'gone'}"]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert f"stage 'align' starts from {tmp_path / 'gone'}: there is no such folder" in said
    assert cli.main(argv[:3]) == 1 and "--dry-run needs --text-model" in capsys.readouterr().err


def test_recipes_and_fields_are_listed(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["train", "--list"]) == 0 and cli.main(["train", "--fields"]) == 0
    text = capsys.readouterr().out
    assert "wings-qwen3-siglip2" in text and "per_device_batch_size [8]: samples in a batch" in text
