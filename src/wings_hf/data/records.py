# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Reading training files: records in either of two formats become chat messages that hold their images.

LLaVA's format, a `.json` file with a list of

    {"id": "17", "image": "17.jpg" or ["a.jpg", "b.jpg"],
     "conversations": [{"from": "human", "value": "<image>\\nWhat is this?"}, {"from": "gpt", "value": "A pear."}]}

and chat messages, a `.jsonl` file with one record per line (or a `.json` list of them):

    {"messages": [{"role": "user", "content": [{"type": "image", "path": "17.jpg"},
                                               {"type": "text", "text": "What is this?"}]},
                  {"role": "assistant", "content": "A pear."}]}

There, `content` may be a string with `<image>` in it, and images may be listed beside: `"images": ["17.jpg"]`.
Records without images are text-only turns; both kinds may be mixed in a file.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image

IMAGE_MARK = "<image>"
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
REPORTED_PROBLEMS = 10

Message = dict[str, Any]
OnError = Literal["raise", "skip"]


class DataError(ValueError):
    """Training data that cannot be used; the message names files and records."""


@dataclass(frozen=True)
class Record:
    """One conversation: `messages` as `WingsProcessor.apply_chat_template` reads them, and where it came from."""

    messages: list[Message]
    source: str

    @property
    def images(self) -> list[dict[str, Any]]:
        """The image items of all messages, in reading order."""
        return [item for message in self.messages for item in message["content"] if item["type"] == "image"]


def read_records(
    paths: Sequence[str | Path], image_folder: str | Path | None = None, on_error: OnError = "raise"
) -> tuple[list[Record], list[str]]:
    """The records of `paths`, in order, and a line on each record that was left out.

    Each record is checked: its form, that it has an answer to learn, that its image files exist and open as images
    (their headers; pixels are read when a batch is made).

    Args:
        paths: `.json` and `.jsonl` files.
        image_folder: what relative image paths are relative to; by default the folder of the file they stand in.
        on_error: `"raise"` raises if any record cannot be used, `"skip"` leaves such records out.

    Raises:
        DataError: with `"raise"`, the first of the problems and their number; with `"skip"`, only if no record is left.
    """
    records: list[Record] = []
    problems: list[str] = []
    for path in map(Path, paths):
        folder = path.parent if image_folder is None else Path(image_folder)
        for source, raw in _raw_records(path):
            try:
                record = Record(to_messages(raw, folder), source)
                check_images(record)
                records.append(record)
            except DataError as error:
                problems.append(f"{source}: {error}")
    total = len(records) + len(problems)
    if problems and on_error == "raise":
        raise DataError(f"{len(problems)} of {total} records cannot be used. {summarise(problems)}")
    if not records:
        raise DataError(f"No usable record in {', '.join(map(str, paths))}. {summarise(problems)}")
    return records, problems


def summarise(problems: Sequence[str]) -> str:
    """The first problems, one per line."""
    shown = [f"\n  {problem}" for problem in problems[:REPORTED_PROBLEMS]]
    more = len(problems) - len(shown)
    return "".join(shown) + (f"\n  and {more} more" if more else "")


def to_messages(raw: Any, folder: Path) -> list[Message]:
    """One record of either format as messages whose content is a list of images and texts.

    Raises:
        DataError: a record of another form, no answer, or images and their marks that do not match.
    """
    if not isinstance(raw, Mapping):
        raise DataError(f"expected an object, got {type(raw).__name__}")
    turns = _turns(raw)
    images = raw.get("image") or raw.get("images") or []
    spare = [images] if isinstance(images, str) else list(images)
    marks = sum(_count_marks(content) for _, content in turns)
    if spare and not marks:  # LLaVA's data may leave the mark out: its images come first
        turns = _images_first(turns, len(spare))
        marks = len(spare)
    if marks != len(spare):
        raise DataError(f"{marks} places for images without a path of their own, {len(spare)} images listed")
    images_left = iter(spare)
    messages = [{"role": role, "content": _content(content, images_left, folder)} for role, content in turns]
    if not any(_is_answer(message) for message in messages):
        raise DataError("no assistant turn with text to learn from")
    return messages


def check_images(record: Record) -> None:
    """Raises DataError for an image file of `record` that is missing or no image."""
    for path in (item["path"] for item in record.images if "path" in item):
        try:
            with Image.open(path):
                pass
        except OSError as error:
            reason = "does not exist" if isinstance(error, FileNotFoundError) else "cannot be read as an image"
            raise DataError(f"image {path} {reason}") from error


# -- files ------------------------------------------------------------------------------------------------


def _raw_records(path: Path) -> Iterator[tuple[str, Any]]:
    """Each record of a file and what to call it: the file, its index from 0, its id where it has one."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    for index, raw in enumerate(_parse(path, text)):
        name = f" (id {raw['id']})" if isinstance(raw, Mapping) and "id" in raw else ""
        yield f"{path}, record {index}{name}", raw


def _parse(path: Path, text: str) -> Iterator[Any]:
    try:
        if path.suffix == ".jsonl":
            yield from (json.loads(line) for line in text.splitlines() if line.strip())
            return
        records = json.loads(text)
    except json.JSONDecodeError as error:
        where = error.doc[max(error.pos - 20, 0) : error.pos + 20]
        raise DataError(f"{path}: not valid JSON, {error.msg} near {where!r}") from error
    if not isinstance(records, list):
        raise DataError(f"{path}: expected a list of records, got {type(records).__name__}")
    yield from records


# -- records ----------------------------------------------------------------------------------------------


def _turns(raw: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """(role, content) of each turn, in either format."""
    for field, role_field, content_field in (("conversations", "from", "value"), ("messages", "role", "content")):
        if field not in raw:
            continue
        turns = raw[field]
        if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
            raise DataError(f"{field!r} must be a list of objects")
        for turn in turns:
            if turn.get(role_field) not in ROLES or not isinstance(turn.get(content_field), (str, list)):
                raise DataError(
                    f"a turn needs {role_field!r} (one of {', '.join(ROLES)}) and {content_field!r}, got {turn!r}"
                )
        return [(ROLES[turn[role_field]], turn[content_field]) for turn in turns]
    raise DataError(f"expected 'conversations' or 'messages' among the fields {sorted(raw)}")


def _count_marks(content: str | list) -> int:
    """Places in `content` that take one of the images listed beside it."""
    if isinstance(content, str):
        return content.count(IMAGE_MARK)
    items = [item for item in content if isinstance(item, Mapping)]
    texts = sum(str(item.get("text", "")).count(IMAGE_MARK) for item in items)
    return texts + sum(item.get("type") == "image" and _source(item) is None for item in items)


def _images_first(turns: list[tuple[str, Any]], count: int) -> list[tuple[str, Any]]:
    for index, (role, content) in enumerate(turns):
        if role == "user" and isinstance(content, str):
            return [*turns[:index], (role, f"{IMAGE_MARK * count}\n{content}"), *turns[index + 1 :]]
    raise DataError("images listed, but no user turn to put them into")


def _content(content: str | list, images: Iterator[Any], folder: Path) -> list[dict[str, Any]]:
    items = [{"type": "text", "text": content}] if isinstance(content, str) else content
    made: list[dict[str, Any]] = []
    for item in items:
        kind = item.get("type") if isinstance(item, Mapping) else None
        if kind == "image":
            source = _source(item)
            made.append(_image_item(next(images) if source is None else source, folder))
        elif kind == "text" and isinstance(item.get("text"), str):
            made += _split_text(item["text"], images, folder)
        else:
            raise DataError(f"expected content of type 'text' or 'image', got {item!r}")
    return made


def _split_text(text: str, images: Iterator[Any], folder: Path) -> list[dict[str, Any]]:
    """Texts and images in reading order; the line breaks that separate a mark from its text are dropped."""
    pieces = text.split(IMAGE_MARK)
    made: list[dict[str, Any]] = []
    for index, piece in enumerate(pieces):
        if index:
            made.append(_image_item(next(images), folder))
        piece = piece.strip("\n") if len(pieces) > 1 else piece
        if piece:
            made.append({"type": "text", "text": piece})
    return made


def _source(item: Mapping[str, Any]) -> Any:
    return next((item[key] for key in ("path", "image", "url") if item.get(key) is not None), None)


def _image_item(source: Any, folder: Path) -> dict[str, Any]:
    """An image given by path (made absolute against `folder`) or by data or web address."""
    if not isinstance(source, str):
        raise DataError(f"an image must be given by its path or address, got {source!r}")
    if source.startswith(("data:", "http://", "https://")):
        return {"type": "image", "url": source}
    return {"type": "image", "path": str(folder / source)}


def _is_answer(message: Message) -> bool:
    return message["role"] == "assistant" and any(item.get("text", "").strip() for item in message["content"])
