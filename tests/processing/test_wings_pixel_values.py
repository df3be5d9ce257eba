# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Pixels: the image processor's own bits, with nothing done twice on the way."""

import numpy as np
import pytest
import torch
from PIL import Image
from processor_parts import build_tokenizer
from transformers import CLIPImageProcessorPil, SiglipImageProcessorPil

from wings_hf import WingsProcessor

SIZE = {"height": 24, "width": 24}
IMAGE_PROCESSORS = {
    "siglip": lambda: SiglipImageProcessorPil(size=SIZE),
    "clip": lambda: CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size=SIZE),
}


def photos() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in ((30, 40), (24, 24), (50, 9))]


@pytest.mark.parametrize("name", IMAGE_PROCESSORS)
def test_the_image_processors_own_bits(name):
    image_processor = IMAGE_PROCESSORS[name]()
    processor = WingsProcessor(image_processor, build_tokenizer(), patch_size=6)
    pixel_values = processor(images=photos(), return_tensors="pt")["pixel_values"]
    expected = image_processor(photos(), return_tensors="pt")["pixel_values"]
    assert torch.equal(pixel_values, expected) and pixel_values.is_contiguous()
    assert processor(images=photos()[0], do_convert_rgb=True, return_tensors="pt")["pixel_values"].equal(expected[:1])


@pytest.mark.parametrize("name", IMAGE_PROCESSORS)
def test_rgb_is_not_converted_again(name, monkeypatch):
    processor = WingsProcessor(IMAGE_PROCESSORS[name](), build_tokenizer(), patch_size=6)
    monkeypatch.setattr(Image.Image, "convert", lambda *args, **kwargs: pytest.fail("converted"))
    assert processor(images=photos(), return_tensors="pt")["pixel_values"].shape == (3, 3, 24, 24)


def test_an_image_processor_that_does_not_name_its_arguments():
    class Plain:
        size = SIZE

        def __call__(self, images, **kwargs):
            assert not kwargs
            return {"pixel_values": [np.zeros((3, 24, 24), np.float32) for _ in images]}

    from wings_hf.processing.wings_pixel_values import process_images

    assert len(process_images(Plain(), photos(), {}, None, None)) == 3
