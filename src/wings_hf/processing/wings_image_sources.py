# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""From what users pass as an image (path, bytes, URL, array, PIL image) to one 8-bit RGB PIL image."""

import base64
import binascii
import io
import os
import stat
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from wings_hf.processing.wings_downloads import download
from wings_hf.processing.wings_image_pixels import array_to_image, check_pixels, to_rgb, upright

# Pillow's own limit for a warning; twice that is an error there, whatever is set here.
DEFAULT_MAX_IMAGE_PIXELS = 89_478_485
DEFAULT_MAX_IMAGE_BYTES = 100 * 1024 * 1024
# What is read. Pillow knows more, but some of it starts other programs (EPS), names other files or holds images of
# another size than its header says. AVIF and HEIF depend on how Pillow was built and on what was registered with it.
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "PSD", "JPEG2000", "AVIF", "HEIF")
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
        allow_urls: whether http(s) URLs may be fetched, from addresses of the public internet.
        allow_private_urls: whether they may be fetched from other addresses too.
        animated: what to do with an image of several frames or pages: `"error"` or `"first_frame"`.
        max_pixels: limit for width x height, checked on the header, before decoding; None for no limit here.
        max_bytes: limit for an encoded image: a file, bytes, a stream, a data URL; None for no limit. What is fetched
            has a limit of its own (`wings_downloads`).
        channels: channel order of arrays, `"channels_first"` or `"channels_last"`; None infers it.
        allow_float: whether float arrays in [0, 1] are taken. Not where the image processor does not rescale:
            everything it receives is 8-bit.
    """

    allow_urls: bool = False
    allow_private_urls: bool = False
    animated: Literal["error", "first_frame"] = "error"
    max_pixels: int | None = DEFAULT_MAX_IMAGE_PIXELS
    max_bytes: int | None = DEFAULT_MAX_IMAGE_BYTES
    channels: str | None = None
    allow_float: bool = True

    def __post_init__(self) -> None:
        if self.animated not in ("error", "first_frame"):
            raise ValueError(f"animated must be 'error' or 'first_frame', got {self.animated!r}.")
        for name in ("max_pixels", "max_bytes"):
            limit = getattr(self, name)
            if limit is not None and limit <= 0:
                raise ValueError(f"{name.replace('_', '_image_')} must be positive or None, got {limit}.")


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
        return _decode_bytes(source, options)
    if isinstance(source, dict):
        return _read_dict(source, options)
    if isinstance(source, str | os.PathLike):
        return _read_name(os.fspath(source), options)
    if hasattr(source, "read"):
        check_bytes(_stream_size(source), options.max_bytes)
        return _decode(source, options)
    raise ValueError(f"an object of type {type(source).__name__} is not an image; expected {EXPECTED}.")


def _read_dict(source: dict, options: ImageOptions) -> Image.Image:
    if source.get("bytes") is not None:
        return _decode_bytes(source["bytes"], options)
    if source.get("path") is not None:
        if not isinstance(source["path"], str | os.PathLike):
            raise ValueError(f"its path is of type {type(source['path']).__name__}, expected a string.")
        return _read_name(os.fspath(source["path"]), options)
    raise ValueError(f"a dict with the keys {sorted(map(str, source))} is not an image; expected {EXPECTED}.")


def _read_name(name: str, options: ImageOptions) -> Image.Image:
    """A path, or a data, file or http(s) URL."""
    start = name[:8].lower()
    if start.startswith("data:"):
        return _decode_bytes(decode_data_url(name), options)
    if start.startswith(("http://", "https://")):
        if not options.allow_urls:
            raise ValueError(
                f"{_short(name)} is a web address and nothing is fetched unless asked for: pass allow_urls=True, "
                "or download the image first."
            )
        return _decode(io.BytesIO(download(name, options.allow_private_urls)), options)
    if start.startswith("file://"):
        name = urllib.request.url2pathname(urllib.parse.urlsplit(name).path)
    with open_file(name, options.max_bytes) as stream:
        return _decode(stream, options)


@contextmanager
def open_file(name: str | os.PathLike, max_bytes: int | None) -> Iterator[BinaryIO]:
    """A file of at most `max_bytes`, open for reading.

    Raises:
        ValueError: it is larger, cannot be opened, or is a device or a pipe, which may never end.
    """
    try:
        facts = os.stat(name)
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(f"it is no regular file: {_short(os.fsdecode(name))!r}")
        stream = open(name, "rb")  # noqa: SIM115
    except (OSError, ValueError) as error:
        raise ValueError(f"the file {_short(os.fsdecode(name))!r} cannot be opened: {error}.") from error
    with stream:
        check_bytes(facts.st_size, max_bytes)
        yield stream


def check_bytes(size: int, max_bytes: int | None) -> None:
    """Raise ValueError for an encoded image of more than `max_bytes`."""
    if max_bytes is not None and size > max_bytes:
        raise ValueError(f"its {size} bytes are more than the limit of {max_bytes}: raise max_image_bytes.")


def _stream_size(stream: Any) -> int:
    """Bytes of a file object that can tell; one that cannot is not read at all, for it may never end."""
    try:
        place = stream.tell()
        size = stream.seek(0, os.SEEK_END)
        stream.seek(place)
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"a file object must be open and seekable, this one is not ({error}).") from error
    return size


def decode_base64(text: str | bytes) -> bytes:
    """Bytes of a base64 text (white space is ignored).

    Raises:
        ValueError: the text is not base64.
    """
    if not isinstance(text, str | bytes):
        raise ValueError(f"a base64 image must be a text, got one of type {type(text).__name__}.")
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


def _decode_bytes(data: Any, options: ImageOptions) -> Image.Image:
    if not isinstance(data, bytes | bytearray | memoryview):
        raise ValueError(f"its bytes are of type {type(data).__name__}, expected bytes.")
    check_bytes(memoryview(data).nbytes, options.max_bytes)
    return _decode(io.BytesIO(data), options)


def formats() -> list[str]:
    """Those of `FORMATS` that this installation of Pillow can read."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _decode(stream: Any, options: ImageOptions) -> Image.Image:
    """Open an encoded image. The size is checked on the header, before any pixel is decoded."""
    try:
        image = Image.open(stream, formats=formats())
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(
            f"it exceeds the limit of Pillow itself ({error}); raise PIL.Image.MAX_IMAGE_PIXELS too if you trust it."
        ) from error
    except Exception as error:  # Pillow's plugins raise nearly anything on damaged headers
        why = "" if isinstance(error, UnidentifiedImageError) else f": {error}"  # which names an object in memory
        raise ValueError(
            f"it is not an image that Pillow can read, of one of the formats {', '.join(formats())}{why}."
        ) from error
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
