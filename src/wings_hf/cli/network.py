# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A Hub that cannot be reached is said at once: its client would try each file six times, half a minute long."""

import socket
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SECONDS = 5


@contextmanager
def unreachable_is_said_at_once() -> Iterator[None]:
    """
    While it lasts, the first request of huggingface_hub to a host waits for a connection once, `SECONDS` at most; where
    there is none, it and all others to that host raise OfflineModeIsEnabled. Nothing is sent before the Hub is needed.
    """
    if "huggingface_hub" not in sys.modules:
        yield
        return
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils import _http

    reached: dict[tuple[str, int], str] = {}

    def client() -> Any:
        made = _http.default_client_factory()
        hooks = made.event_hooks
        hooks["request"].insert(0, lambda request: _check(request.url, reached))
        made.event_hooks = hooks
        return made

    before = _http._GLOBAL_CLIENT_FACTORY
    set_client_factory(client)
    try:
        yield
    finally:
        set_client_factory(before)


def _check(url: Any, reached: dict[tuple[str, int], str]) -> None:
    from huggingface_hub.errors import OfflineModeIsEnabled

    address = url.host, url.port or (80 if url.scheme == "http" else 443)
    if url.scheme in urllib.request.getproxies() or "all" in urllib.request.getproxies():
        return
    if address not in reached:
        reached[address] = _problem(address)
    if reached[address]:
        server, wanted = f"{url.scheme}://{url.netloc.decode()}", url.path.strip("/")
        raise OfflineModeIsEnabled(f"{server} cannot be reached ({reached[address]}), asked for {wanted}")


def _problem(address: tuple[str, int]) -> str:
    """Why there is no connection; empty where there is one."""
    try:
        socket.create_connection(address, timeout=SECONDS).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""
