# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Several samples in one row, so that little of a batch is padding.

Samples of a row are told apart by their position ids, which start at 0 in each; there is no attention mask. Main
attention and learners keep them apart, so that each is computed as if it were alone.

Shapes: `b` samples, `s` tokens of the longest, `r` rows, `t` tokens of the longest row.
"""

from collections.abc import Sequence

import torch

IGNORED = -100  # what torch's cross-entropy leaves out


def first_fit_decreasing(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Which samples go into which row: the longest first, each into the first row with room for it.

    Returns:
        for each row the indices of its samples, in order; rows in the order of their first samples.

    Raises:
        ValueError: a sample longer than a row.
    """
    rows: list[list[int]] = []
    left: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[index]
        if length > room:
            raise ValueError(f"sample {index} takes {length} tokens, more than a row of {room}.")
        row = next((number for number, space in enumerate(left) if space >= length), len(rows))
        if row == len(rows):
            rows.append([])
            left.append(room)
        rows[row].append(index)
        left[row] -= length
    return sorted(sorted(row) for row in rows)


def pack(batch: dict[str, torch.Tensor], room: int | None, pad_token_id: int) -> dict[str, torch.Tensor]:
    """The samples of a padded batch, packed into rows.

    Args:
        batch: `input_ids`, `attention_mask`, `labels`, `mm_token_type_ids`, each (b, s), and `pixel_values` of all
            images in reading order, each of as many tokens as any other.
        room: tokens of a row, at most; None puts all samples into one row.

    Returns:
        `input_ids`, `labels`, `mm_token_type_ids`, `position_ids`, each (r, t), and `pixel_values` in the new reading
        order. What fills up the shorter rows is a sample of its own, with nothing to learn.
    """
    real = batch["attention_mask"].bool()
    lengths = real.sum(-1).tolist()
    rows = [list(range(len(lengths)))] if room is None else first_fit_decreasing(lengths, room)
    width = max(sum(lengths[i] for i in row) for row in rows)
    fill = {"input_ids": pad_token_id, "labels": IGNORED, "mm_token_type_ids": 0}
    packed: dict[str, torch.Tensor] = {
        name: torch.stack([_row([batch[name][i][real[i]] for i in row], width, value) for row in rows])
        for name, value in fill.items()
    }
    spans = [[lengths[i] for i in row] for row in rows]
    packed["position_ids"] = torch.stack([_positions([*row, width - sum(row)]) for row in spans])  # (r, t)
    begins = packed["position_ids"] == 0
    packed["labels"] = packed["labels"].masked_fill(begins, IGNORED)  # else the sample before would predict it
    if "pixel_values" in batch:
        order = _image_order(batch, [i for row in rows for i in row])
        packed["pixel_values"] = batch["pixel_values"][order]
    return packed


def _row(parts: list[torch.Tensor], width: int, value: int) -> torch.Tensor:
    row = torch.cat(parts)
    return torch.nn.functional.pad(row, (0, width - len(row)), value=value)


def _positions(lengths: list[int]) -> torch.Tensor:
    return torch.cat([torch.arange(length) for length in lengths])


def _image_order(batch: dict[str, torch.Tensor], samples: list[int]) -> list[int]:
    """Indices into `pixel_values`, as the images of `samples` are met."""
    tokens = (batch["mm_token_type_ids"] * batch["attention_mask"]).sum(-1)  # (b,)
    per_image = int(tokens.sum()) // len(batch["pixel_values"])
    counts = (tokens // per_image).tolist()
    firsts = [sum(counts[:i]) for i in range(len(counts))]
    return [image for i in samples for image in range(firsts[i], firsts[i] + counts[i])]
