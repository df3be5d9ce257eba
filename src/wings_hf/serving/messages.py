# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
From messages of OpenAI's protocol to messages of a processor, with every image opened here.

What a client sends never reaches code that opens files or addresses: an image is a `data:` URL, or a web address that
was fetched before (fetching.py), and leaves this module as pixels.
"""

import json
from collections.abc import Mapping
from typing import Any

from PIL import Image

from wings_hf.processing.wings_image_sources import ImageOptions, read_image
from wings_hf.serving.limits import Limits, RequestError, shown

ROLES = ("system", "developer", "user", "assistant", "tool")


def read_messages(
    messages: Any, limits: Limits, sees: bool = True, fetched: Mapping[str, bytes] | None = None
) -> list[dict[str, Any]]:
    """
    Messages for a chat template, with images as PIL images.

    Args:
        messages: as they came, of any form.
        sees: whether the model takes images; the texts of one that does not are strings.
        fetched: what was at the web addresses that the messages name; no others are taken.

    Raises:
        RequestError: what is wrong, and with which message.
    """
    if not isinstance(messages, list) or not messages:
        raise RequestError(f"messages must be a list of at least one message, got {shown(messages)}.", "messages")
    images = _Images(limits, sees, fetched or {})
    return [_read_message(message, f"messages[{place}]", images) for place, message in enumerate(messages)]


def _read_message(message: Any, where: str, images: "_Images") -> dict[str, Any]:
    if not isinstance(message, dict):
        raise RequestError(f"{where}: expected an object with role and content, got {shown(message)}.", where)
    role = message.get("role")
    if role not in ROLES:
        raise RequestError(f"{where}.role is {shown(role)}: expected one of {', '.join(ROLES)}.", f"{where}.role")
    read: dict[str, Any] = {"role": role, "content": _read_content(message, where, images)}
    if message.get("tool_calls") is not None:
        read["tool_calls"] = _read_tool_calls(message["tool_calls"], f"{where}.tool_calls")
    if message.get("tool_call_id") is not None:
        read["tool_call_id"] = _text(message["tool_call_id"], f"{where}.tool_call_id")
    return read


def _read_content(message: dict[str, Any], where: str, images: "_Images") -> Any:
    content, where = message.get("content"), f"{where}.content"
    if content is None and message.get("tool_calls"):
        return "" if not images.sees else []
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list) or not content:
        raise RequestError(f"{where} must be a text or a list of at least one part, got {shown(content)}.", where)
    parts = [_read_part(part, f"{where}[{place}]", images) for place, part in enumerate(content)]
    return parts if images.sees else " ".join(part["text"] for part in parts)


def _read_part(part: Any, where: str, images: "_Images") -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        return {"type": "text", "text": _text(part.get("text"), f"{where}.text")}
    if kind == "image_url":
        return {"type": "image", "image": images.open(part.get("image_url"), f"{where}.image_url")}
    raise RequestError(f"{where} is {shown(part if kind is None else kind)}: expected text or image_url.", where)


def _read_tool_calls(calls: Any, where: str) -> list[dict[str, Any]]:
    """Calls as chat templates read them: arguments are objects, not texts."""
    if not isinstance(calls, list):
        raise RequestError(f"{where} must be a list, got {shown(calls)}.", where)
    read = []
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise RequestError(f"{where}: expected objects with a function and its name, got {shown(call)}.", where)
        arguments = function.get("arguments", {})
        try:
            arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
        except ValueError as error:
            raise RequestError(f"{where}: the arguments {shown(arguments)} are not JSON ({error}).", where) from error
        read.append({**call, "function": {**function, "arguments": arguments}})
    return read


class _Images:
    """The images of one request, which share its limits."""

    def __init__(self, limits: Limits, sees: bool, fetched: Mapping[str, bytes]) -> None:
        self.limits, self.sees, self.fetched = limits, sees, fetched
        self.count, self.pixels = 0, 0

    def open(self, given: Any, where: str) -> Image.Image:
        if not self.sees:
            raise RequestError(f"{where}: this model reads text only, it takes no images.", where)
        url = given.get("url") if isinstance(given, dict) else given
        source = self._source(url, where)
        self.count += 1
        if self.count > self.limits.images:
            raise RequestError(f"{where}: more than {self.limits.images} images in one request.", where)
        left = self.limits.pixels - self.pixels
        if left < 1:
            raise RequestError(f"{where}: the images before it have {self.pixels} pixels, the limit of all.", where)
        try:
            image = read_image(source, ImageOptions(max_pixels=left))
        except ValueError as error:
            raise RequestError(f"{where} cannot be used: {error}", where, code="invalid_image") from error
        self.pixels += image.width * image.height
        return image

    def _source(self, url: Any, where: str) -> str | bytes:
        if isinstance(url, str) and url[:5].lower() == "data:":
            return url
        if isinstance(url, str) and url in self.fetched:
            return self.fetched[url]
        allowed = "a data: URL or a web address" if self.limits.allow_urls else "a data: URL (nothing is fetched)"
        raise RequestError(f"{where} must be {allowed}, got {shown(url)}.", where, code="invalid_image_url")


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise RequestError(f"{where} must be a text, got {shown(value)}.", where)
    return value
