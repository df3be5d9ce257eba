# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Several devices: two processes on a CPU stand for them. See also `test_two_devices_are_one`."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import demo_parts
import pytest
import torch
from safetensors.torch import load_file

from wings_hf.data.collator import ConversationCollator

HERE = Path(__file__).parent


@pytest.mark.parametrize("images", [0, 1])
@pytest.mark.parametrize("fields", [{}, {"learner_scope": "visual_context"}, {"vision_feature_layer": -2}])
def test_no_parameter_is_left_without_a_gradient(images: int, fields: dict, tmp_path: Path) -> None:
    """As `find_unused_parameters=False` needs it, of batches with and without images alike."""
    model = demo_parts.model(**fields).train().requires_grad_(True)
    collate = ConversationCollator(demo_parts.processor())
    photos = [demo_parts.picture(tmp_path / "a.png")] * images
    batch = collate([demo_parts.chat("What is this?", "A pear.", *photos), demo_parts.chat("Hi.", "Hi.")])
    model(**batch).loss.backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("packing", [False, "one_row"])
def test_an_image_in_every_batch_changes_nothing_else(packing: Any, tmp_path: Path) -> None:
    """What sharded training needs: all devices pass through the same modules, also those that see text alone."""
    model = demo_parts.model().train()
    talk = [demo_parts.chat("Hi.", "Hello."), demo_parts.chat("What is one and one?", "Two.")]
    gradients = []
    for always in (False, True):
        collate = ConversationCollator(demo_parts.processor(), packing=packing, image_in_every_batch=always)
        batch = collate(talk)
        assert ("pixel_values" in batch) == always
        model.zero_grad()
        model(**batch, num_items_in_batch=torch.tensor(5)).loss.backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-5, msg=name)
    photo = demo_parts.picture(tmp_path / "a.png")
    assert len(collate([demo_parts.chat("What is this?", "A pear.", photo)])["pixel_values"]) == 1


@pytest.mark.slow
def test_all_parts_train_on_two_devices(train_here: Any, train_elsewhere: Any, tmp_path: Path) -> None:
    """The vision tower, too; and checkpoints of two processes are gone on from."""
    parts = "projector,visual_learner,textual_learner,router,language_model,vision_tower"
    changes = (f"stage1.train=[{parts}]", "stages.batch_size=4", "stages.per_device_batch_size=1", "save_steps=4")
    changes += ("stages.max_steps=8",)
    train_here(tmp_path / "one", *changes)
    for run in ("whole", "resumed"):
        _finish(train_elsewhere(tmp_path / run, *changes, processes=2))
    last = tmp_path / "resumed" / "tune-checkpoints" / "checkpoint-8"
    (last / "rng_state_1.pth").unlink()  # as if it had been killed while it wrote that: it goes on from step 4
    (tmp_path / "resumed" / "tune").rename(tmp_path / "before")
    assert "checkpoint-4" in _finish(train_elsewhere(tmp_path / "resumed", *changes, processes=2, resume=True))
    runs = (tmp_path / run / "tune" / "model.safetensors" for run in ("one", "whole", "resumed"))
    one, whole, resumed = map(load_file, runs)
    for name, weight in whole.items():
        assert torch.equal(resumed[name], weight), name
        torch.testing.assert_close(one[name], weight, atol=5e-5, rtol=0, msg=lambda text, name=name: f"{name}: {text}")


def _finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return str(output)


@pytest.mark.slow
def test_shards_beside_text_alone(tmp_path: Path) -> None:
    """FSDP2 itself; through the Trainer it needs GPUs."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1] / "src")}
    command = [*launcher, str(HERE / "sharded_gradients.py"), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "compared" in done.stdout
