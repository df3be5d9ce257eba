# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The table, the plots and the page made of the records."""

from collections.abc import Sequence
from pathlib import Path

from forgetting.records import Record, read_records
from forgetting.summary import Row, base_of, front, rows

HEAD = (
    "method", "seeds", "images", "text", "text after an image", "loss of text, nats", "KL to base, nats",
    "attention shift", "parameters trained", "step", "activations",
)  # fmt: skip
KINDS = ("image", "text", "text_after_image")


def print_table(results: Path) -> None:
    """The table of one world's records, on the terminal."""
    print(table(read_records(results)))


def table(records: Sequence[Record]) -> str:
    """Markdown. Rows on the Pareto front of sight and retention are bold."""
    made, base = rows(records), base_of(records)
    best = {row.method for row in front(made)}
    shares = [f"{base['accuracy'][kind]:.1%}" for kind in KINDS if kind in base["accuracy"]]
    before = [base["title"], "", *shares, *["-"] * (len(KINDS) - len(shares)), "0", "0"]
    before += [f"{base['attention_shift']:.3f}", "", "", ""]
    lines = [list(HEAD), ["---"] * len(HEAD), before, *(_cells(row, row.method in best) for row in made)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _cells(row: Row, best: bool) -> list[str]:
    measures, cost = row.measures, row.cost
    return [
        f"**{row.title}**" if best else row.title,
        str(row.seeds),
        *(measures[kind].percent() for kind in KINDS),
        measures["held_out_loss"].number(),
        measures["held_out_kl"].number(),
        measures["attention_shift"].number(),
        f"{cost['trained_parameters']:,}" if cost else "none",
        f"{cost['step_ratio']:.2f}" if cost else "",
        f"{cost['activation_bytes'] / 2**20:.1f} MiB" if cost else "",
    ]


def write_report() -> None:
    raise NotImplementedError
