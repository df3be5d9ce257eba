# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Reading training files."""

import json
from pathlib import Path

import pytest
from PIL import Image

from wings_hf.data.records import DataError, read_records, to_messages

USER, ASSISTANT = "user", "assistant"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    (tmp_path / "broken.png").write_bytes(b"no image")
    return tmp_path


def text(value: str) -> dict:
    return {"type": "text", "text": value}


def image(name: str) -> dict:
    return {"type": "image", "path": f"folder/{name}"}


def llava(value: str, image: object = None, answer: str = "A pear.") -> dict:
    record = {"conversations": [{"from": "human", "value": value}, {"from": "gpt", "value": answer}]}
    return record if image is None else {"id": "7", "image": image, **record}


@pytest.mark.parametrize(
    ("raw", "content"),
    [
        (llava("Hello"), [text("Hello")]),
        (llava("<image>\nWhat?", "a.png"), [image("a.png"), text("What?")]),
        (llava("What?\n<image>", "a.png"), [text("What?"), image("a.png")]),
        (llava("What?", "a.png"), [image("a.png"), text("What?")]),
        (llava("<image><image> Same?", ["a.png", "b.png"]), [image("a.png"), image("b.png"), text(" Same?")]),
        (
            llava("Is <image> like <image>?", ["a.png", "b.png"]),
            [text("Is "), image("a.png"), text(" like "), image("b.png"), text("?")],
        ),
    ],
)
def test_llava_records_become_messages(raw: dict, content: list) -> None:
    messages = to_messages(raw, Path("folder"))
    assert messages == [
        {"role": USER, "content": content},
        {"role": ASSISTANT, "content": [text("A pear.")]},
    ]


def chat(content: object, **fields: object) -> dict:
    return {"messages": [{"role": USER, "content": content}, {"role": ASSISTANT, "content": "A pear."}], **fields}


@pytest.mark.parametrize(
    ("raw", "content"),
    [
        (chat("Hello"), [text("Hello")]),
        (chat("<image>What?", images=["a.png"]), [image("a.png"), text("What?")]),
        (chat([{"type": "image", "path": "a.png"}, text("What?")]), [image("a.png"), text("What?")]),
        (chat([{"type": "image"}, text("What?")], images=["a.png"]), [image("a.png"), text("What?")]),
        (chat([{"type": "image", "url": "https://x/y.png"}]), [{"type": "image", "url": "https://x/y.png"}]),
    ],
)
def test_chat_records_become_messages(raw: dict, content: list) -> None:
    assert to_messages(raw, Path("folder"))[0] == {"role": USER, "content": content}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ([], "expected an object"),
        ({"id": 3}, "expected 'conversations' or 'messages'"),
        (llava("<image><image>", "a.png"), "2 places for images without a path of their own, 1 images listed"),
        (llava("<image>"), "1 places for images without a path of their own, 0 images listed"),
        (llava("Hello", answer=" "), "assistant turn without text"),
        ({"messages": [{"role": "alien", "content": "Hello"}]}, "'role'"),
        ({"messages": [{"role": "user", "content": 3}]}, "'content'"),
        (chat([{"type": "video"}]), "expected content of type 'text' or 'image'"),
        (chat([{"type": "image", "path": 3}]), "by its path or address"),
        (chat([{"type": "image", "path": "."}]), "image '.' names no file, but folder"),
        (chat([{"type": "image", "path": ""}]), "image '' names no file, but folder"),
    ],
)
def test_other_records_are_refused_with_a_reason(raw: object, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        to_messages(raw, Path("folder"))


def write_mixed(folder: Path) -> Path:
    rows = [llava("<image>What?", "a.png"), llava("<image>What?", "gone.png"), llava("Hi"), llava("?", "broken.png")]
    path = folder / "data.json"
    path.write_text(json.dumps(rows))
    return path


def test_unusable_records_are_all_named(images: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_records([write_mixed(images)])
    message = str(caught.value)
    assert "2 of 4 records" in message
    assert "data.json, record 1 (id 7)" in message and "gone.png does not exist" in message
    assert "record 3 (id 7)" in message and "broken.png cannot be read as an image" in message


def test_unusable_records_are_skipped_on_request(images: Path) -> None:
    records, problems = read_records([write_mixed(images)], on_error="skip")
    assert [record.source[-8:] for record in records] == ["0 (id 7)", "record 2"]
    assert len(problems) == 2 and len(records[0].images) == 1


def test_lines_and_lists_and_other_image_folders(images: Path) -> None:
    (images / "sub").mkdir()
    lines = images / "sub" / "data.jsonl"
    lines.write_text(json.dumps(chat("<image>", images=["a.png"])) + "\n\n" + json.dumps(llava("Hi")) + "\n")
    records, _ = read_records([lines], image_folder=images)
    assert [len(record.images) for record in records] == [1, 0]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[{]", "not valid JSON"),
        ("{}", "expected a list of records"),
        (b"\xff", "not UTF-8"),
        ("[]", "No usable record"),
    ],
)
def test_unreadable_files_are_named(tmp_path: Path, content: str | bytes, reason: str) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=reason) as caught:
        read_records([path], on_error="skip")
    assert str(path) in str(caught.value)
    with pytest.raises(DataError, match="cannot be read"):
        read_records([tmp_path / "gone.json"])
