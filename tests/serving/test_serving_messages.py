# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Messages of clients: what is read, what is refused, and that no file or address is ever touched."""

import base64
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from wings_hf.serving.limits import Limits, RequestError
from wings_hf.serving.messages import read_messages
from wings_hf.serving.settings import check_settings

LIMITS = Limits(images=3, pixels=1000)


def png(width: int = 8, height: int = 8) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (width, height), 90).save(stream, "PNG")
    return stream.getvalue()


def header_only(width: int, height: int) -> bytes:
    """A PNG that says it is huge, in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def url(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def user(*urls: Any, text: str = "Read") -> list[dict[str, Any]]:
    images = [{"type": "image_url", "image_url": {"url": each}} for each in urls]
    return [{"role": "user", "content": [*images, {"type": "text", "text": text}]}]


def test_images_come_out_as_pixels_and_the_rest_as_it_was() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    given = [{"role": "system", "content": "Be brief."}, *user(url(png(4, 2)), text="What?")]
    given += [{"role": "assistant", "content": None, "tool_calls": [call]}]
    given += [{"role": "tool", "tool_call_id": "1", "content": "2"}]
    system, shown, called, answered = read_messages(given, LIMITS)
    assert system == {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
    assert shown["content"][0]["image"].size == (4, 2) and shown["content"][0]["image"].mode == "RGB"
    assert shown["content"][1] == {"type": "text", "text": "What?"}
    assert called["tool_calls"][0]["function"] == {"name": "f", "arguments": {"x": 1}}
    assert answered["tool_call_id"] == "1"


def test_a_model_without_sight_gets_texts_and_refuses_images() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert read_messages([{"role": "user", "content": parts}], LIMITS, sees=False)[0]["content"] == "a b"
    with pytest.raises(RequestError, match="reads text only"):
        read_messages(user(url(png())), LIMITS, sees=False)


@pytest.mark.parametrize("start", ["", "file://", "FILE://localhost", "file:"])
@pytest.mark.parametrize("allow_urls", [False, True])
def test_no_file_of_the_server_is_read(tmp_path: Path, start: str, allow_urls: bool) -> None:
    """Not even one that is an image: and nothing tells whether it is there."""
    path = tmp_path / "secret.png"
    path.write_bytes(png())
    limits = Limits(allow_urls=allow_urls)
    messages = []
    for name in (path, tmp_path / "no-such.png"):
        with pytest.raises(RequestError, match=r"must be a data: URL") as refused:
            read_messages(user(f"{start}{name}"), limits)
        messages.append(str(refused.value).replace(str(name)[:40], ""))
    assert messages[0].partition(", got")[0] == messages[1].partition(", got")[0]


@pytest.mark.parametrize(
    "item",
    [
        {"type": "image", "path": "/etc/passwd"},
        {"type": "image", "url": "/etc/passwd"},
        {"type": "image", "image": "/etc/passwd"},
        {"type": "image_url", "image_url": {"url": {"path": "/etc/passwd"}}},
        {"type": "image_url", "image_url": {"url": ["/etc/passwd"]}},
        {"type": "image_url", "image_url": {"path": "/etc/passwd"}},
        {"type": "image_url"},
        {"type": "video_url", "video_url": {"url": "file:///etc/passwd"}},
        {"type": "input_audio", "input_audio": {"data": ""}},
        "text",
        {},
    ],
)
def test_other_ways_to_name_a_file_are_no_parts_of_a_message(item: Any) -> None:
    with pytest.raises(RequestError, match=r"messages\[0\]\.content\[0\]"):
        read_messages([{"role": "user", "content": [item]}], LIMITS)


def test_web_addresses_are_taken_only_where_they_were_fetched_before() -> None:
    address = "http://127.0.0.1:9/a.png"
    for limits in (LIMITS, Limits(allow_urls=True)):
        with pytest.raises(RequestError, match="must be a data: URL"):
            read_messages(user(address), limits)
    read = read_messages(user(address), LIMITS, fetched={address: png(4, 2)})
    assert read[0]["content"][0]["image"].size == (4, 2)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (url(b"no image"), "not an image"),
        (url(png(30, 30)[:-30]), "damaged"),
        ("data:image/png;base64,@@@", "base64"),
        ("data:image/png;base64", "no ','"),
        (url(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "not an image"),
        (url(header_only(40, 40)), "1600|40x40"),
        (url(header_only(50_000, 50_000)), "exceeds the limit"),
        (url(header_only(0, 0)), "not an image|empty"),
    ],
)
def test_broken_and_huge_images_are_the_clients_mistake(data: str, said: str) -> None:
    with pytest.raises(RequestError, match=said) as refused:
        read_messages(user(data), LIMITS)
    body = refused.value.body()["error"]
    assert refused.value.status == 400 and body["code"] == "invalid_image"
    assert body["param"] == "messages[0].content[0].image_url" and len(body["message"]) < 500


def test_images_of_a_request_share_its_limits() -> None:
    read_messages(user(*[url(png(18, 18))] * 3), LIMITS)  # 972 pixels
    with pytest.raises(RequestError, match="more than 3 images"):
        read_messages(user(*[url(png())] * 4), LIMITS)
    with pytest.raises(RequestError, match=r"content\[1\].*limit of 100"):
        read_messages(user(url(png(30, 30)), url(png(11, 11))), LIMITS)


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        (None, "at least one message, got None"),
        ([], "at least one message"),
        ("hi", "at least one message, got 'hi'"),
        (["hi"], r"messages\[0\]: expected an object"),
        ([{"content": "x"}], "role is None"),
        ([{"role": "root", "content": "x"}], "role is 'root'"),
        ([{"role": ["user"], "content": "x"}], "role is"),
        ([{"role": "user"}], "content must be"),
        ([{"role": "user", "content": []}], "content must be"),
        ([{"role": "user", "content": [{"type": "text"}]}], "must be a text, got None"),
        ([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}], "not JSON"),
        ([{"role": "assistant", "tool_calls": [5]}], "expected objects"),
        ([{"role": "user", "content": "x" * 10**6, "tool_calls": 3}], "must be a list"),
    ],
)
def test_malformed_messages_are_named(messages: Any, said: str) -> None:
    with pytest.raises(RequestError, match=said) as refused:
        read_messages(messages, LIMITS)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    "settings",
    [
        {"max_tokens": 0},
        {"max_tokens": "5"},
        {"max_tokens": True},
        {"max_tokens": 101},
        {"max_completion_tokens": 10**400},
        {"temperature": float("nan")},
        {"temperature": "hot"},
        {"temperature": 3},
        {"top_p": 0},
        {"top_k": -1},
        {"seed": 2**70},
        {"stop": [""]},
        {"stop": 5},
        {"logit_bias": {"a": 1}},
        {"logit_bias": {"1": "x"}},
        {"stream": "yes"},
        {"n": 2},
        {"logprobs": True},
        {"frequency_penalty": 0.5},
        {"response_format": {"type": "json_object"}},
        {"generation_config": '{"num_beams": 100000}'},
        {"tools": {}},
        {"chat_template_kwargs": "x"},
        {"wings": 1},
    ],
)
def test_settings_that_this_server_does_not_have_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=next(iter(settings))) as refused:
        check_settings(settings, max_new_tokens=100)
    assert len(str(refused.value)) < 300


def test_settings_of_common_clients_pass() -> None:
    common = {"n": 1, "logprobs": False, "presence_penalty": 0.0, "response_format": {"type": "text"}, "user": "me"}
    ours = {"max_tokens": 100, "temperature": 0, "top_p": 1, "top_k": 5, "min_p": 0.1, "stop": "x", "seed": -1}
    check_settings({**common, **ours, "stream_options": {"include_usage": True}, "tools": None}, max_new_tokens=100)


@pytest.mark.parametrize("field", ["request_bytes", "images", "pixels", "new_tokens", "requests"])
def test_limits_are_positive(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field}=0"):
        Limits(**{field: 0})
