# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Conversations in order, without an index: for data larger than is worth examining beforehand."""

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from wings_hf.data.errors import DataError, OnError, Problem
from wings_hf.data.examine import Examination, facts_of
from wings_hf.data.mixing import generator, shares
from wings_hf.data.packing import first_fit_decreasing
from wings_hf.data.records import Record, to_messages
from wings_hf.data.sources import Pending, Source

logger = logging.getLogger(__name__)


class ConversationStream(IterableDataset):
    """Conversations of a mix of sources, as they are read; made by `open_data`.

    - Workers of a `DataLoader` share the records out: each comes once in a pass.
    - So do devices. Under `Trainer` accelerate sees to it, if it is told not to cut batches up, which would tear images
      from conversations: `accelerator_config={"dispatch_batches": False}`. Elsewhere say `shard=(rank, devices)`.
    - The order depends on seed, pass and number of workers: files are shuffled, and records in a window of `buffer`.
    - Without weights sources take turns until each has ended. With weights they are drawn at random, a short one starts
      again, and the pass ends when each has been read once.
    - `state_dict` and `load_state_dict` go on at the next record, without decoding those before it.

    Args:
        sources: where they come from.
        seed, on_error, text_share, shuffle: see `open_data`.
        buffer: conversations among which the next one is drawn.
        shard: number of this device and how many there are, where nothing else shares records out.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        seed: int = 0,
        on_error: OnError = "raise",
        text_share: float | None = None,
        shuffle: bool = True,
        buffer: int = 1000,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        self.sources = list(sources)
        self.seed, self.on_error, self.shuffle = seed, on_error, shuffle
        self.buffer, self.shard = buffer, shard
        self.problems: list[Problem] = []
        parts = shares(
            [source.weight for source in self.sources],
            [float(source.text_only) for source in self.sources],
            [None] * len(self.sources),
            text_share,
        )
        self.weights = None if parts is None else np.array([text + images for text, images in parts])
        self._epoch = torch.zeros((), dtype=torch.long).share_memory_()
        self._given = 0
        self._resume_at = 0

    @property
    def epoch(self) -> int:
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass, and with it the order."""
        self._epoch.fill_(epoch)

    def state_dict(self) -> dict[str, int]:
        """Where this copy of the stream (each worker has one) stands: the pass, and records read in it."""
        return {"epoch": self.epoch, "given": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next iteration goes on from there."""
        self.set_epoch(state["epoch"])
        self._resume_at = state["given"]

    def __iter__(self) -> Iterator[Record]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        shard = self.shard[0] * workers + worker
        start, self._resume_at, self._given = self._resume_at, 0, 0
        for pending in self._order(shard, self.shard[1] * workers):
            self._given += 1
            if self._given > start:
                record = self._record(pending)
                if record is not None:
                    yield record

    def _record(self, pending: Pending) -> Record | None:
        """The record, examined; None if it is to be left out.

        Raises:
            DataError: it cannot be used, and `on_error` is "raise".
        """
        how = Examination(text_only=self.sources[pending.source].text_only)
        reader, index = pending.reader, pending.index
        try:
            record = Record(to_messages(reader[index], reader.folder), reader.describe(index))
            facts_of(record, how)
            return record
        except DataError as error:
            finding = Problem(reader.describe(index), str(error), error.kind)
        if self.on_error == "raise":
            raise DataError(str(finding), finding.kind)
        self.problems.append(finding)
        logger.warning("left out (%d so far): %s", len(self.problems), finding)
        return None

    # -- order --------------------------------------------------------------------------------------------

    def _order(self, shard: int, shards: int) -> Iterator[Pending]:
        mixed = self._in_turn(shard, shards) if self.weights is None else self._drawn(shard, shards)
        return self._shuffled(mixed, generator(self.seed, 2, self.epoch, shard)) if self.shuffle else mixed

    def _open(self, number: int, turn: int, shard: int, shards: int) -> Iterator[Pending]:
        """One reading of a source; `turn` counts its readings, so that each has another order of files."""
        rng = generator(self.seed, 3, number, turn)
        return self.sources[number].stream(shard, shards, number, rng.shuffle if self.shuffle else None)

    def _in_turn(self, shard: int, shards: int) -> Iterator[Pending]:
        streams = [self._open(number, self.epoch, shard, shards) for number in range(len(self.sources))]
        while streams:
            for stream in list(streams):
                pending = next(stream, None)
                if pending is None:
                    streams.remove(stream)
                else:
                    yield pending

    def _drawn(self, shard: int, shards: int) -> Iterator[Pending]:
        assert self.weights is not None
        rng = generator(self.seed, 4, self.epoch, shard)
        weights = self.weights.copy()
        first = self.epoch * 1_000_000  # readings of a source in other passes have other numbers
        turns = [0] * len(weights)
        streams = [self._open(number, first, shard, shards) for number in range(len(weights))]
        while True:
            number = int(rng.choice(len(streams), p=weights / weights.sum()))
            pending = next(streams[number], None)
            if pending is None:
                turns[number] += 1
                if all(turn or not weight for turn, weight in zip(turns, weights, strict=True)):
                    return
                streams[number] = self._open(number, first + turns[number], shard, shards)
                pending = next(streams[number], None)
            if pending is None:  # fewer records than shards, and none for this one
                weights[number] = 0.0
            else:
                yield pending

    def _shuffled(self, records: Iterator[Pending], rng: np.random.Generator) -> Iterator[Pending]:
        held: list[Pending] = []
        for record in records:
            if len(held) < self.buffer:
                held.append(record)
                continue
            chosen = int(rng.integers(self.buffer))
            held[chosen], record = record, held[chosen]
            yield record
        yield from (held[index] for index in rng.permutation(len(held)))

    def packed(self, count_tokens: Callable[[Record], int], max_length: int, window: int = 128) -> "PackedStream":
        """The same conversations, several to a row of at most `max_length` tokens: for a collator with `packing`.

        Args:
            count_tokens: of a record, see `TokenCounter`.
            window: conversations among which those of a row are found; they are held in memory.
        """
        return PackedStream(self, count_tokens, max_length, window)


class PackedStream(IterableDataset):
    """Rows of conversations, lists of `Record`s, from a stream; made by `ConversationStream.packed`."""

    def __init__(
        self, stream: ConversationStream, count_tokens: Callable[[Record], int], max_length: int, window: int
    ) -> None:
        self.stream, self.count_tokens = stream, count_tokens
        self.max_length, self.window = max_length, window

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass, and with it the order."""
        self.stream.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[Record]]:
        records = iter(self.stream)
        while held := list(islice(records, self.window)):
            lengths = [min(self.count_tokens(record), self.max_length) for record in held]
            for row in first_fit_decreasing(lengths, self.max_length):
                yield [held[index] for index in row]
