# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Attention masses read off whole attention tensors, in plain loops. Layouts are those of `tiny.py`."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from wings_hf.analysis.tokens import KINDS


def parts_of(layout: str) -> list[list[int]]:
    """Columns of text before the first image, images, text between images, text after the last."""
    images = [column for column, kind in enumerate(layout) if kind == "v"]
    texts = [column for column, kind in enumerate(layout) if kind == "t"]
    before = [column for column in texts if column < images[0]]
    after = [column for column in texts if column > images[-1]]
    return [before, images, [column for column in texts if images[0] < column < images[-1]], after]


def every_row(layout: str) -> list[int]:
    return [column for column, kind in enumerate(layout) if kind != "."]


def masses_of_samples(
    weights: Sequence[torch.Tensor], layouts: Sequence[str], rows: Callable[[str], list[int]] = every_row
) -> np.ndarray:
    """(samples, layers, heads, 4) from weights (b, H, s, t) of each layer: means over the rows of each sample."""
    result = np.zeros((len(layouts), len(weights), weights[0].shape[1], len(KINDS)))
    for sample, layout in enumerate(layouts):
        for layer, of_layer in enumerate(weights):
            for kind, columns in enumerate(parts_of(layout)):
                for row in rows(layout):
                    result[sample, layer, :, kind] += of_layer[sample, :, row, columns].double().sum(-1).numpy()
        result[sample] /= len(rows(layout))
    return result


def layouts_of(batch: dict[str, torch.Tensor], image: int) -> list[str]:
    """The layouts of a batch of ids and masks."""
    pairs = zip(batch["input_ids"].tolist(), batch["attention_mask"].tolist(), strict=True)
    return [
        "".join("." if not real else "v" if i == image else "t" for i, real in zip(*row, strict=True)) for row in pairs
    ]
