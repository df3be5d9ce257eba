# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Runs that were killed, or whose disk was full, go on as if nothing had been."""

import json
import logging
import random
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer

from wings_hf.training.checkpoints import newest_whole_checkpoint, what_is_missing

RUN = ("stages.max_steps=12", "save_steps=3", "stages.per_device_batch_size=2", "stages.batch_size=4")


def weights(folder: Path) -> bytes:
    return (folder / "tune" / "model.safetensors").read_bytes()


def losses(folder: Path) -> list[float]:
    state = json.loads((folder / "tune-checkpoints" / "checkpoint-12" / "trainer_state.json").read_text())
    return [line["loss"] for line in state["log_history"] if "loss" in line]


@pytest.fixture(scope="module")
def uninterrupted(train_here: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    train_here(folder, *RUN)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_a_random_moment(
    seed: int, uninterrupted: Path, train_here: Any, train_elsewhere: Any, tmp_path: Path
) -> None:
    process = train_elsewhere(tmp_path, *RUN)
    first = tmp_path / "tune-checkpoints" / "checkpoint-3"
    begun = time.monotonic()
    while not first.exists() and process.poll() is None and time.monotonic() - begun < 120:
        time.sleep(0.01)
    time.sleep(random.Random(seed).random() * 0.6)  # while it writes, or later
    process.kill()
    process.communicate()
    assert first.exists() and not (tmp_path / "tune").exists()
    train_here(tmp_path, *RUN, resume=True)
    assert losses(tmp_path) == losses(uninterrupted)
    assert weights(tmp_path) == weights(uninterrupted)


@pytest.mark.parametrize("part", ["model", "optimizer", "state"])
def test_a_full_disk_leaves_the_checkpoint_before(
    part: str,
    uninterrupted: Path,
    train_here: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(self: Trainer, folder: str, *args: Any, **kwargs: Any) -> None:
        if "checkpoint-6" in str(folder):
            Path(folder).mkdir(exist_ok=True)
            cut_short = Path(folder) / {"model": "model.safetensors", "optimizer": "optimizer.pt"}.get(part, "x")
            cut_short.write_bytes(b"half of it")
            raise OSError(28, "No space left on device")
        original(self, folder, *args, **kwargs)

    method = {"model": "_save", "optimizer": "_save_optimizer_and_scheduler", "state": "_save_rng_state"}[part]
    original = getattr(Trainer, method)
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, method, full)
        with pytest.raises(OSError, match="No space left"):
            train_here(tmp_path, *RUN)
    checkpoints = tmp_path / "tune-checkpoints"
    assert {path.name for path in checkpoints.iterdir()} == {"checkpoint-3", "checkpoint-6"}
    assert what_is_missing(checkpoints / "checkpoint-3") == []
    with caplog.at_level(logging.WARNING, "wings_hf"):
        train_here(tmp_path, *RUN, resume=True)
    assert "checkpoint-6 was not written to its end" in caplog.text
    assert weights(tmp_path) == weights(uninterrupted)


def test_a_finished_model_is_there_whole_or_not_at_all(
    uninterrupted: Path, train_here: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Trainer.save_model

    def full(self: Trainer, folder: str | None = None, _internal_call: bool = False) -> None:
        original(self, folder, _internal_call)
        if not _internal_call:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "save_model", full)
        with pytest.raises(OSError, match="No space left"):
            train_here(tmp_path, *RUN)
    assert not (tmp_path / "tune").exists()
    train_here(tmp_path, *RUN, resume=True)
    assert weights(tmp_path) == weights(uninterrupted)


def test_files_cut_short_or_missing_are_found(
    uninterrupted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = uninterrupted / "tune-checkpoints" / "checkpoint-12"
    assert {path.name for path in whole.parent.iterdir()} == {"checkpoint-9", "checkpoint-12"}
    for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"):
        copy = tmp_path / "checkpoint-13"
        shutil.copytree(whole, copy)
        data = (copy / name).read_bytes()
        (copy / name).write_bytes(data[: len(data) // 2])
        assert what_is_missing(copy) == [f"{name} is cut short"]
        if name != "scheduler.pt":
            (copy / name).unlink()
            assert len(what_is_missing(copy)) == 1
        assert newest_whole_checkpoint(tmp_path) is None
        shutil.rmtree(copy)
    assert newest_whole_checkpoint(tmp_path / "none") is None


def test_each_process_has_its_random_state(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for step, ranks in ((3, 2), (6, 1)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text("{}")
        for name in ("optimizer.pt", "pytorch_model.bin", *(f"rng_state_{rank}.pth" for rank in range(ranks))):
            torch.save({}, folder / name)
    assert newest_whole_checkpoint(tmp_path, processes=2) == tmp_path / "checkpoint-3"
    assert newest_whole_checkpoint(tmp_path, processes=4) == tmp_path / "checkpoint-6"
    assert "another number of processes" in caplog.text
