# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The items a benchmark is made of: read from files, and those left out that its form would spoil."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from string import ascii_uppercase

from wings_hf.data.records import IMAGE_MARK
from wings_hf.evaluation.items import Item
from wings_hf.evaluation.readers import read_items

# Choices that name other choices by place or letter mean something else in another order.
POSITIONAL = re.compile(
    r"\b(all|none|both|neither|either|any|each|one)( of)?( the)? (above|below|these|preceding|following)\b"
    r"|\b(both|neither|either|only) \(?[A-E]\)?\b|^\(?[A-E]\)?( and| or|,) \(?[A-E]\)?\b",
    re.IGNORECASE,
)


def load_items(path: str | Path, format: str | None = None) -> list[Item]:
    """Items of a file or folder, of any format that `wings_hf.evaluation.readers.read_items` knows.

    A .jsonl file of items has one object a line, with the fields of `Item`; image paths are relative to the file.

    Raises:
        ValueError: it cannot be read, or an image path leads out of the folder that the file is in.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    items = []
    for item in read_items(path, format):
        if not all(isinstance(text, str) for text in (item.id, item.question, *item.choices)):
            raise ValueError(f"item {item.id!r} of {path}: expected texts as id, question and choices.")
        images = (str(path_within(folder, image)) for image in item.images)
        items.append(replace(item, images=tuple(images)))
    return items


def path_within(folder: Path, name: str) -> Path:
    """The path `name`, absolute; relative ones are below the folder.

    Raises:
        ValueError: it leads out of the folder, also by a link.
    """
    whole = folder.resolve()
    target = Path(name).resolve() if Path(name).is_relative_to(folder) else (whole / name).resolve()
    if not target.is_relative_to(whole):
        raise ValueError(f"path {name!r} leads out of {folder}: expected one below it")
    return target


def usable(items: Iterable[Item], kind: str) -> tuple[list[Item], dict[str, int]]:
    """The items that can become a turn, texts cleaned of surrounding space; and how many were left out, by reason.

    Args:
        kind: "T" wants items without images, "V" with.

    Raises:
        ValueError: two items have the same id.
    """
    kept: list[Item] = []
    left_out: Counter[str] = Counter()
    seen: dict[str, Item] = {}
    for item in items:
        if seen.setdefault(item.id, item) != item:
            raise ValueError(f"two items have the id {item.id!r}: expected unique ones over all sets.")
        item = replace(item, question=item.question.strip(), choices=tuple(choice.strip() for choice in item.choices))
        reason = _unusable(item, kind)
        if reason:
            left_out[reason] += 1
        else:
            kept.append(item)
    kept.sort(key=lambda item: item.id)  # so that the order of files and rows does not matter
    return list({item.id: item for item in kept}.values()), dict(sorted(left_out.items()))


def _unusable(item: Item, kind: str) -> str | None:
    if bool(item.images) != (kind == "V"):
        return "has images" if item.images else "has no image"
    if not item.question.replace(IMAGE_MARK, "").strip() and kind == "T":
        return "no question"
    if any(IMAGE_MARK in choice for choice in item.choices):
        return "images as choices"
    if len(item.choices) > len(ascii_uppercase):
        return "more choices than letters"
    if len(set(item.choices)) < len(item.choices) or "" in item.choices:
        return "equal or empty choices"
    if any(POSITIONAL.search(choice) for choice in item.choices):
        return "choices that refer to other choices"
    return None
