# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Train a tiny model to see, and measure what it forgets: a whole experiment in minutes on two CPU cores.

A small language model learns text tasks, a small vision tower learns handwritten digits (scikit-learn's 1,797 real
ones). They are joined in three ways and trained on the same data: with wings as in the paper, with wings that leave
text-only answers as they were, and by plain fine-tuning. Each is then asked about pictures it never saw, and from all
the text tasks. Interrupt it at any time (Ctrl-C); the same command goes on where it was.
"""

import argparse
from pathlib import Path

from wings_hf.cli.output import add_json, result

HELP = "train a tiny model to see and measure what it forgets (minutes, no downloads)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, default=Path("wings-demo"), metavar="FOLDER", help="where all goes (./wings-demo)"
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="repeat the training with N seeds (1)")
    parser.add_argument("--restart", action="store_true", help="delete the earlier demo in the folder first")
    parser.add_argument("--quick", action="store_true", help="a few steps of everything; the numbers mean nothing")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    _check_extras()
    if args.seeds < 1:
        raise ValueError(f"--seeds {args.seeds}: expected at least 1.")
    from transformers.utils import logging

    from wings_hf.demo.run import delete_demo, described, run_demo
    from wings_hf.demo.settings import DemoSettings

    if not args.verbose:
        logging.set_verbosity_error()  # SigLIP's default text configuration, which is not used, warns about itself
    if args.restart:
        delete_demo(args.out)
    found = run_demo(args.out, DemoSettings.quick() if args.quick else DemoSettings(), args.seeds)
    left = {"model": args.out / "model", "picture": args.out / "demo.png", "numbers": args.out / "results.json"}
    result(args, {**left, **found}, f"\n{described(found, args.out)}")
    return 0


def _check_extras() -> None:
    try:
        import accelerate  # noqa: F401
        import matplotlib  # noqa: F401
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ValueError(f"The demo needs {error.name}: pip install 'wings_hf[demo]'") from error
