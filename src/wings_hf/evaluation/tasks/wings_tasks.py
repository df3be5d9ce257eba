# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Functions of the task files beside this one. `dataset` is a `datasets.Dataset`, in the layout of the Hub."""

from itertools import groupby
from typing import Any

from wings_hf.evaluation.readers import passages
from wings_hf.evaluation.sandbox import run_tests

OCNLI_WORDS = ("不一定", "对", "错")  # neutral, entailment, contradiction
SHOTS = (2, 3, 4)  # MBPP's tasks that its paper shows


def ocnli_choices(document: dict[str, Any]) -> list[str]:
    first, second = (document[name].rstrip("。") for name in ("sentence1", "sentence2"))
    return [f"{first}，对吗？{word}，{second}。" for word in OCNLI_WORDS]  # noqa: RUF001


def chid_docs(dataset: Any) -> Any:
    """One document for each blank. The answers of a document are in the order of its blanks."""
    rows = []
    for document in dataset:
        for before, after, answer in passages(document):
            filled = [f"{before}{idiom}{after}" for idiom in document["candidates"]]
            rows.append({"filled": filled, "answer": answer})
    return dataset.from_list(rows)


def race_docs(dataset: Any) -> Any:
    """Questions of one article together, where they come one by one."""
    if "problems" in dataset.column_names:
        return dataset
    rows = []
    for article, questions in groupby(dataset, key=lambda row: row["article"]):
        problems = [{name: row[name] for name in ("question", "answer", "options")} for row in questions]
        rows.append({"article": article, "problems": repr(problems)})
    return dataset.from_list(rows)


def race_text(document: dict[str, Any]) -> str:
    return _race().doc_to_text(document)


def race_choices(document: dict[str, Any]) -> list[str]:
    return _race().doc_to_choice(document)


def race_target(document: dict[str, Any]) -> int:
    return _race().doc_to_target(document)


def _race() -> Any:
    from lm_eval.tasks.race import preprocess_race

    return preprocess_race


def mbpp_shots(dataset: Any) -> Any:
    return dataset.filter(lambda row: row["task_id"] in SHOTS)


def mbpp_results(document: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Runs the program: the harness loads this task only where that was confirmed."""
    outcome = run_tests(results[0], document["test_list"], document.get("test_setup_code") or "")
    return {"pass_at_1": float(outcome.passed)}
