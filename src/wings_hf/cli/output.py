# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What every command says, where and how loudly: results on stdout, everything else on stderr.

A command calls `result` once, with the document of `--json` and the text for people, or `line` for each of several
results, and `note` for whatever it says on the way. The options that go with this are added by `cli.main`.
docs/command_line.md has the whole convention.
"""

import argparse
import io
import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

ADDRESS_JSON = "print {address, model} as one line of JSON as soon as it listens, nothing else"
PACKAGE = logging.getLogger("wings_hf")
logger = logging.getLogger(__name__)


def add_json(
    parser: argparse.ArgumentParser, what: str = "print the result as one JSON document, nothing else"
) -> None:
    """The option `--json` of a command that has a result; `result` and `line` obey it."""
    parser.add_argument("--json", action="store_true", help=what)


def add_common(parser: argparse.ArgumentParser) -> None:
    """The options that all commands have."""
    common = parser.add_argument_group("how it runs")
    loudness = common.add_mutually_exclusive_group()
    loudness.add_argument("-q", "--quiet", action="store_true", help="only the result, warnings left out, and errors")
    loudness.add_argument("-v", "--verbose", action="store_true", help="also what transformers says, and loading bars")
    common.add_argument("--debug", action="store_true", help="show the full traceback of a failure")


def result(args: argparse.Namespace, document: Any, text: str | None = None) -> None:
    """
    Prints a command's result: the document where `--json` asks for it, else the text. To be called once.

    Args:
        document: what `json` can write; paths become strings. NaN and infinities are a ValueError: write null.
        text: for people; nothing is printed where it is None or empty.
    """
    if getattr(args, "json", False) is True:
        print(json.dumps(document, indent=2, allow_nan=False, default=_as_json), file=_Streams.results, flush=True)
    elif text:
        print(text, flush=True)


def line(args: argparse.Namespace, document: Any) -> None:
    """One result of several: with `--json` a line with the document (JSON Lines), else nothing."""
    if getattr(args, "json", False) is True:
        text = json.dumps(document, allow_nan=False, default=_as_json)
        print(text, file=_Streams.results, flush=True)


def _as_json(value: Any) -> str:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON: {value!r}")


def note(text: str) -> None:
    """Says something on the way, on stderr; `--quiet` leaves it out."""
    logger.info("%s", text)


def warn(text: str) -> None:
    """Says what may be wrong, on stderr; `--quiet` leaves it out."""
    logger.warning("%s", text)


def styled(text: str, style: str, stream: TextIO) -> str:
    """`text` in a style ("1" bold, "31" red, ...) on a terminal that has not been asked for none (NO_COLOR)."""
    return f"\033[{style}m{text}\033[0m" if colours(stream) else text


def colours(stream: TextIO) -> bool:
    """Whether to colour what goes to `stream` (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class _Streams:
    results: TextIO | None = None  # where `--json` prints; None for the stdout of the moment


class _Stderr(logging.StreamHandler):
    """Writes to what `sys.stderr` is at the time."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    def emit(self, record: logging.LogRecord) -> None:
        """Nothing where a library has set up logging for all: it is said there."""
        if not any(type(each) is logging.StreamHandler for each in logging.getLogger().handlers):
            super().emit(record)


class _Plain(logging.Filter):
    """Takes colours out of what transformers says, where it is not said to a terminal."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, str) and not colours(sys.stderr):
            record.msg = re.sub(r"\033\[[0-9;]*m", "", record.msg)
        return True


def usable_streams() -> None:
    """Closed streams (`>&-`) take what is written and lose it; characters that stdout has not are written as \\u...."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


@contextmanager
def reporting(args: argparse.Namespace) -> Iterator[None]:
    """While a command runs: log levels and progress bars as asked for, and nothing but the document on stdout."""
    with _log_to_stderr(args), _levels_of_libraries(args):
        if getattr(args, "json", False) is not True:
            yield
            return
        _Streams.results = sys.stdout
        try:
            with redirect_stdout(sys.stderr):
                yield
        finally:
            _Streams.results = None


@contextmanager
def progress_bars(quiet: bool) -> Iterator[None]:
    """
    Progress bars of all, libraries too, on terminals only, and none where `quiet`, whatever each asks for itself.

    tqdm has no such switch: its TQDM_DISABLE is read once, when it is imported, and gives way to what a bar asks for.
    Processes that are started in the meantime inherit it.
    """
    from tqdm import tqdm

    begin, before = tqdm.__init__, os.environ.get("TQDM_DISABLE")

    def begin_as_decided(self: Any, *positional: Any, **named: Any) -> None:
        begin(self, *positional, **{**named, "disable": quiet or named.get("disable") or None})

    tqdm.__init__ = begin_as_decided
    if quiet:
        os.environ["TQDM_DISABLE"] = "1"
    try:
        yield
    finally:
        tqdm.__init__ = begin
        if quiet:
            os.environ.pop("TQDM_DISABLE")
        if before is not None:
            os.environ["TQDM_DISABLE"] = before


@contextmanager
def _log_to_stderr(args: argparse.Namespace) -> Iterator[None]:
    level, handler = PACKAGE.level, _Stderr()
    handler.setFormatter(logging.Formatter("%(message)s"))
    PACKAGE.addHandler(handler)
    PACKAGE.setLevel(logging.ERROR if args.quiet else logging.DEBUG if args.verbose else logging.INFO)
    try:
        yield
    finally:
        PACKAGE.removeHandler(handler)
        PACKAGE.setLevel(level)


@contextmanager
def _levels_of_libraries(args: argparse.Namespace) -> Iterator[None]:
    """transformers and the Hub's client; light commands never import them."""
    if "transformers" not in sys.modules:
        yield
        return
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars
    from huggingface_hub.utils import logging as hub
    from transformers.utils import logging as transformers

    before = transformers.get_verbosity(), hub.get_verbosity(), transformers.is_progress_bar_enabled()
    if args.quiet:
        transformers.set_verbosity_error()
        hub.set_verbosity_error()
    elif args.verbose:
        transformers.set_verbosity_info()
    if not args.verbose:
        transformers.disable_progress_bar()  # of loading weights, and
        if not args.quiet and before[2]:
            enable_progress_bars()  # of downloads, which can take long
    plain, handlers = _Plain(), transformers.get_logger().handlers[:]
    for handler in handlers:
        handler.addFilter(plain)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(plain)
        transformers.set_verbosity(before[0])
        hub.set_verbosity(before[1])
        (transformers.enable_progress_bar if before[2] else disable_progress_bars)()
