# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Image sets through lmms-eval, one of its tasks at a time. Scores are of single questions, see `image_scores`."""

import random
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lmms_eval.evaluator import evaluate
from lmms_eval.tasks import TaskManager, get_task_dict

from wings_hf.evaluation.image_scores import answer_of, score_of
from wings_hf.evaluation.lmms import WingsChat, WingsSimple
from wings_hf.evaluation.sets import ImageSet
from wings_hf.evaluation.settings import Settings

SHOWN = (
    "doc_to_text",
    "doc_to_target",
    "generation_kwargs",
    "lmms_eval_specific_kwargs",
    "filter_list",
    "dataset_path",
)


class ImageRunner:
    """
    Args:
        model, processor: an image-text model.
        include: a folder with more task files.
    """

    def __init__(self, model: Any, processor: Any, settings: Settings, include: Path | None = None) -> None:
        size, length = settings.batch_size, settings.max_length
        device = str(model.device)
        arguments: dict[str, Any] = {
            "batch_size": size,
            "max_length": length,
            "device": device,
            "system_prompt": settings.system,
        }
        self.chat = WingsChat(model, processor, **arguments)
        self.simple = WingsSimple(model, processor, **arguments)
        self.settings = settings
        self.manager = TaskManager("WARNING", include_path=str(include) if include else None, model_name="wings")

    def run(self, chosen: ImageSet) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Ask a set's task: its record, and its questions with outputs and scores.

        Raises:
            ValueError: no such task, or no question has the set's metric.
        """
        seed = self.settings.seed
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        lm, task = self._task(chosen.task)
        task.set_config(key="num_fewshot", value=self.settings.shots or 0)
        task.set_fewshot_seed(seed=seed)
        task._aggregation_list = dict.fromkeys(task._aggregation_list, len)  # theirs may write files, or ask the web
        lm.task_dict[chosen.task] = task.dataset
        results = evaluate(
            lm=lm,
            task_dict={chosen.task: task},
            limit=self.settings.limit,
            bootstrap_iters=0,
            log_samples=True,
            process_docs_parallel=1,
        )
        samples = [_sample(chosen, sample) for sample in results["samples"][chosen.task]]
        scored = [sample for sample in samples if sample["score"] is not None]
        if chosen.has_answers and not scored:
            raise ValueError(f"task {chosen.task} gave no metric {chosen.metric or chosen.rule} for any question.")
        config = results["configs"][chosen.task]
        record = {
            "set": chosen.name,
            "task": chosen.task,
            "kind": "image",
            "harness": f"lmms_eval {version('lmms_eval')}",
            "version": results["versions"].get(chosen.task),
            "metric": chosen.rule or chosen.metric,
            "score": sum(s["score"] for s in scored) / len(scored) if scored else None,
            "n": len(scored) if chosen.has_answers else len(samples),
            "shots": self.settings.shots or 0,
            "data": {"hub": config.get("dataset_path")},
            "prompts": {name: str(config[name]) for name in SHOWN if config.get(name) is not None},
        }
        return record, scored if chosen.has_answers else samples

    def _task(self, name: str) -> tuple[Any, Any]:
        """The task, with the adapter it takes: messages where it gives them, else one text and its images."""
        if name not in self.manager.all_tasks:
            raise ValueError(f"lmms-eval has no task {name!r} (`lmms-eval tasks` lists them).")
        simple = get_task_dict([name], self.manager, "simple")[name]
        if getattr(simple.config, "doc_to_messages", None) is None or simple.OUTPUT_TYPE != "generate_until":
            return self.simple, simple
        return self.chat, get_task_dict([name], self.manager, "chat")[name]


def _sample(chosen: ImageSet, sample: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"{chosen.task}/{sample['doc_id']}",
        "doc_hash": sample["doc_hash"],
        "context": next((value for value in sample["arguments"] if isinstance(value, str)), ""),
        "images": [str(media) for media in sample.get("input_media", ())][:8],
        "target": str(sample["target"]),
        "outputs": sample["resps"],
        "filtered": answer_of(sample),
        "score": score_of(chosen.metric, chosen.rule, sample) if chosen.has_answers else None,
    }
