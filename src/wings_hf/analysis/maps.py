# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Which parts of an image a model attends to: attention weights on image tokens, laid out as the image.

Shapes: `b` batch, `s` positions, `L` layers, `m` image tokens.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from wings_hf.analysis.calls import AttentionCall, watch_attention
from wings_hf.analysis.measure import evaluating, run
from wings_hf.analysis.tokens import Tokens, counted_rows, image_token, read_tokens
from wings_hf.modeling.wings_router import VISUAL


@dataclass
class AttentionMap:
    """
    Args:
        weights: mean attention weight over the counted rows and all heads, float64 (L, height, width).
        sample: the row of the batch, or the packed sample.
        image: its number within the sample; where a model cuts an image into tiles, that of the tile.
    """

    weights: np.ndarray
    sample: int
    image: int

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, for JSON."""
        return {"sample": self.sample, "image": self.image, "weights": self.weights.tolist()}


def attention_maps(
    model: nn.Module, batch: Mapping[str, Any], rows: str = "after", image_token_id: int | None = None
) -> list[AttentionMap]:
    """
    One map for each image of each sample, in reading order.

    Args:
        rows: the query rows that are averaged over, see `counted_rows`; a sample without any has no maps.
        image_token_id: see `measure_attention`.

    Raises:
        ValueError: it is not known how an image's tokens lie in it: no square, and no `image_grid_thw`.
    """
    tokens = read_tokens(batch, image_token(model) if image_token_id is None else image_token_id)
    counted = counted_rows(tokens, batch, rows)
    places = _pieces(_places(tokens), count_images(batch))
    grids = _grids(model, batch, places)
    numbers, columns = _numbered(tokens)
    found: dict[int, torch.Tensor] = {}

    def look(call: AttentionCall) -> None:
        found[call.layer] = _mean_weights(call, columns, counted)

    with watch_attention(model, look), evaluating(model):
        run(model, batch)
    weights = torch.stack([found[layer] for layer in sorted(found)]).numpy()  # (L, samples in rows, m)
    maps = []
    for (sample, number, row, where), grid in zip(places, grids, strict=True):
        if bool((counted & (tokens.samples == sample)).any()):
            of_run = weights[:, row, numbers[row, where]]
            maps.append(AttentionMap(of_run.reshape(len(of_run), *grid), sample, number))
    return maps


def _mean_weights(call: AttentionCall, columns: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """Mean weight of the row's counted queries and all heads on each image token, float64 (b, m)."""
    counted = counted.double().cpu()
    shares = counted / counted.sum(-1, keepdim=True).clamp(min=1)
    means = []
    for part in columns.split(call.value.shape[-1], dim=-1):  # so that no more than values' worth is held at once
        attended = call.attend(part.to(call.value.device)).mean(2).cpu().double()  # (b, s, columns)
        means.append(torch.einsum("bs,bsc->bc", shares, attended))
    return torch.cat(means, dim=-1)


def _numbered(tokens: Tokens) -> tuple[np.ndarray, torch.Tensor]:
    """Each image token's number in its row (b, s), and a column for each that has 1 at its place, (b, s, m)."""
    image = tokens.kinds == VISUAL
    numbers = image.long().cumsum(-1) - 1
    most = max(1, int(image.sum(-1).max()))
    columns = nn.functional.one_hot(numbers.clamp(min=0), most) * image.unsqueeze(-1)
    return numbers.cpu().numpy(), columns


def _places(tokens: Tokens) -> list[tuple[int, int, int, list[int]]]:
    """(sample, number of the run in it, row of the batch, its columns) of each run of image tokens."""
    places: list[tuple[int, int, int, list[int]]] = []
    kinds, samples = tokens.kinds.cpu().tolist(), tokens.samples.cpu().tolist()
    for row, (row_kinds, row_samples) in enumerate(zip(kinds, samples, strict=True)):
        last: tuple[int, int] | None = None  # sample and column
        for column, (kind, sample) in enumerate(zip(row_kinds, row_samples, strict=True)):
            if kind != VISUAL:
                continue
            if last == (sample, column - 1):
                places[-1][3].append(column)
            else:
                number = places[-1][1] + 1 if places and places[-1][0] == sample else 0
                places.append((sample, number, row, [column]))
            last = (sample, column)
    return places


def count_images(batch: Mapping[str, Any]) -> int | None:
    """How many images (or tiles) `pixel_values` holds; None where it does not hold them one by one."""
    pixels = batch.get("pixel_values")
    if not isinstance(pixels, torch.Tensor) or pixels.ndim not in (4, 5):
        return None
    return len(pixels) if pixels.ndim == 4 else len(real_tiles(pixels))


def real_tiles(pixels: torch.Tensor) -> torch.Tensor:
    """Of (b, tiles, 3, h, w) those that are no padding, (n, 3, h, w); padding is all zeros."""
    flat = pixels.flatten(0, 1)
    return flat[(flat != 0).flatten(1).any(-1)]


def _pieces(places: list[Any], images: int | None) -> list[Any]:
    """The runs cut into images of one size, where images follow each other without a token between them."""
    total = sum(len(where) for *_, where in places)
    if not images or total % images or any(len(where) % (total // images) for *_, where in places):
        return places
    size, counts, pieces = total // images, Counter[int](), []
    for sample, _, row, where in places:
        for start in range(0, len(where), size):
            pieces.append((sample, counts[sample], row, where[start : start + size]))
            counts[sample] += 1
    return pieces


def _grids(model: Any, batch: Mapping[str, Any], places: list[Any]) -> list[tuple[int, int]]:
    """Height and width, in tokens, of each run."""
    given = batch.get("image_grid_thw")
    if given is not None and len(given) == len(places):
        config = getattr(model.config, "vision_config", model.config)
        step = getattr(config, "spatial_merge_size", 1)
        return [(int(height) // step, int(width) // step) for _, height, width in given]
    sides = [math.isqrt(len(where)) for *_, where in places]
    for side, (sample, number, _, where) in zip(sides, places, strict=True):
        if side * side != len(where):
            raise ValueError(
                f"image {number} of sample {sample} has {len(where)} tokens, which is no square: it is not known how "
                "they lie in the image."
            )
    return [(side, side) for side in sides]
