# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What the fuzz tests share: mutated files, hostile values, and the property that each of them checks."""

import atexit
import json
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from hypothesis import strategies as st

# What ValueError means where transformers checks the type of a field or argument first.
REFUSED = (ValueError, StrictDataclassError)
SECONDS = 60  # an input that takes longer hangs
GROWTH = 1 << 30  # bytes that one input may add to the peak of memory
LARGE_INTS = st.sampled_from([-1, 0, 1, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1, 10**30])


def scratch() -> Path:
    """A new folder that is gone when Python ends."""
    folder = tempfile.TemporaryDirectory(prefix="wings-fuzz-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@contextmanager
def result_or(*errors: type[Exception]) -> Iterator[None]:
    """The property: within a minute and a gigabyte a result, or one of `errors` with a text that says something."""

    def hang(*args: object) -> None:
        raise AssertionError(f"not done after {SECONDS} seconds")

    before = peak_bytes()
    old = signal.signal(signal.SIGALRM, hang)
    signal.alarm(SECONDS)
    try:
        yield
    except errors as error:
        assert len(str(error)) > 10, f"{type(error).__name__} without a text"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
    assert peak_bytes() - before < GROWTH, f"{(peak_bytes() - before) >> 20} MiB of memory"


# -- bytes --------------------------------------------------------------------------------------------------

_edits = st.tuples(
    st.floats(0, 1, exclude_max=True),
    st.sampled_from(["set", "insert", "delete", "cut", "repeat"]),
    st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([b"\xff" * 4, bytes(4), b"\x7f" + b"\xff" * 3])),
)


def _edited(data: bytes, edits: Sequence[tuple[float, str, bytes]]) -> bytes:
    for place, kind, new in edits:
        at = int(place * len(data))
        after = {
            "set": at + len(new),
            "insert": at,
            "delete": at + len(new),
            "cut": len(data),
            "repeat": max(at - 64, 0),
        }
        data = data[:at] + (new if kind in ("set", "insert") else b"") + data[after[kind] :]
    return data


def mutated(seeds: Sequence[bytes], edits: int = 6, head: int = 0) -> st.SearchStrategy[bytes]:
    """One of `seeds` with up to `edits` changes, anywhere or in its first `head` bytes."""

    def change(seed: bytes, changes: list, only_head: bool) -> bytes:
        if only_head and head:
            return _edited(seed[:head], changes) + seed[head:]
        return _edited(seed, changes)

    return st.builds(change, st.sampled_from(seeds), st.lists(_edits, max_size=edits), st.booleans())


# -- values -------------------------------------------------------------------------------------------------

TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", "<image>", "a <image> b", "<|im_end|>", "\ud800", "\0", "{{ 7 * 7 }}", "../x", "/etc/passwd"]),
)
SCALARS = st.one_of(st.none(), st.booleans(), LARGE_INTS, st.integers(), st.floats(), TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)


def altered(value: Any, other: st.SearchStrategy[Any] = VALUES) -> st.SearchStrategy[Any]:
    """The JSON value `value` with up to three of its parts replaced, taken away or doubled."""
    paths = list(_paths(value))

    def change(changes: list[tuple[tuple, str, Any]]) -> Any:
        result = json.loads(json.dumps(value))
        for path, kind, new in changes:
            result = _changed(result, path, kind, new)
        return result

    step = st.tuples(st.sampled_from(paths), st.sampled_from(["replace", "remove", "double"]), other)
    return st.builds(change, st.lists(step, min_size=1, max_size=3))


def _paths(value: Any, path: tuple = ()) -> Iterator[tuple]:
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _paths(inner, (*path, key))


def _changed(value: Any, path: tuple, kind: str, new: Any) -> Any:
    if not path:
        return new if kind == "replace" else [value, value] if kind == "double" else None
    holder = value
    for key in path[:-1]:
        try:
            holder = holder[key]
        except (KeyError, IndexError, TypeError):
            return value
    key = path[-1]
    there = (isinstance(holder, dict) and key in holder) or (
        isinstance(holder, list) and isinstance(key, int) and key < len(holder)
    )
    if there and kind == "remove":
        del holder[key]
    elif there:
        holder[key] = new if kind == "replace" else [holder[key], holder[key]]
    return value
