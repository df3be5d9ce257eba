# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The demo from beginning to end: train, score, draw, save, and ask the saved model in a new process."""

import json
import logging
import random
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wings_hf.conversion.writing import write_text
from wings_hf.demo import answer
from wings_hf.demo.digits import VISUAL_TASKS
from wings_hf.demo.experiment import CONTENDERS, REHEARSED, Contender, Experiment
from wings_hf.demo.figure import Shown, draw
from wings_hf.demo.report import as_text, summarise
from wings_hf.demo.settings import NAME, DemoSettings, read_settings
from wings_hf.modeling.modeling_wings import WingsForCausalLM

logger = logging.getLogger(__name__)

SHOWN = ("read", "add", "larger", "count")  # tasks of which the picture has an example
WINGS = CONTENDERS[0]
UNFINISHED = ".model-unfinished"
LEFT = ("demo.png", "results.json", "model", UNFINISHED, "seed-*", "language_model", "vision_tower", "digits*")


def run_demo(folder: Path, settings: DemoSettings, seeds: int = 1) -> dict[str, Any]:
    """Everything; returns what `folder/results.json` holds.

    Leaves in `folder`: `demo.png`, `results.json`, `model` (Wings, seed 0, with its processor), and each part.
    """
    begun = time.monotonic()
    experiment = Experiment(folder, settings)
    logger.info("1/4  A vision tower and a language model, each trained by itself")
    experiment.fit_parts()
    logger.info("2/4  %d ways to join them, on the same data", len(CONTENDERS))
    for seed in range(seeds):
        for contender in CONTENDERS:
            experiment.fit(contender, seed)
    logger.info("3/4  The same new questions for all")
    before = summarise("before it could see", [experiment.scores_before()])
    after = {c.recipe: summarise(c.name, [experiment.scores(c, seed) for seed in range(seeds)]) for c in CONTENDERS}
    logger.info("4/4  The model, saved and loaded in a new process")
    shown = ask_examples(experiment, save_model(experiment))
    question, images, answered, right = shown[0]
    asked = {"question": question, "images": list(map(str, images)), "answer": answered, "right": right}
    seconds = round(time.monotonic() - begun)
    results = {"before": before, "after": after, "asked": asked, "seeds": seeds, "seconds": seconds}
    curves = {contender.recipe: join_curves(experiment, contender) for contender in CONTENDERS}
    draw(folder / "demo.png", shown, curves, before, after, settings.align_steps, REHEARSED)
    write_text(folder / "results.json", json.dumps(results, indent=2) + "\n")
    return results


def described(results: dict[str, Any], folder: Path) -> str:
    """What `run_demo` gave, and what it left in `folder`, for people."""
    asked, model = results["asked"], folder / "model"
    names = " ".join(Path(image).name for image in asked["images"])
    return (
        f"{as_text(results['before'], list(results['after'].values()), REHEARSED)}\n\n"
        f"{asked['question']} {names}  ->  {asked['answer']!r} (right: {asked['right']!r})\n\n"
        f"Picture {folder / 'demo.png'}, numbers {folder / 'results.json'}, model {model}\n"
        f"Talk to it: wings-hf chat {shlex.quote(str(model))} --image {shlex.quote(asked['images'][0])} "
        "--prompt 'Read <image>.'"
    )


def save_model(experiment: Experiment) -> Path:
    """Save Wings with its processor as one folder, as a user would before sharing it."""
    target = experiment.folder / "model"
    unfinished = target.with_name(UNFINISHED)
    if not (target / "config.json").exists():
        shutil.rmtree(unfinished, ignore_errors=True)
        model = WingsForCausalLM.from_pretrained(experiment.fits(WINGS, seed=0)[-1].model_folder)
        experiment.processor.save_pretrained(unfinished)
        model.save_pretrained(unfinished)
        unfinished.rename(target)
    return target


def delete_demo(folder: Path) -> None:
    """Delete what a demo left in `folder`, and nothing else that is there.

    Raises:
        ValueError: the settings.json there is of something else.
    """
    if read_settings(folder) is None:
        return
    for path in (path for pattern in LEFT for path in folder.glob(pattern)):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    (folder / NAME).unlink()  # last: cut short, it is still seen to be a demo


def ask_examples(experiment: Experiment, model: Path) -> list[Shown]:
    """One question of each kind in `SHOWN` about test pictures, the first asked in a new process."""
    shown: list[Shown] = []
    for index, task in enumerate(SHOWN):
        question, digits, right = VISUAL_TASKS[task](random.Random(f"shown/{task}"), experiment.digits["test"])
        images = [digit.path for digit in digits]
        given = ask_in_new_process(model, question, images) if index == 0 else None
        shown.append((question, images, given or answer.ask(str(model), question, list(map(str, images))), right))
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
