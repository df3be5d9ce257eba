# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A loss that is no number stops the run and names its samples."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import TrainerControl, TrainerState
from transformers.modeling_outputs import CausalLMOutput

from wings_hf import WingsForCausalLM
from wings_hf.training.guards import NonFiniteLossError, StopOnBadLoss


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_loss_names_file_and_record(
    workers: int, train_here: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = WingsForCausalLM.forward
    calls = []

    def spoiled(self: WingsForCausalLM, *args: Any, **kwargs: Any) -> Any:
        assert "sample_ids" not in kwargs
        outputs = forward(self, *args, **kwargs)
        if self.training:
            calls.append(1)
        outputs.loss = outputs.loss * math.nan if len(calls) == 3 else outputs.loss
        return outputs

    monkeypatch.setattr(WingsForCausalLM, "forward", spoiled)
    with pytest.raises(NonFiniteLossError) as raised:
        train_here(tmp_path, "stages.max_steps=5", "stages.per_device_batch_size=3", f"workers={workers}")
    lines = str(raised.value).splitlines()
    assert "in step 3" in lines[0] and len(calls) == 3
    assert len(lines) == 4 and all("data.json, record " in line for line in lines[1:])
    assert not (tmp_path / "tune").exists()


class Echo(nn.Module):
    """Returns the loss that it is given."""

    def forward(self, loss: float) -> CausalLMOutput:
        return CausalLMOutput(loss=torch.tensor(loss, device="meta"))


def test_on_an_accelerator_losses_wait_for_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """The meta device stands for one: looking at a loss there raises, as it would make the host wait elsewhere."""
    guard, model, state, control = StopOnBadLoss(), Echo(), TrainerState(), TrainerControl()
    args = SimpleNamespace(logging_nan_inf_filter=False)
    guard.on_train_begin(args, state, control, model=model)
    for step in range(4):
        state.global_step = step
        model(loss=1.0, sample_ids=[f"data.json, record {step}"])
    flags = [True, True, False, False]  # once weights are bad, so is everything after
    guard._unchecked = [
        (step, torch.tensor(flag), ids) for flag, (step, _, ids) in zip(flags, guard._unchecked, strict=True)
    ]
    with pytest.raises(NonFiniteLossError, match=r"in step 3\.(.|\n)*data.json, record 2$"):
        guard.on_log(args, state, control, logs={"loss": math.nan})
    model(loss=1.0, sample_ids=["data.json, record 5"])
    guard.on_log(args, state, control, logs={"loss": 1.0})
    assert guard._unchecked == []
    guard.on_train_end(args, state, control)
    with pytest.raises(TypeError, match="sample_ids"):
        model(loss=1.0, sample_ids=[])


def test_nothing_is_saved_before_its_losses_were_looked_at() -> None:
    control = TrainerControl(should_save=True)
    StopOnBadLoss().on_step_end(SimpleNamespace(), TrainerState(), control)
    assert control.should_log
