# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Placeholders and characters: expansion, spans moved along, tokens found again."""

import time

import numpy as np
import pytest
import torch

from wings_hf.processing.wings_placeholders import (
    allot_images,
    expand_placeholders,
    flat_images,
    placeholder_pattern,
    shift_spans,
    tokens_in_spans,
)

PATTERN = placeholder_pattern("[i]")


@pytest.mark.parametrize("text", ["[i]", "a[i]", "[i]b", "a[i]b[i]", "[i][i][i]", "none", ""])
def test_expansion(text):
    counts = range(1, 1 + text.count("[i]"))
    expanded = expand_placeholders(text, PATTERN, ["[i]" * count for count in counts])
    pieces = text.split("[i]")
    assert expanded.text == pieces[0] + "".join(
        "[i]" * count + piece for count, piece in zip(counts, pieces[1:], strict=True)
    )
    assert [text[slice(*span)] for span in expanded.placeholders] == ["[i]" for _ in counts]
    assert [expanded.text[slice(*span)] for span in expanded.images] == ["[i]" * count for count in counts]


def test_spans_move_with_the_text():
    text = "ab[i]cd[i]ef"
    expanded = expand_placeholders(text, PATTERN, ["[i]" * 3, "[i]" * 2])
    for start in range(len(text) + 1):
        for end in range(start, len(text) + 1):
            inside = any(a < edge < b for a, b in expanded.placeholders for edge in (start, end))
            if inside:
                continue  # no template marks half a placeholder
            (moved,) = shift_spans([(start, end)], expanded)
            old = text[start:end]
            # what was before the span is before it still, and the span itself begins after it
            before = expand_placeholders(text[:start], PATTERN, ["[i]" * 3, "[i]" * 2][: text[:start].count("[i]")])
            assert moved[0] == len(before.text)
            assert expanded.text[slice(*moved)].replace("[i]", "") == old.replace("[i]", "")
    assert shift_spans([], expanded) == []
    assert shift_spans([(1, 2)], expand_placeholders("abc", PATTERN, [])) == [(1, 2)]


def test_tokens_that_touch_a_span():
    offsets = [(0, 0), (0, 2), (2, 4), (4, 5), (4, 5), (5, 9), (9, 9)]
    for spans, expected in [
        ([], [0, 0, 0, 0, 0, 0, 0]),
        ([(0, 9)], [0, 1, 1, 1, 1, 1, 0]),
        ([(2, 4)], [0, 0, 1, 0, 0, 0, 0]),
        ([(3, 5)], [0, 0, 1, 1, 1, 0, 0]),
        ([(1, 2), (8, 9)], [0, 1, 0, 0, 0, 1, 0]),
        ([(4, 4)], [0, 0, 0, 0, 0, 0, 0]),
        ([(0, 1), (0, 3)], [0, 1, 1, 0, 0, 0, 0]),
    ]:
        assert tokens_in_spans(offsets, spans, 9).astype(int).tolist() == expected
    assert tokens_in_spans([], [], 0).tolist() == []


def test_many_spans_and_images_take_linear_time():
    count = 20_000
    started = time.perf_counter()
    expanded = expand_placeholders("a[i]b" * count, PATTERN, ["[i]" * 4] * count)
    spans = shift_spans([(5 * i, 5 * i + 1) for i in range(count)], expanded)
    length = len(expanded.text)
    mask = tokens_in_spans([(i, i + 1) for i in range(length)], spans, length)
    assert mask.sum() == count
    assert all(expanded.text[start] == "a" for start, _ in spans[::1000])
    assert time.perf_counter() - started < 10  # a quadratic pass over these takes minutes


def test_rows_may_be_lists_tuples_arrays_or_nothing():
    images = [np.full((4, 4), i, np.uint8) for i in range(3)]
    for rows in (
        [images[:2], [], images[2:]],
        [tuple(images[:2]), None, images[2:]],
        [np.stack([np.stack([i] * 3, -1) for i in images[:2]]), [], images[2:]],
        [torch.zeros(2, 3, 4, 4), None, images[2:]],
    ):
        allotted = allot_images(rows, [2, 0, 1], "<image>")
        assert [len(row) for row in allotted] == [2, 0, 1]
    assert [len(row) for row in allot_images(images, [0, 1, 2], "<image>")] == [0, 1, 2]
    assert [len(row) for row in allot_images(None, [0, 0], "<image>")] == [0, 0]
    assert len(flat_images(torch.zeros(2, 3, 4, 4))) == 2
