# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What is wrong with training data, said with file and record."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

OnError = Literal["raise", "skip"]
REPORTED_PROBLEMS = 10


class DataError(ValueError):
    """Training data that cannot be used; the message names files and records.

    Args:
        kind: a few words that many such errors share, to count them by.
    """

    def __init__(self, message: str, kind: str = "wrong form") -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple:  # so that it comes back from another process as it was
        return type(self), (str(self), self.kind)


class Problem(NamedTuple):
    """A record that cannot be used: which one, why, and the kind of reason."""

    source: str
    reason: str
    kind: str

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


def summarise(problems: Sequence[object]) -> str:
    """The first problems, one per line."""
    shown = [f"\n  {problem}" for problem in problems[:REPORTED_PROBLEMS]]
    more = len(problems) - len(shown)
    return "".join(shown) + (f"\n  and {more} more" if more else "")
