# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Whether two methods differ: the same questions, answered by models of the same seeds.

Seeds and questions are both samples, and they are crossed: each seed's models answer all questions. What is asked of a
difference is what it would be with other seeds and other questions of the same tasks. With few seeds nothing can be
drawn from them again and again; instead its variance is put together from that between seeds, between questions and of
what is left, as in studies in which several readers read the same cases, with degrees of freedom after Satterthwaite
(compare Hillis, Statistics in Medicine 26, 2007, 596-619). So three seeds that disagree have the wide intervals of two
degrees of freedom. With one seed the questions alone can be drawn again, which says nothing of another seed: there is
an interval of these two models and no test of the methods.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.stats import t

from forgetting.records import Record
from wings_hf.evaluation.statistics import mean_interval

LEVEL = 0.95
KINDS = ("image", "text", "text_after_image")
REFERENCES = ("full", "wings")


@dataclass(frozen=True)
class Difference:
    """
    Args:
        mean: of the accuracies' difference, over seeds and tasks.
        low, high: 95 % interval; of other seeds and questions, with one seed of other questions alone.
        p: two-sided; None with one seed.
        corrected: p, after Holm, among all methods in this kind of question against this reference.
        seeds: how many both methods have in common.
    """

    mean: float
    low: float
    high: float
    p: float | None
    seeds: int
    corrected: float | None = None


class Variance(NamedTuple):
    """Of a mean over seeds and questions: its square error and its degrees of freedom."""

    value: float
    freedom: float


def crossed_difference(tasks: Sequence[np.ndarray]) -> Difference:
    """
    The mean over tasks of the means of `tasks`, with interval and p.

    Args:
        tasks: differences of one task's answers each, (seeds, questions); seeds are the same, questions are each
            task's own. Tasks are fixed.

    Raises:
        ValueError: no tasks, no questions, or tasks of different numbers of seeds.
    """
    shapes = [task.shape for task in tasks]
    if not tasks or len({shape[0] for shape in shapes}) != 1 or any(len(s) != 2 or not s[0] * s[1] for s in shapes):
        raise ValueError(f"differences of shapes {shapes}: expected (seeds, questions), of the same seeds.")
    seeds = shapes[0][0]
    mean = float(np.mean([task.mean() for task in tasks]))
    if seeds == 1:
        return Difference(mean, *mean_interval([task[0] for task in tasks], LEVEL), None, 1)
    error, freedom = crossed_variance(tasks)
    if error == 0:  # no seed and no question disagrees: as many throws of a coin as there are questions
        return Difference(mean, mean, mean, 1.0 if mean == 0 else 2.0 ** (1 - sum(s[1] for s in shapes)), seeds)
    half = float(t.ppf(0.5 + LEVEL / 2, freedom)) * math.sqrt(error)
    p = 2 * float(t.sf(abs(mean) / math.sqrt(error), freedom))
    return Difference(mean, mean - half, mean + half, p, seeds)


def crossed_variance(tasks: Sequence[np.ndarray]) -> Variance:
    """Square error of the mean over tasks, seeds and questions, for at least two seeds; see `crossed_difference`."""
    seeds, weight = len(tasks[0]), 1 / len(tasks) ** 2
    of_seeds = float(np.var(np.mean([task.mean(1) for task in tasks], axis=0), ddof=1)) / seeds
    of_questions = weight * sum(float(_variance(task.mean(0))) / task.shape[1] for task in tasks)
    rest = weight * sum(_rest(task) / task.size for task in tasks)
    # what each of the two has of the rest is in both: it counts once, and neither is less than nothing
    value = rest + max(of_seeds - rest, 0) + max(of_questions - rest, 0)
    questions = sum(max(task.shape[1] - 1, 1) for task in tasks)
    terms = of_seeds**2 / (seeds - 1) + of_questions**2 / questions
    return Variance(value, value**2 / terms if terms else math.inf)


def _variance(values: np.ndarray) -> float:
    return float(np.var(values, ddof=1)) if len(values) > 1 else 0.0


def _rest(task: np.ndarray) -> float:
    """Variance of what neither the seed nor the question explains."""
    seeds, questions = task.shape
    if questions < 2:
        return 0.0
    left = task - task.mean(0, keepdims=True) - task.mean(1, keepdims=True) + task.mean()
    return float((left**2).sum()) / ((seeds - 1) * (questions - 1))


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's correction for as many comparisons as there are `ps`, in their order (Scand. J. Statistics 6, 1979)."""
    made, largest = [0.0] * len(ps), 0.0
    for place, index in enumerate(sorted(range(len(ps)), key=lambda index: ps[index])):
        largest = max(largest, min(1.0, (len(ps) - place) * ps[index]))
        made[index] = largest
    return made


# ---- of records ---------------------------------------------------------------------------------------------------
Found = dict[str, dict[str, dict[str, Difference]]]  # reference -> kind -> method


def differences(records: Sequence[Record]) -> Found:
    """Every method less each of `REFERENCES`, by kind of question, with corrected p; seeds that both have."""
    by_method: dict[str, dict[int, Record]] = {}
    for record in records:
        by_method.setdefault(record["method"], {})[record["seed"]] = record
    by_method.pop("base", None)
    return {
        reference: {kind: _against(by_method, reference, kind) for kind in KINDS}
        for reference in REFERENCES
        if reference in by_method
    }


def _against(by_method: Mapping[str, Mapping[int, Record]], reference: str, kind: str) -> dict[str, Difference]:
    theirs = by_method[reference]
    found = {}
    for method, ours in by_method.items():
        seeds = sorted(ours.keys() & theirs.keys())
        if method != reference and seeds and all(kind in ours[seed]["answers"] for seed in seeds):
            pairs = [(ours[seed]["answers"][kind], theirs[seed]["answers"][kind]) for seed in seeds]
            found[method] = crossed_difference(_paired(pairs, f"{method} and {reference}, {kind}"))
    tested = {method: each.p for method, each in found.items() if each.p is not None}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    return {
        method: Difference(each.mean, each.low, each.high, each.p, each.seeds, corrected.get(method))
        for method, each in found.items()
    }


def _paired(pairs: Sequence[tuple[Mapping[str, str], Mapping[str, str]]], what: str) -> list[np.ndarray]:
    """Differences of each task's answers, (seeds, questions).

    Raises:
        ValueError: they were not asked the same.
    """
    asked = {tuple((task, len(answers)) for task, answers in sorted(each.items())) for pair in pairs for each in pair}
    if len(asked) != 1:
        raise ValueError(f"{what}: expected records of the same tasks and numbers of questions.")
    return [
        np.array([_bits(ours[task]) - _bits(theirs[task]) for ours, theirs in pairs]) for task, _ in next(iter(asked))
    ]


def _bits(answers: str) -> np.ndarray:
    return np.array([int(answer) for answer in answers], dtype=float)
