# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Fetching an image from the web for someone who may not be trusted with the address.

A program that fetches whatever address it is given can be made to read what only it can reach: other machines of its
network, services of its own machine, the credentials that clouds hand out at 169.254.169.254. So a name is looked up
once, every address that comes back must be public, and the connection goes to an address that was checked, not to
the name again. The same holds for each redirect. Size and time are limited for the whole of it.

Proxies that the environment names are not used: they look names up by themselves and could not be held to this.
"""

import functools
import http.client
import io
import ipaddress
import socket
import ssl
import time
import urllib.parse
import urllib.request
from typing import Any

MAX_DOWNLOAD_BYTES = 100 * 1024 * 1024
DOWNLOAD_SECONDS = 30.0  # for all of it: connections, redirects, headers and body
CONNECT_SECONDS = 10.0  # for one of the addresses of a name
MAX_REDIRECTS = 5
PIECE = 1 << 16

# IPv6 addresses that stand for IPv4 ones, and how far those 32 bits are from the right.
_EMBEDDED_IPV4 = {
    ipaddress.IPv6Network("::ffff:0:0/96"): 0,
    ipaddress.IPv6Network("::/96"): 0,
    ipaddress.IPv6Network("64:ff9b::/96"): 0,  # NAT64
    ipaddress.IPv6Network("2002::/16"): 80,  # 6to4
}
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
# Of protocols (a cloud hands out credentials at 192.0.0.192) and of documentation: public to some versions of Python.
_RESERVED = (ipaddress.IPv4Network("192.0.0.0/24"), ipaddress.IPv6Network("3fff::/20"))


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address is of the public internet: not private, loopback, link-local, shared, reserved or multicast.

    IPv6 addresses that stand for an IPv4 address are what that one is.
    """
    if isinstance(address, ipaddress.IPv6Address):
        for network, shift in _EMBEDDED_IPV4.items():
            if address in network:
                return is_public(ipaddress.IPv4Address(int(address) >> shift & 0xFFFFFFFF))
        if address not in _GLOBAL_UNICAST:
            return False
    reserved = address.is_multicast or address.is_reserved or any(address in network for network in _RESERVED)
    return address.is_global and not reserved


def download(
    url: str, allow_private: bool = False, seconds: float | None = None, max_bytes: int | None = None
) -> bytes:
    """Body of an http(s) URL, within a size and a time.

    Redirects stay within http(s). The time does not cover the look-up of names, which the system limits.

    Args:
        url: `http://` or `https://`, without a user name.
        allow_private: fetch from addresses that are not public, too.
        seconds: for all of it; `DOWNLOAD_SECONDS` at most, and where it is None.
        max_bytes: `MAX_DOWNLOAD_BYTES` at most, and where it is None.

    Raises:
        ValueError: the address is not allowed; the server cannot be reached, answers with an error, too much, too
            little or too slowly.
    """
    seconds = DOWNLOAD_SECONDS if seconds is None else min(seconds, DOWNLOAD_SECONDS)
    max_bytes = MAX_DOWNLOAD_BYTES if max_bytes is None else min(max_bytes, MAX_DOWNLOAD_BYTES)
    deadline = time.monotonic() + seconds
    address: str = url
    try:
        for _ in range(MAX_REDIRECTS + 1):
            body, address = _get(address, deadline, allow_private, max_bytes)
            if body is not None:
                return body
    except TimeoutError as error:
        raise ValueError(f"{_short(url)} cannot be fetched within {seconds:g} seconds.{_proxies()}") from error
    except OSError as error:
        raise ValueError(f"{_short(url)} cannot be fetched: {error}.{_proxies()}") from error
    except (ValueError, http.client.HTTPException) as error:
        raise ValueError(f"{_short(url)} cannot be fetched: {str(error) or type(error).__name__}.") from error
    raise ValueError(f"{_short(url)} cannot be fetched: more than {MAX_REDIRECTS} redirects.")


def _get(url: str, deadline: float, allow_private: bool, max_bytes: int) -> tuple[bytes | None, str]:
    """The body of `url` and `url` itself; or None, and where it redirects to."""
    parts = urllib.parse.urlsplit(url)
    connection = _connect(parts, deadline, allow_private)
    try:
        path = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
        query = urllib.parse.quote(parts.query, safe="/%:@!$&'()*+,;=~?[]")
        target = f"{path}?{query}" if query else path
        connection.request("GET", target, headers={"User-Agent": "wings_hf", "Connection": "close"})
        response = connection.getresponse()
        if response.status in (301, 302, 303, 307, 308):
            return None, urllib.parse.urljoin(url, response.headers.get("Location", "").strip())
        if response.status != 200:
            raise ValueError(f"HTTP Error {response.status}: {_short(response.reason)}")
        return _body(response, max_bytes), url
    finally:
        connection.close()


def _connect(parts: urllib.parse.SplitResult, deadline: float, allow_private: bool) -> http.client.HTTPConnection:
    """An open connection to the server of a URL.

    Raises:
        ValueError: no http(s) URL, a user name in it, or an address that is not allowed.
    """
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"expected an address that begins with http:// or https://, got {_short(parts.geturl())!r}")
    if "@" in parts.netloc:
        raise ValueError("addresses with a user name are not fetched")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    plain = _dial(host, port, deadline, allow_private)
    connection = http.client.HTTPConnection(host, port)
    connection.default_port = 443 if parts.scheme == "https" else 80  # what the Host header may leave out
    connection.response_class = functools.partial(_Response, deadline)  # type: ignore[assignment]
    try:
        plain.settimeout(_left(deadline))
        secure = parts.scheme == "https"
        context = ssl.create_default_context() if secure else None
        connection.sock = context.wrap_socket(plain, server_hostname=host) if context else plain
    except BaseException:
        plain.close()
        raise
    return connection


def _dial(host: str, port: int, deadline: float, allow_private: bool) -> socket.socket:
    """A socket connected to one of the addresses of `host`, all of which were checked."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for *_, where in found:
        if not allow_private and not is_public(ipaddress.ip_address(str(where[0]).partition("%")[0])):
            raise ValueError(
                f"{_short(host)} is not on the public internet; allow_private_urls=True fetches from there too, for "
                "addresses from people who may see what this machine sees"
            )
    failure: OSError = OSError(f"{_short(host)} has no address")
    for family, kind, protocol, _, where in found:
        dialled = socket.socket(family, kind, protocol)
        try:
            dialled.settimeout(min(_left(deadline), CONNECT_SECONDS))
            dialled.connect(where)
            return dialled
        except OSError as error:
            dialled.close()
            failure = error
    raise failure


def _body(response: http.client.HTTPResponse, max_bytes: int) -> bytes:
    """All that the server sends.

    Raises:
        ValueError: more than `max_bytes`, or less than it announced.
    """
    pieces: list[bytes] = []
    room = max_bytes
    while (response.length or 0) <= room and (piece := response.read(min(PIECE, room + 1))):
        pieces.append(piece)
        room -= len(piece)
    if room < 0 or (response.length or 0) > room:
        raise ValueError(f"it is larger than {max_bytes} bytes")
    if response.length:
        raise ValueError(f"the server ended {response.length} bytes early")
    return b"".join(pieces)


class _Response(http.client.HTTPResponse):
    """A response that is read, headers and all, until a deadline."""

    def __init__(self, deadline: float, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp: Any = io.BufferedReader(_Timed(deadline, sock, self.fp.detach()))


class _Timed(io.RawIOBase):
    """What comes out of a socket until a deadline, however little at a time."""

    def __init__(self, deadline: float, sock: socket.socket, raw: Any) -> None:
        self.deadline, self.sock, self.raw = deadline, sock, raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self.sock.settimeout(_left(self.deadline))
        return self.raw.readinto(buffer)

    def close(self) -> None:
        self.raw.close()
        super().close()


def _left(deadline: float) -> float:
    """Seconds until `deadline`.

    Raises:
        TimeoutError: there are none.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _proxies() -> str:
    """A hint for who cannot reach the web without a proxy."""
    named = [name for name in ("http", "https") if name in urllib.request.getproxies()]
    return " The proxies of the environment are not used: download the image first." if named else ""


def _short(text: str, length: int = 80) -> str:
    return text if len(text) <= length else f"{text[:length]}..."
