# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A fit that is interrupted goes on to the same end."""

from pathlib import Path

import demo_parts
import pytest
import torch
from safetensors.torch import load_file

from wings_hf.data.collator import ConversationCollator
from wings_hf.demo.conversations import Batches, text_turn
from wings_hf.demo.fitting import Fit
from wings_hf.demo.settings import DemoSettings
from wings_hf.demo.text_tasks import TEXT_TASKS
from wings_hf.training.stages import Stage

STAGE = Stage("tune", {"language_model": 1e-3, "visual_learner": 1e-3}, ("visual", "textual"))


def make_fit(folder: Path, watch=None) -> Fit:
    collator = ConversationCollator(demo_parts.processor())
    data = Batches(text_turn(TEXT_TASKS["sort"]), 8, 2, collator, "fit")
    return Fit("a fit", folder, data, stage=STAGE, watch=watch, watch_every=1)


def test_an_interrupted_fit_goes_on_where_it_was(tmp_path: Path) -> None:
    seen: list[int] = []

    def watch(model) -> dict[str, float]:
        seen.append(1)
        if len(seen) == 6:  # after five steps, of which two quarters of eight were saved
            raise KeyboardInterrupt
        return {"score": 0.5}

    whole = make_fit(tmp_path / "whole", lambda model: {"score": 0.5})
    whole.run(demo_parts.model)
    broken = make_fit(tmp_path / "broken", watch)
    with pytest.raises(KeyboardInterrupt):
        broken.run(demo_parts.model)
    assert not broken.finished
    broken.run(demo_parts.model)
    assert broken.finished
    assert len(seen) < 2 * 8, "it began again from the start"
    assert broken.curve() == whole.curve() == [{"step": step, "score": 0.5} for step in range(9)]
    ours, theirs = (load_file(fit.model_folder / "model.safetensors") for fit in (broken, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_finished_fit_is_not_run_again(tmp_path: Path) -> None:
    fit = make_fit(tmp_path)
    fit.run(demo_parts.model)

    def never():
        raise AssertionError("it was run again")

    fit.run(never)


def test_settings_of_another_run_are_refused(tmp_path: Path) -> None:
    DemoSettings().save_or_check(tmp_path)
    DemoSettings().save_or_check(tmp_path)
    with pytest.raises(ValueError, match=r"other settings \(.*tune_steps.*\)"):
        DemoSettings.quick().save_or_check(tmp_path)
