# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Which image belongs to which sample, and where its tokens go in the text."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from wings_hf.processing.wings_image_sources import EXPECTED, is_image_source

# transformers puts this character before control tokens that users wrote (`sanitize_control_tokens=True`).
_USER_WRITTEN = "\U000f0000"
_RULE = "The number of {token} tokens in the prompts should be the same as the number of images passed"


class Expanded(NamedTuple):
    """A text whose placeholders were replaced by as many image tokens as each image takes.

    `placeholders` are the spans in the old text, `images` those of the image tokens in the new one; both are
    (start, end) characters, in order.
    """

    text: str
    placeholders: list[tuple[int, int]]
    images: list[tuple[int, int]]


def placeholder_pattern(image_token: str) -> re.Pattern[str]:
    """What counts as a placeholder: the image token, unless a user's text was marked as harmless."""
    return re.compile(f"(?<!{_USER_WRITTEN}){re.escape(image_token)}")


def is_nested(images: Any) -> bool:
    """Whether `images` is a list with one list of images (or None) for each sample."""
    return isinstance(images, list | tuple) and any(row is None or isinstance(row, list | tuple) for row in images)


def flat_images(images: Any) -> list[Any]:
    """`images` as a list: of one image, of a batch in an array of four axes, or of a list of these.

    Raises:
        ValueError: something else.
    """
    if images is None:
        return []
    if isinstance(images, list | tuple):
        return [image for entry in images for image in _entry(entry)]
    return _entry(images)


def _is_batch(entry: Any) -> bool:
    return isinstance(entry, np.ndarray | torch.Tensor) and entry.ndim == 4


def _entry(entry: Any) -> list[Any]:
    if _is_batch(entry):
        return list(entry)
    if not is_image_source(entry):
        shape = f" of shape {tuple(entry.shape)}" if hasattr(entry, "shape") else ""
        raise ValueError(f"An object of type {type(entry).__name__}{shape} is not an image; expected {EXPECTED}.")
    return [entry]


def allot_images(images: Any, placeholders: Sequence[int], image_token: str) -> list[list[Any]]:
    """The images of each sample, in reading order.

    Args:
        images: None, one image, a flat list in reading order over the whole batch, or a list with one list
            for each sample (`[]` or None for a sample without images).
        placeholders: how many placeholders each sample's text has.
        image_token: for messages.

    Raises:
        ValueError: the counts differ. The message names the sample and both counts.
    """
    rule = _RULE.format(token=image_token)
    if images is None:
        if any(placeholders):
            sample = next(i for i, count in enumerate(placeholders) if count)
            raise ValueError(
                f"Found {sum(placeholders)} {image_token} tokens in the text but no images were passed (sample "
                f"{sample} has {placeholders[sample]}). Pass images=, or take {image_token} out of the text."
            )
        return [[] for _ in placeholders]
    if is_nested(images):
        return _allot_nested(images, placeholders, rule)
    flat = flat_images(images)
    if len(flat) != sum(placeholders):
        raise ValueError(
            f"{rule}. Found {sum(placeholders)} tokens in {len(placeholders)} samples (by sample: "
            f"{list(placeholders)}) and {len(flat)} images. Write one {image_token} for each image where it belongs."
        )
    ends = np.cumsum(placeholders).tolist()
    return [flat[end - count : end] for end, count in zip(ends, placeholders, strict=True)]


def _allot_nested(images: Sequence[Any], placeholders: Sequence[int], rule: str) -> list[list[Any]]:
    for index, row in enumerate(images):
        if row is not None and not isinstance(row, list | tuple) and not _is_batch(row):
            raise ValueError(
                f"images mixes lists and single images (entry {index} is a {type(row).__name__}). Pass a flat list "
                "of images, or one list for each text ([] where there are none)."
            )
    rows = [flat_images(row) for row in images]
    if len(rows) != len(placeholders):
        raise ValueError(
            f"{rule}. Found {len(rows)} lists of images for {len(placeholders)} texts: pass one list for each "
            "text, [] for a text without images."
        )
    for sample, (row, count) in enumerate(zip(rows, placeholders, strict=True)):
        if len(row) != count:
            raise ValueError(
                f"{rule}. Sample {sample} has {count} tokens and {len(row)} images: write one placeholder for each "
                "image where it belongs, and pass the images in the same order."
            )
    return rows


def expand_placeholders(text: str, pattern: re.Pattern[str], replacements: Sequence[str]) -> Expanded:
    """`text` with the i-th match of `pattern` replaced by `replacements[i]`; linear in the result's length."""
    pieces: list[str] = []
    placeholders: list[tuple[int, int]] = []
    images: list[tuple[int, int]] = []
    last = length = 0
    for match, replacement in zip(pattern.finditer(text), replacements, strict=True):
        pieces += (text[last : match.start()], replacement)
        length += match.start() - last
        placeholders.append(match.span())
        images.append((length, length + len(replacement)))
        length += len(replacement)
        last = match.end()
    pieces.append(text[last:])
    return Expanded("".join(pieces), placeholders, images)


def shift_spans(spans: Sequence[tuple[int, int]], expanded: Expanded) -> list[tuple[int, int]]:
    """Character spans of the text before expansion, moved to the text after it."""
    ends = np.asarray([end for _, end in expanded.placeholders], dtype=np.int64)
    gained = np.asarray([0] + [new[1] - end for end, new in zip(ends.tolist(), expanded.images, strict=True)])
    moved = np.asarray(spans, dtype=np.int64).reshape(-1, 2)
    moved = moved + gained[np.searchsorted(ends, moved, side="right")]
    return [(int(start), int(end)) for start, end in moved]


def tokens_in_spans(offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]], length: int) -> np.ndarray:
    """Which tokens overlap a span: (tokens,) bool. Linear in tokens and characters, not in their product.

    Args:
        offsets: (start, end) characters of each token; tokens without characters (padding) match nothing.
        spans: (start, end) characters.
        length: of the text, in characters.
    """
    steps = np.zeros(length + 1, dtype=np.int64)
    for start, end in spans:
        steps[start] += 1
        steps[end] -= 1
    covered = np.concatenate(([0], np.cumsum(np.cumsum(steps)[:length] > 0)))  # characters covered before each one
    bounds = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
    return covered[bounds[:, 1]] > covered[bounds[:, 0]]


def assistant_mask(
    offsets: Sequence[tuple[int, int]], spans: Sequence[tuple[int, int]], sample: Expanded, images: np.ndarray
) -> np.ndarray:
    """1 at the tokens of what the assistant said, (tokens,) int64. Images are shown, never said: 0 there.

    Args:
        offsets: (start, end) characters of each token in the expanded text.
        spans: (start, end) characters of what the assistant said, in the text before expansion.
        sample: the text.
        images: which tokens are image tokens, (tokens,) bool.
    """
    said = tokens_in_spans(offsets, shift_spans(spans, sample), len(sample.text))
    return (said & ~images).astype(np.int64)


def check_image_tokens(
    images: Sequence[np.ndarray], expanded: Sequence[Expanded], image_token: str, max_length: int | None
) -> None:
    """Each row must hold all tokens of its images: a cut image would shift all that follow.

    Args:
        images: which tokens of each row are image tokens, (tokens,) bool.
        expanded: the text of each row.
        image_token: for messages, and to count.
        max_length: what the rows were truncated to; None if they were not.

    Raises:
        ValueError: a row has fewer or more than its images take.
    """
    for index, (mask, sample) in enumerate(zip(images, expanded, strict=True)):
        expected = sum(end - start for start, end in sample.images) // len(image_token)
        found = int(mask.sum())
        if found == expected:
            continue
        where = f"Sample {index} has {found} of the {expected} image tokens of its {len(sample.images)} images"
        if max_length is not None:
            raise ValueError(
                f"{where} left after truncation to max_length={max_length}. Image tokens are never cut: raise "
                "max_length, pass fewer images, or drop whole turns with apply_chat_template(..., "
                "overlong='drop_turns')."
            )
        raise ValueError(
            f"{where} after tokenization. The tokenizer must keep {image_token!r} as one token and use it for "
            "nothing else, such as padding."
        )


def replacement_offsets(expanded: Sequence[Expanded], image_token: str) -> list[list[dict[str, Any]]]:
    """Where placeholders were and what took their place, in the form transformers uses."""
    return [
        [
            {
                "type": "image",
                "span": old,
                "new_span": new,
                "text": image_token,
                "replacement": sample.text[slice(*new)],
            }
            for old, new in zip(sample.placeholders, sample.images, strict=True)
        ]
        for sample in expanded
    ]
