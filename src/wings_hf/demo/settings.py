# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The numbers that the demo runs with. They are set once for all models in it, not fitted to its results."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wings_hf.conversion.writing import write_text

NAME = "settings.json"


@dataclass(frozen=True)
class DemoSettings:
    """Sizes, steps and learning rates. One step is one batch of conversations."""

    width: int = 128  # of the language model
    layers: int = 3
    learner_rank: int = 16

    tower_steps: int = 500
    tower_rate: float = 2e-3
    language_steps: int = 900
    language_rate: float = 3e-3
    align_steps: int = 150
    tune_steps: int = 300
    new_parts_rate: float = 6e-3  # projector, learners, router: in both stages
    language_model_rate: float = 3e-4  # the language model in stage 2: a tenth of what it learned with

    text_share: float = 0.2  # of the turns in stage 2
    watch_questions: int = 32  # per task, while training
    test_questions: int = 200  # per task, at the end

    @classmethod
    def quick(cls) -> "DemoSettings":
        """A few steps of everything, to see that it runs; its numbers mean nothing."""
        return cls(
            32, 2, 4, tower_steps=8, language_steps=8, align_steps=4, tune_steps=4, watch_questions=2, test_questions=4
        )

    def save_or_check(self, folder: Path) -> None:
        """Write the settings to `folder`, or check that the run that is there has the same.

        Raises:
            ValueError: it has others, so that it cannot be continued.
        """
        ours, theirs = asdict(self), read_settings(folder)
        if theirs is not None:
            changed = sorted(name for name in ours.keys() | theirs if ours.get(name) != theirs.get(name))
            if changed:
                raise ValueError(
                    f"{folder} holds a demo with other settings ({', '.join(changed)}). Choose another folder with "
                    "--out, or delete that demo with --restart."
                )
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / NAME, json.dumps(ours, indent=2) + "\n")


def read_settings(folder: Path) -> dict[str, Any] | None:
    """The settings of the demo in `folder`; None where there is none.

    Raises:
        ValueError: its settings.json is of something else.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not found.keys() & asdict(DemoSettings()).keys():
        raise ValueError(f"{path} is not of a demo: choose another folder with --out.")
    return found
