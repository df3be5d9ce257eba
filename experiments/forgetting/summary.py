# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Rows of the table: means over seeds, with intervals, of what the records hold."""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import t

from forgetting.records import Record
from forgetting.worlds import WORLDS
from wings_hf.evaluation.comparison import pareto_front
from wings_hf.evaluation.statistics import retention

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """Mean over seeds, and half the width of Student's 95 % interval (None with one seed)."""

    mean: float
    half: float | None = None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Estimate":
        if len(values) < 2 or any(map(math.isnan, values)):
            return cls(sum(values) / len(values))
        quantile = float(t.ppf(0.5 + LEVEL / 2, len(values) - 1))
        return cls(statistics.mean(values), quantile * statistics.stdev(values) / math.sqrt(len(values)))

    def percent(self) -> str:
        if math.isnan(self.mean):
            return "-"
        return f"{self.mean:.1%}" if self.half is None else f"{100 * self.mean:.1f} ± {100 * self.half:.1f} %"

    def number(self, digits: int = 3) -> str:
        return f"{self.mean:.{digits}f}" if self.half is None else f"{self.mean:.{digits}f} ± {self.half:.{digits}f}"


@dataclass(frozen=True)
class Row:
    """One method over its seeds. `measures` are those of `MEASURES`."""

    method: str
    title: str
    family: str
    seeds: int
    measures: Mapping[str, Estimate]
    cost: Mapping[str, Any]


# what a table and a plot can show: name -> what a record (and that of the base model) says
MEASURES: dict[str, Callable[[Record, Record], float]] = {
    "image": lambda record, base: record["accuracy"]["image"],
    "text": lambda record, base: record["accuracy"]["text"],
    "never_replayed": lambda record, base: never_replayed(record),
    "text_after_image": lambda record, base: record["accuracy"].get("text_after_image", math.nan),
    "retention": lambda record, base: retained(record, base),
    "held_out_loss": lambda record, base: record["held_out_loss"] - base["held_out_loss"],
    "held_out_kl": lambda record, base: record["held_out_kl"],
    "attention_shift": lambda record, base: record["attention_shift"],
}


def retained(record: Record, base: Record) -> float:
    """Mean over the text tasks of accuracy / the base model's; nan where the base can do none."""
    mean = retention(*(_text_scores(each) for each in (record, base))).mean
    return math.nan if mean is None else mean


def never_replayed(record: Record) -> float:
    """Mean over the text tasks that replay never draws from; nan where there are none."""
    scores = _text_scores(record)
    others = [score for task, score in scores.items() if task not in WORLDS[record["world"]].rehearsed]
    return statistics.mean(others) if others and len(others) < len(scores) else math.nan


def _text_scores(record: Record) -> dict[str, float]:
    return {task: right.count("1") / len(right) for task, right in record["answers"]["text"].items()}


def base_of(records: Sequence[Record]) -> Record:
    """The record of the model before it could see.

    Raises:
        ValueError: there is none.
    """
    for record in records:
        if record["method"] == "base":
            return record
    raise ValueError("no record of the base model: run the experiment again, it is made first.")


def rows(records: Sequence[Record]) -> list[Row]:
    """One row for each method, as they come, the best sight first within a family."""
    base = base_of(records)
    by_method: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record is not base:
            by_method[record["method"]].append(record)
    made = [_row(of_method, base) for of_method in by_method.values()]
    return sorted(made, key=lambda row: (row.family, -row.measures["image"].mean))


def _row(records: Sequence[Record], base: Record) -> Row:
    first = records[0]
    measures = {name: Estimate.of([take(record, base) for record in records]) for name, take in MEASURES.items()}
    costs = [record["cost"] for record in records if record["cost"]]
    cost = {name: statistics.median(cost[name] for cost in costs) for name in costs[0]} if costs else {}
    return Row(first["method"], first["title"], first["family"], len(records), measures, cost)


def front(rows: Sequence[Row], x: str = "retention", y: str = "image") -> list[Row]:
    """Rows that no other beats in both measures, by rising `x`."""
    by_method = {row.method: row for row in rows}
    points = {method: (row.measures[x].mean, row.measures[y].mean) for method, row in by_method.items()}
    return [by_method[method] for method in pareto_front(points)]
