# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Whom a request of the page comes from, and how many answers one of them may wait for at a time.

Gradio's queue has a length and knows no visitors: whoever fills it keeps all others out.
"""

import ipaddress
from collections import Counter
from collections.abc import Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

# How events come into Gradio's queue.
JOINS = ("/queue/join", "/call/")
REFUSED = "As many answers as one visitor may wait for ({waiting}) are on their way to you: wait for one to end."


def visitor(host: str | None, forwarded: str = "") -> str:
    """
    The network address that a request comes from: of IPv6 the network of 64 bits, which is one household's.

    Behind a proxy (a connection from a private address) it is the last public address that proxies noted. A client can
    put addresses of its choice before that one, and not after.

    Args:
        host: the other end of the connection.
        forwarded: the header `X-Forwarded-For`.
    """
    address = _address(host)
    if address is not None and not address.is_global:
        noted = [_address(each.strip()) for each in forwarded.split(",")]
        address = next((each for each in reversed(noted) if each is not None and each.is_global), address)
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped else str(ipaddress.IPv6Network((address, 64), strict=False))
    return str(address or "")


def visitor_of(request: Any) -> str:
    """The visitor of a request of Starlette or Gradio."""
    client = getattr(request, "client", None)
    return visitor(getattr(client, "host", None), str(request.headers.get("x-forwarded-for") or ""))


def _address(text: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address((text or "").partition("%")[0])
    except ValueError:
        return None


class FairQueue:
    """
    Refuses a visitor's next question, with status 429, where as many of theirs are waiting as one may have.

    Args:
        page: whose queue it is.
        most: questions of one visitor, the one that is being answered among them.
    """

    def __init__(self, app: Any, page: Any, most: int) -> None:
        self.app, self.page, self.most = app, page, most
        self.joining: Counter[str] = Counter()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = str(scope.get("path", ""))
        if scope["type"] != "http" or scope["method"] != "POST" or not any(each in path for each in JOINS):
            await self.app(scope, receive, send)
            return
        who = visitor_of(Request(scope))
        waiting = self.joining[who] + sum(each == who for each in waiting_in(self.page))
        if waiting >= self.most:
            await JSONResponse({"detail": REFUSED.format(waiting=waiting)}, 429)(scope, receive, send)
            return
        self.joining[who] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.joining[who] -= 1
            self.joining += Counter()  # without those at zero


def waiting_in(page: Any) -> Iterator[str]:
    """The visitor of each event that waits in Gradio's queue or is being worked on. Gradio has no public way to ask."""
    queue = page._queue
    for waiting in list(queue.event_queue_per_concurrency_id.values()):
        yield from (visitor_of(event.request) for event in list(waiting.queue))
    for job in list(queue.active_jobs):
        yield from (visitor_of(event.request) for event in job or ())
