# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Failures of a command, said in one paragraph."""

import errno
import os
import sys
import textwrap
from collections.abc import Iterator

WIDTH = 110


def as_paragraph(error: Exception) -> str:
    """The failure in one wrapped paragraph; with its type where the message alone is no sentence."""
    message = _said(error).strip() or "no message"
    kind = "" if isinstance(error, (ValueError, OSError)) else f"{type(error).__name__}: "
    text = f"{kind}{message} (--debug shows where it was raised)"
    return "\n".join(textwrap.fill(line, WIDTH, break_long_words=False) for line in text.splitlines())


def _said(error: Exception) -> str:
    return str(error)


def reader_has_gone(error: Exception) -> bool:
    """
    Whether whoever read our output has left, as `head` does. What is left in the buffer then goes nowhere, so that
    Python does not stumble over it at exit.
    """
    if not isinstance(error, BrokenPipeError):
        return False
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those it was raised from or during."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def disk_is_full(error: BaseException) -> bool:
    """Whether the error, or one behind it, is a disk or quota that has no room."""
    return any(getattr(each, "errno", None) in (errno.ENOSPC, errno.EDQUOT) for each in chain(error))
