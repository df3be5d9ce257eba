# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The same samples give the same losses and weights, however a step is split up; by the real command line."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

ONE_BATCH = "stages.per_device_batch_size=4"
# Average loss per token is over the whole step: the lengths of answers differ several times over between records.
SPLITS = {
    "accumulated by one": ("stages.per_device_batch_size=1", "stages.batch_size=4"),
    "accumulated by two": ("stages.per_device_batch_size=2", "stages.batch_size=4"),
    "checkpointing": (ONE_BATCH, "activation_checkpointing=true"),
    "reentrant checkpointing": (
        ONE_BATCH,
        "activation_checkpointing=true",
        "accelerator.activation_checkpointing_kwargs={use_reentrant: true}",
    ),
    "workers": (ONE_BATCH, "workers=1"),
}
DIFFERENCE = 2e-6  # of a loss, relative; float32 has 6e-8
DRIFT = 2e-6  # of the mean over the last ten steps


def losses(folder: Path) -> torch.Tensor:
    """The loss of each step, from the run's last checkpoint."""
    state = max(folder.glob("tune-checkpoints/*/trainer_state.json"), key=lambda path: path.stat().st_mtime)
    return torch.tensor([line["loss"] for line in json.loads(state.read_text())["log_history"] if "loss" in line])


def assert_same_run(one: Path, other: Path) -> None:
    expected, got = losses(one), losses(other)
    assert len(expected) == len(got) and expected[-1] < expected[0]  # it learned something
    difference = ((got - expected) / expected).abs()
    assert difference.max() < DIFFERENCE, difference
    assert abs(got[-10:].mean() / expected[-10:].mean() - 1) < DRIFT
    weights, others = (load_file(run / "tune" / "model.safetensors") for run in (one, other))
    assert weights.keys() == others.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(
            others[name], weight, atol=2e-5, rtol=0, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.fixture(scope="module")
def whole_run(train_here: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty steps of one batch of four each."""
    folder = tmp_path_factory.mktemp("whole")
    train_here(folder, ONE_BATCH)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("split", SPLITS)
def test_fifty_steps_are_the_same(split: str, whole_run: Path, train_here: Any, tmp_path: Path) -> None:
    train_here(tmp_path, *SPLITS[split])
    assert_same_run(whole_run, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [2, 1])
def test_two_devices_are_one(batch: int, whole_run: Path, train_elsewhere: Any, tmp_path: Path) -> None:
    """With one sample on each device, many a device has text alone beside one that has images."""
    changes = (f"stages.per_device_batch_size={batch}", "stages.batch_size=4")
    process = train_elsewhere(tmp_path, *changes, processes=2)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert_same_run(whole_run, tmp_path)


def test_a_few_steps_are_the_same(train_here: Any, tmp_path: Path) -> None:
    few = "stages.max_steps=4"
    train_here(tmp_path / "whole", few, ONE_BATCH)
    train_here(tmp_path / "split", few, *SPLITS["accumulated by one"])
    expected, got = losses(tmp_path / "whole"), losses(tmp_path / "split")
    torch.testing.assert_close(got, expected, rtol=DIFFERENCE, atol=0)
