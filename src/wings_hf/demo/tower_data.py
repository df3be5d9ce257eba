# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What the demo's vision tower learns from: training digits, slightly turned, shifted and scaled each time."""

from math import pi
from pathlib import Path

import torch
from PIL import Image
from torch.nn.functional import affine_grid, grid_sample
from torch.utils.data import Dataset

from wings_hf.demo.conversations import Batch
from wings_hf.demo.digits import DigitSet
from wings_hf.demo.fitting import Fit

BLACK = -1.0  # after the image processor's normalisation


class TowerBatches(Dataset):
    """Batches of pixels (batch_size, 3, h, w) with the digit they show; the i-th depends on `seed` and i alone."""

    def __init__(self, digits: DigitSet, image_processor, count: int, batch_size: int = 64, seed: int = 0) -> None:
        images = [Image.open(digit.path).convert("RGB") for digit in digits.digits]
        self.pixels = image_processor(images, return_tensors="pt")["pixel_values"]
        self.values = torch.tensor([digit.value for digit in digits.digits])
        self.count, self.batch_size, self.seed = count, batch_size, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Batch:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + index)
        chosen = torch.randint(len(self.values), (self.batch_size,), generator=generator)
        return {"pixel_values": distort(self.pixels[chosen], generator), "labels": self.values[chosen]}


def tower_fit(
    folder: Path, digits: DigitSet, image_processor, steps: int, learning_rate: float, use_cpu: bool = True
) -> Fit:
    """The fit of a digit classifier (`parts.build_digit_classifier`) that keeps its vision tower, without its head."""
    return Fit(
        "vision tower",
        folder,
        TowerBatches(digits, image_processor, steps),
        learning_rate=learning_rate,
        keeps=lambda classifier: classifier.vision_model,
        use_cpu=use_cpu,
    )


def distort(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image (b, 3, h, w) turned by up to 12 degrees, scaled by up to 10%, shifted by up to a tenth of its side."""
    amount = torch.rand(4, len(pixels), generator=generator) * 2 - 1  # (4, b), from -1 to 1
    angle, scale, shift = amount[0] * 12 * pi / 180, 1 + 0.1 * amount[1], 0.2 * amount[2:]  # sides are 2 wide
    rows = [scale * angle.cos(), -scale * angle.sin(), shift[0], scale * angle.sin(), scale * angle.cos(), shift[1]]
    grid = affine_grid(torch.stack(rows, dim=-1).view(-1, 2, 3), list(pixels.shape), align_corners=False)
    return grid_sample(pixels - BLACK, grid, align_corners=False) + BLACK
