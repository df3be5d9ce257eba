# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Set runs of `wings-hf evaluate` side by side: a table, and the Pareto front of image score against retention."""

import argparse
from pathlib import Path

from wings_hf.cli.output import add_json, note, result

HELP = "compare measured models: what they see against what they kept"
EXAMPLE = """RUN is a folder of `wings-hf evaluate`, or NAME=FOLDER to be shown as NAME.

examples:
  wings-hf compare runs/llm runs/llava runs/wings --base runs/llm
  wings-hf compare 'full tuning=runs/full' Wings=runs/wings --base runs/llm --output plots/front"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders of runs")
    parser.add_argument("--base", metavar="RUN", help="the language model's run: retention is against it")
    parser.add_argument(
        "--output", type=Path, metavar="STEM", help="write STEM.png, STEM.svg and STEM.json of the Pareto front"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from wings_hf.evaluation.comparison import as_table, compare
    from wings_hf.evaluation.records import Run

    runs: dict[str, Run] = {}
    for given in args.runs:
        name, folder = _named(given)
        if name in runs:
            raise ValueError(f"two runs are called {name!r}: name them, as NAME=FOLDER.")
        runs[name] = Run(Path(folder))
    comparison = compare(runs, Run(Path(args.base)) if args.base else None)
    result(args, comparison, as_table(comparison))
    if args.output is not None:
        _draw(comparison, args.output)
    return 0


def _draw(comparison: dict, stem: Path) -> None:
    from wings_hf.evaluation.run import needs

    needs("matplotlib", "plots")
    from wings_hf.evaluation.pareto_plot import draw_pareto, points_of

    if comparison["base"] is None:
        raise ValueError("a Pareto front needs retention: name the language model's run with --base.")
    counts = [
        max((each["means"].get(kind, {}).get("sets", 0) for each in comparison["runs"].values()), default=0)
        for kind in ("text", "image")
    ]
    paths = draw_pareto(points_of(comparison), stem, comparison["base"], *counts)
    note(f"wrote {', '.join(map(str, paths))}")


def _named(given: str) -> tuple[str, str]:
    name, equals, folder = given.partition("=")
    return (name, folder) if equals and not Path(given).exists() else (Path(given).name, given)
