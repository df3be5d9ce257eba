# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Local files in the place of what a harness task would load from the Hub."""

import hashlib
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from wings_hf.evaluation.documents import Document, read_documents
from wings_hf.evaluation.readers import files_of, split_of
from wings_hf.evaluation.sets import TextSet

KEEPS_DEV = ("mmlu", "cmmlu")  # "dev" holds the examples for prompts; elsewhere it is the validation set
MBPP_SPLITS = {"prompt": range(1, 11), "test": range(11, 511), "validation": range(511, 601), "train": range(601, 975)}


class LocalTask(NamedTuple):
    """Documents of one harness task by split, and what they were read from: name of the file, hash."""

    splits: dict[str, list[Document]]
    files: dict[str, str]


def local_tasks(chosen: TextSet, folder: Path) -> dict[str, LocalTask]:
    """Harness tasks whose documents lie under `folder`.

    Raises:
        ValueError: there are none, or a file is malformed.
    """
    tasks: dict[str, LocalTask] = defaultdict(lambda: LocalTask(defaultdict(list), {}))
    for path, name in files_of(folder):
        if name != chosen.format or not chosen.has(path.relative_to(folder.parent)):
            continue
        relative = str(path.relative_to(folder))
        for document in read_documents(path, name):
            task = f"{chosen.format}_{document['subject']}" if chosen.by_subject else chosen.task
            tasks[task].splits[_split(chosen.format, path, document)].append(document)
            if relative not in tasks[task].files:
                tasks[task].files[relative] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    if not tasks:
        raise ValueError(f"{folder} holds no files of {chosen.name} ({chosen.format} as its authors publish it).")
    return dict(sorted(tasks.items()))


def _split(format: str, path: Path, document: Document) -> str:
    if format == "mbpp":
        number = document["task_id"]
        return next((name for name, numbers in MBPP_SPLITS.items() if number in numbers), "test")
    split = split_of(path)
    return split if split != "dev" or format in KEEPS_DEV else "validation"


def overrides(task_config: dict[str, Any], local: LocalTask) -> dict[str, Any]:
    """What to change in a harness task so that it reads `local`; without examples in prompts where there are none.

    Raises:
        ValueError: the split that the task asks about is missing, or some files name it and others name none.
    """
    splits = dict(local.splits)
    asked = str(task_config.get("test_split") or task_config.get("validation_split"))
    if "" in splits:  # no name says which split it is: the one that is asked about
        if asked in splits:
            unnamed = sorted(name for name in local.files if not split_of(Path(name)))
            raise ValueError(
                f"task {task_config['task']}: there are files of the split {asked!r}, and {', '.join(unnamed)}, whose "
                "names say no split: expected names that do, or one of the two."
            )
        splits[asked] = splits.pop("")
    if asked not in splits:
        raise ValueError(f"task {task_config['task']} asks the split {asked!r}, and the files hold {sorted(splits)}.")
    changes: dict[str, Any] = {"custom_dataset": lambda **unused: _datasets(splits), "dataset_kwargs": None}
    changes |= {
        name: None
        for name in ("training_split", "validation_split", "test_split")
        if task_config.get(name) and task_config[name] not in splits
    }
    shown = task_config.get("fewshot_split") or task_config.get("training_split")
    if shown not in splits:
        changes |= {"fewshot_split": None, "fewshot_config": None, "num_fewshot": 0}
    return changes


def _datasets(splits: dict[str, list[Document]]) -> dict[str, Any]:
    import datasets

    return {name: datasets.Dataset.from_list(documents) for name, documents in splits.items()}
