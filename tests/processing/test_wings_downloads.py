# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Images behind web addresses: fetched when asked for, from public addresses, within limits."""

import contextlib
import ipaddress
import socket
import time

import numpy as np
import pytest
from PIL import Image
from processor_parts import encoded, picture
from web_parts import Server, answer, moved

from wings_hf.processing import wings_downloads
from wings_hf.processing.wings_downloads import download, is_public
from wings_hf.processing.wings_image_sources import ImageOptions, read_image

PRIVATE = [
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.192", "192.168.1.1", "192.0.2.1", "198.18.0.1", "224.0.0.1",
    "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001::1", "2001:db8::1", "fc00::1",
    "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "100::1", "3fff::1", "240.0.0.1",
]  # fmt: skip
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "151.101.0.223",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_public(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_that_are_public(address):
    assert is_public(ipaddress.ip_address(address))


PNG = encoded(picture())


def test_urls_are_fetched_only_when_asked_for():
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(PNG), PNG)
    answers = {"/image.png": answer(PNG), "/moved": moved("image.png"), "/chunked?a=b%20c": chunked}
    with Server({**answers, "/a%20b": answer(PNG), "/none": answer(status="404 Not Found")}) as server:
        url = server.address + "/image.png"
        with pytest.raises(ValueError, match=r"web address and nothing is fetched.*allow_urls=True"):
            read_image(url, ImageOptions(allow_private_urls=True))
        assert server.connections == 0
        options = ImageOptions(allow_urls=True, allow_private_urls=True)
        for path in ("/image.png", "/moved", "/chunked?a=b c#part", "/a b"):
            assert np.array_equal(read_image(server.address + path, options), picture()), path
        assert server.requests[0].splitlines()[1] == f"Host: 127.0.0.1:{server.port}"
        with pytest.raises(ValueError, match="cannot be fetched: HTTP Error 404"):
            read_image(server.address + "/none", options)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "0", "[::1]", "[::ffff:127.0.0.1]",
     "[::ffff:7f00:1]", "LOCALHOST", "127.0.0.1."],
)  # fmt: skip
def test_this_machine_is_not_fetched_from_however_it_is_written(host):
    with Server({"/": answer(PNG)}) as server:
        with pytest.raises(ValueError, match="cannot be fetched"):
            read_image(f"http://{host}:{server.port}/", ImageOptions(allow_urls=True))
        assert server.connections == 0


def test_the_refusal_says_how_to_allow_it():
    with pytest.raises(ValueError, match=r"169.254.169.254 is not on the public internet; allow_private_urls=True"):
        download("http://169.254.169.254/latest/meta-data/")


@pytest.fixture
def names(monkeypatch):
    """Answers of the name look-up, by host and in turn; hosts that end in `.public` stand for public addresses."""
    asked: dict[str, list[list[str]]] = {}
    real = socket.getaddrinfo

    def look_up(host, port, *args, **kwargs):
        if host not in asked:
            return real(host, port, *args, **kwargs)
        found = asked[host].pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


def test_a_name_with_any_private_address_is_refused(names):
    names["mixed.example"] = [["8.8.8.8", "127.0.0.1"]]
    with Server({"/": answer(PNG)}) as server, pytest.raises(ValueError, match=r"mixed.example is not on the public"):
        download(f"http://mixed.example:{server.port}/")
    assert server.connections == 0


def test_a_name_is_looked_up_once_so_that_what_was_checked_is_what_is_reached(names, monkeypatch):
    """DNS rebinding: the second answer would be this machine."""
    reached = []
    names["rebinds.example"] = [["203.0.114.7"], ["127.0.0.1"]]

    def connect(self, where):
        reached.append(where)
        raise ConnectionRefusedError("no network here")

    monkeypatch.setattr(socket.socket, "connect", connect)
    with pytest.raises(ValueError, match="cannot be fetched: no network here"):
        download("http://rebinds.example:80/")
    assert reached == [("203.0.114.7", 80)]
    assert names["rebinds.example"] == [["127.0.0.1"]]


def test_redirects_are_checked_like_the_first_address(monkeypatch):
    """The first address is let through as if it were public; where it redirects to is not."""
    first = ipaddress.ip_address("127.0.0.1")
    monkeypatch.setattr(wings_downloads, "is_public", lambda address: address == first)
    with Server({}) as other:
        inner = f"http://127.0.0.2:{other.port}/secret"
        for target in (inner, "file:///etc/hostname", "ftp://127.0.0.1/", "//127.0.0.2/x", "http://[::1]/", "gopher:x"):
            with Server({"/": moved(target)}) as server, pytest.raises(ValueError, match="cannot be fetched"):
                download(f"{server.address}/")
            assert server.connections == 1
        assert other.connections == 0


def test_redirects_come_to_an_end():
    endless = {"/": moved("/"), "/where": answer(status="301 Moved")}
    with Server(endless) as server:
        with pytest.raises(ValueError, match="more than 5 redirects"):
            download(server.address + "/", allow_private=True)
        assert server.connections == 6


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://user:word@127.0.0.1/", "with a user name"),
        ("http://8.8.8.8@127.0.0.1/", "with a user name"),
        ("http:///path", "expected an address"),
        ("http://[::1", "cannot be fetched"),
        ("http://127.0.0.1:99999/", "cannot be fetched"),
        ("http://127.0.0.1:0x50/", "cannot be fetched"),
        ("http://a\r\nb/", "cannot be fetched"),
        ("http://" + "a" * 300 + "/", "cannot be fetched"),
        ("ftp://127.0.0.1/", "expected an address"),
    ],
)
def test_addresses_of_no_use_raise(url, message):
    with pytest.raises(ValueError, match=message):
        download(url, allow_private=True)


def test_a_request_cannot_be_smuggled_in_an_address():
    with Server({"/x": answer(PNG)}) as server:
        for path in ("/x", "/x HTTP/1.1\r\nX-Injected: 1\r\n\r\n", "/x\tHTTP/1.1", "/x?\r\nX-Injected: 1"):
            with contextlib.suppress(ValueError):
                download(server.address + path, allow_private=True)
        headers = [[line.partition(":")[0] for line in request.splitlines()[1:]] for request in server.requests]
        assert len(headers) == 4 and headers.count(headers[0]) == 4


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (answer(PNG), "larger than 100 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + bytes(101), "larger than 100 bytes"),
        (answer(Content_Length=str(10**12)), "larger than 100 bytes"),
        (answer(bytes(20), Content_Length="30"), "ended 10 bytes early"),
        (b"no http at all\r\n\r\n", "cannot be fetched"),
        (b"", "cannot be fetched"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 200 + b"\r\n", "cannot be fetched"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "cannot be fetched"),
        (answer(status="302 Found"), "more than 5 redirects"),
    ],
)
def test_sizes_and_broken_answers(reply, message, monkeypatch):
    monkeypatch.setattr(wings_downloads, "MAX_DOWNLOAD_BYTES", 100)
    with Server({"/": reply}) as server, pytest.raises(ValueError, match=message):
        download(server.address + "/", allow_private=True)


@pytest.mark.parametrize(
    "reply",
    [
        [b"HTTP/1.1 200 OK\r\n\r\n", *[b"x", 0.05] * 400],
        [b"HTTP/1.1 200 OK\r\n", *[b"X", 0.05] * 400],
        [*[b"H", 0.05] * 400],
        [b"HTTP/1.1 100 Continue\r\n\r\n", 0.05] * 400,
        [30],
    ],
    ids=["body", "headers", "first line", "continue", "silence"],
)
def test_a_server_that_answers_a_little_at_a_time_is_left_at_the_deadline(reply, monkeypatch):
    monkeypatch.setattr(wings_downloads, "DOWNLOAD_SECONDS", 0.3)
    start = time.monotonic()
    with Server({"/": reply}) as server, pytest.raises(ValueError, match=r"cannot be fetched within 0.3 seconds"):
        download(server.address + "/", allow_private=True)
    assert time.monotonic() - start < 15  # as sent, it takes 20 seconds or more


def test_proxies_are_passed_by_and_the_error_says_so(monkeypatch):
    with Server({}) as proxy:
        monkeypatch.setenv("http_proxy", proxy.address)
        with pytest.raises(ValueError, match=r"proxies of the environment are not used"):
            download("http://127.0.0.1:1/", allow_private=True)
        assert proxy.connections == 0


def test_what_is_fetched_is_limited_in_pixels_too():
    with Server({"/": answer(encoded(Image.new("RGB", (50, 50))))}) as server:
        options = ImageOptions(allow_urls=True, allow_private_urls=True, max_pixels=2499)
        with pytest.raises(ValueError, match="50x50 pixels are more than the limit of 2499"):
            read_image(server.address + "/", options)
