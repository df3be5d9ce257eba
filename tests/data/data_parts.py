# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Small data sets in every form, for the tests of what reads them."""

import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from wings_hf.data.records import Record


def png(shade: int = 0, size: tuple[int, int] = (8, 6), form: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, (shade % 256, 0, 0)).save(stream, form)
    return stream.getvalue()


def raw_record(number: int, places: int = 0, **fields: object) -> dict:
    """A record whose answer is its number, with so many places for images."""
    question = "<image>" * places + f"What is {number}?"
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": str(number)}]
    return {"messages": turns, **fields}


def write_lines(path: Path, records: Iterable[object]) -> Path:
    path.write_text("\n".join(json.dumps(record) for record in records) + "\n")
    return path


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def tar_members(numbers: Iterable[int], images: int = 1) -> list[tuple[str, bytes]]:
    """Members of records with their images beside them."""
    members = []
    for number in numbers:
        members.append((f"set/{number:04}.json", json.dumps(raw_record(number, images)).encode()))
        members += [(f"set/{number:04}.{i}.png", png(number + i)) for i in range(images)]
    return members


def answers(records: Iterable[Record]) -> list[int]:
    return [int(record.answers[-1]) for record in records]


def counted(records: Iterable[Record]) -> Counter[int]:
    return Counter(answers(records))
