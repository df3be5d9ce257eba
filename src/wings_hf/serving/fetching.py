# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Images of a request that are web addresses: fetched before the others are read, within limits for all together."""

import time
from collections.abc import Mapping
from typing import Any

from wings_hf.processing.wings_downloads import download
from wings_hf.serving.limits import Limits, RequestError

WEB = ("http://", "https://")


def web_images(messages: Any) -> dict[str, str]:
    """
    Web addresses of images, and where each is named first.

    Args:
        messages: as they came, of any form; what is no image is left to those who read them.
    """
    found: dict[str, str] = {}
    for place, message in enumerate(messages if isinstance(messages, list) else []):
        content = message.get("content") if isinstance(message, dict) else None
        for part, item in enumerate(content if isinstance(content, list) else []):
            given = item.get("image_url") if isinstance(item, dict) else None
            url = given.get("url") if isinstance(given, dict) else given
            if isinstance(url, str) and url[:8].lower().startswith(WEB):
                found.setdefault(url, f"messages[{place}].content[{part}].image_url")
    return found


def fetch(addresses: Mapping[str, str], limits: Limits, deadline: float) -> dict[str, bytes]:
    """
    What is at each address, fetched from the public internet.

    Args:
        addresses: of `web_images`.
        limits: how many there may be, and how many bytes they may have together (`request_bytes`).
        deadline: of `time.monotonic`, for all of them.

    Raises:
        RequestError: one cannot be fetched, or all of them not within the limits.
    """
    fetched: dict[str, bytes] = {}
    room = limits.request_bytes
    for url, where in addresses.items():
        if len(fetched) == limits.images:
            raise RequestError(f"{where}: more than {limits.images} images in one request.", where)
        left = deadline - time.monotonic()
        if left <= 0:
            raise too_slow(limits, where)
        try:
            fetched[url] = download(url, seconds=left, max_bytes=room)
        except ValueError as error:
            if time.monotonic() >= deadline:
                raise too_slow(limits, where) from error
            message = f"{where} cannot be used: {error}"
            if fetched:
                message += f" All that is fetched for a request may have {limits.request_bytes} bytes."
            raise RequestError(message, where, code="invalid_image") from error
        room -= len(fetched[url])
    return fetched


def too_slow(limits: Limits, where: str = "messages") -> RequestError:
    """The error of images that take too long."""
    message = f"{where}: the images of a request have to be fetched within {limits.fetch_seconds} seconds, all of them."
    return RequestError(message, where, code="invalid_image")
