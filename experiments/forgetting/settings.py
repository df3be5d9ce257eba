# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The numbers of the experiment, in sizes. They are shared by all methods, and fixed before any of them is measured."""

from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Settings:
    """
    Sizes, steps and learning rates; a step is one batch of conversations.

    `new_parts_rate` and `tuned_rate` are what `Rate` multiplies: for parts that a method adds, and for weights that
    the language model had.
    """

    size: str
    width: int = 128  # of the language model
    layers: int = 4
    vocabulary: int = 1024
    learner_rank: int = 16
    text_tokens: int = 96  # in a row of real text

    tower_steps: int = 500
    tower_rate: float = 2e-3
    language_steps: int = 2400
    language_rate: float = 3e-3
    align_steps: int = 120
    tune_steps: int = 250
    new_parts_rate: float = 6e-3
    tuned_rate: float = 6e-4

    test_questions: int = 200  # of a task
    heldout_texts: int = 120
    probes: int = 64  # conversations whose attention is measured

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


SMALL = Settings("small")
QUICK = replace(
    SMALL,
    size="quick",
    width=32,
    layers=2,
    learner_rank=4,
    tower_steps=6,
    language_steps=6,
    align_steps=3,
    tune_steps=3,
    test_questions=4,
    heldout_texts=4,
    probes=4,
)
GPU = replace(
    SMALL,
    size="gpu",
    width=1024,
    layers=16,
    vocabulary=4096,
    learner_rank=64,
    text_tokens=512,
    language_steps=6000,
    language_rate=6e-4,
    align_steps=400,
    tune_steps=1500,
    new_parts_rate=1e-3,
    tuned_rate=1e-4,
    test_questions=500,
    heldout_texts=400,
)
SIZES = {settings.size: settings for settings in (SMALL, QUICK, GPU)}
