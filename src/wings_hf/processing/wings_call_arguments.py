# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The arguments of a call to the processor: their types, and which belong to whom."""

from typing import Any, Literal, NamedTuple

from transformers.processing_utils import ImagesKwargs, ProcessingKwargs

from wings_hf.processing.wings_image_sources import ImageOptions
from wings_hf.processing.wings_pixel_values import argument_names


class WingsImagesKwargs(ImagesKwargs, total=False):
    """Image arguments of a call: those of the image processor, and how images are read.

    allow_urls (`bool`, defaults to the processor's `allow_urls`, `False`):
        Fetch http(s) URLs, from addresses of the public internet. Without it they raise.
    allow_private_urls (`bool`, defaults to the processor's `allow_private_urls`, `False`):
        With `allow_urls`: fetch from private, loopback and other addresses too.
    animated (`"error"` or `"first_frame"`, defaults to the processor's `animated`, `"error"`):
        What to do with an image of several frames or pages.
    max_image_pixels (`int`, *optional*, defaults to the processor's `max_image_pixels`, Pillow's own limit):
        Largest width x height of an image, checked before it is decoded.
    max_image_bytes (`int`, *optional*, defaults to the processor's `max_image_bytes`, 100 MiB):
        Largest encoded image: file, bytes, stream or data URL.
    """

    allow_urls: bool | None
    allow_private_urls: bool | None
    animated: Literal["error", "first_frame"] | None
    max_image_pixels: int | None
    max_image_bytes: int | None


class WingsProcessorKwargs(ProcessingKwargs, total=False):
    """Arguments of a call to `WingsProcessor`."""

    images_kwargs: WingsImagesKwargs  # type: ignore[misc]
    _defaults = {}  # type: ignore[misc]


class Call(NamedTuple):
    """The arguments of one call, sorted.

    Attributes:
        text: for the tokenizer.
        images: for the image processor.
        options: how images are read.
        return_tensors: None, `"pt"` or `"np"`.
        type_ids: whether to return `mm_token_type_ids`.
        replacement_offsets: whether to return `text_replacement_offsets`.
    """

    text: dict[str, Any]
    images: dict[str, Any]
    options: ImageOptions
    return_tensors: str | None
    type_ids: bool
    replacement_offsets: bool


def sort_arguments(processor: Any, kwargs: dict[str, Any]) -> Call:
    """The arguments of a call to `processor`, with its settings where a call says nothing.

    Raises:
        ValueError: an argument that the processor cannot serve.
    """
    given = {name: dict(value) if isinstance(value, dict) else value for name, value in kwargs.items()}
    for name in ("videos", "audio", "audios"):
        if given.pop(name, None) is not None:
            raise ValueError(f"WingsProcessor takes images and text only, got {name}.")
    merged = processor._merge_kwargs(
        WingsProcessorKwargs, tokenizer_init_kwargs=processor.tokenizer.init_kwargs, **given
    )
    text, images = merged["text_kwargs"], merged["images_kwargs"]
    text.setdefault("return_token_type_ids", False)
    if not processor.adds_special_tokens:
        text.setdefault("add_special_tokens", False)
    if text.get("return_overflowing_tokens"):
        raise ValueError("return_overflowing_tokens would split samples from their images; it is not supported.")
    type_ids = text.pop("return_mm_token_type_ids", None)
    offsets = text.pop("return_text_replacement_offsets", None) or merged.get("return_text_replacement_offsets")
    tensors = text.pop("return_tensors", None), images.pop("return_tensors", None)
    return Call(
        text=text,
        images=images,
        options=_pop_image_options(processor, images),
        return_tensors=getattr(tensors[0] or tensors[1], "value", tensors[0] or tensors[1]),
        type_ids=True if type_ids is None else type_ids,
        replacement_offsets=bool(offsets),
    )


def _pop_image_options(processor: Any, images: dict[str, Any]) -> ImageOptions:
    def option(name: str) -> Any:
        value = images.pop(name, None)
        return getattr(processor, name) if value is None else value

    rescales = images.get("do_rescale")
    return ImageOptions(
        allow_urls=option("allow_urls"),
        allow_private_urls=option("allow_private_urls"),
        animated=option("animated"),
        max_pixels=option("max_image_pixels"),
        max_bytes=option("max_image_bytes"),
        channels=images.pop("input_data_format", None),
        allow_float=getattr(processor.image_processor, "do_rescale", True) if rescales is None else rescales,
    )


def chat_call_arguments(
    image_processor: Any, processor_kwargs: dict[str, Any] | None, kwargs: dict[str, Any], return_tensors: Any
) -> dict[str, Any]:
    """Those of a chat call's arguments that are for the processor's `__call__`."""
    names = _argument_names(image_processor)
    call_kwargs = dict(processor_kwargs or {})
    call_kwargs.update({name: value for name, value in kwargs.items() if name in names})
    if return_tensors != "auto":
        call_kwargs["return_tensors"] = return_tensors
    return call_kwargs


def _argument_names(image_processor: Any) -> set[str]:
    """Names of all arguments of a call, flat and grouped."""
    names = argument_names(image_processor)
    for name, group in WingsProcessorKwargs.__annotations__.items():
        names |= {name, *getattr(group, "__annotations__", {})}
    return names


def without_max_length(call_kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call on texts known to fit: `max_length` stays for padding only, else tokenizers warn."""
    text_kwargs = dict(call_kwargs.get("text_kwargs", {}))
    if "max_length" in (call_kwargs.get("padding"), text_kwargs.get("padding")):
        return call_kwargs
    kept = {name: value for name, value in call_kwargs.items() if name != "max_length"}
    if text_kwargs.pop("max_length", None):
        kept["text_kwargs"] = text_kwargs
    return kept


def as_texts(text: Any) -> list[str] | None:
    """A list of texts; None stays None.

    Raises:
        ValueError: something else than a string or a list of strings.
    """
    if text is None:
        return None
    texts = [text] if isinstance(text, str) else list(text) if isinstance(text, list | tuple) else None
    if not texts:
        raise ValueError(f"text must be a string or a list of at least one string, got {text!r}.")
    for index, sample in enumerate(texts):
        if not isinstance(sample, str):
            raise ValueError(f"text must be a string or a list of strings, entry {index} is {type(sample).__name__}.")
        try:
            sample.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"text {index} holds half a character, which is no text: {error}.") from error
    return texts
