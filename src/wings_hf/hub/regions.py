# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A Markdown file of which a program writes marked parts, and people the rest.

    <!-- wings-card:begin use 1a2b3c4d -->
    ...
    <!-- wings-card:end use -->

The number is a hash of what the program wrote: a part that a person has changed is theirs from then on. Line ends do
not count, since editors and git change them: parts are written with those that the file has.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

_REGION = re.compile(
    r"<!-- wings-card:begin (?P<name>[\w-]+) (?P<hash>[0-9a-f]{8}) -->\r?\n"
    r"(?P<text>.*?)<!-- wings-card:end (?P=name) -->",
    re.DOTALL,
)


@dataclass(frozen=True)
class Merged:
    """
    Args:
        text: the new file.
        kept: parts that a person changed, and that stay as they are.
        removed: parts that a person took out, and that stay out.
    """

    text: str
    kept: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def line_end(text: str) -> str:
    """What most lines of `text` end with, "\\n" or "\\r\\n"."""
    return "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"


def merge(text: str, regions: Mapping[str, str], end: str | None = None) -> Merged:
    """
    Puts `regions` in the place of the marked parts of `text`; all other text stays byte for byte.

    Text without any marked part gets all of them at its end. A part that was emptied is written again.

    Args:
        text: read without changing its line ends.
        regions: name of a part -> its content.
        end: the line end of new parts; by default that of most lines of `text`.
    """
    end = end or line_end(text)
    found = {match["name"]: match for match in _REGION.finditer(text)}
    if not found:
        before = text.rstrip("\r\n")
        parts = (end * 2).join(region(name, content, end) for name, content in regions.items())
        return Merged((f"{before}{end}{end}" if before else "") + parts + end)
    kept: list[str] = []

    def replaced(match: re.Match) -> str:
        name = match["name"]
        if match["text"].strip() and _hash(match["text"]) != match["hash"]:
            kept.append(name)
            return match.group(0)
        return region(name, regions[name], end) if name in regions else match.group(0)

    merged = _REGION.sub(replaced, text)
    return Merged(merged, tuple(kept), tuple(name for name in regions if name not in found))


def region(name: str, content: str, end: str = "\n") -> str:
    """`content`, whose lines end with "\\n", between its marks; lines of the result end with `end`."""
    inside = content.strip("\n") + "\n"
    text = f"<!-- wings-card:begin {name} {_hash(inside)} -->\n{inside}<!-- wings-card:end {name} -->"
    return text.replace("\n", end)


def _hash(inside: str) -> str:
    return hashlib.sha256(inside.replace("\r\n", "\n").encode()).hexdigest()[:8]
