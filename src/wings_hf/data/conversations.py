# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Conversations by index, from any mix of sources: the data set that a `Trainer` takes."""

import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from wings_hf.data.errors import DataError, OnError, Problem, summarise
from wings_hf.data.examine import Examination, Facts, examine_all, make_record
from wings_hf.data.mixing import counts, draw, generator, grouped, shares
from wings_hf.data.packing import first_fit_decreasing
from wings_hf.data.readers import Reader
from wings_hf.data.records import Record
from wings_hf.data.sources import Source
from wings_hf.data.stream import ConversationStream

logger = logging.getLogger(__name__)

AnySource = Source | str | Path | Mapping[str, Any]
IMAGE_CHARACTERS = 1000  # what an image counts for where lengths are estimated
CHARACTERS_PER_TOKEN = 4


def open_data(
    sources: AnySource | Sequence[AnySource],
    seed: int = 0,
    on_error: OnError = "raise",
    image_folder: str | Path | None = None,
    *,
    text_share: float | None = None,
    shuffle: bool = True,
    check_images: bool = True,
    workers: int = 0,
) -> "Conversations | ConversationStream":
    """The conversations of one source or of a mix; a stream if any of them is `streaming`.

    Every record is examined first (its form, its answers, the headers of its images), but in a stream, which is
    examined as it is read.

    Args:
        sources: paths, dicts or `Source` objects.
        seed: of the order, and of what a weighted mix takes.
        on_error: `"raise"` if a record cannot be used, or `"skip"` such records. They are counted and named in
            `problems`, and nothing ever takes their place.
        image_folder: for sources without one of their own.
        text_share: the part of the mix that has no images. In a stream, sources with `text_only` make it up.
        shuffle: False keeps the order of the files (of a mix: source after source).
        check_images: False leaves image files closed until a batch is made.
        workers: processes that examine the records; 0: none.

    Raises:
        DataError: no usable record, or with `"raise"` any that is not; sources that contradict each other.
    """
    listed = [sources] if isinstance(sources, (Source, str, Path, Mapping)) else list(sources)
    chosen = [_in_folder(Source.of(source), image_folder) for source in listed]
    if any(source.streaming for source in chosen):
        return ConversationStream(chosen, seed, on_error, text_share=text_share, shuffle=shuffle)
    readers: list[Reader] = []
    source_of: list[int] = []
    for number, source in enumerate(chosen):
        opened = source.open()
        readers += opened
        source_of += [number] * len(opened)
    how = [Examination(open_images=check_images, text_only=chosen[number].text_only) for number in source_of]
    facts, problems = _examine(readers, how, workers)
    names = ", ".join(source.name for source in chosen)
    if problems and on_error == "raise":
        total = len(facts) + len(problems)
        raise DataError(f"{len(problems)} of {total} records cannot be used. {summarise(problems)}")
    if not facts:
        raise DataError(f"No usable record in {names}. {summarise(problems)}")
    entries = np.array([(source_of[reader], reader, index) for reader, index, *_ in facts])
    images = np.array([number for _, _, number, _ in facts])
    lengths = np.array([length for *_, length in facts])
    return Conversations(readers, chosen, entries, images, lengths, problems, seed, text_share, shuffle)


def _in_folder(source: Source, image_folder: str | Path | None) -> Source:
    if image_folder is None or source.image_folder is not None:
        return source
    return Source(**{**source.__dict__, "image_folder": str(image_folder)})


def _examine(
    readers: Sequence[Reader], how: Sequence[Examination], workers: int
) -> tuple[list[tuple[int, int, int, int]], list[Problem]]:
    """(reader, index, images, estimated tokens) of usable records in order, and the problems of others."""
    facts, problems = [], []
    for task, findings in examine_all(readers, how, workers):
        for index, finding in enumerate(findings, task.start):
            if isinstance(finding, Facts):
                characters = finding.characters + IMAGE_CHARACTERS * len(finding.images)
                facts.append((task.reader, index, len(finding.images), 1 + characters // CHARACTERS_PER_TOKEN))
            else:
                problems.append(((task.reader, index), finding))
    return sorted(facts), [problem for _, problem in sorted(problems, key=lambda pair: pair[0])]


class Conversations(Dataset):
    """Conversations by index; made by `open_data`.

    The order depends on seed and pass only, so that it is the same on every device and after an interruption. `Trainer`
    tells the pass by `set_epoch`. Its own sampler may shuffle on top; `train_sampling_strategy="sequential"` keeps this
    order, which `grouped` needs.

    Attributes:
        problems: what was left out, and why.
    """

    def __init__(
        self,
        readers: Sequence[Reader],
        sources: Sequence[Source],
        entries: np.ndarray,
        images: np.ndarray,
        lengths: np.ndarray,
        problems: Sequence[Problem] = (),
        seed: int = 0,
        text_share: float | None = None,
        shuffle: bool = True,
    ) -> None:
        self.readers, self.sources = list(readers), list(sources)
        self.entries, self.images, self.lengths = entries, images, lengths
        self.problems = list(problems)
        self.seed, self.text_share, self.shuffle = seed, text_share, shuffle
        self.group_size: int | None = None
        self._epoch = torch.zeros((), dtype=torch.long).share_memory_()  # workers that live on see it change
        self._drawn: tuple[int, np.ndarray] | None = None
        self._pools, self._counts = self._mix()

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Record:
        _, reader, position = self.entries[self.order()[index]]
        return make_record(self.readers[reader], int(position))

    def __iter__(self) -> Iterator[Record]:
        return (self[index] for index in range(len(self)))

    @property
    def epoch(self) -> int:
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass: its order, and of a weighted mix its records."""
        self._epoch.fill_(epoch)

    def order(self) -> np.ndarray:
        """The entry (row of `entries`) of each index in this pass, (n,)."""
        epoch = self.epoch
        if self._drawn is None or self._drawn[0] != epoch:
            self._drawn = (epoch, self._draw(epoch))
        return self._drawn[1]

    # -- other data from these ----------------------------------------------------------------------------

    def with_images(self) -> "Conversations":
        """Those conversations that have images."""
        return self._of(np.flatnonzero(self.images > 0))

    def measured(self, count_tokens: Callable[[Record], int], workers: int = 0) -> "Conversations":
        """The same conversations with lengths counted, not estimated; see `TokenCounter`.

        Raises:
            DataError: one cannot be encoded.
        """
        how = [Examination(open_images=False, count_tokens=count_tokens)] * len(self.readers)
        tokens, problems = {}, []
        for task, findings in examine_all(self.readers, how, workers):
            for index, finding in enumerate(findings, task.start):
                if isinstance(finding, Facts):
                    tokens[task.reader, index] = finding.tokens
                elif finding.kind == "cannot be encoded":
                    problems.append(finding)
        if problems:
            raise DataError(f"{len(problems)} records cannot be encoded.{summarise(problems)}")
        made = self._of(np.arange(len(self.entries)))
        made.lengths = np.array([tokens[reader, index] for _, reader, index in self.entries.tolist()])
        return made

    def grouped(self, batch_size: int) -> "Conversations":
        """The same conversations in an order by length and modality, for `train_sampling_strategy="sequential"`.

        Args:
            batch_size: conversations per batch on all devices together.
        """
        made = self._of(np.arange(len(self.entries)))
        made.group_size = batch_size
        return made

    def packed(self, max_length: int, window: int = 1024) -> "PackedConversations":
        """The same conversations, several to a row of at most `max_length` tokens: for a collator with `packing`.

        Args:
            window: conversations among which those of a row are found.
        """
        return PackedConversations(self, max_length, window)

    def _of(self, chosen: np.ndarray) -> "Conversations":
        if not len(chosen):
            raise DataError(f"none of {len(self.entries)} records has an image")
        made = copy.copy(self)
        made.entries, made.images, made.lengths = self.entries[chosen], self.images[chosen], self.lengths[chosen]
        made._epoch = torch.zeros((), dtype=torch.long).share_memory_()
        made._drawn = None
        if len(chosen) < len(self.entries):
            made.text_share = None
            kept = set(made.entries[:, 0].tolist())
            made.sources = list(self.sources)
            made._pools, made._counts = made._mix(kept)
        return made

    # -- the mix ------------------------------------------------------------------------------------------

    def _mix(self, kept: set[int] | None = None) -> tuple[list[np.ndarray], list[int] | None]:
        """Pools of entries, and how many each gives to a pass; one pool and None where all come once."""
        numbers = sorted(set(range(len(self.sources))) if kept is None else kept)
        owner, is_text = self.entries[:, 0], self.images == 0
        sizes = [int((owner == number).sum()) for number in numbers]
        for number, size in zip(numbers, sizes, strict=True):
            if not size:
                raise DataError(f"No usable record in {self.sources[number].name}. {summarise(self.problems)}")
        fractions = [float(is_text[owner == number].mean()) for number in numbers]
        weights = [self.sources[number].weight for number in numbers]
        parts = shares(weights, fractions, list(sizes), self.text_share)
        if parts is None:
            return [np.arange(len(self.entries))], None
        pools = [np.flatnonzero((owner == number) & (is_text == kind)) for number in numbers for kind in (True, False)]
        return pools, counts([share for part in parts for share in part], len(self.entries))

    def _draw(self, epoch: int) -> np.ndarray:
        if self._counts is None:
            drawn = self._pools[0]
        else:
            drawn = np.concatenate(
                [
                    draw(pool, count, epoch, self.seed, number)
                    for number, (pool, count) in enumerate(zip(self._pools, self._counts, strict=True))
                ]
            )
        rng = generator(self.seed, 0, epoch)
        if self.group_size is not None:
            return drawn[grouped(self.lengths[drawn], self.images[drawn] > 0, self.group_size, rng)]
        return rng.permutation(drawn) if self.shuffle else drawn


class PackedConversations(Dataset):
    """Rows of conversations; each index gives a list of `Record`s.

    Rows are planned once, from the first pass over `data` (of a weighted mix, from what that pass holds), by first fit
    decreasing among `window` conversations at a time. In each pass they come in another order. Where lengths are
    estimates (not `measured`), the collator makes another row of what does not fit.
    """

    def __init__(self, data: Conversations, max_length: int, window: int = 1024) -> None:
        self.data, self.max_length = data, max_length
        self.problems = data.problems
        order = data.order()
        lengths = np.minimum(data.lengths, max_length)
        self.rows: list[np.ndarray] = []
        for start in range(0, len(order), window):
            chosen = order[start : start + window]
            self.rows += [chosen[row] for row in first_fit_decreasing(lengths[chosen].tolist(), max_length)]
        self.tokens = int(lengths[order].sum())
        self._shuffled: tuple[int, np.ndarray] = (-2, order)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> list[Record]:
        entries = self.data.entries[self.rows[self._order()[index]]].tolist()
        return [make_record(self.data.readers[reader], position) for _, reader, position in entries]

    def __iter__(self) -> Iterator[list[Record]]:
        return (self[index] for index in range(len(self)))

    @property
    def filled(self) -> float:
        """The part of the rows' room that holds tokens."""
        return self.tokens / (self.max_length * len(self.rows))

    def _order(self) -> np.ndarray:
        epoch = self.data.epoch if self.data.shuffle else -1
        if self._shuffled[0] != epoch:
            rng = generator(self.data.seed, 5, epoch) if self.data.shuffle else None
            self._shuffled = epoch, rng.permutation(len(self.rows)) if rng else np.arange(len(self.rows))
        return self._shuffled[1]

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass, and with it the order of rows."""
        self.data.set_epoch(epoch)
