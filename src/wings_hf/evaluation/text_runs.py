# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Text sets through lm-evaluation-harness, one of its tasks at a time."""

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import datasets
import lm_eval
from lm_eval.tasks import TaskManager
from PIL import Image

from wings_hf.evaluation.local import LocalTask, local_tasks, overrides
from wings_hf.evaluation.metrics import confirm
from wings_hf.evaluation.sandbox import isolation
from wings_hf.evaluation.sets import TextSet
from wings_hf.evaluation.settings import Settings
from wings_hf.evaluation.summary import majority

TASK_FILES = Path(__file__).with_name("tasks")
SHOWN = (
    "description",
    "doc_to_text",
    "doc_to_target",
    "doc_to_choice",
    "generation_kwargs",
    "filter_list",
    "dataset_path",
)


@cache
def task_manager() -> TaskManager:
    """The harness's index of its task files and ours; reading them takes seconds."""
    return TaskManager(include_path=str(TASK_FILES))


class TextRunner:
    """
    Args:
        lm: a `WingsLM`.
    """

    def __init__(self, lm: Any, settings: Settings) -> None:
        self.lm, self.settings = lm, settings
        datasets.disable_progress_bars()
        self.manager = task_manager()

    def tasks(self, chosen: TextSet) -> dict[str, LocalTask | None]:
        """Harness tasks of a set; with their documents where a folder of local files was given.

        Raises:
            ValueError: no local files, or no such task.
        """
        if self.settings.data_folder and chosen.format:
            return dict(local_tasks(chosen, Path(self.settings.data_folder)))
        return dict.fromkeys(self._leaves(chosen.task))

    def run(self, chosen: TextSet, task: str, local: LocalTask | None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Ask one task: its record, and its questions with outputs and scores."""
        built = self._build(task, local)
        shots = self._shots(built, chosen, local)
        built.set_config(key="num_fewshot", value=shots)
        self.lm.cut = 0
        results = self._ask(built)
        assert results is not None, "one process alone asks, so it has the results"
        records = [s for s in results["samples"][task] if s["filter"] == chosen.filter]
        if not records or chosen.metric not in records[0]:
            offered = sorted({(s["filter"], metric) for s in results["samples"][task] for metric in s["metrics"]})
            raise ValueError(f"task {task} has no metric {chosen.metric} under {chosen.filter}: it has {offered}.")
        samples = [_sample(task, chosen.metric, record) for record in records]
        config = results["configs"][task]
        record = {
            "set": chosen.name,
            "task": task,
            "kind": "text",
            "harness": f"lm_eval {lm_eval.__version__}",
            "version": results["versions"].get(task),
            "metric": chosen.metric if chosen.filter == "none" else f"{chosen.metric},{chosen.filter}",
            "score": sum(s["score"] for s in samples) / len(samples),
            "n": len(samples),
            "majority": majority(samples),
            "shots": shots,
            "cut": self.lm.cut,
            "harness_results": {k: v for k, v in results["results"][task].items() if isinstance(v, int | float)},
            "data": {"files": local.files} if local is not None else {"hub": config.get("dataset_path")},
            "prompts": {name: str(config[name]) for name in SHOWN if config.get(name) is not None},
        }
        if chosen.runs_code:
            record["isolation"] = isolation()
        if self.settings.confirm:
            record["confirmed"] = confirm(chosen.metric, samples)
        return record, samples

    def _shots(self, built: Any, chosen: TextSet, local: LocalTask | None) -> int:
        """Examples in prompts: as asked, else the task's number, else ours; no more than local files have."""
        own = built.get_config("num_fewshot")
        shots = self.settings.shots if self.settings.shots is not None else chosen.shots if own is None else own
        if shots and local is not None:
            has_examples = built.get_config("fewshot_split") is not None or built.has_training_docs()
            shots = min(shots, len(list(built.fewshot_docs() or ()))) if has_examples else 0
        return shots or 0

    def _ask(self, built: Any) -> Any:
        settings = self.settings
        return lm_eval.simple_evaluate(
            model=self.lm,
            tasks=[built],
            task_manager=self.manager,
            limit=settings.limit,
            bootstrap_iters=0,
            log_samples=True,
            apply_chat_template=settings.chat,
            fewshot_as_multiturn=settings.chat,
            system_instruction=settings.system,
            confirm_run_unsafe_code=settings.run_code,
            random_seed=settings.seed,
            numpy_random_seed=settings.seed,
            torch_random_seed=settings.seed,
            fewshot_random_seed=settings.seed,
        )

    def _build(self, task: str, local: LocalTask | None) -> Any:
        if local is None:
            return self.manager.load([task])["tasks"][task]
        config = self._config(task)
        member = {"task": task, **overrides({**config, "task": task}, local)}
        return self.manager.load([{"group": "local_files", "task": [member]}])["tasks"][task]

    def _config(self, task: str) -> dict[str, Any]:
        from lm_eval.tasks._yaml_loader import load_yaml

        entry = self.manager.task_index.get(task)
        if entry is None or entry.yaml_path is None:
            raise ValueError(f"lm-evaluation-harness has no task {task!r} for these files.")
        return load_yaml(entry.yaml_path, resolve_func=False, recursive=True)

    def _leaves(self, name: str) -> Iterator[str]:
        entry = self.manager.task_index.get(name)
        if entry is None:
            raise ValueError(f"lm-evaluation-harness has no task {name!r} (`lm_eval ls tasks` lists them).")
        children = (entry.cfg or {}).get("task")
        if isinstance(children, list):
            for child in children:
                yield from self._leaves(child if isinstance(child, str) else child.get("task") or child["group"])
        elif entry.tags and entry.yaml_path is None:
            for child in sorted(entry.tags):
                yield from self._leaves(child)
        else:
            yield name


def _sample(task: str, metric: str, record: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a question: enough to see what was asked, what came back, and why it got its score."""
    return {
        "id": f"{task}/{record['doc_id']}",
        "doc_hash": record["doc_hash"],
        "prompt_hash": record["prompt_hash"],
        **_asked([tuple(request[:2]) for request in record["arguments"]]),
        **_images(record["arguments"]),
        "target": record["target"],
        "outputs": [response[0] for response in record["resps"]],
        "filtered": record["filtered_resps"],
        "metrics": {name: record[name] for name in record["metrics"]},
        "score": float(record[metric]),
    }


def _asked(requests: list[tuple[Any, ...]]) -> dict[str, Any]:
    contexts = {request[0] for request in requests}
    if len(contexts) == 1 and len(requests[0]) == 2:
        context, second = requests[0]
        if isinstance(second, str):
            return {"context": context, "continuations": [request[1] for request in requests]}
        return {"context": context, "generation": second}
    return {"requests": [list(request) for request in requests]}


def _images(requests: Any) -> dict[str, Any]:
    """Sizes and hashes of the images of the first request, where there are any."""
    extra = requests[0][2] if len(requests[0]) > 2 else {}
    return {"images": [image_mark(image) for image in extra.get("visual") or ()]} if extra else {}


def image_mark(image: Any) -> str:
    """An image in a record: its size and a hash of its pixels, or its path."""
    if not isinstance(image, Image.Image):
        return str(image)
    digest = hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()[:16]
    return f"{image.width}x{image.height} {digest}"
