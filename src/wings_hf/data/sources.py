# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Where data come from, as a plain dict that a recipe can hold: `{"path": "chat.jsonl", "weight": 2}`."""

import difflib
import functools
import glob
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from torch.utils.data import get_worker_info

from wings_hf.data.errors import DataError
from wings_hf.data.readers import READERS, DatasetRows, ParquetRows, Reader, Renamed, needs, open_file, renamed

SAVED_BY_DATASETS = ("state.json", "dataset_dict.json")


@dataclass(frozen=True)
class Source:
    """One source of records; `path` or `dataset` says where.

    Args:
        path: a `.json`, `.jsonl`, `.parquet` or `.tar` file, a pattern of such (`part-{000..031}.tar`, `*.jsonl`), or a
            folder that `datasets` saved or can load.
        dataset: a name on the Hub.
        subset: the configuration of `dataset`, where it has several.
        split: which of its splits; of folders too.
        revision: the commit, tag or branch of `dataset`.
        image_folder: what relative image paths are relative to; by default the folder of the file they stand in.
        columns: names of fields that differ: `{"messages": "conversation", "images": "pictures"}`.
        weight: its share of the mix, relative to the other sources' weights; all have one or none has.
        text_only: a promise that no record has images; one that has is an error.
        limit: only the first so many records.
        streaming: read in order, without an index or a check beforehand.
    """

    path: str | None = None
    dataset: str | None = None
    subset: str | None = None
    split: str = "train"
    revision: str | None = None
    image_folder: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    weight: float | None = None
    text_only: bool = False
    limit: int | None = None
    streaming: bool = False

    def __post_init__(self) -> None:
        if (self.path is None) == (self.dataset is None):
            raise DataError(f"a source needs either path or dataset, got {self!r}")
        for name in ("path", "dataset", "subset", "split", "revision", "image_folder"):
            text = getattr(self, name)
            if text is not None and (not isinstance(text, str) or not text):
                raise DataError(f"a source's {name} must be a text that is not empty, got {text!r}")
        if not isinstance(self.columns, Mapping) or not all(isinstance(text, str) for text in self.columns.values()):
            raise DataError(f"source {self.name}: columns must give names for names, got {self.columns!r}")
        for name in ("weight", "limit"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, (int, float)) and value > 0):
                raise DataError(f"source {self.name}: {name} must be a positive number, got {value!r}")

    @property
    def name(self) -> str:
        """What the source is called in messages."""
        return self.path or f"{self.dataset}:{self.split}"

    @property
    def _folder(self) -> Path | None:
        return None if self.image_folder is None else Path(self.image_folder)

    @classmethod
    def of(cls, value: "Source | str | Path | Mapping[str, Any]") -> "Source":
        """A source from a path or from a dict with the fields above.

        Raises:
            DataError: an unknown field; the message names the nearest known one.
        """
        if isinstance(value, Source):
            return value
        if isinstance(value, (str, Path)):
            return cls(path=str(value))
        if not isinstance(value, Mapping):
            raise DataError(f"a source is a path or a dict, got {value!r}")
        known = [each.name for each in fields(cls)]
        for name in value:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."
                raise DataError(f"unknown field {name!r} of a source: {hint}")
        values: dict[str, Any] = {key: str(item) if isinstance(item, Path) else item for key, item in value.items()}
        return cls(**values)

    def open(self) -> list[Reader]:
        """Readers of its records by index, one for each file.

        Raises:
            DataError: something is not there or cannot be read.
        """
        readers = self._readers()
        limits = _spread(self.limit, [len(reader) for reader in readers])
        return [
            Renamed(reader, self.columns, self._folder, limit)
            for reader, limit in zip(readers, limits, strict=True)
            if limit != 0
        ]

    def _readers(self) -> list[Reader]:
        if self.path is None or Path(self.path).is_dir():
            return [self._rows()]
        paths = self.files()
        if all(path.suffix == ".parquet" for path in paths) and _has_datasets():
            return [self._rows(list(map(str, paths)))]  # memory-mapped, so that any row is near
        return [open_file(path) for path in paths]

    def files(self) -> list[Path]:
        """Its files, in order; none for a folder or a name on the Hub.

        Raises:
            DataError: no such file.
        """
        if self.path is None or Path(self.path).is_dir():
            return []
        paths = [Path(name) for pattern in expand_braces(self.path) for name in _matches(pattern)]
        missing = next((path for path in paths if not path.exists()), None)
        if missing is not None or not paths:
            raise DataError(f"{missing or self.path}: cannot be read (no such file)", "unreadable file")
        return paths

    def _rows(self, parquet: list[str] | None = None) -> DatasetRows:
        """The rows of a folder, a name on the Hub or Parquet files, by index."""
        folder = None if self.path is None else Path(parquet[0]).parent if parquet else Path(self.path)
        return DatasetRows(self._load(parquet), self.name, folder)

    def _load(self, parquet: list[str] | None = None, streaming: bool = False) -> Any:
        """The data set as `datasets` reads it: rows by index, or as a stream."""
        try:
            import datasets
        except ImportError as error:
            raise needs("datasets") from error
        shows_bars = datasets.utils.logging.is_progress_bar_enabled()
        datasets.utils.logging.disable_progress_bar()
        try:
            return self._load_with(datasets, parquet, streaming)
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            raise DataError(f"{self.name}: cannot be loaded ({error})", "unreadable file") from error
        finally:
            if shows_bars:
                datasets.utils.logging.enable_progress_bar()

    def _load_with(self, datasets: Any, parquet: list[str] | None, streaming: bool) -> Any:
        if parquet is not None:
            return datasets.load_dataset("parquet", data_files=parquet, split="train", streaming=streaming)
        if self.dataset is not None:
            return datasets.load_dataset(
                self.dataset, self.subset, split=self.split, revision=self.revision, streaming=streaming
            )
        if self._is_saved():
            loaded = datasets.load_from_disk(self.path)
            if isinstance(loaded, Mapping):
                if self.split not in loaded:
                    raise ValueError(f"no split {self.split!r}, only {', '.join(loaded)}")
                loaded = loaded[self.split]
            return loaded
        return datasets.load_dataset(self.path, self.subset, split=self.split, streaming=streaming)

    def stream(self, shard: int, shards: int, number: int = 0, order: Any = None) -> Iterator["Pending"]:
        """Its records in order, not read yet.

        Of all shards together each record comes once. Whole files are given to shards where they come out even; else
        every shard passes over the others' records without looking at them.

        Args:
            number: of the source in a mix, noted in what is yielded.
            order: rearranges the list of files in place, before they are read.
        """
        files = self.files()
        if order is not None and self.limit is None:
            order(files)
        if not files and not self._is_saved():
            yield from self._stream_rows(shard, shards, number)
            return
        readers: list[Any] = [functools.partial(open_file, path) for path in files] or [self._rows]
        by_file = len(readers) % shards == 0 and self.limit is None
        position = 0
        for file, open_reader in enumerate(readers):
            if by_file and file % shards != shard:
                continue
            reader = Renamed(open_reader(), self.columns, self._folder, None)
            in_order = isinstance(reader.reader, ParquetRows)  # to come back to a row elsewhere is costly
            for index in range(len(reader)):
                if by_file or position % shards == shard:
                    pending = Pending(number, reader, index)
                    yield pending.read() if in_order else pending
                position += 1
                if position == self.limit:
                    return

    def _stream_rows(self, shard: int, shards: int, number: int) -> Iterator["Pending"]:
        """Rows as `datasets` streams them. It shares them out among the workers of a `DataLoader` by itself."""
        info = get_worker_info()
        workers, worker = (info.num_workers, f" of worker {info.id}") if info else (1, "")
        device, devices = shard // workers, shards // workers
        folder = self._folder or (Path(self.path) if self.path else None)
        rows = self._load(streaming=True).decode(False)
        for index, raw in enumerate(rows if self.limit is None else rows.take(self.limit)):
            if index % devices == device:
                name = f"{self.name}, record {index}{worker}"
                yield Pending(number, OneRow(renamed(raw, self.columns), name, folder), 0)

    def _is_saved(self) -> bool:
        """Whether it is a folder that `datasets` saved."""
        return self.path is not None and any((Path(self.path) / name).exists() for name in SAVED_BY_DATASETS)


class OneRow:
    """A reader of one record that has been read; or of the reason why it could not be."""

    def __init__(self, raw: Any, name: str, folder: Path | None) -> None:
        self.raw, self.name, self.folder = raw, name, folder

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.raw, DataError):
            raise self.raw
        return self.raw

    def describe(self, index: int) -> str:
        return self.name


@dataclass(frozen=True)
class Pending:
    """A record still to be read, and the number of its source."""

    source: int
    reader: Reader
    index: int

    def read(self) -> "Pending":
        """The same, in memory."""
        try:
            raw = self.reader[self.index]
        except DataError as error:
            raw = error
        return Pending(self.source, OneRow(raw, self.reader.describe(self.index), self.reader.folder), 0)


def _spread(limit: int | None, lengths: Sequence[int]) -> list[int | None]:
    """How many records each file gives, if `limit` records in all are taken from the first ones."""
    if limit is None:
        return [None] * len(lengths)
    taken: list[int | None] = []
    for length in lengths:
        taken.append(min(length, limit))
        limit -= min(length, limit)
    return taken


def _has_datasets() -> bool:
    from importlib.util import find_spec

    return find_spec("datasets") is not None


def _matches(pattern: str) -> list[str]:
    """The files that a pattern names, sorted; the name itself where it is none, or is the name of a file."""
    if Path(pattern).exists() or not glob.has_magic(pattern):
        return [pattern]
    return sorted(name for name in glob.glob(pattern, recursive=True) if Path(name).suffix in READERS)


def expand_braces(pattern: str) -> list[str]:
    """`a-{00..02}.tar` as three names, `{a,b}.json` as two."""
    found = re.search(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}", pattern)
    if found is None or Path(pattern).exists():
        return [pattern]
    if found[3] is not None:
        middles = found[3].split(",")
    else:
        middles = [str(number).zfill(len(found[1])) for number in range(int(found[1]), int(found[2]) + 1)]
    return [
        name
        for middle in middles
        for name in expand_braces(f"{pattern[: found.start()]}{middle}{pattern[found.end() :]}")
    ]
