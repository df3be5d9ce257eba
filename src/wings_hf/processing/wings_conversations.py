# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Chat messages: their shape, their images, and which turns to leave out when they do not fit."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from wings_hf.processing.wings_image_sources import decode_base64

SOURCE_KEYS = ("image", "url", "path", "base64")
KEPT_ROLES = ("system", "developer")


class Conversation(NamedTuple):
    """Messages without pixels, and the images of each message in reading order."""

    messages: list[dict[str, Any]]
    images: list[list[Any]]

    def keep(self, indices: Sequence[int]) -> "Conversation":
        """The conversation of these messages only."""
        return Conversation([self.messages[i] for i in indices], [self.images[i] for i in indices])

    @property
    def all_images(self) -> list[Any]:
        return [image for images in self.images for image in images]


def split_batch(conversation: Any) -> tuple[list[Any], bool]:
    """A list of conversations, and whether it was one already (else it is the single one given).

    Raises:
        ValueError: no messages.
    """
    conversation = getattr(conversation, "messages", conversation)
    if not isinstance(conversation, list | tuple) or not conversation:
        raise ValueError(f"Expected a list of messages or a list of such lists, got {conversation!r}.")
    if isinstance(conversation[0], list | tuple) or hasattr(conversation[0], "messages"):
        return [getattr(chat, "messages", chat) for chat in conversation], True
    return [list(conversation)], False


def read_conversation(
    messages: Sequence[Any], index: int, spare_images: Iterator[Any], pattern: re.Pattern[str] | None = None
) -> Conversation:
    """A conversation with its images taken out; the caller's messages are not changed.

    Args:
        messages: dicts with `role` and `content` (a string, or a list of texts and images).
        index: of the conversation in the batch, for messages.
        spare_images: where the next image comes from for an item `{"type": "image"}` without one, and for a
            placeholder written in a text. It may run out: the count is checked later, against the prompt.
        pattern: of such a placeholder; None if there are none.

    Raises:
        ValueError: a message or an item of another form.
    """
    if not isinstance(messages, list | tuple):
        raise ValueError(f"Conversation {index}: expected a list of messages, got {messages!r}.")
    if not messages:
        raise ValueError(f"Conversation {index} has no messages.")
    read: list[dict[str, Any]] = []
    images: list[list[Any]] = []
    for position, message in enumerate(messages):
        where = f"Conversation {index}, message {position}"
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise ValueError(f"{where}: expected a dict with 'role' and 'content', got {message!r}.")
        plain = {key: value for key, value in message.items() if value is not None}
        content = plain.get("content")
        found: list[Any] = []
        if isinstance(content, list | tuple):
            plain["content"] = [_read_item(item, where, found, spare_images, pattern) for item in content]
        elif isinstance(content, str):
            found += _for_written(content, spare_images, pattern)
        elif content is not None:
            raise ValueError(f"{where}: content must be a string or a list, got {type(content).__name__}.")
        read.append(plain)
        images.append(found)
    return Conversation(read, images)


def _for_written(text: str, spare_images: Iterator[Any], pattern: re.Pattern[str] | None) -> list[Any]:
    """The images for placeholders that a text has in it."""
    return list(islice(spare_images, sum(1 for _ in pattern.finditer(text)))) if pattern else []


def _read_item(
    item: Any, where: str, images: list[Any], spare_images: Iterator[Any], pattern: re.Pattern[str] | None
) -> dict[str, Any]:
    """One content item as the template sees it; its image goes to the end of `images`."""
    if isinstance(item, str):
        item = {"type": "text", "text": item}
    kind = item.get("type") if isinstance(item, Mapping) else None
    if kind == "text" and isinstance(item.get("text"), str):
        images += _for_written(item["text"], spare_images, pattern)
        return dict(item)
    if kind == "image_url":
        source = item.get("image_url")
        images.append(source.get("url") if isinstance(source, Mapping) else source)
        return {"type": "image"}
    if kind != "image":
        raise ValueError(
            f"{where}: expected items {{'type': 'text', 'text': ...}} or {{'type': 'image', 'image' or 'url' or "
            f"'path' or 'base64': ...}}, got {item if kind is None else kind!r}."
        )
    keys = [key for key in SOURCE_KEYS if item.get(key) is not None]
    if len(keys) > 1:
        raise ValueError(f"{where}: an image item names its image twice, as {' and '.join(keys)}.")
    images += [_source(keys[0], item[keys[0]])] if keys else list(islice(spare_images, 1))
    return {key: value for key, value in item.items() if key not in SOURCE_KEYS}


def _source(key: str, value: Any) -> Any:
    return decode_base64(value) if key == "base64" else value


def split_turns(messages: Sequence[Mapping[str, Any]]) -> tuple[list[int], list[list[int]]]:
    """Indices of the system messages, and of the others turn by turn.

    A turn begins with a user message and goes on to the next one: answers, tool calls and their results
    belong to it.
    """
    kept: list[int] = []
    turns: list[list[int]] = []
    for index, message in enumerate(messages):
        if message["role"] in KEPT_ROLES:
            kept.append(index)
        elif message["role"] == "user" or not turns:
            turns.append([index])
        else:
            turns[-1].append(index)
    return kept, turns


def drop_turns(
    conversation: Conversation, count_tokens: Callable[[Conversation], int], max_length: int, index: int
) -> Conversation:
    """The conversation without as many of its oldest turns as it takes to fit, and without their images.

    System messages stay wherever they are, and so does the last turn. The search is binary: fewer turns are
    taken to have fewer tokens.

    Raises:
        ValueError: the last turn alone (with the system messages) is too long.
    """
    kept, turns = split_turns(conversation.messages)

    def without(dropped: int) -> Conversation:
        return conversation.keep(sorted(kept + [i for turn in turns[dropped:] for i in turn]))

    if count_tokens(conversation) <= max_length:
        return conversation
    low, high = 1, max(len(turns) - 1, 0)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if count_tokens(without(middle)) <= max_length else (middle + 1, high)
    shortened = without(high)
    tokens = count_tokens(shortened)
    if tokens > max_length:
        raise ValueError(
            f"Conversation {index}: its last turn alone takes {tokens} tokens with {len(shortened.all_images)} "
            f"images, more than max_length={max_length}. Raise max_length, or shorten that turn."
        )
    return shortened
