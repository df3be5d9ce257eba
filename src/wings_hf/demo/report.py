# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What the demo found, as data and as text."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wings_hf.demo.scoring import Answers, accuracy, bootstrap_interval

Scores = Mapping[str, Answers]


def summarise(name: str, seeds: Sequence[Scores]) -> dict[str, Any]:
    """Accuracy of one model by kind: over all tasks with its 95% interval, for each seed, and for each task.

    The interval is over questions (all seeds pooled); how far seeds lie apart is seen from their list.
    """
    summary: dict[str, Any] = {"name": name}
    for kind in seeds[0]:
        tasks = list(seeds[0][kind])
        pooled = {task: [right for scores in seeds for right in scores[kind][task]] for task in tasks}
        summary[kind] = {
            "accuracy": accuracy(pooled),
            "interval": list(bootstrap_interval(pooled)),
            "seeds": [accuracy(scores[kind]) for scores in seeds],
            "tasks": {task: float(np.mean(right)) for task, right in pooled.items()},
        }
    return summary


def as_text(before: Mapping[str, Any], after: Sequence[Mapping[str, Any]], rehearsed: Sequence[str]) -> str:
    """Two tables: what each model sees, and what it remembers of its text tasks."""
    sight = _table("sees (questions about pictures it never saw)", "sight", after, ())
    text = _table("remembers (text tasks; * rehearsed in stage 2)", "text", [before, *after], rehearsed)
    return f"{sight}\n\n{text}"


def _table(title: str, kind: str, rows: Sequence[Mapping[str, Any]], marked: Sequence[str]) -> str:
    tasks = list(rows[0][kind]["tasks"])
    heads = [f"{task}*" if task in marked else task for task in tasks]
    width = max(len(row["name"]) for row in rows)
    lines = [title, f"  {'':{width}}  {'all':>6}  {'95% interval':>14}  " + " ".join(f"{head:>9}" for head in heads)]
    for row in rows:
        found = row[kind]
        low, high = found["interval"]
        cells = " ".join(f"{found['tasks'][task]:>9.1%}" for task in tasks)
        lines.append(f"  {row['name']:{width}}  {found['accuracy']:>6.1%}  {low:>6.1%}-{high:>6.1%}   {cells}")
        if len(found["seeds"]) > 1:
            lines.append(f"  {'':{width}}  seeds " + " ".join(f"{value:.1%}" for value in found["seeds"]))
    return "\n".join(lines)
