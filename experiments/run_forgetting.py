# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What a language model forgets when it is given sight, by method of training (docs/forgetting.md).

    python experiments/run_forgetting.py small                  # the core eight, 3 seeds: under 40 minutes on 2 cores
    python experiments/run_forgetting.py small --methods all    # the rest of the grid; goes on from what is there
    python experiments/run_forgetting.py gpu --methods all --minutes 8 --workers 1     # again, until all is done
    python experiments/run_forgetting.py quick                  # a few steps of everything; the numbers mean nothing
    python experiments/run_forgetting.py report                 # tables and plots of recorded results, into docs/

Every finished run is kept at once, and is not run again. Interrupted with Ctrl-C, the next call goes on."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # runs are in processes of their own

EPILOG = """worlds:
  digits   a small Llama, trained here on text tasks and real text; scikit-learn's handwritten digits.
           Needs only packages.
  photos   the Llama of 260K parameters that writes stories, MobileNetV2, easy-VQA and grocery photos: name the
           folder that holds them with --sources."""


def main() -> int:
    args = _parser().parse_args()
    from forgetting.driver import Place, plan, run
    from forgetting.report import print_table, write_report

    if args.size == "report":
        write_report()
        return 0
    place = Place(args.output, args.size, args.world, tuple(args.sources))
    methods = chosen(args.methods)
    try:
        jobs = plan(place, methods, range(args.seeds))
        finished = run(place, jobs, args.workers, args.minutes)
    except KeyboardInterrupt:
        print("\nInterrupted. What is finished is kept; the same command goes on.", file=sys.stderr)
        return 130
    except ValueError as error:
        raise SystemExit(f"run_forgetting: {error}") from error
    if not finished:
        print("Time is up before everything was begun; the same command goes on.")
    if any(place.results.glob("records/base-*.json")):
        print_table(place.results)
    return 0


def chosen(names: Sequence[str]) -> tuple[str, ...]:
    """Methods by the names of --methods, each once, in order."""
    from forgetting.methods import CORE, METHODS

    groups = {"core": CORE, "all": tuple(METHODS)}
    methods = tuple(dict.fromkeys(method for name in names for method in groups.get(name, (name,))))
    if unknown := [name for name in methods if name not in METHODS]:
        raise SystemExit(f"--methods {' '.join(unknown)}: expected core, all, or some of {', '.join(METHODS)}.")
    return methods


def at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, at least 1")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("size", choices=("small", "gpu", "quick", "report"))
    parser.add_argument("--world", choices=("digits", "photos"), default="digits")
    parser.add_argument("--methods", nargs="+", default=["core"], metavar="NAME", help="core (default), all, or names")
    parser.add_argument("--seeds", type=at_least_one, default=3, metavar="N", help="seeds 0 to N - 1 (3)")
    parser.add_argument("--workers", type=at_least_one, default=os.cpu_count() or 1, metavar="N", help="runs at a time")
    parser.add_argument("--minutes", type=float, metavar="M", help="begin no further run after M minutes")
    parser.add_argument("--sources", type=Path, nargs="*", default=[], metavar="PATH", help="what the world is made of")
    parser.add_argument("--output", type=Path, default=Path("wings-forgetting"), metavar="FOLDER")
    return parser


if __name__ == "__main__":
    sys.exit(main())
