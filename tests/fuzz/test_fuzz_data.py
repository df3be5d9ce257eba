# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Damaged and hostile training data: records whose images lie in their folder, or DataError."""

import functools
import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from fuzz_parts import LARGE_INTS, TEXTS, VALUES, altered, mutated, result_or, scratch
from hypothesis import given
from hypothesis import strategies as st
from processor_parts import encoded, picture

from wings_hf.data.errors import DataError
from wings_hf.data.examine import Examination, facts_of
from wings_hf.data.readers import open_file
from wings_hf.data.records import Record, to_messages
from wings_hf.data.sources import Source

PNG = encoded(picture(1, 6, 4))
LLAVA = {
    "id": "17",
    "image": "17.png",
    "conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A pear."}],
}
MESSAGES = {
    "messages": [
        {"role": "user", "content": [{"type": "image", "path": "17.png"}, {"type": "text", "text": "What?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "A pear."}]},
    ]
}
PATHS = st.sampled_from(
    ["../secret.png", "/etc/hostname", "a/../../secret.png", "file:///etc/hostname", "~/x", "17.png\0"]
)
RECORDS = st.one_of(altered(LLAVA, st.one_of(VALUES, PATHS)), altered(MESSAGES, st.one_of(VALUES, PATHS)), VALUES)
DEEP = b'[{"messages": ' + b"[" * 100_000
TEXT_FILES = [
    json.dumps([LLAVA, MESSAGES]).encode(),
    json.dumps(LLAVA).encode() + b"\n" + json.dumps(MESSAGES).encode() + b"\n",
    DEEP,
    b'[{"id": ' + b"9" * 5000 + b"}]",
    b"\xef\xbb\xbf[]",
    b"[NaN, 1e999]",
]


@functools.cache
def folder() -> Path:
    """`data` with an image in it, and a secret beside it."""
    root = scratch()
    (root / "data").mkdir()
    (root / "data" / "17.png").write_bytes(PNG)
    (root / "secret.png").write_bytes(PNG)
    return root / "data"


def examine(raw, folder: Path | None) -> None:
    """One record as training reads it."""
    record = Record(to_messages(raw, folder), "")
    for item in record.images:
        if "path" in item:
            assert folder is not None and os.path.normpath(item["path"]).startswith(f"{folder}{os.sep}"), item
    facts_of(record, Examination(decode=True))


@given(raw=RECORDS)
def test_records(raw):
    with result_or(DataError):
        examine(raw, folder())


def read_all(path: Path) -> None:
    """All records of a file, each of which may be refused by itself."""
    with result_or(DataError):
        reader = open_file(path)
        assert len(reader) < 10_000
        for index in range(len(reader)):
            with result_or(DataError):
                assert reader.describe(index)
                examine(reader[index], reader.folder)


@given(data=mutated(TEXT_FILES), ending=st.sampled_from([".json", ".jsonl"]))
def test_text_files(data, ending):
    path = folder() / f"file{ending}"
    path.write_bytes(data)
    read_all(path)


def tar_file(members: list[tuple[str, bytes, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
    """An archive of (name, type, content)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for name, kind, content in members:
            entry = tarfile.TarInfo(name)
            entry.type, entry.size, entry.linkname = kind, len(content), "/etc/passwd"
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def tars() -> list[bytes]:
    record = {**MESSAGES, "image": None}
    texts = [json.dumps(each).encode() for each in (record, LLAVA)]
    plain = [("0001.json", tarfile.REGTYPE, texts[0]), ("0001.17.png", tarfile.REGTYPE, PNG)]
    plain += [("0002.json", tarfile.REGTYPE, texts[1]), ("0002.png", tarfile.REGTYPE, PNG)]
    links = [
        ("0003.json", tarfile.SYMTYPE, b""),
        ("../0004.json", tarfile.LNKTYPE, b""),
        ("/0005.png", tarfile.REGTYPE, PNG),
    ]
    long = [("a" * 300 + ".json", tarfile.REGTYPE, texts[0])]
    return [tar_file(plain), tar_file(plain + links), tar_file(long + plain), tar_file(long, tarfile.GNU_FORMAT)]


@given(data=mutated(tars(), head=1024))
def test_tar_files(data):
    path = folder() / "file.tar"
    path.write_bytes(data)
    before = sorted(path.parent.parent.rglob("*"))
    read_all(path)
    assert sorted(path.parent.parent.rglob("*")) == before


@given(
    fields=st.lists(st.tuples(st.sampled_from([124, 148, 156, 0, 100]), st.binary(min_size=1, max_size=12)), max_size=3)
)
def test_tar_headers_with_a_right_checksum(fields):
    data = bytearray(tars()[0])
    for place, new in fields:
        data[place : place + len(new)] = new
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    path = folder() / "header.tar"
    path.write_bytes(bytes(data))
    read_all(path)


def test_a_tar_member_of_negative_size_does_not_go_on_for_ever():
    data = bytearray(tars()[0])
    data[124:136] = b"\xff" * 10 + b"\xfe\x00"  # base 256: -512
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    path = folder() / "negative.tar"
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match="cannot be read as a tar file"):
        open_file(path)


def test_a_chain_of_tar_headers_is_refused():
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 4
    path = folder() / "chain.tar"
    path.write_bytes((entry.tobuf(tarfile.GNU_FORMAT) + b"name".ljust(512, b"\0")) * 3000)
    with pytest.raises(DataError, match="cannot be read as a tar file"):
        open_file(path)


def parquet_files() -> list[bytes]:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [{**MESSAGES, "images": [{"bytes": PNG, "path": "17.png"}]} for _ in range(4)]
    plain = [{"conversations": LLAVA["conversations"], "image": "17.png"}]
    files = []
    for table, how in ((rows, "snappy"), (plain, "none"), (plain, "gzip")):
        stream = io.BytesIO()
        parquet.write_table(pyarrow.Table.from_pylist(table), stream, compression=how, row_group_size=2)
        files.append(stream.getvalue())
    return files


@given(data=st.deferred(lambda: mutated(parquet_files(), edits=3)))
def test_parquet_files(data):
    path = folder() / "file.parquet"
    path.write_bytes(data)
    read_all(path)


NAMES = st.sampled_from(["a{0..3}.json", "{", "{1..", "{0..99999999999}.json", "*.json", "[", "{a,b}{c,d}"])
FIELDS = {"path": st.one_of(TEXTS, NAMES), "limit": LARGE_INTS}
FIELDS |= dict.fromkeys(["weight", "columns", "image_folder", "split", "text_only", "streaming"], VALUES)


@given(value=st.one_of(VALUES, st.fixed_dictionaries({}, optional=FIELDS)))
def test_sources(value):
    with result_or(DataError):
        for reader in Source.of(value).open():
            len(reader)
