# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""One fit of the demo: train with the Hugging Face `Trainer`, watch, save, and go on where it was interrupted."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset
from tqdm.auto import tqdm
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from wings_hf.conversion.writing import write_text
from wings_hf.demo.conversations import first
from wings_hf.training.checkpoints import newest_whole_checkpoint
from wings_hf.training.stages import Stage
from wings_hf.training.trainer import stage_trainer

Watch = Callable[[Any], Mapping[str, float]]


@dataclass(frozen=True)
class Fit:
    """A model in training, and what it leaves in `folder`: `model`, and `curve.json` when it is done.

    Args:
        title: of the progress bar.
        data: batches that are made already (see `Batches`), one for each step.
        stage: for a Wings model, what moves and how fast; else everything moves, with `learning_rate`.
        keeps: the part of the model that is saved.
        watch: scores of the model, taken every `watch_every` steps for the progress bar and the curve.
        use_cpu: also where there is a GPU.
    """

    title: str
    folder: Path
    data: Dataset
    seed: int = 0
    stage: Stage | None = None
    learning_rate: float = 1e-3
    keeps: Callable[[Any], Any] = lambda model: model
    watch: Watch | None = None
    watch_every: int = 50
    use_cpu: bool = True

    @property
    def steps(self) -> int:
        return len(self.data)  # type: ignore[arg-type]

    @property
    def model_folder(self) -> Path:
        return self.folder / "model"

    @property
    def finished(self) -> bool:
        """Whether this or an earlier run got to the end."""
        return (self.folder / "curve.json").exists()

    def curve(self) -> list[dict[str, float]]:
        """What `watch` gave, each with the step it gave it at."""
        return json.loads((self.folder / "curve.json").read_text())

    def run(self, make_model: Callable[[], Any]) -> None:
        """Train a model from the last whole checkpoint in `folder`, or from the start; nothing if that is done."""
        if self.finished:
            return
        model = make_model()
        trainer = self._trainer(model)
        for printer in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(printer)
        last = newest_whole_checkpoint(self._checkpoints)
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
        self.keeps(model).save_pretrained(self.model_folder)
        curve: list[Any] = [entry for entry in trainer.state.log_history if "scores" in entry]
        write_text(self.folder / "curve.json", json.dumps([{"step": e["step"], **e["scores"]} for e in curve]))

    @property
    def _checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def _trainer(self, model: Any) -> Trainer:
        arguments = TrainingArguments(
            output_dir=str(self._checkpoints),
            max_steps=self.steps,
            per_device_train_batch_size=1,
            learning_rate=self.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=0.1,
            adam_beta2=0.98,
            save_steps=0.25,
            save_total_limit=1,
            logging_steps=10,
            report_to="none",
            use_cpu=self.use_cpu,
            seed=self.seed,
        )
        if self.stage is not None:
            return stage_trainer(model, self.stage, arguments, self.data, first, [Watcher(self)])
        return Trainer(model, args=arguments, train_dataset=self.data, data_collator=first, callbacks=[Watcher(self)])


class Watcher(TrainerCallback):
    """One progress bar for the fit, with the scores in it; they are logged too, and so kept by checkpoints."""

    def __init__(self, fit: Fit) -> None:
        self.fit = fit

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        done, steps = state.global_step, state.max_steps
        self.bar = tqdm(total=steps, initial=done, desc=self.fit.title, unit="step", disable=None)
        if state.global_step == 0:
            self._watch(state, model)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.bar.update(state.global_step - self.bar.n)
        if state.global_step % self.fit.watch_every == 0 or state.global_step == state.max_steps:
            self._watch(state, model)

    def on_train_end(self, args, state, control, **kwargs):
        self.bar.close()

    def _watch(self, state, model) -> None:
        if self.fit.watch is not None:
            scores = dict(self.fit.watch(model))
            state.log_history.append({"step": state.global_step, "scores": scores})
            self.bar.set_postfix({name: f"{score:.0%}" for name, score in scores.items()})
