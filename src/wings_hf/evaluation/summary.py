# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Scores of a run, set by set, with intervals; and against another run on the same questions."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from wings_hf.evaluation.records import Run
from wings_hf.evaluation.sets import SETS
from wings_hf.evaluation.statistics import bootstrap_interval, mean_interval, paired_test, retention

Scores = dict[str, dict[str, float]]  # set -> id of a question -> score


def scores_of(run: Run, names: list[str]) -> Scores:
    """Scores of the questions of the finished sets that have scores."""
    found = {name: {s["id"]: s["score"] for s in run.samples(name) if s["score"] is not None} for name in names}
    return {name: scores for name, scores in found.items() if scores}


def sets_in(run: Run) -> list[str]:
    """Names of the sets of which tasks are finished, in the order of `SETS`, others after them."""
    names = {path.name for path in (run.folder / "tasks").glob("*") if any(path.glob("*.json"))}
    return [name for name in SETS if name in names] + sorted(names - set(SETS))


def summarise(run: Run, base: Run | None = None, kept: Collection[str] | None = None) -> dict[str, Any]:
    """What `summary.json` holds: each set's score, interval and size, means of the text and of the image sets, and
    with `base` retention and a paired test for each text set (p: two-sided).

    Args:
        kept: only these sets; None for all.

    Raises:
        ValueError: the base was asked other questions, with another number of examples, or scored by another metric.
    """
    names = [name for name in sets_in(run) if kept is None or name in kept]
    scores = scores_of(run, names)
    sets = {name: _set_summary(run, name, scores.get(name)) for name in names}
    about = run.about()
    summary: dict[str, Any] = {"model": about["model"]["name"], "sets": sets, "means": {}}
    for kind in ("text", "image"):
        groups = [list(scores[name].values()) for name in scores if sets[name]["kind"] == kind]
        if groups:
            mean = float(np.mean([np.mean(group) for group in groups]))
            summary["means"][kind] = {"score": mean, "interval": mean_interval(groups), "sets": len(groups)}
    if base is not None:
        _check_alike(run, base, [name for name in names if sets[name]["kind"] == "text"])
        _compare(summary, scores, scores_of(base, names), base.about()["model"]["name"])
    return summary


def _check_alike(run: Run, base: Run, names: Sequence[str]) -> None:
    for name in names:
        theirs = {task["task"]: task for task in base.tasks(name)}
        for task in run.tasks(name):
            for what in ("metric", "shots"):
                other = theirs.get(task["task"], task)[what]
                if other != task[what]:
                    raise ValueError(
                        f"{task['task']}: {what} {task[what]}, and {other} in the base's run {base.folder}: "
                        "expected both asked alike."
                    )
        asked = {sample["id"]: sample.get("doc_hash") for sample in base.samples(name)}
        other = next(
            (s["id"] for s in run.samples(name) if asked.get(s["id"], s.get("doc_hash")) != s.get("doc_hash")), ""
        )
        if other:
            raise ValueError(f"{other} is another question in the base's run {base.folder}: expected the same data.")


def _set_summary(run: Run, name: str, scores: dict[str, float] | None) -> dict[str, Any]:
    tasks = run.tasks(name)
    values = list(scores.values()) if scores else []
    return {
        "kind": tasks[0]["kind"],
        "metric": tasks[0]["metric"],
        "score": float(np.mean(values)) if values else None,
        "interval": bootstrap_interval(values) if values else None,
        "n": sum(task["n"] for task in tasks),
        "tasks": {task["task"]: task["score"] for task in tasks},
        "shots": tasks[0]["shots"],
        "majority": majority(list(run.samples(name))),
    }


def _compare(summary: dict[str, Any], scores: Scores, base: Scores, base_name: str) -> None:
    """Adds, for the text sets of both runs, differences on the questions of both, and retention."""
    shared = {
        name: sorted(set(scores[name]) & set(base[name]))
        for name in scores
        if name in base and summary["sets"][name]["kind"] == "text"
    }
    ours: dict[str, float] = {}
    theirs: dict[str, float] = {}
    for name, questions in shared.items():
        if questions:
            a, b = ([run[name][question] for question in questions] for run in (scores, base))
            ours[name], theirs[name] = float(np.mean(a)), float(np.mean(b))
            result = paired_test(a, b)
            summary["sets"][name]["base"] = {"score": theirs[name], "n": len(questions), **result._asdict()}
    kept = retention(ours, theirs)
    for name, value in kept.per_set.items():
        summary["sets"][name]["retention"] = value
    summary["base"] = base_name
    summary["retention"] = {"mean": kept.mean, "interval": _retention_interval(shared, scores, base), "sets": len(ours)}


def _retention_interval(
    shared: dict[str, list[str]], scores: Scores, base: Scores, draws: int = 2000, seed: int = 0
) -> tuple[float, float] | None:
    """Percentile bootstrap of the mean retention; the same questions are drawn for both runs."""
    rng = np.random.default_rng(seed)
    columns = []
    for name, questions in shared.items():
        a, b = (np.asarray([run[name][question] for question in questions]) for run in (scores, base))
        if len(questions) and b.sum():
            counts = rng.multinomial(len(a), np.full(len(a), 1 / len(a)), size=draws)
            with np.errstate(divide="ignore", invalid="ignore"):
                columns.append((counts @ a) / (counts @ b))
    if not columns:
        return None
    table = np.stack(columns)
    means = table[:, np.isfinite(table).all(axis=0)].mean(axis=0)  # without draws in which the base got nothing right
    if not len(means):
        return None
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def majority(samples: Sequence[Mapping[str, Any]]) -> float | None:
    """The score of always giving the commonest right choice; None for questions without choices."""
    targets = [sample["target"] for sample in samples if "continuations" in sample or "requests" in sample]
    if not targets or not all(isinstance(target, int) for target in targets):
        return None
    return Counter(targets).most_common(1)[0][1] / len(targets)
