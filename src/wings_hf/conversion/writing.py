# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Writes the files of a plan, one after the other; goes on where an interrupted run stopped.

`conversion.json` in the destination says what was asked for and what is done: for every finished file its tensors with
their names, shapes, dtypes and checksums. A file gets its name when it is whole, and enters the record when it was read
back and equals the source.
"""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wings_hf.conversion.checkpoint import INDEX
from wings_hf.conversion.tensor_files import Move, find_damage, write_moves

RECORD = "conversion.json"
RECORD_VERSION = 1
PARTIAL = ".partial"  # behind the name of a file that is being written
Progress = Callable[[int], None]


class Record:
    """What `conversion.json` holds: `settings`, `files` and whether the conversion is `complete`."""

    def __init__(self, folder: Path, settings: dict[str, Any]):
        self.path = folder / RECORD
        self.settings = json.loads(json.dumps(settings))
        self.files: dict[str, dict[str, dict[str, Any]]] = {}
        self.complete = False

    @classmethod
    def begin(cls, folder: Path, source: Path, settings: dict[str, Any], restart: bool) -> "Record":
        """
        The record of a new conversion, or of the one that `folder` holds.

        Args:
            folder: the destination.
            source: the folder that is read, which nothing is written to.
            settings: all that decides what is written; `files` are the names of the files.
            restart: delete what an earlier conversion wrote.

        Raises:
            ValueError: for a folder that holds something else, or a conversion with other settings.
        """
        if folder.exists() and folder.samefile(source):
            raise ValueError(f"{folder} is the source itself, which is left as it is: expected another folder.")
        record = cls(folder, settings)
        if record.path.is_file() and not restart:
            record._resume()
        elif folder.exists() and any(folder.iterdir()) and not record.path.is_file():
            raise ValueError(f"{folder} is not empty, and holds no conversion to go on with: expected a new folder.")
        elif record.path.is_file():
            record._discard()
        folder.mkdir(parents=True, exist_ok=True)
        record.save()
        return record

    def _resume(self) -> None:
        found = self._read()
        settings, version = found["settings"], found["version"]
        self.files = found["files"]
        changed = sorted(
            key for key in settings.keys() | self.settings.keys() if settings.get(key) != self.settings.get(key)
        )
        if changed or version != RECORD_VERSION:
            raise ValueError(
                f"{self.path.parent} holds a conversion with other settings ({_changes(settings, self.settings)}). "
                "Expected the same ones, another folder, or --restart, which deletes what it holds."
            )

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self.path.read_text())
            found["settings"]["files"], found["files"], found["version"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self.path} is no record of a conversion that can be gone on with: expected another folder."
            ) from error
        return found

    def _discard(self) -> None:
        """Deletes what an earlier conversion wrote."""
        for name in [*self._read()["settings"]["files"], INDEX]:
            for left in (Path(name).name, f"{Path(name).name}{PARTIAL}"):
                (self.path.parent / left).unlink(missing_ok=True)

    def add(self, file: str, moves: list[Move], digests: dict[str, str]) -> None:
        """Enters a finished file."""
        self.files[file] = {
            move.name: {
                "source": move.source.name,
                "shape": list(move.shape),
                "dtype": move.source.dtype,
                "transposed": move.transposed,
                "sha256": digests[move.name],
            }
            for move in moves
        }
        self.save()

    def save(self, complete: bool = False) -> None:
        self.complete = complete
        content = {
            "version": RECORD_VERSION,
            "complete": complete,
            "settings": self.settings,
            "files": self.files,
        }
        write_text(self.path, json.dumps(content, indent=1))

    def digests(self, file: str) -> dict[str, str]:
        """Name -> checksum of the tensors of a finished file."""
        return {name: entry["sha256"] for name, entry in self.files[file].items()}


def _changes(before: dict[str, Any], now: dict[str, Any]) -> str:
    """The settings that differ, the innermost ones, with both values."""
    changes = []
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            changes.append(_changes(old, new))
        elif old != new:
            changes.append(f"{key}: {old!r} before, {new!r} now")
    return ", ".join(change for change in changes if change)


def write_files(folder: Path, files: dict[str, list[Move]], record: Record, progress: Progress) -> list[str]:
    """
    Writes and verifies the files that `record` does not hold, and verifies those that it does.

    Args:
        folder: where they go.
        files: file name -> what goes there.
        record: of this conversion.
        progress: called with the number of bytes done since it was called last; each byte counts twice, when it is
            written and when it is verified.

    Returns:
        names of files that were there already and intact.

    Raises:
        OSError: where what was written differs from the source, or the disk is too small.
    """
    intact = []
    for name, moves in files.items():
        if name in record.files and find_damage(folder / name, moves, record.digests(name), progress) is None:
            intact.append(name)
            progress(sum(move.source.nbytes for move in moves))
        else:
            record.files.pop(name, None)
    _check_space(folder, [moves for name, moves in files.items() if name not in intact])
    for name, moves in files.items():
        if name not in intact:
            record.add(name, moves, write_file(folder / name, moves, progress))
    return intact


def write_file(path: Path, moves: list[Move], progress: Progress) -> dict[str, str]:
    """Writes one file, reads it back, and returns the checksums of its tensors."""
    digests: dict[str, str] = {}
    partial = path.with_name(path.name + PARTIAL)
    try:
        write_moves(partial, moves, digests.__setitem__, progress)
        damage = find_damage(partial, moves, digests, progress)
        if damage is not None:
            raise OSError(f"What was written differs from the source: {damage}. Is the disk sound?")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return digests


def _check_space(folder: Path, shards: list[list[Move]]) -> None:
    needed = sum(move.source.nbytes for moves in shards for move in moves)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(f"{folder} needs {needed / 1e9:.1f} GB more, but its disk has {free / 1e9:.1f} GB left.")


def make_writable(folder: Path) -> None:
    """Makes the folder where it is not there; to be called before the work whose results go there.

    Raises:
        OSError: it cannot be made, or not be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


def write_text(path: Path, text: str) -> None:
    """Writes a small file such that a reader sees the old content or the new, never a part."""
    partial = path.with_name(path.name + PARTIAL)
    partial.write_text(text, encoding="utf-8", newline="\n")
    os.replace(partial, path)


def write_index(folder: Path, files: dict[str, list[Move]]) -> None:
    """The index of a checkpoint in several files; none for a single one."""
    path = folder / INDEX
    if len(files) == 1:
        path.unlink(missing_ok=True)
        return
    weight_map = {move.name: name for name, moves in files.items() for move in moves}
    total = sum(move.source.nbytes for moves in files.values() for move in moves)
    index = {"metadata": {"format": "pt", "total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    write_text(path, json.dumps(index, indent=2) + "\n")
