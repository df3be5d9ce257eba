# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""One of the fuzz tests, its inputs guided by coverage: `make fuzz-coverage`, or by hand, with libFuzzer's options,

    python tests/fuzz/coverage_guided.py test_fuzz_data.test_tar_files -max_total_time=600 -rss_limit_mb=4096

Needs atheris (`pip install atheris`). It stops at the first input that breaks the property, and prints it.
"""

import importlib
import sys
from pathlib import Path

import atheris

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS.parent / "src"), str(TESTS / "fuzz"), str(TESTS / "processing")]

with atheris.instrument_imports(include=["wings_hf", "PIL", "tarfile", "jinja2"]):
    import wings_hf  # noqa: F401


def main() -> None:
    if len(sys.argv) < 2 or "." not in sys.argv[1]:
        sys.exit(__doc__)
    module, _, name = sys.argv.pop(1).partition(".")
    with atheris.instrument_imports(include=["wings_hf", "PIL", "tarfile", "jinja2"]):
        test = getattr(importlib.import_module(module), name)
    atheris.Setup(sys.argv, test.hypothesis.fuzz_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
