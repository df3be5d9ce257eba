# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Looking at the images of records before they are trained on: headers first, pixels when asked."""

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from wings_hf.data.errors import DataError
from wings_hf.processing.wings_image_pixels import check_pixels
from wings_hf.processing.wings_image_sources import (
    DEFAULT_MAX_IMAGE_BYTES,
    DEFAULT_MAX_IMAGE_PIXELS,
    STILL_FORMATS,
    ImageOptions,
    check_bytes,
    decode_data_url,
    formats,
    open_file,
    read_image,
)

WEB = ("http://", "https://")


class ImageFacts(NamedTuple):
    """What the header of an image says: `"JPEG"`, pixels across, pixels down."""

    format: str
    width: int
    height: int


def image_of(item: Mapping[str, Any]) -> Any:
    """What an image item names its image by: a path or address, bytes, a dict of these, or a PIL image."""
    return next(item[key] for key in ("path", "url", "image") if key in item)


def name_of(source: Any) -> str:
    """How an image is called in messages."""
    if isinstance(source, Mapping):
        source = source.get("path") or source.get("bytes")
    if isinstance(source, str) and not source.startswith("data:"):
        return source
    return "in the record"


def look_at(source: Any, max_pixels: int | None = DEFAULT_MAX_IMAGE_PIXELS, decode: bool = False) -> ImageFacts | None:
    """What kind of image it is; None for one behind a web address, which is not fetched.

    Args:
        source: see `image_of`.
        max_pixels: more than this is an error, noticed before any pixel is decoded; None for no limit.
        decode: decode the pixels too: damage behind the header is found by that alone.

    Raises:
        DataError: it is missing, is no image, is damaged, is too large, or has several frames.
    """
    if isinstance(source, str) and source.startswith(WEB):
        return None
    name = name_of(source)
    with _damage_as_data_error(name), warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with _open(source) as image:
            facts = ImageFacts(image.format or "?", image.width, image.height)
            check_pixels(image.height, image.width, max_pixels)
            if image.format not in STILL_FORMATS and getattr(image, "is_animated", False):
                raise ValueError("it holds several frames or pages")
            if decode:
                read_image(image, ImageOptions(max_pixels=max_pixels))
    return facts


@contextmanager
def _open(source: Any) -> Iterator[Image.Image]:
    """The image with its header read; its file is closed at the end."""
    if isinstance(source, Mapping):
        source = source["path"] if source.get("bytes") is None else source["bytes"]
    if isinstance(source, Image.Image):
        yield source
        return
    if isinstance(source, str) and source.startswith("data:"):
        source = decode_data_url(source)
    if isinstance(source, bytes):
        check_bytes(len(source), DEFAULT_MAX_IMAGE_BYTES)
        with Image.open(io.BytesIO(source), formats=formats()) as image:
            yield image
        return
    if not Path(source).exists():
        raise FileNotFoundError(source)
    with open_file(source, DEFAULT_MAX_IMAGE_BYTES) as file, Image.open(file, formats=formats()) as image:
        yield image


@contextmanager
def _damage_as_data_error(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"image {name} does not exist", "missing image") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"image {name} is larger than Pillow allows: {error}", "image too large") from error
    except ValueError as error:  # ours, which say what is wrong
        raise DataError(f"image {name}: {str(error).rstrip('.')}", "unusable image") from error
    except Exception as error:  # Pillow's plugins raise nearly anything on damaged data
        raise DataError(f"image {name} cannot be read as an image ({error})", "broken image") from error
