# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Images that the server fetches for a client: where from, how many, how large and how long, all together."""

import ipaddress
import time
from typing import Any

import pytest
from web_parts import Server, answer

from wings_hf.processing import wings_downloads
from wings_hf.serving import fetching
from wings_hf.serving.fetching import fetch, web_images
from wings_hf.serving.limits import Limits, RequestError

IMAGE = b"pixels " * 10


def user(*urls: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": each}} for each in urls]}]


def fetched(limits: Limits, *urls: str) -> dict[str, bytes]:
    return fetch(web_images(user(*urls)), limits, time.monotonic() + limits.fetch_seconds)


@pytest.fixture
def loopback_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wings_downloads, "is_public", lambda address: address == ipaddress.ip_address("127.0.0.1"))


def test_addresses_are_found_in_messages_of_any_form() -> None:
    web = "https://example.org/a.png"
    wrong = [None, 3, {"content": 3}, {"content": [None, {"image_url": 5}, {"image_url": {"url": ["http://"]}}]}]
    given = [*wrong, *user("data:,x", web, "HTTP://b.org", web), {"content": [{"image_url": "http://c.org"}]}]
    found = {
        web: "messages[4].content[1].image_url",
        "HTTP://b.org": "messages[4].content[2].image_url",
        "http://c.org": "messages[5].content[0].image_url",
    }
    assert web_images(given) == found
    assert web_images(web) == web_images(None) == {}


def test_never_from_this_network() -> None:
    with Server({"/": answer(IMAGE)}) as server:
        with pytest.raises(
            RequestError, match=r"messages\[0\].content\[0\].image_url cannot be used: .*public internet"
        ):
            fetched(Limits(), server.address)
        assert server.connections == 0


def test_each_address_once(loopback_is_public: None) -> None:
    with Server({"/a": answer(IMAGE), "/b": answer(b"other")}) as server:
        a, b = (server.address + path for path in ("/a", "/b"))
        assert fetched(Limits(), a, b, a) == {a: IMAGE, b: b"other"}
        assert server.connections == 2
        with pytest.raises(RequestError, match="more than 1 images"):
            fetched(Limits(images=1), a, b)
        assert server.connections == 3


def test_all_together_are_limited_in_bytes(loopback_is_public: None) -> None:
    with Server({"/a": answer(IMAGE), "/b": answer(IMAGE)}) as server:
        addresses = [server.address + path for path in ("/a", "/b")]
        assert len(fetched(Limits(request_bytes=2 * len(IMAGE)), *addresses)) == 2
        with pytest.raises(
            RequestError, match=r"content\[1\].*larger than 69 bytes.*fetched for a request may have 139 bytes"
        ):
            fetched(Limits(request_bytes=2 * len(IMAGE) - 1), *addresses)


def test_all_together_are_limited_in_time(loopback_is_public: None) -> None:
    """Each is within the time that one image has; the server would go on for 40 seconds."""
    slow = [b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n", *[0.05, b"x"] * 8]
    paths = {f"/{number}": slow for number in range(100)}
    start = time.monotonic()
    with Server(paths) as server:
        with pytest.raises(RequestError, match=r"within 1 seconds, all of them"):
            fetched(Limits(fetch_seconds=1, images=200), *(server.address + path for path in paths))
        assert 1 <= server.connections < 100
    assert time.monotonic() - start < 20


def test_one_that_says_nothing(loopback_is_public: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server({"/": [30]}) as server, pytest.raises(RequestError, match=r"within 1 seconds, all of them"):
        fetched(Limits(fetch_seconds=1), server.address)
    asked = []
    monkeypatch.setattr(fetching, "download", lambda url, **limits: asked.append(url) or b"")
    with pytest.raises(RequestError, match="within 30 seconds"):
        fetch({"http://a.org": "here"}, Limits(), time.monotonic())
    assert asked == [], "no time was left"
