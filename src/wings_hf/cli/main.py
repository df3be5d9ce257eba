# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0

"""`wings-hf`: finds the subcommand, runs it, and turns its failures into one paragraph and an exit code.

A subcommand is a module of this package with `HELP`, `add_arguments(parser)` and `run(args) -> int`, named in
`COMMANDS`. Its top level imports nothing heavy, so that `--help` answers at once.

Exit codes: 0 done, 1 the command failed, 2 the command line is wrong, 130 interrupted (Ctrl-C).
"""

import argparse
import importlib
import sys
import textwrap
from collections.abc import Sequence
from types import ModuleType

from wings_hf.version import __version__

COMMANDS = {
    "demo": "wings_hf.cli.demo",
    "train": "wings_hf.cli.train",
    "chat": "wings_hf.cli.chat",
    "serve": "wings_hf.cli.serve",
    "convert": "wings_hf.cli.convert",
    "causalize": "wings_hf.cli.causalize",
    "data": "wings_hf.cli.data",
    "iit": "wings_hf.cli.iit",
    "analyze": "wings_hf.cli.analyze",
    "evaluate": "wings_hf.cli.evaluate",
    "compare": "wings_hf.cli.compare",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `wings-hf` with `argv` (default: the process's arguments) and return its exit code."""
    args = build_parser().parse_args(argv)
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print("\nwings-hf: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if args.debug:
            raise
        print(_paragraph(error, args.command), file=sys.stderr)
        return 1


def build_parser() -> argparse.ArgumentParser:
    """The parser of `wings-hf` and of all its subcommands."""
    parser = argparse.ArgumentParser(
        prog="wings-hf",
        description="Give a language model sight without text-only forgetting.",
        epilog="Help on one command: wings-hf COMMAND --help",
    )
    parser.add_argument("--version", action="version", version=f"wings-hf {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module_name in COMMANDS.items():
        _add_command(commands, name, importlib.import_module(module_name))
    return parser


def _add_command(commands: argparse._SubParsersAction, name: str, module: ModuleType) -> None:
    parser = commands.add_parser(
        name,
        help=module.HELP,
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the full traceback of a failure")
    parser.set_defaults(run=module.run)


def _paragraph(error: Exception, command: str) -> str:
    """The failure in one wrapped paragraph; with its type where the message alone is no sentence."""
    message = str(error).strip() or "no message"
    kind = "" if isinstance(error, (ValueError, OSError)) else f"{type(error).__name__}: "
    text = f"wings-hf {command}: {kind}{message} (--debug shows where it was raised)"
    return "\n".join(textwrap.fill(line, 110, break_long_words=False) for line in text.splitlines())


if __name__ == "__main__":
    sys.exit(main())
