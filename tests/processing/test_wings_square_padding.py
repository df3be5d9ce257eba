# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Images padded to squares with one colour, before the image processor gets them."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from processor_parts import SIZE, TOKENS, build_processor, encoded, picture, siglip_images
from transformers import CLIPImageProcessorPil, SiglipImageProcessorPil

from wings_hf import WingsProcessor
from wings_hf.processing.wings_square_padding import pad_to_square

GREY = [127, 127, 127]


def untouched() -> Any:
    """An image processor that only makes an array."""
    return SiglipImageProcessorPil(do_resize=False, do_rescale=False, do_normalize=False)


@pytest.mark.parametrize(
    "width, height, left, top",
    [(5, 2, 0, 1), (2, 5, 1, 0), (4, 1, 0, 1), (1, 4, 1, 0), (3, 1, 0, 1), (7, 6, 0, 0), (3, 3, 0, 0), (1, 1, 0, 0)],
)
def test_an_image_lies_in_the_middle_of_a_square(width, height, left, top):
    side = max(width, height)
    expected = np.full((side, side, 3), (1, 2, 3), dtype=np.uint8)
    image = picture(width=width, height=height)
    expected[top : top + height, left : left + width] = np.asarray(image)
    assert np.array_equal(np.asarray(pad_to_square(image, [1, 2, 3], None)), expected)


@pytest.mark.parametrize("level", [200, 0, 255])
def test_padding_comes_after_an_image_is_made_upright_and_rgb(level):
    """The border has its colour whatever the image's mode; inside is what the image processor gets without it."""
    plain = build_processor(image_processor=untouched())
    processor = build_processor(image_processor=untouched(), pad_to_square=[level, 127, 0])
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees
    sources = {
        "upright": encoded(picture(width=8, height=4), "PNG"),
        "turned": encoded(picture(width=4, height=8), "PNG", exif=turned),
        "grey": Image.new("L", (8, 4), 9),
        "16 bit": Image.fromarray(np.full((4, 8), 30_000, dtype=np.uint16)),
        "transparent": Image.new("RGBA", (8, 4), (5, 5, 5, 0)),
        "palette": picture(width=8, height=4).convert("P"),
        "cmyk": picture(width=8, height=4).convert("CMYK"),
    }
    for name, source in sources.items():
        pixels = np.asarray(processor(images=source)["pixel_values"][0])  # (3, 8, 8)
        assert pixels.shape == (3, 8, 8), name
        for channel, value in enumerate((level, 127, 0)):
            assert (pixels[channel, :2] == value).all() and (pixels[channel, 6:] == value).all(), name
        assert np.array_equal(pixels[:, 2:6], np.asarray(plain(images=source)["pixel_values"][0])), name


def test_image_processors_of_any_backend_get_square_pil_images():
    class Recorder:
        """Takes what image processors take, whatever they compute with."""

        def __call__(self, images: list[Image.Image], **kwargs: Any) -> dict[str, Any]:
            self.images = images
            return {"pixel_values": torch.zeros(len(images), 3, SIZE, SIZE)}

    recorder = Recorder()
    processor = build_processor(pad_to_square=GREY)
    processor.image_processor = recorder
    processor(images=[picture(width=9, height=4), picture(width=4, height=7)], text="<image><image>")
    assert [(image.mode, image.size) for image in recorder.images] == [("RGB", (9, 9)), ("RGB", (7, 7))]


def test_counts_follow_the_square():
    """Where the size of the pixel values depends on the image, so do its tokens: here on the padded one."""
    images = CLIPImageProcessorPil(size={"shortest_edge": SIZE}, do_center_crop=False)
    texts, pictures = ["<image>", "<image>", "none"], [picture(width=60, height=30), picture(width=20, height=40)]
    for colour, counts in ((None, [18, 18, 0]), (GREY, [9, 9, 0])):
        processor = build_processor(image_processor=images, num_additional_image_tokens=0, pad_to_square=colour)
        rows = [processor(images=[image], text="<image>") for image in pictures]
        assert [sum(row["mm_token_type_ids"][0]) for row in rows] == counts[:2]
        assert processor._get_num_multimodal_tokens([(30, 60), (40, 20)])["num_image_tokens"] == counts[:2]
    batch = processor(images=pictures, text=texts, padding=True, return_tensors="pt")
    assert batch["mm_token_type_ids"].sum(-1).tolist() == counts
    assert batch["pixel_values"].shape == (2, 3, SIZE, SIZE)


def test_each_of_several_images_is_padded_as_alone():
    pictures = [picture(1, 40, 30), picture(2, 11, 30), picture(3, 20, 20)]
    processor = build_processor(image_processor=siglip_images(), num_additional_image_tokens=0, pad_to_square=GREY)
    batch = processor(
        images=pictures, text=["<image> and <image>", "neither", "<image>"], padding=True, return_tensors="pt"
    )
    alone = [processor(images=image, return_tensors="pt")["pixel_values"][0] for image in pictures]
    assert torch.equal(batch["pixel_values"], torch.stack(alone))
    assert batch["mm_token_type_ids"].sum(-1).tolist() == [2 * TOKENS, 0, TOKENS]
    unpadded = build_processor(image_processor=siglip_images())(images=pictures, return_tensors="pt")["pixel_values"]
    assert [torch.equal(*pair) for pair in zip(unpadded, batch["pixel_values"], strict=True)] == [False, False, True]


def test_texts_alone_are_what_they_are_without_padding():
    padded, plain = (build_processor(pad_to_square=colour) for colour in (GREY, None))
    assert dict(padded(text=["one", "two"])) == dict(plain(text=["one", "two"]))


def test_a_sliver_is_refused_before_it_is_padded(monkeypatch):
    def never(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("padded")

    processor = build_processor(image_processor=siglip_images(), pad_to_square=GREY)
    sliver, small = Image.new("RGB", (500_000, 1)), picture(width=6, height=5)
    monkeypatch.setattr(Image, "new", never)
    with pytest.raises(ValueError, match=r"500000x1 pixels would be padded to 500000x500000, more than"):
        processor(images=sliver, text="<image>")
    with pytest.raises(ValueError, match="max_image_pixels=30"):
        processor(images=small, text="<image>", max_image_pixels=30)


@pytest.mark.parametrize(
    "colour", ["grey", 127, [127, 127], [1, 2, 3, 4], [0.5] * 3, [-1, 0, 0], [256, 0, 0], [True] * 3]
)
def test_other_colours_raise(colour):
    with pytest.raises(ValueError, match=r"pad_to_square must be a colour \[red, green, blue\] of integers from 0"):
        build_processor(pad_to_square=colour)


@pytest.mark.parametrize("colour", [None, GREY, (3, 2, 1)])
def test_the_colour_is_saved(tmp_path, colour):
    build_processor(image_processor=siglip_images(), pad_to_square=colour).save_pretrained(tmp_path)
    loaded = WingsProcessor.from_pretrained(tmp_path)
    assert loaded.pad_to_square == (colour and list(colour))
