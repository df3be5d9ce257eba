# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0

"""`wings-hf`: finds the subcommand, runs it, and turns its failures into one paragraph and an exit code.

A subcommand is a module of this package with `HELP`, `add_arguments(parser)` and `run(args) -> int`, named in
`COMMANDS`. Its top level imports nothing heavy, so that `--help` answers at once. It speaks through `cli.output`:
docs/command_line.md has the convention.

Exit codes: 0 done, 1 the command failed, 2 the command line is wrong, 130 interrupted (Ctrl-C), 141 the reader of
its output has gone (a pipe into `head`).
"""

import argparse
import importlib
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType

from wings_hf.cli.failures import as_paragraph, reader_has_gone
from wings_hf.cli.network import unreachable_is_said_at_once
from wings_hf.cli.output import add_common, progress_bars, reporting, styled, usable_streams
from wings_hf.cli.parser import Parser
from wings_hf.version import __version__

COMMANDS = {
    "demo": "wings_hf.cli.demo",
    "train": "wings_hf.cli.train",
    "chat": "wings_hf.cli.chat",
    "app": "wings_hf.cli.app",
    "serve": "wings_hf.cli.serve",
    "convert": "wings_hf.cli.convert",
    "causalize": "wings_hf.cli.causalize",
    "data": "wings_hf.cli.data",
    "iit": "wings_hf.cli.iit",
    "analyze": "wings_hf.cli.analyze",
    "evaluate": "wings_hf.cli.evaluate",
    "compare": "wings_hf.cli.compare",
    "push": "wings_hf.cli.push",
    "card": "wings_hf.cli.card",
    "env": "wings_hf.cli.env",
    "completion": "wings_hf.cli.completion",
}

GUIDE = """The usual path, from nothing to a model that sees:

  wings-hf demo                                    a tiny model learns to see, in minutes, with no downloads
  wings-hf data check data.json                    look at your images and conversations
  wings-hf train --text-model LLM --vision-model TOWER --data data.json --output my-model
  wings-hf chat my-model/tune --image photo.jpg    talk to it
  wings-hf evaluate my-model/tune --tasks text --base LLM     what is left of the language model
  wings-hf serve my-model/tune                     answer programs that speak OpenAI's protocol

Help on one command, with examples: wings-hf COMMAND --help
All commands have --quiet, --verbose and --debug; those with a result have --json.
Exit codes: 0 done, 1 failed, 2 wrong command line, 130 interrupted, 141 the reader of the output has gone."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `wings-hf` with `argv` (default: the process's arguments) and return its exit code."""
    args = argparse.Namespace(command="", debug=False)
    usable_streams()
    try:
        build_parser().parse_args(argv, args)
        with progress_bars(args.quiet):
            _import_package(args)
            with reporting(args), unreachable_is_said_at_once():
                code = args.run(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print(f"\n{_name(args)}: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if reader_has_gone(error):
            return 141
        if args.debug:
            raise
        print(f"{styled(_name(args), '1;31', sys.stderr)}: {as_paragraph(error)}", file=sys.stderr)
        return 1


def _name(args: argparse.Namespace) -> str:
    return f"wings-hf {args.command}".strip()


def build_parser() -> Parser:
    """The parser of `wings-hf` and of all its subcommands."""
    parser = Parser(
        prog="wings-hf", description="Give a language model sight without text-only forgetting.", epilog=GUIDE
    )
    parser.add_argument("--version", action="version", version=f"wings-hf {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module_name in COMMANDS.items():
        _add_command(commands, name, importlib.import_module(module_name))
    return parser


def _add_command(commands: argparse._SubParsersAction, name: str, module: ModuleType) -> None:
    parser = commands.add_parser(name, help=module.HELP, description=module.__doc__)
    module.add_arguments(parser)
    for leaf in _leaves(parser):
        add_common(leaf)
    parser.set_defaults(run=module.run, light=getattr(module, "LIGHT", False))


def _leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers that options belong to: those of a command's actions where it has any, else its own."""
    groups = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    if not groups:
        yield parser
    for group in groups:
        for child in group.choices.values():
            yield from _leaves(child)


def _import_package(args: argparse.Namespace) -> None:
    """What `import wings_hf` does, where the launcher has put it off: it imports torch and registers the classes."""
    package = sys.modules["wings_hf"]
    if not args.light and not hasattr(package, "__all__"):
        assert package.__spec__ is not None and package.__spec__.loader is not None
        package.__spec__.loader.exec_module(package)


if __name__ == "__main__":
    sys.exit(main())
