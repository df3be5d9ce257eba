# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Give a converted checkpoint the canonical, causal semantics: a starting point for further training.

SRC is what wings-hf convert wrote. The weights stay bit for bit; what changes is which keys a learner sees: those of
its own modality up to the row itself. In the released computation, text before an image sees the image, and text after
it sees some of its own future, which is no way to train. How far that moves the logits is measured on random prompts.
"""

import argparse

from wings_hf.cli.output import add_json, result, warn

HELP = "give a converted checkpoint the causal semantics, for further training"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example:\n  wings-hf causalize wings-8b wings-8b-causal"
    parser.add_argument("source", metavar="SRC", help="folder or Hub name of a converted checkpoint")
    parser.add_argument("destination", metavar="DST", nargs="?", help="folder to write (default: SRC-causal)")
    parser.add_argument("--no-compare", action="store_true", help="do not measure how far the logits move")
    parser.add_argument("--prompts", type=int, default=4, metavar="N", help="random prompts of either kind (4)")
    parser.add_argument("--restart", action="store_true", help="delete what an earlier run wrote to DST")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from transformers.utils import logging

    from wings_hf.conversion.causalize import causalize
    from wings_hf.conversion.compare import compare_logits, fits_in_memory
    from wings_hf.conversion.locate import find_folder

    if not args.verbose:
        logging.set_verbosity_error()
    if args.prompts < 1:
        raise ValueError(f"--prompts {args.prompts}: expected at least 1.")
    folder = causalize(args.source, args.destination, args.restart)
    lines, moved = [f'{folder}: the same weights with semantics="paper".'], []
    if not args.no_compare and not fits_in_memory(folder):
        warn("The model does not fit into the free memory: how far its logits move was not measured.")
    elif not args.no_compare:
        lines.append(f"From the released to the causal semantics, on {args.prompts} random prompts of either kind:")
        moved = [str(each) for each in compare_logits(find_folder(args.source), folder, args.prompts)]
    result(args, {"folder": folder, "moved": moved}, "\n".join([*lines, *(f"  {each}" for each in moved)]))
    return 0
