# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The parser of the command line: argparse, with one sentence for a mistake and a guess at what was meant."""

import argparse
import difflib
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from wings_hf.cli.output import styled


class Parser(argparse.ArgumentParser):
    """Keeps line breaks of descriptions and examples, takes no shortened options, and knows its own mistakes."""

    def __init__(self, **kwargs: Any) -> None:
        defaults = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
        super().__init__(**{**defaults, **kwargs})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, but what is not known is a mistake here, where the options are at hand."""
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return namespace, unknown

    def error(self, message: str) -> NoReturn:
        """Says what is wrong, what may have been meant and where help is; exit code 2."""
        if message.endswith("required: COMMAND") or message.endswith("required: ACTION"):
            self.print_help(sys.stderr)
            self.exit(2)
        guess = self._guess(message)
        meant = f" Did you mean {guess}?" if guess else ""
        self.exit(2, f"{styled(self.prog, '1;31', sys.stderr)}: {message}.{meant} Help: {self.prog} --help\n")

    def _guess(self, message: str) -> str | None:
        """What may have been meant by a word that is no choice, or by an option that does not exist."""
        choice = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if choice:
            return _closest(choice[1], re.findall(r"[\w.-]+", choice[2]))
        options = re.search(r"unrecognized arguments: .*?(--?[\w-]+)", message)
        return _closest(options[1], list(self._option_string_actions)) if options else None


def _closest(word: str, known: Sequence[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=0.6)), None)
