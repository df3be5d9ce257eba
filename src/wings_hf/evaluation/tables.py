# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Summaries as text."""

from collections.abc import Mapping, Sequence
from typing import Any


def of_summary(summary: Mapping[str, Any]) -> str:
    """One run: a row for each set, and the means."""
    has_base = "base" in summary
    head = ["set", "score", "95 % interval", "n", "shots", "majority"]
    rows = [head + (["base", "difference", "p", "retention"] if has_base else [])]
    for name, found in summary["sets"].items():
        row = [name, percent(found["score"]), interval(found["interval"]), str(found["n"]), str(found["shots"])]
        rows.append([*row, percent(found.get("majority")), *(_against(found) if has_base else [])])
    text = grid(rows)
    for kind, mean in summary["means"].items():
        text += f"\nmean of {mean['sets']} {kind} sets: {percent(mean['score'])} % ({interval(mean['interval'])})"
    if has_base:
        kept = summary["retention"]
        text += f"\nretention of {summary['base']}: {percent(kept['mean'])} % ({interval(kept['interval'])})"
    return f"{summary['model']} (scores in %)\n{text}"


def _against(found: Mapping[str, Any]) -> list[str]:
    base = found.get("base")
    if base is None:
        return ["-", "-", "-", "-"]
    difference = f"{100 * base['difference']:+.1f} ({interval((base['low'], base['high']))})"
    return [percent(base["score"]), difference, f"{base['p']:.3f}", percent(found.get("retention"))]


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def interval(pair: Sequence[float] | None) -> str:
    return "-" if pair is None else f"{100 * pair[0]:.1f} to {100 * pair[1]:.1f}"


def grid(rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) if not place else cell.rjust(width) for place, (cell, width) in enumerate(cells))
        for cells in (list(zip(row, widths, strict=True)) for row in rows)
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
