# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Precisions and optimizers by the command line; what activations take."""

import json
from pathlib import Path
from typing import Any

import demo_parts
import pytest
import torch

HALF = pytest.param("precision=fp16", marks=pytest.mark.slow)  # a CPU computes in float16 slowly
LOW = ["precision=bf16", HALF, "stages.optimizer=adamw_bnb_8bit"]
CHANGES = ("stages.max_steps=3", "stages.per_device_batch_size=4", "save_steps=3")


def losses(folder: Path) -> list[float]:
    state = json.loads((folder / "tune-checkpoints" / "checkpoint-3" / "trainer_state.json").read_text())
    return [line["loss"] for line in state["log_history"] if "loss" in line]


@pytest.fixture(scope="module")
def full_precision(train_here: Any, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    folder = tmp_path_factory.mktemp("fp32")
    train_here(folder, *CHANGES)
    return losses(folder)


@pytest.mark.parametrize("change", LOW)
def test_low_precision_is_near_full_precision(
    change: str, full_precision: list[float], train_here: Any, tmp_path: Path
) -> None:
    if "bnb" in change:
        pytest.importorskip("bitsandbytes", reason="8-bit optimizers need bitsandbytes")
    train_here(tmp_path, *CHANGES, change)
    assert losses(tmp_path) == pytest.approx(full_precision, rel=5e-3)


def test_activations_grow_with_length_not_with_its_square() -> None:
    """Bytes kept for the backward pass, of a long sequence with an image, by its length."""
    model = demo_parts.model(attn_implementation="sdpa").train()
    kept = []
    for length in (256, 512, 1024):
        sizes: dict[int, int] = {}

        def note(tensor: torch.Tensor, sizes: dict[int, int] = sizes) -> torch.Tensor:
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        tokens = model.config.image_seq_length
        ids = torch.full((1, length), 5)
        ids[:, 1 : 1 + tokens] = model.config.image_token_id
        pixels = torch.zeros(1, 3, *[model.config.vision_config.image_size] * 2)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            model(input_ids=ids, pixel_values=pixels, labels=ids)
        kept.append(sum(sizes.values()))
    first, second = kept[1] - kept[0], kept[2] - kept[1]  # twice as many tokens more
    assert second / first < 2.2, kept
