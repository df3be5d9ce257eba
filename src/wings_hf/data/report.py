# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A `Report` for the terminal: statistics, a histogram, and what is wrong."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from wings_hf.data.check import Report, spread_of
from wings_hf.data.errors import summarise

BINS, BAR = 12, 40


def as_text(report: Report, bar: str = "█", max_length: int | None = None) -> str:
    """The report in lines.

    Args:
        bar: the character that bars are made of.
        max_length: also say how many records are longer, in tokens.
    """
    lines = [f"{report.records} records, {report.usable} usable, {report.duplicates} of them duplicates"]
    if report.usable:
        lines += _statistics(report)
        lengths, unit = (report.tokens, "tokens") if report.tokens else (report.characters, "characters of text")
        lines += ["", f"{unit} per record: {_range(lengths)}", *histogram(lengths, bar)]
        if max_length is not None and report.tokens:
            longer = sum(tokens > max_length for tokens in report.tokens)
            lines.append(f"{longer} records are longer than {max_length} tokens and will lose their oldest turns")
    lines += ["", _verdict(report)]
    return "\n".join(lines)


def _statistics(report: Report) -> list[str]:
    images = sum(number * count for number, count in report.images.items())
    lines = [
        f"turns of the assistant per record: {_counts(report.turns)}",
        f"images per record: {_counts(report.images)}; {images} images in all",
        f"text only: {report.text_only:.1%} of the records",
    ]
    if images:
        lines.append(f"image formats: {', '.join(f'{name} {count}' for name, count in report.formats.most_common())}")
    if report.widths:
        lines.append(f"image width {_range(report.widths)}; height {_range(report.heights)} pixels")
    return lines


def histogram(lengths: Sequence[int], bar: str = "█") -> list[str]:
    """Lines with the number of lengths in each of about a dozen ranges; the longest hundredth shares the last."""
    values = np.asarray(lengths)
    low, high = int(values.min()), int(np.percentile(values, 99, method="higher"))
    step = max(-(-(high + 1 - low) // BINS), 1)
    edges = list(range(low, high + 1, step)) or [low]
    counts = np.bincount(np.minimum((values - low) // step, len(edges) - 1), minlength=len(edges))
    width = len(str(edges[-1] + step - 1))
    lines = []
    for edge, count in zip(edges, counts, strict=True):
        last = edge == edges[-1] and values.max() >= edge + step
        end = "and more" if last else f"- {edge + step - 1:>{width}}"
        shown = bar * max(round(BAR * count / counts.max()), int(count > 0))
        lines.append(f"  {edge:>{width}} {end:<{max(width + 2, 8)}} {shown} {count}".rstrip())
    return lines


def _verdict(report: Report) -> str:
    if not report.problems:
        return "Nothing is wrong with it." if report.usable else "There is no record in it."
    kinds = ", ".join(f"{kind} {count}" for kind, count in Counter(p.kind for p in report.problems).most_common())
    return f"{len(report.problems)} problems ({kinds}):{summarise(report.problems)}"


def _counts(counter: Counter[int]) -> str:
    """`1: 90, 2: 7, more: 3`."""
    keys = sorted(counter)
    shown = [f"{key}: {counter[key]}" for key in keys[:6]]
    rest = sum(counter[key] for key in keys[6:])
    return ", ".join(shown + ([f"more: {rest}"] if rest else []))


def _range(numbers: Sequence[int]) -> str:
    spread = spread_of(numbers)
    return "none" if spread is None else f"{spread['min']} to {spread['max']}, median {spread['median']:g}"
