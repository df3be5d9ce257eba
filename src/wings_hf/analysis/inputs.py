# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""From conversations to model inputs, for any image-text model; and what the model saw of an image."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

import wings_hf  # noqa: F401  (registers the Auto classes)
from wings_hf.analysis.maps import real_tiles
from wings_hf.data.collator import ConversationCollator
from wings_hf.data.images import image_of
from wings_hf.data.records import Record
from wings_hf.processing.processing_wings import WingsProcessor
from wings_hf.processing.wings_image_sources import ImageOptions, read_image


def load_model(
    name: str, device: str = "auto", trust_remote_code: bool = False, processor_name: str | None = None
) -> tuple[Any, Any]:
    """
    An image-text model and its processor, from a folder or a name.

    Args:
        device: "auto" for an accelerator where there is one.
        trust_remote_code: run code that comes with the model.
        processor_name: of the processor, where it is not the model's.

    Raises:
        OSError, ValueError: it cannot be loaded.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor

    if device == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        device = str(accelerator or "cpu")
    model: Any = AutoModelForImageTextToText.from_pretrained(
        name, dtype="auto", trust_remote_code=trust_remote_code, use_safetensors=True
    )
    processor = AutoProcessor.from_pretrained(processor_name or name, trust_remote_code=trust_remote_code)
    return model.to(device).eval(), processor


class Encoder:
    """
    Model inputs of whole conversations, answers included.

    Batches for a `WingsProcessor` have labels on what the assistant says; those for other processors have none.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.collator = ConversationCollator(processor) if isinstance(processor, WingsProcessor) else None

    def __call__(self, records: Sequence[Record]) -> dict[str, Any]:
        """
        A batch of some records.

        Raises:
            ValueError, OSError: a record cannot be encoded, or one of its images not be read.
        """
        if self.collator is not None:
            return self.collator(records)
        return dict(
            self.processor.apply_chat_template(
                [_with_open_images(record) for record in records],
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs={"padding": True},
            )
        )


def batches_of(
    records: Sequence[Record], encoder: Encoder, size: int, left_out: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """Batches of `size` records in order; `left_out` is told of each that cannot be encoded, such as damaged images."""
    for start in range(0, len(records), size):
        here = [records[index] for index in range(start, min(start + size, len(records)))]
        try:
            batches = [encoder(here)]
        except (ValueError, OSError):
            batches = _one_by_one(here, encoder, left_out)
        yield from batches


def _one_by_one(records: Sequence[Record], encoder: Encoder, left_out: Callable[[str], None]) -> list[dict[str, Any]]:
    batches = []
    for record in records:
        try:
            batches.append(encoder([record]))
        except (ValueError, OSError) as error:
            left_out(f"{record.source}: {error}")
    return batches


def open_images(record: Record) -> list[Image.Image]:
    """The record's images, opened within the limits that hold for untrusted ones; none is fetched from the web."""
    return [read_image(image_of(item), ImageOptions()) for item in record.images]


def _with_open_images(record: Record) -> list[dict[str, Any]]:
    images = iter(open_images(record))
    return [
        {
            **message,
            "content": [
                {"type": "image", "image": next(images)} if item["type"] == "image" else item
                for item in message["content"]
            ],
        }
        for message in record.messages
    ]


def pictures_for(
    maps: int, batch: Mapping[str, Any], processor: Any, originals: Sequence[Image.Image]
) -> list[Image.Image | None]:
    """
    A picture for each of a sample's maps: what the model saw, else the original, else None.

    Args:
        maps: how many maps there are.
        batch: the sample's inputs, a batch of one.
        originals: the sample's images.
    """
    pixels = batch.get("pixel_values")
    if isinstance(pixels, torch.Tensor) and pixels.ndim in (4, 5):
        pixels = real_tiles(pixels) if pixels.ndim == 5 else pixels
        if len(pixels) == maps:
            return [_seen(each, processor) for each in pixels]
    return list(originals) if len(originals) == maps else [None] * maps


def _seen(pixels: torch.Tensor, processor: Any) -> Image.Image:
    """The picture of (3, h, w) normalised pixels."""
    image_processor = getattr(processor, "image_processor", None)
    mean, std = (
        torch.tensor(getattr(image_processor, name, None) or default).view(-1, 1, 1)
        for name, default in (("image_mean", [0.5] * 3), ("image_std", [0.5] * 3))
    )
    shown = (pixels.float().cpu() * std + mean).clamp(0, 1)
    return Image.fromarray((shown.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
