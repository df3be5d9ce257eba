# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Every kind of image a user may pass, and every way it may be wrong."""

import base64
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from processor_parts import encoded, picture

from wings_hf.processing.wings_image_sources import ImageOptions, decode_base64, decode_data_url, read_image

DEFAULT = ImageOptions()


def read(source, **options) -> np.ndarray:
    """(height, width, 3) uint8"""
    image = read_image(source, ImageOptions(**options))
    assert image.mode == "RGB"
    return np.asarray(image)


def assert_close(left, right, tolerance=0):
    left, right = np.asarray(left).astype(int), np.asarray(right).astype(int)
    assert left.shape == right.shape
    assert np.abs(left - right).max() <= tolerance


# -- sources ------------------------------------------------------------------------------------------------


def test_every_source_gives_the_same_pixels(tmp_path):
    image = picture(1)
    data = encoded(image)
    path = tmp_path / "a picture.png"
    path.write_bytes(data)
    pixels = np.asarray(image)
    sources = {
        "pil": image,
        "opened": Image.open(io.BytesIO(data)),
        "path": path,
        "name": str(path),
        "file url": path.as_uri(),
        "bytes": data,
        "bytearray": bytearray(data),
        "memoryview": memoryview(data),
        "stream": io.BytesIO(data),
        "data url": "data:image/png;base64," + base64.b64encode(data).decode(),
        "data url, percent": "data:image/png," + "".join(f"%{byte:02x}" for byte in data),
        "dataset bytes": {"bytes": data, "path": None},
        "dataset path": {"bytes": None, "path": str(path)},
        "numpy hwc": pixels,
        "numpy chw": pixels.transpose(2, 0, 1),
        "numpy float": pixels / 255,
        "numpy float32": (pixels / 255).astype(np.float32),
        "torch chw": torch.from_numpy(pixels.copy()).permute(2, 0, 1),
        "torch hwc": torch.from_numpy(pixels.copy()),
        "torch float": torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255,
        "torch gradient": (torch.from_numpy(pixels.copy()) / 255).requires_grad_(),
        "not contiguous": np.asarray(picture(1).transpose(Image.Transpose.FLIP_LEFT_RIGHT))[:, ::-1],
    }
    for name, source in sources.items():
        assert np.array_equal(read(source), pixels), name


def test_bfloat16_and_half_tensors_are_read():
    pixels = torch.from_numpy(np.asarray(picture()).copy()) / 255
    assert_close(read(pixels.half()), picture())
    assert_close(read(pixels.bfloat16()), picture(), 1)


def test_a_callers_image_is_left_as_it_was(tmp_path):
    image = picture(mode="RGBA")
    before = image.tobytes()
    read(image)
    assert image.mode == "RGBA"
    assert image.tobytes() == before
    array = np.asarray(picture()).copy()
    read(array)
    assert np.array_equal(array, np.asarray(picture()))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (object(), "type object is not an image; expected a PIL image"),
        (7, "type int is not an image"),
        ({"pixels": 1}, r"keys \['pixels'\] is not an image"),
        ("no/such/file.png", "'no/such/file.png' cannot be opened"),
        (Path("no/such/file.png"), "cannot be opened"),
        ("nul\0byte", "cannot be opened"),
        ("data:image/png;base64", "no ','"),
        ("data:image/png;base64,@@@@", "cannot be decoded"),
        (b"", "not an image that Pillow can read"),
        (b"plain text", "not an image that Pillow can read"),
        ("data:text/plain,hello", "not an image that Pillow can read"),
        (encoded(picture())[:20], "not an image that Pillow can read|cannot be decoded"),
    ],
)
def test_what_is_no_image_says_so(source, message):
    with pytest.raises(ValueError, match=message):
        read(source)


def test_base64_may_have_white_space_and_nothing_else():
    data = bytes(range(90))
    lines = base64.encodebytes(data).decode()
    assert decode_base64(lines) == data
    assert decode_data_url("data:;base64," + lines.replace("\n", "%0A")) == data
    with pytest.raises(ValueError, match="base64"):
        decode_base64("umläut")


# -- limits of what is read ----------------------------------------------------------------------------------


def test_encoded_images_are_limited_in_bytes_wherever_they_come_from(tmp_path):
    data = encoded(picture())
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    for source in (data, memoryview(data), path, path.as_uri(), url, io.BytesIO(data), {"bytes": data}):
        assert read(source, max_bytes=len(data)).shape == (30, 40, 3)
        with pytest.raises(ValueError, match=f"its {len(data)} bytes are more than the limit of {len(data) - 1}"):
            read(source, max_bytes=len(data) - 1)


def test_what_may_never_end_is_not_read(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for name in (pipe, "/dev/zero", tmp_path):
        with pytest.raises(ValueError, match="it is no regular file"):
            read(name)
    ends = os.pipe()
    with open(ends[0], "rb") as stream, pytest.raises(ValueError, match="seekable"):
        read(stream)
    os.close(ends[1])


def test_formats_that_start_programs_are_refused(monkeypatch):
    def no_program(*args, **kwargs):
        raise AssertionError("a program was started")

    monkeypatch.setattr("subprocess.check_call", no_program)
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", no_program)
    with pytest.raises(ValueError, match=r"of one of the formats PNG, JPEG"):
        read(encoded(picture(), "EPS"))


# -- colours and depths -------------------------------------------------------------------------------------


def test_cmyk_files_are_converted():
    image = picture(2, mode="CMYK")
    assert_close(read(image), picture(2), 1)
    assert_close(read(encoded(image, "TIFF")), picture(2), 1)
    assert_close(read(encoded(image, "JPEG", quality=98, subsampling=0)), picture(2), 30)


@pytest.mark.parametrize("mode", ["L", "P", "1", "YCbCr", "HSV", "LA", "PA", "RGBA", "RGBX", "La", "RGBa"])
def test_each_mode_gives_rgb(mode):
    if mode == "La":
        image = picture().convert("LA").convert("La")
    elif mode == "RGBa":
        image = picture().convert("RGBA").convert("RGBa")
    elif mode == "PA":
        image = picture().convert("P").convert("PA")
    else:
        image = picture().convert(mode)
    assert image.mode == mode
    expected = {"La": "LA", "PA": "P"}.get(mode, mode)
    assert_close(read(image), picture().convert(expected).convert("RGB"), 3)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L", "I"])
def test_16_bit_grey_is_scaled(mode):
    levels = np.array([[0, 128, 129, 257], [32767, 32896, 65535, 300]], dtype=np.int32)
    if mode == "I":
        image = Image.fromarray(levels)
    else:
        order = {"I;16B": ">u2"}.get(mode, "<u2")
        image = Image.frombytes(mode, (4, 2), levels.astype(order).tobytes())
    assert image.mode == mode
    expected = np.rint(levels / 257)
    assert_close(read(image), np.repeat(expected[..., None], 3, axis=-1))


def test_16_bit_files_are_scaled():
    levels = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    expected = np.repeat(np.rint(levels / 257)[..., None], 3, axis=-1)
    for form in ("PNG", "TIFF"):
        assert_close(read(encoded(Image.fromarray(levels), form)), expected)


def test_16_bit_transparent_level_is_white():
    image = Image.fromarray(np.array([[1000, 2000]], dtype=np.uint16))
    image.info["transparency"] = 2000
    assert read(image).tolist() == [[[4] * 3, [255] * 3]]


@pytest.mark.parametrize("levels", [[[-1, 5]], [[0, 65536]]])
def test_integers_beyond_16_bits_raise(levels):
    with pytest.raises(ValueError, match="16-bit grey, 0 to 65535"):
        read(Image.fromarray(np.array(levels, dtype=np.int32)))


def test_float_images_cover_zero_to_one():
    values = np.array([[0.0, 0.25, 0.5], [0.75, 1.0, 1 / 255]], dtype=np.float32)
    expected = np.repeat(np.rint(values * 255)[..., None], 3, axis=-1)
    assert_close(read(Image.fromarray(values)), expected)
    assert_close(read(encoded(Image.fromarray(values), "TIFF")), expected)


@pytest.mark.parametrize("value", [-0.1, 1.1, 255.0, float("nan"), float("inf")])
def test_floats_outside_the_range_raise(value):
    values = np.full((4, 5), 0.5, dtype=np.float32)
    values[1, 2] = value
    for source in (values, torch.from_numpy(values), Image.fromarray(values)):
        with pytest.raises(ValueError, match=r"float pixels must lie in \[0, 1\]"):
            read(source)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_laid_on_white(form):
    image = Image.new("RGBA", (9, 7), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 3, 7))
    image.paste((0, 0, 0, 128), (3, 0, 6, 7))
    pixels = read(encoded(image, form, **({"lossless": True} if form == "WEBP" else {})))
    assert pixels[0, 0].tolist() == [0, 0, 255]
    assert pixels[0, 4].tolist() == [127, 127, 127]
    assert pixels[0, 8].tolist() == [255, 255, 255]


def test_transparent_palette_and_colour_key_are_laid_on_white():
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putpixel((1, 0), 1)
    for form in ("PNG", "GIF"):
        assert read(encoded(palette, form, transparency=0)).tolist() == [[[255] * 3, [0, 255, 0]]]
    keyed = Image.new("RGB", (2, 1), (10, 20, 30))
    keyed.putpixel((1, 0), (1, 2, 3))
    assert read(encoded(keyed, transparency=(10, 20, 30))).tolist() == [[[255] * 3, [1, 2, 3]]]
    grey = Image.new("L", (2, 1), 7)
    grey.putpixel((1, 0), 9)
    assert read(encoded(grey, transparency=7)).tolist() == [[[255] * 3, [9] * 3]]


def test_arrays_with_alpha_are_laid_on_white():
    array = np.zeros((5, 6, 4), dtype=np.uint8)
    array[..., 3] = 128
    assert (read(array) == 127).all()
    assert (read(array.transpose(2, 0, 1)) == 127).all()


# -- orientation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_exif_orientation_is_applied(orientation, form):
    upright = picture(3)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    settings = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}.get(form, {})
    data = encoded(stored, form, exif=exif, **settings)
    tolerance = 24 if form == "JPEG" else 0
    assert_close(read(data), upright, tolerance)
    assert_close(read(Image.open(io.BytesIO(data))), upright, tolerance)


# -- several frames -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "settings"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})])
def test_several_frames_raise_unless_the_first_is_asked_for(form, settings):
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    frames = [Image.new("RGB", (8, 6), colour) for colour in colours]
    data = encoded(frames[0], form, save_all=True, append_images=frames[1:], **settings)
    with pytest.raises(ValueError, match=f"several frames or pages .{form}.*animated='first_frame'"):
        read(data)
    assert (read(data, animated="first_frame") == (255, 0, 0)).all()
    opened = Image.open(io.BytesIO(data))
    opened.seek(2)
    assert (read(opened, animated="first_frame") == (255, 0, 0)).all()
    assert opened.tell() == 2
    assert (read(opened.copy()) == (0, 0, 255)).all()
    single = encoded(frames[1], form, save_all=True, **settings)
    assert (read(single) == (0, 255, 0)).all()


def test_the_previews_in_a_phones_mpo_are_no_animation():
    second = Image.new("RGB", (40, 30))
    data = encoded(picture(), "MPO", save_all=True, append_images=[second], quality=98, subsampling=0)
    assert Image.open(io.BytesIO(data)).is_animated
    assert_close(read(data), picture(), 24)


# -- damage and bombs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_truncated_files_raise(form, share):
    rng = np.random.default_rng(0)
    data = encoded(Image.fromarray(rng.integers(0, 256, (60, 50, 3), dtype=np.uint8)), form)
    read(data)
    with pytest.raises(ValueError, match=r"cannot be decoded|not an image that Pillow can read"):
        read(data[: int(len(data) * share)])


def test_damage_inside_raises():
    data = bytearray(encoded(picture()))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(ValueError, match="cannot be decoded"):
        read(bytes(data))


def test_a_lazily_opened_truncated_image_raises():
    data = encoded(Image.effect_noise((60, 50), 90).convert("RGB"))
    with pytest.raises(ValueError, match="cannot be decoded"):
        read(Image.open(io.BytesIO(data[: len(data) // 2])))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds almost no data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_bombs_raise_before_decoding(monkeypatch):
    def no_decoding(self):
        raise AssertionError("decoded")

    with pytest.raises(ValueError, match=r"limit of Pillow itself.*MAX_IMAGE_PIXELS"):
        read(png_header(60_000, 60_000))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", no_decoding)
    with pytest.raises(ValueError, match=r"9000x9000 pixels are more than the limit of 80000000.*max_image_pixels"):
        read(png_header(9000, 9000), max_pixels=80_000_000)
    with pytest.raises(ValueError, match="limit of 100:"):
        read(png_header(11, 10), max_pixels=100)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_the_default_limit_is_pillows_warning(monkeypatch):
    with pytest.raises(ValueError, match="more than the limit of 89478485"):
        read(png_header(10_000, 10_000))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(ValueError, match="more than the limit of 89478485"):
        read(png_header(60_000, 60_000))


def test_the_limit_holds_for_pil_images_and_arrays():
    for source in (picture(), np.asarray(picture()), torch.zeros(3, 30, 40, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="40x30 pixels are more than the limit of 1199"):
            read(source, max_pixels=1199)
        assert read(source, max_pixels=1200).shape == (30, 40, 3)
    assert read(picture(), max_pixels=None).shape == (30, 40, 3)


# -- arrays -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 6), (5, 6)),
        ((5, 6, 1), (5, 6)),
        ((1, 5, 6), (5, 6)),
        ((5, 6, 3), (5, 6)),
        ((3, 5, 6), (5, 6)),
        ((4, 5, 6), (5, 6)),
        ((3, 1, 6), (1, 6)),
    ],
)
def test_array_layouts(shape, expected):
    assert read(np.zeros(shape, dtype=np.uint8)).shape == (*expected, 3)
    assert read(torch.zeros(shape, dtype=torch.uint8)).shape == (*expected, 3)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((5,), np.uint8), r"shape \(5,\) is not one image; expected \(height, width\)"),
        (np.zeros((2, 5, 6, 3), np.uint8), r"shape \(2, 5, 6, 3\) is not one image"),
        (np.zeros((5, 6, 2), np.uint8), "no axis of channels"),
        (np.zeros((5, 6, 7), np.uint8), "no axis of channels"),
        (np.zeros((3, 5, 4), np.uint8), "pass input_data_format='channels_first' or 'channels_last'"),
        (np.zeros((0, 6, 3), np.uint8), "empty"),
        (np.zeros((0, 0), np.uint8), "empty"),
        (np.zeros((5, 6, 3), np.int64), "array of int64 is not an image; expected.*uint8 or as float"),
        (np.zeros((5, 6, 3), np.uint16), "array of uint16"),
        (np.zeros((5, 6, 3), bool), "array of bool"),
        (torch.zeros(5, 6, 3, dtype=torch.int32), "array of torch.int32"),
        (np.zeros((5, 6, 3), np.complex64), "array of complex64"),
    ],
)
def test_wrong_arrays_raise(array, message):
    with pytest.raises(ValueError, match=message):
        read(array)


def test_an_ambiguous_layout_follows_the_argument():
    array = np.zeros((3, 5, 4), np.uint8)
    assert read(array, channels="channels_first").shape == (5, 4, 3)
    assert read(array, channels="channels_last").shape == (3, 5, 3)
    with pytest.raises(ValueError, match="no axis of channels"):
        read(np.zeros((5, 6, 3), np.uint8), channels="channels_first")


def test_an_empty_pil_image_raises():
    with pytest.raises(ValueError, match=r"empty \(0x5 pixels\)"):
        read(Image.new("RGB", (0, 5)))


@pytest.mark.parametrize("options", [{"animated": "last"}, {"max_pixels": 0}])
def test_wrong_options_raise(options):
    with pytest.raises(ValueError, match="must be"):
        ImageOptions(**options)


def test_drawn_text_survives_the_whole_path():
    """A picture with detail, not only smooth colours, through a lossless file."""
    image = picture(5, 64, 48)
    ImageDraw.Draw(image).text((4, 4), "wings", fill=(255, 255, 255))
    assert_close(read(encoded(image)), image)
