# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""WebDataset tar files: what belongs together, and archives that mean harm."""

import io
import json
import pickle
import tarfile
from pathlib import Path

import pytest
from data_parts import answers, png, raw_record, tar_members, write_tar

from wings_hf.data.conversations import open_data
from wings_hf.data.records import DataError
from wings_hf.data.tar_files import TarRecords


def images(record) -> list[bytes]:
    return [item["image"] for item in record.images]


def test_images_beside_a_record_come_in_order(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", tar_members([3], images=2))
    (record,) = open_data(path)
    assert images(record) == [png(3), png(4)]
    assert "record 0 (key set/0003)" in record.source


@pytest.mark.parametrize("names", [["b.png", "a.png"], [".b.png", ".a.png"], ["0001.b.png", "0001.a.png"]])
def test_a_record_may_name_its_images(names: list[str], tmp_path: Path) -> None:
    items = [{"type": "image", "path": name} for name in names]
    turns = [{"role": "user", "content": items}, {"role": "assistant", "content": "1"}]
    for number, raw in enumerate((raw_record(1, 2, images=names), {"messages": turns})):
        members = [("0001.json", json.dumps(raw).encode()), ("0001.a.png", png(1)), ("0001.b.png", png(2))]
        (record,) = open_data(write_tar(tmp_path / f"{number}.tar", members))
        assert images(record) == [png(2), png(1)]


def test_no_name_becomes_a_path_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png(9))
    (tmp_path / "data").mkdir()
    secret = str(tmp_path / "secret.png")
    path = tmp_path / "data" / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, data in [
            ("../../evil.json", json.dumps(raw_record(1, 1, images=[secret])).encode()),
            ("/etc/evil2.json", json.dumps(raw_record(2, 1, images=["../secret.png"])).encode()),
        ]:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        link = tarfile.TarInfo("/etc/evil2.png")
        link.type, link.linkname = tarfile.SYMTYPE, secret
        archive.addfile(link)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=r"2 of 2 records(?s:.*)secret.png is not among its members \[\]"):
        open_data(path)
    assert sorted(tmp_path.rglob("*")) == before


def test_damaged_archives_are_noticed(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", tar_members(range(4)))
    whole = path.read_bytes()
    last_header = max(i for i in range(0, len(whole), 512) if whole[i : i + 4] == b"set/")
    for cut in (last_header, last_header + 300, last_header + 520, 100):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"a.tar: (cut off|cannot be read as a tar file)"):
            open_data(path)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz"):
        pass
    with pytest.raises(DataError, match=r"unknown ending '\.gz'"):
        open_data(tmp_path / "a.tar.gz")


def test_a_record_without_json_or_with_two(tmp_path: Path) -> None:
    members = [("a.png", png()), ("b.json", b"{}"), ("b.x.json", b"{}"), *tar_members([7])]
    data = open_data(write_tar(tmp_path / "a.tar", members), on_error="skip")
    assert answers(data) == [7]
    assert [problem.reason for problem in data.problems] == [f"{n} .json members, expected one" for n in (0, 2)]


def test_it_can_be_sent_to_another_process(tmp_path: Path) -> None:
    reader = TarRecords(write_tar(tmp_path / "a.tar", tar_members([5])))
    first = reader[0]
    assert pickle.loads(pickle.dumps(reader))[0] == first


def test_what_the_webdataset_package_writes(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="the package webdataset is not installed")
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as sink:
        for number in range(3):
            sink.write({"__key__": f"{number:05}", "json": raw_record(number, 1), "jpg": png(number, form="JPEG")})
    data = open_data(tmp_path / "a.tar", shuffle=False)
    assert answers(data) == [0, 1, 2] and all(len(record.images) == 1 for record in data)
