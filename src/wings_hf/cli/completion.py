# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Tab completion: print a script that your shell reads.

It completes commands, options, their choices, files and folders. The script is complete in itself: a press of Tab
starts no Python. Print it again after an update. Made by shtab: pip install 'wings_hf[completion]'.
"""

import argparse
from collections.abc import Mapping
from typing import Any

from wings_hf.cli.output import result

HELP = "print a script for tab completion in bash, zsh or tcsh"
EXAMPLE = """examples:
  wings-hf completion bash > ~/.local/share/bash-completion/completions/wings-hf
  wings-hf completion zsh > "${fpath[1]}/_wings-hf"
  wings-hf completion tcsh > ~/.wings-hf.completion.csh     (and source it in ~/.cshrc)
  eval "$(wings-hf completion bash)"                        (in this shell only)"""
LIGHT = True
SHELLS = ("bash", "zsh", "tcsh")

# What the value of an option or argument is, by the name it has in help texts.
FILES = ("FILE", "JSON", "PATH", "RECIPE", "STEM", "SOURCE", "SRC")
FOLDERS = ("FOLDER", "DIR", "MODEL", "RUN", "RUN_OR_MODEL", "DST")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash, zsh or tcsh")


def run(args: argparse.Namespace) -> int:
    try:
        import shtab
    except ImportError as error:
        raise ValueError("Tab completion needs shtab: pip install 'wings_hf[completion]'") from error
    from wings_hf.cli.main import build_parser

    parser = build_parser()
    _mark(parser, shtab.FILE, shtab.DIRECTORY)
    result(args, None, shtab.complete(parser, shell=args.shell).rstrip("\n"))
    return 0


def _mark(parser: argparse.ArgumentParser, file: Mapping[str, Any], folder: Mapping[str, Any]) -> None:
    """Tells shtab which values are files and which are folders, in all commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in set(action.choices.values()):
                _mark(child, file, folder)
        elif action.metavar in FILES:
            action.complete = file  # type: ignore[attr-defined]
        elif action.metavar in FOLDERS:
            action.complete = folder  # type: ignore[attr-defined]
