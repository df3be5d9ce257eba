# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""From a raw record, in any of the forms that people have, to chat messages that hold their images.

LLaVA's form:

    {"id": "17", "image": "17.jpg" or ["a.jpg", "b.jpg"],
     "conversations": [{"from": "human", "value": "<image>\\nWhat is this?"}, {"from": "gpt", "value": "A pear."}]}

Chat messages, as on the Hub and in TRL:

    {"messages": [{"role": "user", "content": [{"type": "image", "path": "17.jpg"},
                                               {"type": "text", "text": "What is this?"}]},
                  {"role": "assistant", "content": "A pear."}]}

There, `content` may be a string with `<image>` in it, and images may be listed beside: `"images": [...]`, as paths,
bytes, `{"bytes": ..., "path": ...}` or PIL images. An item `{"type": "image"}` takes the next of them.
Records without images are text-only turns; both kinds may be mixed.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from PIL import Image

from wings_hf.data.errors import DataError, OnError, summarise
from wings_hf.data.images import WEB, image_of, look_at

__all__ = ["DataError", "OnError", "Record", "check_images", "read_records", "summarise", "to_messages"]

IMAGE_MARK = "<image>"
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
SOURCE_KEYS = ("path", "image", "url", "base64")
IMAGE_KINDS = ["image", "image_url"]  # a list, so that `in` takes whatever a record has there

Message = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """One conversation: `messages` as `WingsProcessor.apply_chat_template` reads them, and where it came from."""

    messages: list[Message]
    source: str

    @property
    def images(self) -> list[dict[str, Any]]:
        """The image items of all messages, in reading order."""
        return [item for message in self.messages for item in message["content"] if item["type"] == "image"]

    @property
    def answers(self) -> list[str]:
        """What the assistant says, turn by turn."""
        return [text_of(message) for message in self.messages if message["role"] == "assistant"]


def text_of(message: Message) -> str:
    """The texts of a message, one after the other."""
    return "".join(item.get("text", "") for item in message["content"])


def read_records(
    paths: Sequence[str | Path | Mapping[str, Any]], image_folder: str | Path | None = None, on_error: OnError = "raise"
) -> tuple[list[Record], list[str]]:
    """All records of `paths` at once, in order, and a line on each record that was left out.

    Each record is checked: its form, that it has answers to learn, that its images exist and open as images (their
    headers; pixels are read when a batch is made). For data larger than memory, mixtures and streams see `open_data`.

    Args:
        paths: files, folders, patterns, or sources as dicts, as for `open_data`; no streams.
        image_folder: what relative image paths are relative to; by default the folder of the file they stand in.
        on_error: `"raise"` raises if any record cannot be used, `"skip"` leaves such records out.

    Raises:
        DataError: with `"raise"`, the first of the problems and their number; with `"skip"`, only if no record is left.
    """
    from wings_hf.data.conversations import open_data

    data = open_data(list(paths), on_error=on_error, image_folder=image_folder, shuffle=False)
    return list(data), [str(problem) for problem in data.problems]


def to_messages(raw: Any, folder: Path | None) -> list[Message]:
    """One record of any form as messages whose content is a list of images and texts.

    Args:
        folder: what image paths are relative to; None refuses images given by path.

    Raises:
        DataError: a record of another form, roles out of order, an empty answer, or images and marks that do not match.
    """
    if not isinstance(raw, Mapping):
        raise DataError(f"expected an object, got {type(raw).__name__}")
    turns = _turns(raw)
    spare = _listed_images(raw)
    marks = sum(_count_marks(content) for _, content in turns)
    if spare and not marks and not any(_names_images(content) for _, content in turns):
        turns = _images_first(turns, len(spare))  # LLaVA's and TRL's data may leave the marks out
        marks = len(spare)
    if marks != len(spare):
        raise DataError(
            f"{marks} places for images without a path of their own, {len(spare)} images listed", "placeholder count"
        )
    images_left = iter(spare)
    messages = [{"role": role, "content": _content(content, images_left, folder)} for role, content in turns]
    _check_roles([role for role, _ in turns])
    for message in messages:
        if message["role"] == "assistant" and not text_of(message).strip():
            raise DataError("an assistant turn without text: nothing to learn from it", "empty answer")
    return messages


def check_images(record: Record, decode: bool = False) -> None:
    """Raises DataError for an image of `record` that is missing, broken, too large or of several frames.

    Images behind web addresses are not looked at.
    """
    for item in record.images:
        look_at(image_of(item), decode=decode)


# -- turns ------------------------------------------------------------------------------------------------


def _turns(raw: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """(role, content) of each turn, in either format."""
    for field, role_field, content_field in (("conversations", "from", "value"), ("messages", "role", "content")):
        if raw.get(field) is None:
            continue
        turns = raw[field]
        if not isinstance(turns, list) or not turns or not all(isinstance(turn, Mapping) for turn in turns):
            raise DataError(f"{field!r} must be a list of objects")
        if "role" in turns[0]:  # "conversations" of chat messages exist too
            role_field, content_field = "role", "content"
        for turn in turns:
            if turn.get(role_field) not in list(ROLES) or not isinstance(turn.get(content_field), (str, list)):
                raise DataError(
                    f"a turn needs {role_field!r} (one of {', '.join(ROLES)}) and {content_field!r}, got {_short(turn)}"
                )
        return [(ROLES[turn[role_field]], turn[content_field]) for turn in turns]
    raise DataError(f"expected 'conversations' or 'messages' among the fields {sorted(map(str, raw))}")


def _check_roles(roles: Sequence[str]) -> None:
    """A system message may come first; then user and assistant take turns, and the assistant has the last word."""
    expected = ["user", "assistant"] * len(roles)
    start = 1 if roles[0] == "system" else 0
    for index, (role, due) in enumerate(zip(roles[start:], expected, strict=False), start):
        if role != due:
            raise DataError(f"turn {index} is the {role}'s, expected the {due}'s", "role order")
    if roles[-1] != "assistant":
        raise DataError(f"no assistant turn at the end: the {roles[-1]} has the last word", "role order")


# -- images -----------------------------------------------------------------------------------------------


def _listed_images(raw: Mapping[str, Any]) -> list[Any]:
    """The images listed beside the turns."""
    for field in ("image", "images"):
        listed = raw.get(field)
        if listed is None or (isinstance(listed, (str, list)) and not listed):
            continue
        return list(listed) if isinstance(listed, (list, tuple)) else [listed]
    return []


def _count_marks(content: str | list) -> int:
    """Places in `content` that take one of the images listed beside it."""
    if isinstance(content, str):
        return content.count(IMAGE_MARK)
    marks = 0
    for item in content:
        kind = item.get("type") if isinstance(item, Mapping) else None
        text = item if isinstance(item, str) else item.get("text") if kind == "text" else None
        marks += text.count(IMAGE_MARK) if isinstance(text, str) else 0
        marks += kind in IMAGE_KINDS and _source(item) is None
    return marks


def _names_images(content: str | list) -> bool:
    return not isinstance(content, str) and any(
        isinstance(item, Mapping) and item.get("type") in IMAGE_KINDS for item in content
    )


def _images_first(turns: list[tuple[str, Any]], count: int) -> list[tuple[str, Any]]:
    for index, (role, content) in enumerate(turns):
        if role != "user":
            continue
        marked: Any = f"{IMAGE_MARK * count}\n{content}" if isinstance(content, str) else None
        return [*turns[:index], (role, marked or [{"type": "image"}] * count + content), *turns[index + 1 :]]
    raise DataError("images listed, but no user turn to put them into", "placeholder count")


def _content(content: str | list, images: Iterator[Any], folder: Path | None) -> list[dict[str, Any]]:
    items = [{"type": "text", "text": content}] if isinstance(content, str) else content
    made: list[dict[str, Any]] = []
    for item in items:
        if isinstance(item, str):
            item = {"type": "text", "text": item}
        kind = item.get("type") if isinstance(item, Mapping) else None
        if kind in IMAGE_KINDS:
            source = _source(item)
            made.append(_image_item(next(images) if source is None else source, folder))
        elif kind == "text" and isinstance(item.get("text"), str):
            made += _split_text(item["text"], images, folder)
        else:
            raise DataError(f"expected content of type 'text' or 'image', got {_short(item)}")
    return made


def _split_text(text: str, images: Iterator[Any], folder: Path | None) -> list[dict[str, Any]]:
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
    """What an image item names its image by; None if it takes the next of those listed."""
    if item.get("type") == "image_url":
        address = item.get("image_url")
        return address.get("url") if isinstance(address, Mapping) else address
    if item.get("base64") is not None:
        return f"data:image;base64,{item['base64']}"
    return next((item[key] for key in SOURCE_KEYS if item.get(key) is not None), None)


def _image_item(source: Any, folder: Path | None) -> dict[str, Any]:
    """An image item for an image given by path (made absolute against `folder`), address, bytes or as it is."""
    if isinstance(source, Mapping):
        source = source["bytes"] if source.get("bytes") is not None else source.get("path")
    if isinstance(source, (bytes, Image.Image)):
        return {"type": "image", "image": source}
    if not isinstance(source, str):
        raise DataError(f"an image must be given by its path or address, or as bytes; got {_short(source)}")
    if source.startswith(("data:", *WEB)):
        return {"type": "image", "url": source}
    if folder is None:
        raise DataError(f"image {source} is named by a path, but these data hold their images themselves")
    return {"type": "image", "path": _path_within(folder, source)}


def _path_within(folder: Path, name: str) -> str:
    """The path `name`, relative to `folder` or below it.

    Records may come from anywhere, so a path does not decide alone which files are read. Links are followed: who can
    put them into the folder can put files there.

    Raises:
        DataError: it leads out of the folder, or is the folder.
    """
    root = Path(os.path.abspath(folder))
    if root / name == root:
        raise DataError(f"image {name!r} names no file, but {folder}, the folder of its data")
    if ".." in PurePath(name).parts or not (root / name).is_relative_to(root):
        raise DataError(
            f"image {name} leads out of {folder}, the folder of its data: name the folder that holds all images as "
            "image_folder ('/' allows every absolute path)",
            "image elsewhere",
        )
    return str(folder / name)


def _short(value: Any, length: int = 200) -> str:
    shown = repr(value)
    return shown if len(shown) <= length else f"{shown[:length]}..."
