# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The table, the plots and the page made of the records."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from forgetting.differences import KINDS, Difference, Found, differences
from forgetting.methods import CORE
from forgetting.plots import draw_pareto, draw_shift
from forgetting.records import Record, read_records
from forgetting.summary import MEASURES, Estimate, Row, base_of, front, rows
from wings_hf.evaluation.statistics import Correlation

ROOT = Path(__file__).parents[2]
RECORDED, DOCS, README = Path(__file__).parent / "results", ROOT / "docs", ROOT / "README.md"
IN_README = "small-digits"

HEAD = (
    "method", "seeds", "images", "text", "text never replayed", "text after an image", "loss of text, nats",
    "KL to base, nats", "attention shift", "parameters trained", "step", "activations",
)  # fmt: skip
SHARES = ("image", "text", "never_replayed", "text_after_image")
NAMES = {"image": "images", "text": "text", "text_after_image": "text after an image"}
SURE = 0.05  # corrected p of a difference that is shown in bold


SHORT_HEAD = ("", "images", "text", "text after an image", "parameters trained")


def print_table(results: Path) -> None:
    """The table of one world's records, on the terminal."""
    print(table(read_records(results)))


def short_table(records: Sequence[Record], methods: Sequence[str]) -> str:
    """Markdown with the measures that matter most, of some methods and the base model."""
    made, base = rows(records), base_of(records)
    shares = [Estimate(MEASURES[kind](base, base)).percent() for kind in KINDS]
    chosen = [row for row in made if row.method in methods]
    lines = [list(SHORT_HEAD), ["---"] * len(SHORT_HEAD), [base["title"], *shares, ""]]
    for row in sorted(chosen, key=lambda row: -row.measures["image"].mean):
        cells = [row.measures[kind].percent() for kind in KINDS]
        lines.append([row.title, *cells, f"{row.cost['trained_parameters']:,.0f}" if row.cost else "none"])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def table(records: Sequence[Record]) -> str:
    """Markdown. Rows on the Pareto front of sight and retention are bold."""
    made, base = rows(records), base_of(records)
    best = {row.method for row in front(made)}
    before = [base["title"], "", *(Estimate(MEASURES[kind](base, base)).percent() for kind in SHARES), "0", "0"]
    before += [f"{base['attention_shift']:.3f}", "", "", ""]
    lines = [list(HEAD), ["---"] * len(HEAD), before, *(_cells(row, row.method in best) for row in made)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _cells(row: Row, best: bool) -> list[str]:
    measures, cost = row.measures, row.cost
    return [
        f"**{row.title}**" if best else row.title,
        str(row.seeds),
        *(measures[kind].percent() for kind in SHARES),
        measures["held_out_loss"].number(),
        measures["held_out_kl"].number(),
        measures["attention_shift"].number(),
        f"{cost['trained_parameters']:,.0f}" if cost else "none",
        f"{cost['step_ratio']:.2f}" if cost else "",
        f"{cost['activation_bytes'] / 2**20:.1f} MiB" if cost else "",
    ]


def differences_table(records: Sequence[Record], found: Found) -> str:
    """Markdown: each method less full fine-tuning and less Wings, per cent of the questions, with 95 % intervals."""
    titles = {record["method"]: record["title"] for record in records}
    columns = [(reference, kind) for reference in found for kind in KINDS if found[reference][kind]]
    head = ["method", "seeds", *(f"{NAMES[kind]}, less {titles[reference]}" for reference, kind in columns)]
    lines = [head, ["---"] * len(head)]
    for row in rows(records):
        cells = [found[reference][kind].get(row.method) for reference, kind in columns]
        if seeds := {cell.seeds for cell in cells if cell is not None}:
            lines.append([row.title, str(min(seeds)), *map(_difference_cell, cells)])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _difference_cell(each: Difference | None) -> str:
    if each is None:
        return ""
    mean, low, high = (100 * value + 0.0 for value in (each.mean, each.low, each.high))
    text = f"{mean:+.1f} ({low:.1f} to {high:.1f})"
    return f"**{text}**" if each.corrected is not None and each.corrected < SURE else text


def write_differences(path: Path, found: Found) -> Path:
    """All differences with their p, before and after correction."""
    values = {r: {k: {m: asdict(e) for m, e in by.items()} for k, by in of.items()} for r, of in found.items()}
    path.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path


def write_report(results: Path = RECORDED, docs: Path = DOCS, readme: Path = README) -> list[Path]:
    """
    Plots of all recorded worlds beside their records and into the pages' images, the tables into the page, the
    differences between methods with their p beside the records, and the core of the first world into the README.

    Returns:
        what was written.
    """
    page = (docs / "forgetting.md").read_text(encoding="utf-8")
    written = []
    for folder in sorted(path.parent for path in results.glob("*/records")):
        records = read_records(folder)
        correlation = draw_shift(folder / "shift", records)
        written += draw_pareto(folder / "pareto", records, about(records))
        for name in ("pareto", "shift"):
            picture = docs / "images" / f"forgetting-{folder.name}-{name}.png"
            (folder / f"{name}.png").replace(picture)
            written.append(picture)
        page = replace_region(page, folder.name, f"{about(records)}\n\n{table(records)}\n\n{sentence(correlation)}")
        found = differences(records)
        written.append(write_differences(folder / "differences.json", found))
        page = replace_region(page, f"{folder.name}-differences", differences_table(records, found))
    (docs / "forgetting.md").write_text(page, encoding="utf-8")
    core = short_table(read_records(results / IN_README), CORE)
    readme.write_text(replace_region(readme.read_text(encoding="utf-8"), "forgetting", core), encoding="utf-8")
    return [*written, docs / "forgetting.md", readme]


def about(records: Sequence[Record]) -> str:
    """What the runs have in common, in one line."""
    base, runs = base_of(records), [record for record in records if record["method"] != "base"]
    settings, versions = base["settings"], base["versions"]
    seeds = [row.seeds for row in rows(records)]
    span = f"{min(seeds)} to {max(seeds)} seeds" if min(seeds) < max(seeds) else f"seeds: {min(seeds)}"
    return (
        f"{len(runs)} runs of {len(seeds)} methods, {span}; {settings['align_steps']} and "
        f"{settings['tune_steps']} steps; torch {versions['torch']}, transformers {versions['transformers']}, Python "
        f"{versions['python']}"
    )


def sentence(correlation: Correlation) -> str:
    """The correlation of attention shift and accuracy in text."""
    return (
        f"Attention shift and accuracy in text tasks, means over seeds of {correlation.n} methods: Pearson correlation "
        f"{correlation.r:.2f} (95 % interval {correlation.low:.2f} to {correlation.high:.2f})."
    )


def replace_region(page: str, name: str, text: str) -> str:
    """The page with `text` between the lines `<!-- NAME:start -->` and `<!-- NAME:end -->`.

    Raises:
        ValueError: the page has no such lines.
    """
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    if start not in page or end not in page:
        raise ValueError(f"the page has no lines {start} and {end} to put the table of {name} between.")
    before, rest = page.split(start, 1)
    return f"{before}{start}\n{text}\n{end}{rest.split(end, 1)[1]}"
