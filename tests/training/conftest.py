# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Runs of `wings-hf train` on tiny parts: in this process, in one of its own, or in several."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import demo_parts
import pytest
import torch

from wings_hf.cli import main as cli

SOURCES = str(Path(__file__).parents[2] / "src")
# One stage in which everything but the vision tower moves, fast, so that differences would grow.
RECIPE = """
name: everything
model: {learner_rank: 4}
stage1:
  name: tune
  learners: [visual, textual]
  train: [projector, visual_learner, textual_learner, router, language_model]
  learning_rate: 1.0e-3
  max_steps: 50
report_to: none
logging_steps: 1
save_steps: 1000
"""
Command = Callable[..., list[str]]


@pytest.fixture(scope="session")
def tiny_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two models, a recipe, and 16 records: without, with one or two images, long and short."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    demo_parts.build_language_model(demo_parts.tokenizer(), 32, 2).save_pretrained(folder / "text")
    demo_parts.build_tokenizer().save_pretrained(folder / "text")
    demo_parts.build_digit_classifier().save_pretrained(folder / "vision")
    demo_parts.processor().image_processor.save_pretrained(folder / "vision")
    for name, shade in (("a", 40), ("b", 200)):
        demo_parts.picture(folder / f"{name}.png", shade)
    shown: list[dict] = [{"image": "a.png"}, {"image": ["a.png", "b.png"]}, {}, {"image": "b.png"}] * 4
    records = [{"id": str(number), **images, **_talk(number)} for number, images in enumerate(shown)]
    (folder / "data.json").write_text(json.dumps(records))
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


def _talk(number: int) -> dict:
    answer = "one two three " * (number % 5) + f"That is {number}."
    return {"conversations": [{"from": "human", "value": "What is this?"}, {"from": "gpt", "value": answer}]}


@pytest.fixture(scope="session")
def train_command(tiny_parts: Path) -> Command:
    """`train_command(output, *changes, resume=False, data=None)`: the arguments of `wings-hf`."""

    def command(output: Path, *changes: str, resume: bool = False, data: Path | None = None) -> list[str]:
        models = ["--text-model", str(tiny_parts / "text"), "--vision-model", str(tiny_parts / "vision")]
        places = ["--data", str(data or tiny_parts / "data.json"), "--output", str(output)]
        more = ["--set", *changes] if changes else []
        return ["train", str(tiny_parts / "recipe.yaml"), *models, *places, "--debug", *more, *["--resume"] * resume]

    return command


@pytest.fixture(scope="session")
def train_here(train_command: Command) -> Callable[..., Path]:
    """`train_here(output, *changes, ...)` runs `wings-hf train` in this process and returns the model's folder."""

    def train(output: Path, *changes: str, **options: object) -> Path:
        assert cli.main(train_command(output, *changes, **options)) == 0
        return output / "tune"

    return train


@pytest.fixture(scope="session")
def train_elsewhere(train_command: Command) -> Callable[..., subprocess.Popen]:
    """`train_elsewhere(output, *changes, processes=1, ...)` starts `wings-hf train`, several by torchrun."""

    def start(output: Path, *changes: str, processes: int = 1, **options: object) -> subprocess.Popen:
        launcher = ["-m"]
        if processes > 1:
            launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
        environment = {**os.environ, "PYTHONPATH": SOURCES, "OMP_NUM_THREADS": "1"}
        argv = [sys.executable, *launcher, "wings_hf.cli.main", *train_command(output, *changes, **options)]
        return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    return start
