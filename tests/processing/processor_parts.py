# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Tokenizers, image processors and pictures for the processor's tests, all made here."""

import io
from typing import Any

import numpy as np
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import CLIPImageProcessor, PreTrainedTokenizerFast, SiglipImageProcessor

from wings_hf.processing.processing_wings import WingsProcessor

PATCH = 6
SIZE = 18
TOKENS = (SIZE // PATCH) ** 2

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>'"
    " + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def build_tokenizer(
    special: tuple[str, ...] = ("<|im_start|>", "<|im_end|>"),
    chat_template: Any = None,
    adds_bos: bool = False,
    **kwargs: Any,
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer without an image token."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokens = ["<unk>", "<pad>", "<s>", "</s>", *special]
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=tokens, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    backend.train_from_iterator(["user assistant what is shown in the image a cat and a dog"], trainer)
    if adds_bos:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 2)])
    names = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, chat_template=chat_template, **{"padding_side": "left", **names, **kwargs}
    )


def clip_images(**kwargs: Any) -> Any:
    size = {"size": {"shortest_edge": SIZE + 2}, "crop_size": {"height": SIZE, "width": SIZE}}
    return CLIPImageProcessor(**{**size, **kwargs})


def siglip_images(**kwargs: Any) -> Any:
    return SiglipImageProcessor(**{"size": {"height": SIZE, "width": SIZE}, **kwargs})


def build_processor(tokenizer: Any = None, image_processor: Any = None, **kwargs: Any) -> WingsProcessor:
    return WingsProcessor(
        image_processor or clip_images(),
        tokenizer or build_tokenizer(),
        **{"patch_size": PATCH, "num_additional_image_tokens": 1, **kwargs},
    )


def picture(seed: int = 0, width: int = 40, height: int = 30, mode: str = "RGB") -> Image.Image:
    """A smooth picture, so that lossy formats keep it nearly the same, with no symmetry."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [(x * 4 + seed * 17) % 256, (y * 6 + seed * 29) % 256, (x + 2 * y + seed * 41) % 256]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8)).convert(mode)


def encoded(image: Image.Image, form: str = "PNG", **kwargs: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **kwargs)
    return stream.getvalue()
