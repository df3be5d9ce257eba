# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""From what users pass as an image (path, bytes, URL, array, PIL image) to one 8-bit RGB PIL image."""

import base64
import binascii
import io
import os
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image

from wings_hf.processing.wings_image_pixels import array_to_image, check_pixels, to_rgb, upright

# Pillow's own limit for a warning; twice that is an error there, whatever is set here.
DEFAULT_MAX_IMAGE_PIXELS = 89_478_485
MAX_DOWNLOAD_BYTES = 100 * 1024 * 1024
DOWNLOAD_TIMEOUT_SECONDS = 30.0
# Their further "frames" are previews, depth maps or layers of the one picture.
STILL_FORMATS = ("MPO", "PSD")

EXPECTED = (
    "a PIL image, a numpy array or torch tensor, a path, bytes, a binary file object, a data URL, "
    "or {'bytes': ..., 'path': ...}"
)


@dataclass(frozen=True)
class ImageOptions:
    """What is allowed and how it is read. These are the caller's decisions and never come from a checkpoint.

    Attributes:
        allow_urls: whether http(s) URLs may be fetched.
        animated: what to do with an image of several frames or pages: `"error"` or `"first_frame"`.
        max_pixels: limit for width x height, checked on the header, before decoding; None for no limit here.
        channels: channel order of arrays, `"channels_first"` or `"channels_last"`; None infers it.
        allow_float: whether float arrays in [0, 1] are taken. Not where the image processor does not rescale:
            everything it receives is 8-bit.
    """

    allow_urls: bool = False
    animated: Literal["error", "first_frame"] = "error"
    max_pixels: int | None = DEFAULT_MAX_IMAGE_PIXELS
    channels: str | None = None
    allow_float: bool = True

    def __post_init__(self) -> None:
        if self.animated not in ("error", "first_frame"):
            raise ValueError(f"animated must be 'error' or 'first_frame', got {self.animated!r}.")
        if self.max_pixels is not None and self.max_pixels <= 0:
            raise ValueError(f"max_image_pixels must be positive or None, got {self.max_pixels}.")


def is_image_source(source: Any) -> bool:
    """Whether `source` is one image of a kind that `read_image` takes (not whether it can be read)."""
    if isinstance(source, np.ndarray | torch.Tensor):
        return source.ndim in (2, 3)
    kinds = (Image.Image, str, bytes, bytearray, memoryview, os.PathLike, dict)
    return isinstance(source, kinds) or hasattr(source, "read")


def read_image(source: Any, options: ImageOptions) -> Image.Image:
    """One image as an upright RGB PIL image of 8 bits per channel.

    EXIF orientation is applied, CMYK and palettes are converted, 16-bit grey and float are scaled, transparency
    is laid on white.

    Raises:
        ValueError: the source is of no known kind, cannot be read, or is refused by `options`.
    """
    if isinstance(source, Image.Image):
        return _finish(source, options)
    if isinstance(source, np.ndarray | torch.Tensor):
        return array_to_image(
            source, channels=options.channels, allow_float=options.allow_float, max_pixels=options.max_pixels
        )
    if isinstance(source, bytes | bytearray | memoryview):
        return _decode(io.BytesIO(source), options)
    if isinstance(source, dict):
        return _read_dict(source, options)
    if isinstance(source, str | os.PathLike):
        return _read_name(os.fspath(source), options)
    if hasattr(source, "read"):
        return _decode(source, options)
    raise ValueError(f"an object of type {type(source).__name__} is not an image; expected {EXPECTED}.")


def _read_dict(source: dict, options: ImageOptions) -> Image.Image:
    if source.get("bytes") is not None:
        return _decode(io.BytesIO(source["bytes"]), options)
    if source.get("path") is not None:
        return _read_name(os.fspath(source["path"]), options)
    raise ValueError(f"a dict with the keys {sorted(map(str, source))} is not an image; expected {EXPECTED}.")


def _read_name(name: str, options: ImageOptions) -> Image.Image:
    """A path, or a data, file or http(s) URL."""
    start = name[:8].lower()
    if start.startswith("data:"):
        return _decode(io.BytesIO(decode_data_url(name)), options)
    if start.startswith(("http://", "https://")):
        if not options.allow_urls:
            raise ValueError(
                f"{_short(name)} is a web address and nothing is fetched unless asked for: pass allow_urls=True, "
                "or download the image first."
            )
        return _decode(io.BytesIO(download(name)), options)
    if start.startswith("file://"):
        name = urllib.request.url2pathname(urllib.parse.urlsplit(name).path)
    try:
        stream = open(name, "rb")  # noqa: SIM115
    except (OSError, ValueError) as error:
        raise ValueError(f"the file {_short(name)!r} cannot be opened: {error}.") from error
    with stream:
        return _decode(stream, options)


def decode_base64(text: str | bytes) -> bytes:
    """Bytes of a base64 text (white space is ignored).

    Raises:
        ValueError: the text is not base64.
    """
    packed = text.encode("ascii", "replace") if isinstance(text, str) else text
    try:
        return base64.b64decode(b"".join(packed.split()), validate=True)
    except binascii.Error as error:
        raise ValueError(f"the base64 text {_short(text)!r} cannot be decoded: {error}.") from error


def decode_data_url(url: str) -> bytes:
    """Bytes of a `data:` URL, base64 or percent-encoded.

    Raises:
        ValueError: the URL has no comma or its base64 part is damaged.
    """
    header, comma, payload = url.partition(",")
    if not comma:
        raise ValueError(f"the data URL {_short(url)!r} has no ',' before its data.")
    payload_bytes = urllib.parse.unquote_to_bytes(payload)
    return decode_base64(payload_bytes) if header.lower().endswith(";base64") else payload_bytes


def download(url: str) -> bytes:
    """Body of an http(s) URL, at most `MAX_DOWNLOAD_BYTES`; redirects stay within http(s).

    Raises:
        ValueError: the server cannot be reached, answers with an error or with too much.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    request = urllib.request.Request(url, headers={"User-Agent": "wings_hf"})
    try:
        with opener.open(request, timeout=DOWNLOAD_TIMEOUT_SECONDS) as response:
            body = response.read(MAX_DOWNLOAD_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ValueError(f"{_short(url)} cannot be fetched: {error}.") from error
    if len(body) > MAX_DOWNLOAD_BYTES:
        raise ValueError(f"{_short(url)} is larger than {MAX_DOWNLOAD_BYTES} bytes.")
    return body


def _decode(stream: Any, options: ImageOptions) -> Image.Image:
    """Open an encoded image. The size is checked on the header, before any pixel is decoded."""
    try:
        image = Image.open(stream)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(
            f"it exceeds the limit of Pillow itself ({error}); raise PIL.Image.MAX_IMAGE_PIXELS too if you trust it."
        ) from error
    except Exception as error:  # Pillow's plugins raise nearly anything on damaged headers
        raise ValueError(f"it is not an image that Pillow can read: {error}.") from error
    return _finish(image, options)


def _finish(image: Image.Image, options: ImageOptions) -> Image.Image:
    check_pixels(image.height, image.width, options.max_pixels)
    with _decoding():
        several = image.format not in STILL_FORMATS and getattr(image, "is_animated", False)
    if several and options.animated == "error":
        raise ValueError(
            f"it holds several frames or pages ({image.format}): pass animated='first_frame' to use the first, "
            "or pass the one you mean as a still image."
        )
    with _decoding():
        still = _first_frame(image) if several else image
        still.load()
        still = upright(still)
    return to_rgb(still)


@contextmanager
def _decoding() -> Iterator[None]:
    """Damaged data surface in Pillow as OSError, SyntaxError, EOFError, struct.error and more: one ValueError."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"its pixels cannot be decoded, it may be cut off or damaged: {error}.") from error


def _first_frame(image: Image.Image) -> Image.Image:
    """A copy of frame 0; `image` stays at the frame it shows."""
    shown = image.tell()
    image.seek(0)
    first = image.copy()
    image.seek(shown)
    return first


def _short(text: str | bytes, length: int = 80) -> str:
    shown = text if isinstance(text, str) else text[: length + 1].decode("ascii", "replace")
    return shown if len(shown) <= length else f"{shown[:length]}..."
