# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""One of the fuzz tests, its inputs guided by coverage: `make fuzz-coverage`, or by hand, with libFuzzer's options,

    python tests/fuzz/coverage_guided.py test_fuzz_data.test_tar_files -max_total_time=600 -rss_limit_mb=4096

Needs atheris (`pip install atheris`). It stops at the first input that breaks the property, and prints it; else its
last line says how many inputs it ran. Coverage is that of this package: all else is imported before, since to
instrument torch and transformers takes longer than to fuzz.
"""

import importlib
import sys
from pathlib import Path

import atheris
import jinja2.sandbox  # noqa: F401
import PIL.Image
import pytest  # noqa: F401
import torch  # noqa: F401
import transformers

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS.parent / "src"), str(TESTS / "fuzz"), str(TESTS / "processing")]


def import_the_rest() -> None:
    """What this package takes of others, which they import on first use."""
    PIL.Image.init()
    for name in ("PreTrainedModel", "ProcessorMixin", "AutoModelForCausalLM", "PreTrainedTokenizerFast", "Trainer"):
        getattr(transformers, name)


def main() -> None:
    if len(sys.argv) < 2 or "." not in sys.argv[1]:
        sys.exit(__doc__)
    import_the_rest()
    module, _, name = sys.argv.pop(1).partition(".")
    with atheris.instrument_imports(include=["wings_hf"]):
        test = getattr(importlib.import_module(module), name)
    arguments = [sys.argv[0], "-len_control=0", "-max_len=4096", *sys.argv[1:]]  # short inputs draw the simplest values
    atheris.Setup(arguments, test.hypothesis.fuzz_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
