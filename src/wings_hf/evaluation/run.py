# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Measure one model on sets, task by task: finished tasks are kept, and not asked again."""

import logging
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from wings_hf.evaluation.models import default_device, describe
from wings_hf.evaluation.records import Run
from wings_hf.evaluation.sets import ImageSet, TextSet
from wings_hf.evaluation.settings import Settings
from wings_hf.evaluation.summary import summarise

Say = Callable[[str], Any]
EXTRAS = {
    "lm_eval": "it is in the extra 'eval': pip install 'wings_hf[eval]'",
    "matplotlib": "it is in the extra 'eval': pip install 'wings_hf[eval]'",
    "lmms_eval": "it needs an environment of its own: pip install lmms-eval, see docs/evaluation.md",
}


class Missing(ValueError):
    """A package that a set needs is not installed."""


def needs(package: str, what: str) -> None:
    """
    Raises:
        Missing: `package` cannot be imported; the message says what to install.
    """
    try:
        __import__(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise Missing(f"{what} need {package.replace('_', '-')}, which is not installed; {EXTRAS[package]}.") from error


class Evaluation:
    """One model and what asks it; runners are made when they are first needed.

    Args:
        name: folder or name on the Hub: Wings, any causal model, any image-text model of transformers.
        model, processor: the model itself, where it is loaded already.
        trust_remote_code: run code that comes with the model.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        trust_remote_code: bool = False,
        revision: str = "main",
        model: Any = None,
        processor: Any = None,
        say: Say = lambda text: print(text, file=sys.stderr, flush=True),
    ) -> None:
        from wings_hf.evaluation.models import load, takes_images

        self.name, self.settings, self.say = name, settings, say
        if model is None:
            model, processor = load(name, trust_remote_code, revision, dtype=settings.dtype)
            model = model.to(settings.device or default_device())
        self.model, self.processor = model, processor
        self.takes_images = takes_images(model.config)
        self._text: Any = None
        self._image: Any = None

    def run(self, sets: Sequence[TextSet | ImageSet], folder: Path, base: "Run | None" = None) -> dict[str, Any]:
        """Ask every set that is not finished in `folder`, write `summary.json`, and return it.

        Raises:
            ValueError: the folder holds another run; a set cannot be run by this model, or not as asked.
            Missing: a package is not installed.
        """
        self._check(sets)
        run = Run.open(folder, describe(self.model, self.processor, self.name), self.settings.to_record())
        if changed := run.changed_versions():
            said = ", ".join(
                f"{name} {then or 'absent'}, now {now or 'absent'}" for name, (then, now) in changed.items()
            )
            self.say(f"{folder} goes on with other versions ({said}): each task's record says its own")
        for number, chosen in enumerate(sets, 1):
            where = f"{chosen.name} ({number}/{len(sets)})"
            if isinstance(chosen, TextSet):
                self._run_text(run, chosen, where)
            else:
                self._run_task(run, chosen, chosen.task, where, partial(self._ask_image, chosen))
        summary = summarise(run, base)
        run.write("summary.json", summary)
        return summary

    def text(self) -> Any:
        if self._text is None:
            from wings_hf.evaluation.harness import WingsLM
            from wings_hf.evaluation.text_runs import TextRunner

            logging.getLogger("lm_eval").setLevel(logging.ERROR)
            size, length = self.settings.batch_size, self.settings.max_length
            lm = WingsLM(self.model, processor=self.processor, batch_size=size, max_length=length)
            self._text = TextRunner(lm, self.settings)
        return self._text

    def image(self) -> Any:
        if self._image is None:
            from wings_hf.evaluation.image_runs import ImageRunner

            self._image = ImageRunner(self.model, self.processor, self.settings)
        return self._image

    def _check(self, sets: Sequence[TextSet | ImageSet]) -> None:
        for chosen in sets:
            if isinstance(chosen, ImageSet):
                if not self.takes_images:
                    raise ValueError(f"{chosen.name} asks about images, and {self.name} takes none: choose text sets.")
                needs("lmms_eval", "image sets")
            else:
                needs("lm_eval", "text sets")
                if chosen.runs_code and not self.settings.run_code:
                    raise ValueError(f"{chosen.name} runs programs that the model writes: allow it with --run-code.")

    def _run_text(self, run: Run, chosen: TextSet, where: str) -> None:
        tasks = self.text().tasks(chosen)
        for number, (task, local) in enumerate(tasks.items(), 1):
            place = f"{where} {task}" + (f" ({number}/{len(tasks)})" if len(tasks) > 1 else "")
            _check_same(run.finished(chosen.name, task), chosen, local)
            self._run_task(run, chosen, task, place, partial(self.text().run, chosen, task, local))

    def _ask_image(self, chosen: ImageSet) -> tuple[Any, Any]:
        return self.image().run(chosen)

    def _run_task(
        self, run: Run, chosen: TextSet | ImageSet, task: str, where: str, ask: Callable[[], tuple[Any, Any]]
    ) -> None:
        record = run.finished(chosen.name, task)
        if record is not None:
            self.say(f"{where}: finished before, {_shown(record)}")
            return
        self.say(f"{where} ...")
        began = time.perf_counter()
        record, samples = ask()
        extra = {"seconds": round(time.perf_counter() - began, 2), "batch_size": self.settings.batch_size}
        run.finish(chosen.name, task, {**record, **extra, "device": str(self.model.device)}, samples)
        self.say(f"{where}: {_shown(record)}")


def _check_same(record: dict[str, Any] | None, chosen: TextSet, local: Any) -> None:
    """
    Raises:
        ValueError: the finished task was scored by another metric, or asked of other local files.
    """
    if record is None:
        return
    if record["metric"].partition(",")[0] != chosen.metric:
        raise ValueError(
            f"{record['task']} is finished with the metric {record['metric']}, and {chosen.metric} is asked for: "
            "choose another --output."
        )
    files = local.files if local is not None else {}
    changed = sorted(set(files.items()) ^ set(record["data"].get("files", {}).items()))
    if changed:
        raise ValueError(
            f"{record['task']} is finished, and {changed[0][0]} has changed since: choose another --output."
        )


def _shown(record: dict[str, Any]) -> str:
    score = "no score" if record["score"] is None else f"{100 * record['score']:.1f} %"
    cut = f"; {record['cut']} requests too long, their beginning was cut off" if record.get("cut") else ""
    return f"{score} of {record['n']} ({record['metric']}, {record['shots']} shots{cut})"
