# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
What the wings cost, beside the same backbone without them, an eager implementation, and the limit (docs/speed.md).

    python benchmarks/run.py                 # all cases for this machine: CUDA where there is one, else the CPU
    python benchmarks/run.py --targets       # only what the targets need
    python benchmarks/run.py --quick         # tiny sizes, under a minute; the numbers mean nothing
    python benchmarks/run.py --cases 'train 1024*' 'cache *' --restart
    python benchmarks/run.py --profile 'train 1024'

Every finished case is saved at once. Run again, what is there already of the same code and machine is left as it is.
"""

import argparse
import fnmatch
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # torch's profiler announces each start and stop,
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # and memory that it did not see allocated

import report
import torch
import transformers
from speed.caches import measure_cache
from speed.cases import PRESETS, Case, Preset, Shape
from speed.limit import backbone_operations, ceilings, limit, probes, wings_operations, wings_parts
from speed.measure import footprint, free_bytes, run_profiled, time_rounds
from speed.models import Bench, Contender
from transformers.utils import logging

ROOT = Path(__file__).parents[1]
MEASURED_CODE = ("src/wings_hf/modeling", "src/wings_hf/configuration", "benchmarks/speed")
CACHE_FORMS = ("plain", "latent")


def environment(device: str, preset: str, shape: Shape) -> dict:
    """What numbers depend on besides the code; no name of a machine or path."""
    return {
        "preset": preset,
        "shape": asdict(shape) | {"rank": shape.rank},
        "device": torch.cuda.get_device_name() if device == "cuda" else cpu_name(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def code_version() -> str | None:
    """The last commit that touched what is measured, with a + where there are changes since; None without git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments, "--", *MEASURED_CODE]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("log", "-1", "--format=%h") + "+" * bool(git("status", "--porcelain"))
    except (OSError, subprocess.CalledProcessError):
        return None


class Results:
    """The JSON file, written anew after each case."""

    def __init__(self, path: Path, environment: dict):
        self.path, self.content = path, {"environment": environment, "cases": {}, "caches": {}}
        if path.exists():
            self.content = json.loads(path.read_text())
            found = self.content["environment"]
            changed = [key for key in environment if found.get(key) != environment[key]]
            if changed:
                raise SystemExit(
                    f"{path} was recorded with "
                    + ", ".join(f"{key}={found.get(key)!r} (now {environment[key]!r})" for key in changed)
                    + ": expected another --output, or no such file."
                )

    def has(self, kind: str, name: str, code: str | None) -> bool:
        record = self.content[kind].get(name)
        return record is not None and record["code"] == code and "not_available" not in record

    def save(self, kind: str, name: str, record: dict) -> None:
        self.content[kind][name] = record
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.content, indent=1) + "\n")
        partial.replace(self.path)


def measure_case(shape: Shape, case: Case, device: str, rounds: int, budget: float) -> dict:
    """Everything about one case, as raw as it was measured; `report.py` makes ratios of it."""
    bench = Bench(shape, case, device)
    contenders, missing = bench.contenders(), {}
    if case.eager and bench.eager_bytes() > 0.9 * free_bytes(device):
        del contenders["eager"]
        missing["eager"] = (
            f"needs {bench.eager_bytes() / 1e9:.0f} GB for its matrices, {free_bytes(device) / 1e9:.0f} free"
        )
    probed = probes(shape, case, device, bench.wings.dtype)
    seconds = time_rounds(contenders | probed, device, rounds, budget)
    by_round = [dict(zip(seconds, values, strict=True)) for values in zip(*seconds.values(), strict=True)]
    itemsize = bench.wings.dtype.itemsize
    parts = wings_parts(shape, case, bench.inputs, itemsize)
    rates = ceilings(probed, {name: statistics.median(seconds[name]) for name in probed})
    footprints = {
        name: footprint(contender, device)
        for name, contender in contenders.items()
        if not (name == "eager" and case.kind == "generate")  # hundreds of forward passes
    }
    plain = backbone_operations(shape, case, bench.inputs)
    return {
        "seconds": {name: seconds[name] for name in contenders},
        "limit": [limit(parts, ceilings(probed, times), times["plain"]) for times in by_round],
        "limit_seconds": {part.name: part.seconds(rates) for part in parts},
        "ceilings": rates,
        "operations": {"plain": plain, "wings": plain + wings_operations(shape, case, bench.inputs, itemsize)},
        # What single steps take beside the cache is next to nothing; the caches are measured by themselves.
        "peak_bytes": {name: each.peak_bytes for name, each in footprints.items() if case.kind != "decode"},
        "kernels": {name: each.kernels for name, each in footprints.items()},
        "tokens": case.tokens,
        "missing": missing,
    }


def run_case(shape: Shape, case: Case, device: str, rounds: int, budget: float) -> dict:
    """The record of a case, or why there is none."""
    try:
        record = measure_case(shape, case, device, rounds, budget)
    except (ImportError, NotImplementedError, RuntimeError, ValueError) as error:
        record = {"not_available": f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"}
    torch._dynamo.reset()
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
    return {"case": asdict(case), **record}


def measure(preset: Preset, results: Results, arguments: argparse.Namespace) -> None:
    """All cases and caches that are asked for and not there yet, with a line for each."""
    code = code_version()
    cases = {case.name: case for case in preset.all_cases(arguments.targets)}
    caches = {f"cache {name} {form}": (name, form) for name in preset.caches for form in CACHE_FORMS}
    todo = [name for name in [*cases, *({} if arguments.targets else caches)] if arguments.wants(name)]
    for number, name in enumerate(todo, 1):
        kind = "cases" if name in cases else "caches"
        if results.has(kind, name, code) and not arguments.restart:
            print(f"[{number}/{len(todo)}] {name}: there already", flush=True)
            continue
        print(f"[{number}/{len(todo)}] {name}: ", end="", flush=True)
        if kind == "cases":
            record = run_case(preset.shape, cases[name], arguments.device, arguments.rounds, arguments.seconds)
            print(report.one_line(record), flush=True)
        else:
            record = measure_cache(*caches[name], preset.shape)
            print(report.cache_line(record), flush=True)
        results.save(kind, name, {**record, "code": code})


def profile_case(preset: Preset, name: str, device: str) -> None:
    """Prints where the time of a case goes, for the plain backbone and for the wings."""
    cases = {case.name: case for case in preset.all_cases()}
    if name not in cases:
        raise SystemExit(f"--profile {name!r}: expected one of {', '.join(map(repr, cases))}.")
    bench = Bench(preset.shape, cases[name], device)
    for side, contender in bench.contenders().items():
        if side != "eager":
            for _ in range(2):
                contender.prepare()
                contender.run()
            contender.prepare()
            profiled = run_profiled(Contender(contender.run), device)
            print(f"\n{name}: {side}")
            order = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
            print(profiled.key_averages().table(sort_by=order, row_limit=20, max_name_column_width=60))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--targets", action="store_true", help="only the cases that have a target")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does everything run?")
    parser.add_argument("--cases", nargs="+", metavar="PATTERN", help="names of cases and caches, with * and ?")
    parser.add_argument("--restart", action="store_true", help="measure again what is there already")
    parser.add_argument("--output", type=Path, metavar="JSON", help="default: wings-bench/<preset>.json")
    parser.add_argument("--rounds", type=int, help="rounds of each case, at most (9; quick: 3)")
    parser.add_argument("--seconds", type=float, default=45.0, help="no further round after these, from the third on")
    parser.add_argument("--profile", metavar="CASE", help="print where the time of a case goes, and end")
    parser.add_argument("--list", action="store_true", help="print the names of all cases, and end")
    arguments = parser.parse_args()
    arguments.preset = "quick" if arguments.quick else "gpu" if arguments.device == "cuda" else "cpu"
    arguments.rounds = arguments.rounds or (3 if arguments.quick else 9)
    arguments.output = arguments.output or Path("wings-bench", f"{arguments.preset}.json")
    patterns = arguments.cases or ["*"]
    arguments.wants = lambda name: any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
    return arguments


def main() -> int:
    arguments = parse_arguments()
    logging.set_verbosity_error()
    preset = PRESETS[arguments.preset]()
    if arguments.list:
        print("\n".join(case.name for case in preset.all_cases()))
        return 0
    if arguments.profile:
        profile_case(preset, arguments.profile, arguments.device)
        return 0
    results = Results(arguments.output, environment(arguments.device, arguments.preset, preset.shape))
    measure(preset, results, arguments)
    picture = report.draw([results.content], arguments.output.with_suffix(".png"))
    print(f"\n{report.full_report(results.content)}\n\nNumbers: {arguments.output}, picture: {picture}")
    failed = [
        name
        for name, record in results.content["cases"].items()
        if "not_available" in record and record["case"]["backend"] == "sdpa" and not record["case"]["compiled"]
    ]
    print("".join(f"FAILED {name}: {results.content['cases'][name]['not_available']}\n" for name in failed), end="")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
