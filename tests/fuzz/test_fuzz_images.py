# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Damaged and hostile image files: an RGB picture within the limits, or ValueError."""

import base64
import io
import warnings

import pytest
from fuzz_parts import SCALARS, TEXTS, mutated, result_or
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from processor_parts import encoded, picture

from wings_hf.data.errors import DataError
from wings_hf.data.images import look_at
from wings_hf.processing.wings_image_sources import ImageOptions, read_image

LIMIT = 1 << 20
OPTIONS = [ImageOptions(max_pixels=LIMIT), ImageOptions(max_pixels=LIMIT, animated="first_frame")]


MODES = {
    "PNG": ("RGB", "RGBA", "L", "P", "1"),
    "JPEG": ("RGB", "L", "CMYK"),
    "GIF": ("RGB", "L", "P"),
    "WEBP": ("RGB", "RGBA"),
    "TIFF": ("RGB", "RGBA", "P", "1", "CMYK", "I;16", "F"),
    "BMP": ("RGB", "L", "P", "1"),
    "PPM": ("RGB", "L", "1"),
    "JPEG2000": ("RGB", "L"),
    "AVIF": ("RGB",),
}


def seeds(form: str) -> list[bytes]:
    """Files of a format: colours, depths, orientation, several frames, compressions."""
    exif = Image.Exif()
    exif[0x0112] = 6
    files = [encoded(_picture(mode), form) for mode in MODES[form]]
    if form in ("PNG", "JPEG", "TIFF", "WEBP"):
        files.append(encoded(picture(2, 24, 16), form, exif=exif))
    if form in ("PNG", "GIF", "WEBP", "TIFF"):
        files.append(encoded(picture(1, 12, 8), form, save_all=True, append_images=[picture(2, 12, 8)]))
    if form == "TIFF":
        files += [encoded(picture(1, 24, 16), form, compression=kind) for kind in ("tiff_lzw", "jpeg", "tiff_deflate")]
    return files


def _picture(mode: str) -> Image.Image:
    grey = picture(1, 24, 16, "L")
    if mode == "F":
        return grey.convert("F").point(lambda level: level * (1 / 255))
    return grey.convert("I").convert("I;16") if mode == "I;16" else picture(1, 24, 16, mode)


def files() -> st.SearchStrategy[bytes]:
    """Mutated files of each format that this Pillow can write."""
    Image.init()
    return st.one_of([mutated(seeds(form), head=64) for form in MODES if form in Image.SAVE])


@pytest.mark.filterwarnings("ignore")
@given(data=st.deferred(files), options=st.sampled_from(OPTIONS))
def test_mutated_files(data, options):
    with result_or(ValueError):
        image = read_image(data, options)
        assert image.mode == "RGB" and 0 < image.width * image.height <= LIMIT
        assert len(image.tobytes()) == image.width * image.height * 3
    with result_or(DataError):
        look_at(data, LIMIT, decode=True)


@pytest.mark.filterwarnings("ignore")
@given(
    data=st.one_of(st.binary(max_size=200), mutated([encoded(picture(1, 8, 8))])), kind=st.integers(0, 4), junk=TEXTS
)
def test_other_ways_to_name_an_image(data, kind, junk):
    text = base64.b64encode(data).decode()
    sources = [
        f"data:image/png;base64,{text}",
        f"data:{junk};base64,{text}",
        {"bytes": data, "path": junk},
        io.BytesIO(data),
        f"data:{junk}",
    ]
    with result_or(ValueError):
        assert read_image(sources[kind], OPTIONS[0]).mode == "RGB"


@given(source=st.one_of(SCALARS, st.dictionaries(st.sampled_from(["bytes", "path", "x"]), SCALARS, max_size=2)))
def test_what_is_no_image_at_all(source):
    with warnings.catch_warnings(), result_or(ValueError):
        warnings.simplefilter("ignore")
        read_image(source, OPTIONS[0])
        raise AssertionError(f"{source!r} was read as an image")
