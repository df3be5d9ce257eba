# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Files of records, by index: `len(reader)`, `reader[index]` (a raw record), `reader.describe(index)`.

`reader.folder` is what image paths are relative to; None where the data hold their images themselves. Readers can be
sent to other processes.
"""

import json
import os
from array import array
from bisect import bisect_right
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from wings_hf.data.errors import DataError
from wings_hf.data.tar_files import TarRecords


class Reader(Protocol):
    """Raw records by index."""

    @property
    def folder(self) -> Path | None: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...

    def describe(self, index: int) -> str: ...


def needs(package: str) -> DataError:
    """What to say where an optional package is missing."""
    return DataError(f"these data need the package {package}: pip install 'wings_hf[data]'", "missing package")


class JsonRecords:
    """A `.json` file with a list of records, in memory."""

    def __init__(self, path: Path) -> None:
        self.path, self.folder = path, path.parent
        try:
            self.records = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})", "unreadable file") from error
        except UnicodeDecodeError as error:
            where = f"{error.reason} at byte {error.start}"
            raise DataError(f"{path}: not UTF-8 text ({where})", "unreadable file") from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: not valid JSON, {_json_fault(error)}", "invalid JSON") from error
        if not isinstance(self.records, list):
            raise DataError(f"{path}: expected a list of records, got {type(self.records).__name__}")

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Any:
        return self.records[index]

    def describe(self, index: int) -> str:
        return f"{self.path}, record {index}{_id(self.records[index])}"


class JsonLines:
    """A `.jsonl` file with one record a line. Only where lines begin is kept in memory."""

    def __init__(self, path: Path) -> None:
        self.path, self.folder = path, path.parent
        self.starts = array("q")
        self.ends = array("q")
        self._file: tuple[int, int] | None = None
        try:
            with open(path, "rb") as file:
                position = 0
                for line in file:
                    if line.strip():
                        self.starts.append(position)
                        self.ends.append(position + len(line))
                    position += len(line)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})", "unreadable file") from error

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> Any:
        try:
            return json.loads(self._line(index).decode("utf-8"))
        except UnicodeDecodeError as error:
            raise DataError(f"not UTF-8 text ({error.reason})", "invalid JSON") from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"not valid JSON, {_json_fault(error)}", "invalid JSON") from error

    def describe(self, index: int) -> str:
        try:
            raw = self[index]
        except DataError:
            raw = None
        return f"{self.path}, record {index}{_id(raw)}"

    def _line(self, index: int) -> bytes:
        if self._file is None or self._file[0] != os.getpid():  # a forked process needs a file of its own
            self._file = (os.getpid(), os.open(self.path, os.O_RDONLY))
        return os.pread(self._file[1], self.ends[index] - self.starts[index], self.starts[index])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def __del__(self) -> None:
        if getattr(self, "_file", None) and self._file[0] == os.getpid():  # type: ignore[index]
            os.close(self._file[1])  # type: ignore[index]


class ParquetRows:
    """The rows of a Parquet file, a row group at a time: for reading in order. Images are structs `{bytes, path}`."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow.parquet
        except ImportError as error:
            raise needs("pyarrow") from error
        self.path, self.folder = path, path.parent
        self._open: tuple[int, Any] | None = None
        self._group: tuple[int, list[Any]] = (-1, [])
        try:
            metadata = pyarrow.parquet.read_metadata(path)
        except (OSError, pyarrow.ArrowException) as error:
            raise DataError(f"{path}: cannot be read as a Parquet file ({error})", "unreadable file") from error
        self.firsts = [0]
        for group in range(metadata.num_row_groups):
            self.firsts.append(self.firsts[-1] + metadata.row_group(group).num_rows)

    def __len__(self) -> int:
        return self.firsts[-1]

    def __getitem__(self, index: int) -> Any:
        group = bisect_right(self.firsts, index) - 1
        if self._group[0] != group:
            self._group = (group, self._read_group(group))
        return self._group[1][index - self.firsts[group]]

    def _read_group(self, group: int) -> list[Any]:
        import pyarrow.parquet

        if self._open is None or self._open[0] != os.getpid():
            self._open = (os.getpid(), pyarrow.parquet.ParquetFile(self.path))
        try:
            return self._open[1].read_row_group(group).to_pylist()
        except (OSError, pyarrow.ArrowException) as error:
            raise DataError(f"row group {group} cannot be read ({error})", "unreadable file") from error

    def describe(self, index: int) -> str:
        return f"{self.path}, record {index}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None, "_group": (-1, [])}


class DatasetRows:
    """A `datasets.Dataset`; images stay encoded until a batch is made of them.

    Args:
        dataset: with a column of chat messages, and images in `image` or `images` where there are any.
        name: what it is called in messages.
        folder: what image paths are relative to; None if rows hold their images.
    """

    def __init__(self, dataset: Any, name: str, folder: Path | None = None) -> None:
        self.dataset = dataset.with_format("arrow")  # as it is stored: images as {"bytes", "path"}
        self.name, self.folder = name, folder

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index].to_pylist()[0]

    def describe(self, index: int) -> str:
        return f"{self.name}, record {index}"


class Renamed:
    """A reader whose records name their fields otherwise, `{"messages": "their name"}`; and its first records only."""

    def __init__(self, reader: Reader, columns: Mapping[str, str], folder: Path | None, limit: int | None) -> None:
        self.reader, self.columns = reader, dict(columns)
        self.folder = reader.folder if folder is None or reader.folder is None else folder
        self.limit = limit

    def __len__(self) -> int:
        return len(self.reader) if self.limit is None else min(self.limit, len(self.reader))

    def __getitem__(self, index: int) -> Any:
        return renamed(self.reader[index], self.columns)

    def describe(self, index: int) -> str:
        return self.reader.describe(index)


def renamed(raw: Any, columns: Mapping[str, str]) -> Any:
    """The record with `columns[ours]` as `ours`."""
    if not columns or not isinstance(raw, Mapping):
        return raw
    return {**raw, **{ours: raw.get(theirs) for ours, theirs in columns.items()}}


READERS: dict[str, type[Any]] = {
    ".json": JsonRecords,
    ".jsonl": JsonLines,
    ".parquet": ParquetRows,
    ".tar": TarRecords,
}


def open_file(path: Path) -> Reader:
    """The reader for a file, by its ending.

    Raises:
        DataError: another ending, or a file that cannot be read.
    """
    if path.suffix not in READERS:
        raise DataError(
            f"{path}: unknown ending {path.suffix!r}, expected one of {', '.join(READERS)}", "unknown format"
        )
    return READERS[path.suffix](path)


def _json_fault(error: Exception) -> str:
    """What is wrong, and near what; lists too deep and numbers too long for Python's reader have no place."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} near {error.doc[max(error.pos - 20, 0) : error.pos + 20]!r}"
    return str(error)


def _id(raw: Any) -> str:
    return f" (id {raw['id']})" if isinstance(raw, Mapping) and "id" in raw else ""
