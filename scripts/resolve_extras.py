# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Do this package and each of its extras resolve, on every Python that is supported? Nothing is installed.

    python scripts/resolve_extras.py [--python 3.12] [--constraint constraints.txt]

Asks uv for versions of everything at once, the newest and those of each file of constraints: versions that serve all
extras together serve each of them alone. Where there are none, the extras are asked for one by one, and those that
fail are named. Exit code 1 where one fails that is not in `KNOWN`.
"""

import argparse
import configparser
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
CONSTRAINTS = ("", "constraints.txt", "constraints-oldest.txt")
# Left out: quantisation is for a newer torch than the oldest, which setup.cfg says.
KNOWN = {("constraints-oldest.txt", "quant"), ("constraints-oldest.txt", "all")}


def read_extras() -> list[str]:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    return list(setup["options.extras_require"])


def resolve(uv: str, python: str, constraints: str, extras: Sequence[str]) -> tuple[str, str]:
    """The packages with their versions, a line each and none where there is no solution; and what uv said then."""
    # Of a minor version, its last patch release: some packages leave out the first ones.
    command = [uv, "pip", "compile", "setup.cfg", "--quiet", "--no-header", "--no-annotate"]
    command += ["--python-version", f"{python}.99", *(f"--extra={extra}" for extra in extras)]
    command += ["--constraint", constraints] if constraints else []
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return (done.stdout if done.returncode == 0 else ""), done.stderr.strip()


def failures(uv: str, python: str, constraints: str, extras: Sequence[str]) -> dict[str, str]:
    """Extras that do not resolve, with what uv says; also prints a line about all of them."""
    wanted = [extra for extra in extras if (constraints, extra) not in KNOWN]
    left_out = [extra for extra in extras if extra not in wanted]
    label = f"Python {python}, {constraints or 'the newest versions'}"
    packages, _ = resolve(uv, python, constraints, wanted)
    failed: dict[str, str] = {}
    if packages:
        named = [line for line in packages.splitlines() if line.startswith(("torch==", "transformers=="))]
        print(f"{label}: {len(wanted)} extras, {packages.count('==')} packages, {', '.join(named)}", end="")
    else:
        for extra in wanted:
            found, said = resolve(uv, python, constraints, [extra])
            if not found:
                failed[extra] = said
        print(f"{label}: {len(wanted) - len(failed)} of {len(wanted)} extras, one by one", end="")
    print(f" (left out: {', '.join(left_out)})" if left_out else "", flush=True)
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", help="a version of Python, may be repeated (3.11, 3.12, 3.13)")
    parser.add_argument("--constraint", action="append", help="a file of versions (none, and both that are here)")
    parser.add_argument("--uv", default="uv", help="the program (uv)")
    options = parser.parse_args(arguments)
    extras = read_extras()
    bad = 0
    for python in options.python or PYTHONS:
        for constraints in options.constraint if options.constraint is not None else CONSTRAINTS:
            for extra, said in failures(options.uv, python, constraints, extras).items():
                bad += 1
                print(f"  {extra}: {said}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
