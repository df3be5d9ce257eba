# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Checking a data set before it is trained on: what is wrong, and what is in it."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from wings_hf.data.errors import DataError, Problem
from wings_hf.data.examine import Examination, Facts, Finding, examine_all
from wings_hf.data.readers import Reader
from wings_hf.data.records import Record
from wings_hf.data.sources import Source
from wings_hf.processing.wings_image_sources import DEFAULT_MAX_IMAGE_PIXELS


@dataclass
class Report:
    """What `check_data` found.

    Args:
        records: how many there are, usable or not.
        problems: those that cannot be used, in the order of the data; and files that cannot.
        turns, images, formats: how many records have so many turns of the assistant, so many images; how many images
            have such a format.
        duplicates: records with the same texts and images as one before.
        widths, heights: of images, in pixels.
        characters: of the texts of each record.
        tokens: of each record, where a processor was given.
    """

    records: int = 0
    problems: list[Problem] = field(default_factory=list)
    turns: Counter[int] = field(default_factory=Counter)
    images: Counter[int] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    widths: list[int] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)
    characters: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)

    @property
    def usable(self) -> int:
        return sum(self.images.values())

    @property
    def text_only(self) -> float:
        """The part of the usable records that has no images."""
        return self.images[0] / max(self.usable, 1)

    def add(self, facts: Facts) -> None:
        """Count one usable record in."""
        self.turns[facts.turns] += 1
        self.images[len(facts.images)] += 1
        self.characters.append(facts.characters)
        if facts.tokens is not None:
            self.tokens.append(facts.tokens)
        for image in facts.images:
            self.formats[image.format if image else "not looked at"] += 1
            if image:
                self.widths.append(image.width)
                self.heights.append(image.height)

    def to_dict(self) -> dict[str, Any]:
        """The report for JSON."""
        return {
            "records": self.records,
            "usable": self.usable,
            "problems": [problem._asdict() for problem in self.problems],
            "problems_by_kind": dict(Counter(problem.kind for problem in self.problems)),
            "duplicates": self.duplicates,
            "text_only_share": self.text_only,
            "turns": _sorted(self.turns),
            "images_per_record": _sorted(self.images),
            "image_formats": _sorted(self.formats),
            "image_width": spread_of(self.widths),
            "image_height": spread_of(self.heights),
            "characters": spread_of(self.characters),
            "tokens": spread_of(self.tokens),
        }


def check_data(
    sources: Sequence[Source],
    *,
    decode: bool = True,
    max_pixels: int | None = None,
    allow_urls: bool = False,
    count_tokens: Callable[[Record], int] | None = None,
    workers: int = 0,
    progress: bool = False,
) -> Report:
    """Examine every record of `sources`.

    Args:
        decode: decode all pixels, as training will; False reads headers only.
        max_pixels: of an image; None for the limit of the processor.
        allow_urls: an image behind a web address is no problem. It is not fetched in any case.
        count_tokens: of a record, see `TokenCounter`.
        workers: processes; 0 for none.
        progress: show a progress bar on a terminal.
    """
    report = Report()
    readers, owners = _open(sources, report)
    plain = Examination(
        decode=decode,
        max_pixels=DEFAULT_MAX_IMAGE_PIXELS if max_pixels is None else max_pixels,
        refuse_web=not allow_urls,
        count_tokens=count_tokens,
    )
    how = [replace(plain, text_only=owner.text_only) for owner in owners]
    found: list[tuple[int, int, Finding]] = []
    bar = tqdm(total=sum(map(len, readers)), unit=" records", disable=None if progress else True)
    with bar:
        for task, findings in examine_all(readers, how, workers):
            found += [(task.reader, index, finding) for index, finding in enumerate(findings, task.start)]
            bar.update(len(findings))
    found.sort(key=lambda entry: entry[:2])
    seen: set[bytes] = set()
    for _, _, finding in found:
        if isinstance(finding, Problem):
            report.problems.append(finding)
            continue
        report.add(finding)
        report.duplicates += finding.digest in seen
        seen.add(finding.digest)
    report.records = len(found)
    return report


def _open(sources: Sequence[Source], report: Report) -> tuple[list[Reader], list[Source]]:
    """Readers of all files that can be read, and the source of each; the others become problems."""
    readers: list[Reader] = []
    owners: list[Source] = []
    for source in sources:
        try:
            files = source.files() if source.limit is None else []
            each = [replace(source, path=str(file)) for file in files] if len(files) > 1 else [source]
        except DataError as error:
            report.problems.append(_unreadable(source, error))
            continue
        for one in each:
            try:
                opened = one.open()
            except DataError as error:
                report.problems.append(_unreadable(one, error))
                continue
            readers += opened
            owners += [one] * len(opened)
    return readers, owners


def _unreadable(source: Source, error: DataError) -> Problem:
    return Problem(source.name, str(error).removeprefix(f"{source.name}: "), error.kind)


def _sorted(counter: Counter) -> dict[str, int]:
    return {str(key): counter[key] for key in sorted(counter)}


def spread_of(numbers: Sequence[int]) -> dict[str, float] | None:
    """Smallest, median, mean, 95th percentile, largest and sum; None of nothing."""
    if not numbers:
        return None
    values = np.asarray(numbers)
    return {
        "min": int(values.min()),
        "median": float(np.median(values)),
        "mean": round(float(values.mean()), 1),
        "p95": float(np.percentile(values, 95)),
        "max": int(values.max()),
        "sum": int(values.sum()),
    }
