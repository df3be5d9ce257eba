# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Several runs side by side: what they see against what text ability they kept."""

from collections.abc import Mapping, Sequence
from typing import Any

from wings_hf.evaluation.records import Run
from wings_hf.evaluation.sets import SETS
from wings_hf.evaluation.summary import sets_in, summarise
from wings_hf.evaluation.tables import grid, interval, percent


def compare(runs: Mapping[str, Run], base: Run | None = None) -> dict[str, Any]:
    """
    Args:
        runs: by the names they are shown with.
        base: the run of the language model. None leaves retention out.

    Returns:
        `runs`: for each its summary over the sets that all runs have (image sets: all that have any), and `front`:
        whether no other run is better in one and as good in the other of image score and retention. `left_out`: sets
        that some run lacks.

    Raises:
        ValueError: fewer than one run, a folder without a run, no set in common, or runs that were asked otherwise.
    """
    if not runs:
        raise ValueError("no runs to compare: expected at least one folder of `wings-hf evaluate`.")
    _check_alike(runs)
    kinds: dict[str, str] = {}
    having: dict[str, list[str]] = {}
    for name, run in runs.items():
        having[name] = sets_in(run)
        kinds |= {each: run.tasks(each)[0]["kind"] for each in having[name]}
    kept = {each for each in kinds if all(each in own for own in having.values() if _has_kind(own, kinds, kinds[each]))}
    if not kept:
        raise ValueError(f"the runs {', '.join(runs)} have no set in common: nothing can be compared.")
    found = {name: summarise(run, base, kept) for name, run in runs.items()}
    points = {name: point for name, each in found.items() if (point := _point(each)) is not None}
    front = pareto_front(points)
    return {
        "base": base.about()["model"]["name"] if base is not None else None,
        "sets": [each for each in SETS if each in kept] + sorted(kept - set(SETS)),
        "left_out": sorted(set(kinds) - kept),
        "runs": {name: {**each, "front": name in front if name in points else None} for name, each in found.items()},
    }


def _check_alike(runs: Mapping[str, Run]) -> None:
    for name in ("limit", "shots", "chat", "system", "seed"):
        values = {run: about.about()["settings"].get(name) for run, about in runs.items()}
        if len(set(values.values())) > 1:
            said = ", ".join(f"{run}: {value}" for run, value in values.items())
            raise ValueError(f"the runs differ in {name} ({said}): expected runs that were asked the same.")


def _has_kind(own: Sequence[str], kinds: Mapping[str, str], kind: str) -> bool:
    return any(kinds[each] == kind for each in own)


def _point(summary: Mapping[str, Any]) -> tuple[float, float] | None:
    kept = (summary.get("retention") or {}).get("mean")
    seen = (summary["means"].get("image") or {}).get("score")
    return None if kept is None or seen is None else (kept, seen)


def pareto_front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Names of the points that no other one dominates (as large in both, larger in one), by their first coordinate."""
    front = [
        name
        for name, (x, y) in points.items()
        if not any(a >= x and b >= y and (a > x or b > y) for a, b in points.values())
    ]
    return sorted(front, key=lambda name: points[name])


def as_table(comparison: Mapping[str, Any]) -> str:
    """A row for each run: each set's score, the means with intervals, retention, and a mark for the front."""
    sets: Sequence[str] = comparison["sets"]
    has_base = comparison["base"] is not None
    kinds = [k for k in ("text", "image") if any(k in each["means"] for each in comparison["runs"].values())]
    rows = [["run", *sets, *(f"{kind} mean" for kind in kinds), *(["retention", "front"] if has_base else [])]]
    for name, each in comparison["runs"].items():
        scores = [percent(each["sets"][one]["score"]) if one in each["sets"] else "-" for one in sets]
        means = [_with_interval(each["means"].get(kind)) for kind in kinds]
        kept = each.get("retention") or {}
        ends = [_with_interval({"score": kept.get("mean"), "interval": kept.get("interval")})]
        ends.append({True: "*", False: "", None: "-"}[each["front"]])
        rows.append([name, *scores, *means, *(ends if has_base else [])])
    text = grid(rows)
    if has_base:
        text += f"\nretention: score / score of {comparison['base']}, mean over text sets; * on the Pareto front"
    if comparison["left_out"]:
        text += f"\nleft out, as some run lacks them: {', '.join(comparison['left_out'])}"
    return f"scores in %, with 95 % intervals\n{text}"


def _with_interval(mean: Mapping[str, Any] | None) -> str:
    if mean is None or mean["score"] is None:
        return "-"
    return f"{percent(mean['score'])} ({interval(mean['interval'])})"
