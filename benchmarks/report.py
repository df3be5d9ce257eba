# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Tables and the picture of what `benchmarks/run.py` measured.

    python benchmarks/report.py                                        # the recorded results, into README, docs and PNG
    python benchmarks/report.py wings-bench/cpu.json --picture speed.png  # one's own, printed

A page is rewritten between the lines `<!-- speed:start -->` and `<!-- speed:end -->`.
"""

import argparse
import json
import os
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from speed.cases import PRESETS, Case, Target, cases_of

ROOT = Path(__file__).parents[1]
RECORDED = ROOT / "benchmarks" / "results"
START, END = "<!-- speed:start -->", "<!-- speed:end -->"
MISSING = "-"
NOTHING = "No results are recorded yet."
SIDES = {"plain": "backbone without wings", "wings": "wings", "eager": "eager, matrices kept"}
STYLES = dict(zip((*SIDES.values(), "limit"), ("o-", "o-", "o-", "k:"), strict=True))


# ---- numbers ----------------------------------------------------------------------------------------------------
def ratios(record: dict, one: str, other: str) -> list[float]:
    """Seconds of one contender over another's, round by round."""
    seconds = record["seconds"]
    return [a / b for a, b in zip(seconds[one], seconds[other], strict=True)]


def spread(values: list[float], digits: int = 2) -> str:
    """Median, and least and most in brackets."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def measured(target: Target, records: dict[str, dict]) -> list[float] | str:
    """A target's number in each round (one number where there are no rounds), or why there is none."""
    needed = [records.get(case.name) for case in cases_of(target)]
    for record in needed:
        if record is None:
            return "not measured"
        if "not_available" in record:
            return record["not_available"]
    record = needed[-1]
    if target.measure == "time":
        return ratios(record, "wings", "plain")
    if target.measure == "memory":
        return [record["peak_bytes"]["wings"] / record["peak_bytes"]["plain"]]
    if target.measure == "growth":
        quarter, half, full = (record["peak_bytes"]["wings"] for record in needed)
        return [(full - half) / (half - quarter)]
    if "eager" not in record["seconds"]:
        return record["missing"]["eager"]
    return ratios(record, "eager", "wings")


def is_met(target: Target, value: float) -> bool:
    return value >= target.bound if target.measure == "speedup" else value <= target.bound


# ---- tables -----------------------------------------------------------------------------------------------------
def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def target_table(results: dict) -> str:
    rows = []
    for target in PRESETS[results["environment"]["preset"]]().targets:
        values, record = measured(target, results["cases"]), results["cases"].get(target.case.name, {})
        sign = "at least" if target.measure == "speedup" else "at most"
        shown, verdict = (values, MISSING) if isinstance(values, str) else (spread(values), "")
        if not isinstance(values, str):
            shown = shown if len(values) > 1 else f"{values[0]:.2f}"
            verdict = "met" if is_met(target, statistics.median(values)) else "**missed**"
        bounded = target.measure == "time" and "limit" in record
        limit = f"{statistics.median(record['limit']):.2f}" if bounded else MISSING
        rows.append([target.text, f"{sign} {target.bound:g}", shown, limit, verdict])
    return table(["", "target", "measured", "limit", ""], rows)


def case_row(name: str, record: dict) -> list[str]:
    if "not_available" in record:
        return [name, f"not available: {record['not_available']}", *[""] * 8]
    seconds = {side: statistics.median(values) for side, values in record["seconds"].items()}
    peaks, kernels = record["peak_bytes"], record["kernels"]
    ceiling = record["ceilings"]["product"]
    eager = record["missing"].get("eager", MISSING)
    if "eager" in seconds:
        eager = f"{statistics.median(ratios(record, 'eager', 'wings')):.1f}"
    return [
        name,
        spread(ratios(record, "wings", "plain")),
        f"{statistics.median(record['limit']):.2f}",
        f"{1000 * seconds['plain']:.4g} / {1000 * seconds['wings']:.4g}",
        f"{peaks['wings'] / peaks['plain']:.2f}" if peaks else MISSING,
        f"{peaks['plain'] / 1e6:.4g} / {peaks['wings'] / 1e6:.4g}" if peaks else MISSING,
        f"{kernels['plain']} / {kernels['wings']}",
        f"{record['tokens'] / seconds['wings']:.4g}",
        " / ".join(f"{record['operations'][side] / seconds[side] / ceiling:.0%}" for side in ("plain", "wings")),
        eager,
    ]


def case_table(results: dict) -> str:
    head = ["case", "time: wings / plain", "limit", "ms: plain / wings", "memory: wings / plain"]
    head += ["MB: plain / wings", "kernels: plain / wings", "tokens/s", "MFU: plain / wings", "eager / wings"]
    return table(head, [case_row(name, record) for name, record in results["cases"].items()])


def cache_table(results: dict) -> str:
    rows = []
    for name, record in results["caches"].items():
        if "not_available" in record:
            rows.append([name.removeprefix("cache "), f"not available: {record['not_available']}", "", ""])
            continue
        main, wings = record["main_bytes_per_token"], record["wings_bytes_per_token"]
        rows.append([name.removeprefix("cache "), f"{main / 1024:.1f}", f"{wings / 1024:.1f}", f"{wings / main:.2f}"])
    return table(["", "main cache, KiB per token", "learners' cache, KiB per token", "ratio"], rows)


def one_line(record: dict) -> str:
    """A case as `run.py` prints it when it is done."""
    if "not_available" in record:
        return f"not available: {record['not_available']}"
    _, time, limit, milliseconds, memory, *_, eager = case_row("", record)
    return f"x {time}, limit {limit}, {milliseconds} ms, memory x {memory}, eager x {eager}"


def cache_line(record: dict) -> str:
    if "not_available" in record:
        return f"not available: {record['not_available']}"
    return f"{record['wings_bytes_per_token'] / record['main_bytes_per_token']:.2f} of the main cache"


def described(results: dict) -> str:
    """The line above the tables: the machine, the shape, the code."""
    env = results["environment"]
    shape = env["shape"]
    codes = sorted({str(record["code"]) for kind in ("cases", "caches") for record in results[kind].values()})
    return (
        f"{env['device']}, {env['threads']} threads, torch {env['torch']}, transformers {env['transformers']}, Python "
        f"{env['python']}; hidden {shape['hidden']}, {shape['layers']} layers, {shape['heads']} heads, "
        f"{shape['key_heads']} key heads, rank {shape['rank']}, {shape['dtype']}; code {', '.join(codes)}."
    )


def short_report(results: dict) -> str:
    return f"{described(results)}\n\n{target_table(results)}"


def full_report(results: dict) -> str:
    return f"{short_report(results)}\n\n{case_table(results)}\n\n{cache_table(results)}"


# ---- pages and picture ------------------------------------------------------------------------------------------
def fill_region(path: Path, content: str) -> None:
    """
    Puts `content` between the marks of a page.

    Raises:
        ValueError: for a page without exactly one pair of marks.
    """
    text = path.read_text()
    if text.count(START) != 1 or text.count(END) != 1 or text.index(START) > text.index(END):
        raise ValueError(f"{path.name}: expected one {START} and one {END} after it.")
    before, after = text.split(START)[0], text.split(END)[1]
    path.write_text(f"{before}{START}\n{content}\n{END}{after}")


def content(all_results: list[dict], report: Callable[[dict], str], page: Path, picture: Path | None) -> str:
    """What stands between the marks of `page`."""
    if not all_results:
        return NOTHING
    shown = []
    if picture is not None:
        path = os.path.relpath(picture.resolve(), page.resolve().parent)
        shown = [f"![Time and memory of a training step against its length]({path})"]
    return "\n\n".join([*map(report, all_results), *shown])


def draw(all_results: list[dict], path: Path) -> Path:
    """Time and memory of a training step against its length, a row for each file of results, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6 * len(all_results)), layout="constrained")
    grid = figure.subplots(len(all_results), 2, squeeze=False)
    for (time_axes, memory_axes), results in zip(grid, all_results, strict=True):
        for name, points in training_steps(results).items():
            lengths, seconds, megabytes = zip(*points, strict=True)
            time_axes.plot(lengths, seconds, STYLES[name], label=name)
            if megabytes[0] is not None:
                memory_axes.plot(lengths, megabytes, STYLES[name], label=name)
        for axes, label in ((time_axes, "seconds"), (memory_axes, "peak, MB beyond the weights")):
            axes.set(xscale="log", yscale="log", xlabel="tokens", ylabel=label)
            axes.set_title(f"training step, {results['environment']['preset']}")
            axes.set_xticks([length for length, *_ in training_steps(results).get("backbone without wings", [])])
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
            axes.grid(alpha=0.3)
        if time_axes.lines:
            time_axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path


def training_steps(results: dict) -> dict[str, list[tuple]]:
    """(length, seconds, megabytes or None) of the plain layout's training steps, ascending, for each line to draw."""
    lines: dict[str, list[tuple]] = {}
    for record in results["cases"].values():
        case = Case(**record["case"])
        if "seconds" not in record or replace(case, eager=False) != Case("train", case.length):
            continue
        seconds = {side: statistics.median(values) for side, values in record["seconds"].items()}
        for side, name in SIDES.items():
            if side in seconds:
                point = (case.length, seconds[side], record["peak_bytes"][side] / 1e6)
                lines.setdefault(name, []).append(point)
        point = (case.length, seconds["plain"] * statistics.median(record["limit"]), None)
        lines.setdefault("limit", []).append(point)
    return {name: sorted(points) for name, points in lines.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="*", type=Path, help="JSON of run.py (default: benchmarks/results/*.json)")
    parser.add_argument("--readme", type=Path, metavar="PAGE", help="page that gets the targets")
    parser.add_argument("--docs", type=Path, metavar="PAGE", help="page that gets everything")
    parser.add_argument("--picture", type=Path, metavar="PNG")
    arguments = parser.parse_args()
    if not arguments.results:
        arguments.results = sorted(RECORDED.glob("*.json"))
        arguments.readme = arguments.readme or ROOT / "README.md"
        arguments.docs = arguments.docs or ROOT / "docs" / "speed.md"
        arguments.picture = arguments.picture or ROOT / "docs" / "images" / "speed.png"
    all_results = [json.loads(path.read_text()) for path in arguments.results]
    if arguments.picture and all_results:
        draw(all_results, arguments.picture)
    if arguments.readme:
        fill_region(arguments.readme, content(all_results, short_report, arguments.readme, arguments.picture))
    if arguments.docs:
        fill_region(arguments.docs, content(all_results, full_report, arguments.docs, arguments.picture))
    if not (arguments.readme or arguments.docs):
        print("\n\n".join(map(full_report, all_results)))


if __name__ == "__main__":
    main()
