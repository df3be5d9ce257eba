# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
What each position of a batch is: text before, an image, text after; and which rows of attention are counted.

Shapes: `b` batch, `s` positions, `n` samples (rows of the batch, or packed samples within them).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from wings_hf.modeling.wings_masks import packed_samples
from wings_hf.modeling.wings_router import NO_KEY, TEXT_AFTER, TEXT_BEFORE, VISUAL

TEXT_BETWEEN = 4  # after the sample's first image and before its last: part of the text after
KINDS = {"before": TEXT_BEFORE, "image": VISUAL, "between": TEXT_BETWEEN, "after": TEXT_AFTER}
ROWS = ("all", "image", "after", "answer", "last")
IGNORED = -100


@dataclass
class Tokens:
    """
    Args:
        kinds: class of each position, long (b, s): NO_KEY at padding.
        samples: sample that each position belongs to, 0 to n - 1, -1 at padding, long (b, s).
        count: n.
    """

    kinds: torch.Tensor
    samples: torch.Tensor
    count: int

    def columns(self) -> torch.Tensor:
        """Indicators of the four kinds, in the order of `KINDS`, bool (b, s, 4)."""
        return self.kinds.unsqueeze(-1) == torch.tensor(list(KINDS.values()), device=self.kinds.device)

    def numbers(self, positions: torch.Tensor | None = None) -> torch.Tensor:
        """How many positions of each kind each sample has, among `positions` (bool (b, s)) or all: float64 (n, 4)."""
        chosen = self.samples >= 0 if positions is None else positions & (self.samples >= 0)
        numbers = torch.zeros(self.count, len(KINDS), dtype=torch.float64)
        return numbers.index_add(0, self.samples[chosen].cpu(), self.columns()[chosen].cpu().double())


def read_tokens(batch: Mapping[str, Any], image_token_id: int | None) -> Tokens:
    """
    What the positions of a batch of model inputs are.

    Args:
        batch: with `mm_token_type_ids` (1: image, 2: video), or `input_ids` that hold `image_token_id`.

    Raises:
        ValueError: the batch does not tell where the images are.
    """
    is_image = _images(batch, image_token_id)
    mask = batch.get("attention_mask")
    real = torch.ones_like(is_image) if mask is None else mask.to(is_image.device) != 0
    if real.shape != is_image.shape:
        raise ValueError(f"attention_mask of shape {tuple(real.shape)}: expected (batch, tokens) as the ids have.")
    samples, count = _samples(batch, real)
    columns = torch.arange(real.shape[1], device=real.device).expand_as(real)
    image = is_image & real
    index, where = samples[image], columns[image]
    none, first = real.shape[1], torch.full((count,), real.shape[1], device=real.device)
    first = first.scatter_reduce(0, index, where, "amin")
    last = torch.full((count,), none, device=real.device).scatter_reduce(0, index, where, "amax", include_self=False)
    of_sample = samples.clamp(min=0)
    kinds = torch.where(columns < first[of_sample], TEXT_BEFORE, TEXT_BETWEEN)
    kinds = torch.where(columns > last[of_sample], TEXT_AFTER, kinds)
    kinds = torch.where(image, VISUAL, kinds)
    return Tokens(torch.where(real, kinds, NO_KEY), samples, count)


def counted_rows(tokens: Tokens, batch: Mapping[str, Any], rows: str) -> torch.Tensor:
    """
    Query rows that count, bool (b, s).

    Args:
        rows: "all" but padding, those of the "image", of text "after" the first image, those that predict a token of
            the "answer" (by the batch's labels), or the "last" of each sample.

    Raises:
        ValueError: another word, or "answer" without labels.
    """
    real = tokens.samples >= 0
    if rows == "all":
        return real
    if rows == "image":
        return tokens.kinds == VISUAL
    if rows == "after":
        return (tokens.kinds == TEXT_AFTER) | (tokens.kinds == TEXT_BETWEEN)
    if rows == "last":
        columns = torch.arange(real.shape[1], device=real.device).expand_as(real)
        ends = torch.zeros(tokens.count, dtype=torch.long, device=real.device)
        ends = ends.scatter_reduce(0, tokens.samples[real], columns[real], "amax")
        return real & (columns == ends[tokens.samples.clamp(min=0)])
    if rows != "answer":
        raise ValueError(f"rows={rows!r}: expected one of {', '.join(ROWS)}.")
    if batch.get("labels") is None:
        raise ValueError("rows='answer' needs labels in each batch: other than -100 at the tokens of answers.")
    answers = batch["labels"].to(real.device) != IGNORED
    predicts = torch.zeros_like(answers)
    predicts[:, :-1] = answers[:, 1:]
    return predicts & real


def image_token(model: nn.Module) -> int | None:
    """The id that stands for image features in the model's inputs, where its configuration names one."""
    config = getattr(model, "config", None)
    for name in ("image_token_id", "image_token_index"):
        if getattr(config, name, None) is not None:
            return int(getattr(config, name))
    return None


def _images(batch: Mapping[str, Any], image_token_id: int | None) -> torch.Tensor:
    types, ids = batch.get("mm_token_type_ids"), batch.get("input_ids")
    if types is not None:
        return (types == 1) | (types == 2)  # not audio
    if ids is None or image_token_id is None:
        raise ValueError(
            "the batch does not tell where its images are: expected mm_token_type_ids (1 where an image feature goes), "
            f"or input_ids and an image_token_id; got {', '.join(batch)} and image_token_id={image_token_id}."
        )
    return ids == image_token_id


def _samples(batch: Mapping[str, Any], real: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Each position's sample, -1 at padding, and their number. Positions that restart mean packed samples."""
    rows = torch.arange(real.shape[0], device=real.device).unsqueeze(1).expand_as(real)
    positions = batch.get("position_ids")
    if positions is None or positions.ndim != 2 or batch.get("attention_mask") is not None:
        return torch.where(real, rows, -1), real.shape[0]
    keys = rows * (real.shape[1] + 1) + packed_samples(positions.expand_as(real))
    _, samples = keys.unique(return_inverse=True)
    return samples, int(samples.max()) + 1
