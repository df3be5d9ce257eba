# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""WebDataset tar files: members that share a name up to its first dot are one record.

    0001.json  0001.jpg  0002.json  0002.a.png  0002.b.png  0003.json

The `.json` member is the record, in any form that `to_messages` reads. It names its images by member (`"0002.a.png"`,
or `"a.png"` within the record), or not at all: then they are its image members in order.

Members are untrusted: they are read where they lie, by offset; nothing is written to disk, links are not followed, and
no name ever becomes a path.
"""

import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from wings_hf.data.errors import DataError
from wings_hf.data.images import WEB

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm")
MAX_MEMBER_BYTES = 1 << 30
BLOCK = 512
# Names that images go by in messages and beside them.
NAMING_FIELDS = ("image", "images")
NAMING_KEYS = ("image", "path", "url")


class Member(NamedTuple):
    """A file in the archive: what follows the record's key in its name, and where its bytes are."""

    name: str
    offset: int
    size: int


class TarRecords:
    """The records of one uncompressed tar file, by index.

    Making it reads the headers; records are read when asked for. It can be sent to other processes.

    Raises:
        DataError: no tar file, a compressed one, or one that is cut off.
    """

    folder = None  # images are in the archive

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys: list[str] = []
        self.groups: list[list[Member]] = []
        self._index()
        self._file: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def describe(self, index: int) -> str:
        return f"{self.path}, record {index} (key {self.keys[index]})"

    def __getitem__(self, index: int) -> Any:
        """The raw record, its images as bytes.

        Raises:
            DataError: no JSON, or an image that is not there.
        """
        members = self.groups[index]
        texts = [member for member in members if member.name.lower().endswith(".json")]
        if len(texts) != 1:
            raise DataError(f"{len(texts)} .json members, expected one")
        try:
            raw = json.loads(self._read(texts[0]))
        except (ValueError, RecursionError) as error:
            raise DataError(f"its .json member is not valid JSON ({error})", "invalid JSON") from error
        if not isinstance(raw, Mapping):
            return raw
        return self._with_images(dict(raw), self.keys[index], members)

    # -- the archive --------------------------------------------------------------------------------------

    def _index(self) -> None:
        try:
            with tarfile.open(self.path, "r:") as archive:
                for entry in archive:
                    if entry.size < 0:  # Python's reader would come back to the same member for ever
                        raise tarfile.ReadError(f"member {entry.name!r} has a size of {entry.size} bytes")
                    self._add(entry)
                    archive.members = []  # type: ignore[attr-defined]  # or it keeps all headers in memory
                end = archive.offset
        except (tarfile.TarError, EOFError, OSError, ValueError, RecursionError) as error:
            hint = "; compressed archives must be unpacked to .tar first" if self.path.suffix != ".tar" else ""
            raise DataError(f"{self.path}: cannot be read as a tar file ({error}){hint}", "unreadable file") from error
        with open(self.path, "rb") as file:
            file.seek(end)
            if file.read(BLOCK) != bytes(BLOCK):
                raise DataError(f"{self.path}: cut off or damaged at byte {end}", "unreadable file")

    def _add(self, entry: tarfile.TarInfo) -> None:
        if not entry.isreg() or entry.issparse():
            return
        folder, _, base = entry.name.rpartition("/")
        stem, _, suffix = base.partition(".")
        key = f"{folder}/{stem}" if folder else stem
        if not self.keys or self.keys[-1] != key:
            self.keys.append(key)
            self.groups.append([])
        self.groups[-1].append(Member(f".{suffix}", entry.offset_data, entry.size))

    def _read(self, member: Member) -> bytes:
        if member.size > MAX_MEMBER_BYTES:
            raise DataError(f"member {member.name} claims {member.size} bytes", "unusable image")
        if self._file is None or self._file[0] != os.getpid():  # a forked process needs a file of its own
            self._file = (os.getpid(), os.open(self.path, os.O_RDONLY))
        data = os.pread(self._file[1], member.size, member.offset)
        if len(data) != member.size:
            raise DataError(f"member {member.name} is cut off", "unreadable file")
        return data

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def __del__(self) -> None:
        if getattr(self, "_file", None) and self._file[0] == os.getpid():  # type: ignore[index]
            os.close(self._file[1])  # type: ignore[index]

    # -- its images ---------------------------------------------------------------------------------------

    def _with_images(self, raw: dict[str, Any], key: str, members: list[Member]) -> dict[str, Any]:
        """The record with the bytes of its images where it names them, or beside it where it names none."""
        images = [member for member in members if member.name.lower().endswith(IMAGE_SUFFIXES)]
        by_name: dict[str, Member] = {}
        for member in images:
            base = PurePosixPath(key).name + member.name
            by_name.update({base: member, member.name: member, member.name.removeprefix("."): member})
        named = False

        def resolve(source: Any) -> Any:
            nonlocal named
            if not isinstance(source, str):
                return [resolve(one) for one in source] if isinstance(source, list) else source
            named = True
            if source.startswith(("data:", *WEB)):
                return source
            member = by_name.get(source) or by_name.get(PurePosixPath(source).name)
            if member is None:
                raise DataError(f"image {source} is not among its members {sorted(by_name)}", "missing image")
            return self._read(member)

        for field in NAMING_FIELDS:
            if raw.get(field):
                raw[field] = resolve(raw[field])
        for turn in _turns_with_items(raw):
            turn["content"] = [_resolved(item, resolve) for item in turn["content"]]
        if not named and images:
            raw["images"] = [self._read(member) for member in images]
        return raw


def _turns_with_items(raw: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    turns = raw.get("messages") or raw.get("conversations")
    for turn in turns if isinstance(turns, list) else []:
        if isinstance(turn, dict) and isinstance(turn.get("content"), list):
            yield turn


def _resolved(item: Any, resolve: Any) -> Any:
    if not isinstance(item, dict) or item.get("type") != "image":
        return item
    return {
        name: resolve(value) if name in NAMING_KEYS and value is not None else value for name, value in item.items()
    }
