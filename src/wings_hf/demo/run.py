# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The demo from beginning to end: train, score, draw, save, and ask the saved model in a new process."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wings_hf.demo import answer
from wings_hf.demo.digits import VISUAL_TASKS
from wings_hf.demo.experiment import CONTENDERS, REHEARSED, Contender, Experiment
from wings_hf.demo.figure import Shown, draw
from wings_hf.demo.report import as_text, summarise
from wings_hf.demo.settings import DemoSettings
from wings_hf.modeling.modeling_wings import WingsForCausalLM

SHOWN = ("read", "add", "larger", "count")  # tasks of which the picture has an example
WINGS = CONTENDERS[0]


def run_demo(folder: Path, settings: DemoSettings, seeds: int = 1) -> dict[str, Any]:
    """Everything; returns what `folder/results.json` holds.

    Leaves in `folder`: `demo.png`, `results.json`, `model` (Wings, seed 0, with its processor), and each part.
    """
    begun = time.monotonic()
    experiment = Experiment(folder, settings)
    print("1/4  A vision tower and a language model, each trained by itself")
    experiment.fit_parts()
    print(f"2/4  {len(CONTENDERS)} ways to join them, on the same data")
    for seed in range(seeds):
        for contender in CONTENDERS:
            experiment.fit(contender, seed)
    print("3/4  The same new questions for all")
    before = summarise("before it could see", [experiment.scores_before()])
    after = {c.recipe: summarise(c.name, [experiment.scores(c, seed) for seed in range(seeds)]) for c in CONTENDERS}
    print(f"\n{as_text(before, list(after.values()), REHEARSED)}\n")
    print("4/4  The model, saved and loaded in a new process")
    model = save_model(experiment)
    shown = ask_examples(experiment, model)
    results = {"before": before, "after": after, "seeds": seeds, "seconds": round(time.monotonic() - begun)}
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    curves = {contender.recipe: join_curves(experiment, contender) for contender in CONTENDERS}
    draw(folder / "demo.png", shown, curves, before, after, settings.align_steps, REHEARSED)
    print(f"\nPicture {folder / 'demo.png'}, numbers {folder / 'results.json'}, model {model}")
    print(f"Talk to it: wings-hf chat {model} --image {shown[0][1][0]} --prompt 'Read <image>.'")
    return results


def save_model(experiment: Experiment) -> Path:
    """Save Wings with its processor as one folder, as a user would before sharing it."""
    target = experiment.folder / "model"
    if not (target / "config.json").exists():
        model = WingsForCausalLM.from_pretrained(experiment.fits(WINGS, seed=0)[-1].model_folder)
        experiment.processor.save_pretrained(target)
        model.save_pretrained(target)
    return target


def ask_examples(experiment: Experiment, model: Path) -> list[Shown]:
    """One question of each kind in `SHOWN` about test pictures, the first asked in a new process."""
    shown: list[Shown] = []
    for index, task in enumerate(SHOWN):
        question, digits, right = VISUAL_TASKS[task](random.Random(f"shown/{task}"), experiment.digits["test"])
        images = [digit.path for digit in digits]
        given = ask_in_new_process(model, question, images) if index == 0 else None
        shown.append((question, images, given or answer.ask(str(model), question, list(map(str, images))), right))
    asked, pictures, said, expected = shown[0]
    print(f"     {asked} {' '.join(path.name for path in pictures)}  ->  {said!r} (right: {expected!r})")
    return shown


def ask_in_new_process(model: Path, question: str, images: Sequence[Path]) -> str:
    """What a fresh Python, which imports nothing of this package, gets from the saved folder.

    Raises:
        RuntimeError: it failed; with what it wrote.
    """
    command = [sys.executable, answer.__file__, str(model), question, *map(str, images)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"The saved model in {model} could not be used in a new process:\n{done.stderr}")
    return done.stdout.strip()


def join_curves(experiment: Experiment, contender: Contender) -> list[dict[str, float]]:
    """The scores of both stages over one count of steps (seed 0)."""
    align, tune = experiment.fits(contender, seed=0)
    return align.curve() + [{**point, "step": point["step"] + align.steps} for point in tune.curve()[1:]]
