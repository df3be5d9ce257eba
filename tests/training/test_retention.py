# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Retention: measured against the definition, logged, and acted upon; and what the log says of speed."""

import json
import math
from pathlib import Path

import demo_parts
import pytest
import torch
from torch.nn.functional import kl_div, log_softmax

from wings_hf.cli import main as cli
from wings_hf.training import retention
from wings_hf.training.recipes import Retention
from wings_hf.training.retention import load_reference, make_reference, measure, read_texts
from wings_hf.training.speed import _in_rows, matrix_product_rate, operations

TEXTS = ["What is 1 plus 2? 3", "Reverse a b c. c b a", "Which is larger, 3 or 4? 4", "Sort 3 1 2. 1 2 3"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("\n\n".join(TEXTS))
    return path


def test_measured_as_defined(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the whole vocabulary kept: loss and divergence, text by text and without padding."""
    monkeypatch.setattr(retention, "KEPT", 10_000)
    torch.manual_seed(0)
    base, other = demo_parts.model(learners=()).eval(), demo_parts.model(learners=()).eval()
    other.model.language_model.layers[0].mlp.down_proj.weight.data.normal_()
    base.config.vocab_size = base.config.text_config.vocab_size
    texts = read_texts(Retention(str(file)), demo_parts.tokenizer())
    found = measure(other, texts, make_reference(base, texts))
    losses, divergences = [], []
    with torch.no_grad():
        for text in texts:
            ids = torch.tensor([text])
            ours, theirs = (log_softmax(model(ids).logits[0, :-1], -1) for model in (other, base))
            losses += (-ours.gather(-1, ids[0, 1:, None])).flatten().tolist()
            divergences += kl_div(ours, theirs, log_target=True, reduction="none").sum(-1).tolist()
    assert found["retention_loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-4)
    assert found["retention_kl"] == pytest.approx(sum(divergences) / len(divergences), rel=1e-3)
    assert found["retention_kl"] > 1e-3


def test_what_is_kept_bounds_the_divergence_from_below(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    base, other = demo_parts.model(learners=()).eval(), demo_parts.model(learners=()).eval()
    other.lm_head.weight.data.normal_()
    base.config.vocab_size = base.config.text_config.vocab_size
    texts = read_texts(Retention(str(file)), demo_parts.tokenizer())
    found = {}
    for kept in (4, 64, 10_000):
        monkeypatch.setattr(retention, "KEPT", kept)
        reference = make_reference(base, texts)
        found[kept] = measure(other, texts, reference)["retention_kl"]
        assert measure(base, texts, reference)["retention_kl"] < 1e-6
    assert 0 < found[4] <= found[64] <= found[10_000] * (1 + 1e-5)


def test_texts_of_conversations_and_bad_ones(tmp_path: Path) -> None:
    tokenizer = demo_parts.tokenizer()
    path = tmp_path / "texts.jsonl"
    talk = {"messages": [{"role": "user", "content": "Read a."}, {"role": "assistant", "content": "a"}]}
    path.write_text("\n".join([json.dumps(talk)] * 3))
    texts = read_texts(Retention(str(path), samples=2, max_length=5), tokenizer)
    assert len(texts) == 2 and all(len(text) == 5 for text in texts)
    path.write_text(json.dumps({"talk": []}))
    with pytest.raises(ValueError, match="record 0: no conversation"):
        read_texts(Retention(str(path)), tokenizer)
    with pytest.raises(ValueError, match=r"retention.data='gone.txt': expected a .txt"):
        read_texts(Retention("gone.txt"), tokenizer)
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(ValueError, match="no text of at least two tokens"):
        read_texts(Retention(str(tmp_path / "empty.txt")), tokenizer)


def test_a_reference_is_made_once_and_belongs_to_its_texts(file: Path, tmp_path: Path) -> None:
    model = demo_parts.model(learners=())
    model.config.vocab_size = model.config.text_config.vocab_size
    texts = read_texts(Retention(str(file)), demo_parts.tokenizer())
    made = load_reference(lambda: model, texts, tmp_path / "out" / "reference.safetensors")
    again = load_reference(lambda: pytest.fail("made again"), texts, tmp_path / "out" / "reference.safetensors")
    assert torch.equal(made["log_probabilities"], again["log_probabilities"])
    with pytest.raises(ValueError, match="the texts changed"):
        load_reference(lambda: model, texts[:-1], tmp_path / "out" / "reference.safetensors")


def test_a_reference_that_was_cut_short_is_made_again(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = demo_parts.model(learners=()), tmp_path / "reference.safetensors"
    model.config.vocab_size = model.config.text_config.vocab_size
    texts = read_texts(Retention(str(file)), demo_parts.tokenizer())

    def interrupted(reference: dict, target: Path) -> None:
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(retention, "save_file", interrupted)
        load_reference(lambda: model, texts, path)
    assert not path.exists()
    load_reference(lambda: model, texts, path)
    assert path.exists() and load_reference(lambda: pytest.fail("made again"), texts, path)


@pytest.fixture
def command(tmp_path: Path, file: Path) -> list[str]:
    folder = demo_parts.saved_parts(tmp_path / "parts")
    image = demo_parts.picture(tmp_path / "a.png")
    record = {
        "image": str(image),
        "conversations": [{"from": "human", "value": "<image> Read"}, {"from": "gpt", "value": "7 7 7"}],
    }
    (tmp_path / "data.json").write_text(json.dumps([record] * 4))
    argv = ["train", "plain", "--text-model", str(folder / "text"), "--vision-model", str(folder / "vision")]
    argv += ["--data", str(tmp_path / "data.json"), "--output", str(tmp_path / "out"), "--max-steps", "4", "--debug"]
    argv += ["--set", "stages.per_device_batch_size=2", "logging_steps=1", "stage2.learning_rate=3e-2"]
    return [*argv, "stage2.learning_rates.language_model=3e-2", f"retention.data={file}", "retention.every=1"]


def history(folder: Path, stage: str) -> list[dict]:
    newest = max(folder.glob(f"{stage}-checkpoints/checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    return json.loads((newest / "trainer_state.json").read_text())["log_history"]


def test_a_run_logs_retention_and_speed(command: list[str], tmp_path: Path) -> None:
    assert cli.main(command) == 0
    align, tune = (history(tmp_path / "out", stage) for stage in ("align", "tune"))
    frozen = [entry["retention_kl"] for entry in align if "retention_kl" in entry]
    moving = [entry["retention_kl"] for entry in tune if "retention_kl" in entry]
    assert len(frozen) == len(moving) == 5
    assert max(frozen) < 1e-6 < 1e-2 < moving[-1], "only a language model that moves forgets"
    speeds = [entry for entry in tune if "loss" in entry]
    for entry in speeds:
        assert entry["tokens_per_second"] > 0 and entry["images_per_second"] > 0
        assert entry["mfu"] > 0 and entry["peak_memory_gib"] > 0
    assert speeds[-1]["minutes_left"] == 0


def test_a_run_stops_where_the_text_diverges(
    command: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert cli.main([*command, "retention.stop_at=1e-4"]) == 0
    assert "more than retention.stop_at=0.0001" in caplog.text
    steps = [entry["step"] for entry in history(tmp_path / "out", "tune") if "loss" in entry]
    assert max(steps) == 2, "the first step has a learning rate of 0"


def test_the_best_checkpoint_is_kept(command: list[str], tmp_path: Path) -> None:
    """With a language model that forgets quickly, the first step is the best one."""
    assert cli.main([*command, "retention.keep_best=true"]) == 0
    found = {e["step"]: e["retention_loss"] for e in history(tmp_path / "out", "tune") if "retention_loss" in e}
    best = min((loss, step) for step, loss in found.items() if step)[1]
    kept = demo_parts.state(tmp_path / "out" / "tune")
    checkpoint = demo_parts.state(tmp_path / "out" / "tune-checkpoints" / f"checkpoint-{best}")
    assert kept.keys() == checkpoint.keys()
    assert all(torch.equal(kept[name], checkpoint[name]) for name in kept)
    assert best < max(found) or math.isclose(found[best], min(found.values()))
    align, last = (demo_parts.state(tmp_path / "out" / name) for name in ("align", "align-checkpoints/checkpoint-4"))
    assert all(torch.equal(align[name], last[name]) for name in align), "of checkpoints as good the last is kept"


def test_operations_and_peak() -> None:
    model = demo_parts.model()
    model.requires_grad_(False)
    frozen = operations(model)
    model.requires_grad_(True)
    moving = operations(model)
    assert 1.4 < moving[0] / frozen[0] <= 1.5 and moving[1] > 1.5 * frozen[1]
    assert matrix_product_rate(torch.device("cpu"), torch.float32) > 1e8


def test_what_fills_a_row_is_not_counted() -> None:
    ids = torch.tensor([[5, 6, 7, 8, 9, 0, 0], [5, 6, 7, 8, 9, 1, 0]])
    positions = torch.tensor([[0, 1, 2, 0, 1, 0, 1], [0, 1, 2, 0, 1, 2, 3]])
    assert int(_in_rows(ids, positions)) == 5 + 7
    assert int(_in_rows(ids, None)) == 14
