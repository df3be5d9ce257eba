# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Results of a model on a benchmark, as files and as a table over settings like the paper's Figure 5.

A folder of results holds `results.json` (scores, and everything to repeat them) and `samples.jsonl` (a line for each
turn).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wings_hf.conversion.writing import write_text
from wings_hf.evaluation.statistics import mean_interval, paired_test
from wings_hf.iit.baselines import Score
from wings_hf.iit.conversation import named

RESULTS, SAMPLES = "results.json", "samples.jsonl"


@dataclass(frozen=True)
class Sample:
    """
    Args:
        conversation, setting, turn: which turn; the last of its setting is the one that counts.
        item, kind: what was asked, "T" or "V".
        answer, choice: the right choice and the model's, as indices.
        loglikelihoods: of the choices, summed over their tokens.
    """

    conversation: str
    setting: str
    turn: int
    item: str
    kind: str
    answer: int
    choice: int
    loglikelihoods: tuple[float, ...]

    @property
    def right(self) -> bool:
        return self.choice == self.answer

    @property
    def is_last(self) -> bool:
        return self.turn == len(self.setting) - 1


@dataclass(frozen=True)
class Results:
    """
    Args:
        name: of the model.
        samples: turns, setting by setting.
        facts: options, model, versions, benchmark.
    """

    name: str
    samples: tuple[Sample, ...]
    facts: dict[str, Any]

    @property
    def settings(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(sample.setting for sample in self.samples))

    def right(self, setting: str, turn: int = -1) -> list[bool]:
        """Right or wrong, conversation by conversation."""
        place = range(len(setting))[turn]
        return [sample.right for sample in self.samples if (sample.setting, sample.turn) == (setting, place)]

    def last(self, setting: str) -> Score:
        """Share of last turns that are right: the benchmark's score."""
        return Score.of([float(right) for right in self.right(setting)])

    def turns(self, setting: str) -> list[Score]:
        """The share for each turn."""
        return [Score.of([float(right) for right in self.right(setting, place)]) for place in range(len(setting))]

    def every(self, setting: str) -> Score:
        """The share over all turns; the interval draws conversations anew, not turns."""
        rows = np.array([self.right(setting, place) for place in range(len(setting))], dtype=float)
        return Score.of(rows.mean(0))

    def mean(self) -> Score:
        """Mean of last turns over settings."""
        groups = [[float(right) for right in self.right(setting)] for setting in self.settings]
        low, high = mean_interval(groups)
        return Score(round(float(np.mean([np.mean(group) for group in groups])), 4), round(low, 4), round(high, 4))

    def cost_of_context(self) -> dict[str, dict[str, float]]:
        """For each longer setting: its last questions less the same ones asked alone, paired."""
        found = {}
        for setting in self.settings:
            alone = setting[-1]
            if setting != alone and alone in self.settings:
                found[setting] = paired_test(self.right(setting), self.right(alone))._asdict()
        return found

    def summary(self) -> dict[str, Any]:
        scores = {
            setting: {
                "last": asdict(self.last(setting)),
                "turns": [asdict(score) for score in self.turns(setting)],
                "every": asdict(self.every(setting)),
                "conversations": len(self.right(setting)),
            }
            for setting in self.settings
        }
        return {"mean": asdict(self.mean()), "settings": scores, "cost of context": self.cost_of_context()}

    def save(self, folder: str | Path) -> None:
        """Writes the results into a folder, which is made where it is not there."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        whole = {"name": self.name, "scores": self.summary(), **self.facts}
        lines = (json.dumps({**asdict(sample), "right": sample.right}) for sample in self.samples)
        write_text(folder / SAMPLES, "".join(f"{line}\n" for line in lines))
        write_text(folder / RESULTS, json.dumps(whole, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> "Results":
        """
        Raises:
            ValueError: no results are there.
        """
        folder = Path(folder)
        if not (folder / RESULTS).is_file() or not (folder / SAMPLES).is_file():
            raise ValueError(f"{folder} holds no results: expected {RESULTS} and {SAMPLES} in it.")
        whole = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        rows = [json.loads(line) for line in (folder / SAMPLES).read_text(encoding="utf-8").splitlines()]
        samples = [
            Sample(**{name: value for name, value in row.items() if name != "right"})
            for row in ({**row, "loglikelihoods": tuple(row["loglikelihoods"])} for row in rows)
        ]
        facts = {name: value for name, value in whole.items() if name not in ("name", "scores")}
        return cls(whole["name"], tuple(samples), facts)


def table(results: Sequence[Results]) -> str:
    """Markdown: a row for each model, and for chance and text alone; a column for each setting, last turns in %.

    Raises:
        ValueError: no results, or of different benchmarks.
    """
    check_alike(results)
    settings = list(dict.fromkeys(setting for one in results for setting in one.settings))
    rows = [["Model", *(named(setting) for setting in settings), "Mean"], ["---"] * (len(settings) + 2)]
    for one in results:
        cells = [_cell(one.last(setting)) if setting in one.settings else "-" for setting in settings]
        whole = set(one.settings) == set(settings)
        rows.append([one.name, *cells, _cell(one.mean()) if whole else "-"])
    for name, scores in reference_rows(results[0], settings).items():
        rows.append([f"*{name}*", *(f"{100 * score.accuracy:.1f}" if score else "-" for score in scores), ""])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _cell(score: Score) -> str:
    return f"{100 * score.accuracy:.1f} ({100 * score.low:.1f} to {100 * score.high:.1f})"


def reference_rows(results: Results, settings: Sequence[str]) -> dict[str, list[Score | None]]:
    """What the benchmark says of chance and of a linear model of the text, for each setting."""
    known = results.facts["benchmark"]["facts"]["settings"]
    rows: dict[str, list[Score | None]] = {}
    for name in ("chance", "text only"):
        scores = [known.get(setting, {}).get("baselines", {}).get(name) for setting in settings]
        if any(scores):
            rows[name] = [Score(**score) if score else None for score in scores]
    return rows


def check_alike(results: Sequence[Results]) -> None:
    """Raises ValueError for results that cannot stand in one table."""
    if not results:
        raise ValueError("no results: expected those of at least one model.")
    if len({one.facts["benchmark"]["sha256"] for one in results}) > 1:
        raise ValueError("these results are of different benchmarks: score all models on one.")
    for name in ("limit", "answers", "history"):
        values = [one.facts["options"][name] for one in results]
        if len(set(values)) > 1:
            raise ValueError(f"these results differ in {name} ({', '.join(map(str, values))}): score all models alike.")
