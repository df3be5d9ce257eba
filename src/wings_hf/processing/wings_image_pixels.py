# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Colour modes, bit depths and array layouts, all to 8-bit RGB.

Scaling rules, the same for every image and never guessed from its content: 16-bit grey and Pillow's mode "I"
cover 0..65535, mode "F" and float arrays cover 0..1. Values outside raise.
"""

from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

CHANNEL_COUNTS = (1, 3, 4)
EXIF_ORIENTATION = 0x0112
FLOAT_TOLERANCE = 1e-3  # interpolation overshoots a little; clipped
EXPECTED_ARRAY = (
    "expected (height, width), (height, width, channels) or (channels, height, width) with 1, 3 or 4 channels, "
    "as uint8 or as float in [0, 1]"
)


def check_pixels(height: int, width: int, max_pixels: int | None) -> None:
    """Raise ValueError for an image without pixels or with more than `max_pixels`."""
    if height == 0 or width == 0:
        raise ValueError(f"it is empty ({width}x{height} pixels).")
    if max_pixels is not None and height * width > max_pixels:
        raise ValueError(
            f"{width}x{height} pixels are more than the limit of {max_pixels}: scale it down, or raise "
            "max_image_pixels."
        )


def upright(image: Image.Image) -> Image.Image:
    """`image` turned as its EXIF orientation says; itself where there is nothing to turn."""
    if image.getexif().get(EXIF_ORIENTATION, 1) in range(2, 9):
        return ImageOps.exif_transpose(image)
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB version of a decoded PIL image of any mode; transparency is laid on white.

    Raises:
        ValueError: a mode without a conversion, or values outside the range of their mode.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _grey(_from_16_bit(image))
    if image.mode == "F":
        return _grey(_from_unit_float(np.asarray(image)))
    if image.has_transparency_data or image.mode == "La":
        return _on_white(image)
    return image.convert("RGB")


def _grey(levels: np.ndarray) -> Image.Image:
    return Image.fromarray(levels).convert("RGB")  # (height, width) uint8 -> RGB


def _from_16_bit(image: Image.Image) -> np.ndarray:
    levels = np.asarray(image)  # (height, width)
    low, high = int(levels.min()), int(levels.max())
    if low < 0 or high > 65535:
        raise ValueError(f"mode {image.mode!r} is taken as 16-bit grey, 0 to 65535, but has {low} to {high}.")
    levels = levels.astype(np.uint32)
    if isinstance(key := image.info.get("transparency"), int):
        levels = np.where(levels == key, 65535, levels)
    return ((levels + 128) // 257).astype(np.uint8)  # 65535 / 255 = 257, rounded to nearest


def _from_unit_float(values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    if not (low >= -FLOAT_TOLERANCE and high <= 1 + FLOAT_TOLERANCE):  # so that NaN fails too
        raise ValueError(f"float pixels must lie in [0, 1], got {low:g} to {high:g}; for 0 to 255 pass uint8.")
    return np.rint(np.clip(values, 0.0, 1.0) * 255).astype(np.uint8)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "La":  # premultiplied; Pillow converts it to LA only
        image = image.convert("LA")
    front = image.convert("RGBA")
    white = Image.new("RGBA", front.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, front).convert("RGB")


def array_to_image(
    array: np.ndarray | torch.Tensor,
    *,
    channels: str | None = None,
    allow_float: bool = True,
    max_pixels: int | None = None,
) -> Image.Image:
    """RGB PIL image of a numpy array or torch tensor, uint8 or float in [0, 1].

    Args:
        array: (height, width), (height, width, channels) or (channels, height, width); 1 (grey), 3 (RGB) or
            4 (RGBA) channels.
        channels: `"channels_first"` or `"channels_last"`; None infers it and raises where both fit.
        allow_float: False raises for float arrays.
        max_pixels: limit for height x width; None for none.

    Raises:
        ValueError: another shape, type or range.
    """
    shape = tuple(array.shape)
    axis = _channel_axis(shape, channels)
    height, width = (size for i, size in enumerate(shape) if i != axis)
    check_pixels(height, width, max_pixels)
    levels = _levels(array, allow_float)
    if axis is not None:
        levels = np.moveaxis(levels, axis, -1)  # -> (height, width, channels)
        levels = levels[..., 0] if levels.shape[-1] == 1 else levels
    return to_rgb(Image.fromarray(np.ascontiguousarray(levels)))


def _levels(array: np.ndarray | torch.Tensor, allow_float: bool) -> np.ndarray:
    """The array as uint8, on the CPU."""
    dtype = str(array.dtype)
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu()
        array = (array.float() if array.is_floating_point() else array).numpy()
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"an array of {dtype} is not an image; {EXPECTED_ARRAY}.")
    if not allow_float:
        raise ValueError(
            "float arrays are turned into 8-bit pixels first and so need do_rescale=True; leave do_rescale alone "
            "or pass uint8."
        )
    return _from_unit_float(array)


def _channel_axis(shape: tuple[int, ...], channels: str | None) -> int | None:
    """Which axis of `shape` counts channels; None for a grey image of two axes."""
    if len(shape) == 2:
        return None
    if len(shape) != 3:
        raise ValueError(f"an array of shape {shape} is not one image; {EXPECTED_ARRAY}.")
    candidates: dict[Any, int] = {"channels_first": 0, "channels_last": 2}
    if channels is not None:
        if getattr(channels, "value", channels) == "channels_first":
            candidates.pop("channels_last")
        else:
            candidates.pop("channels_first")
    fitting = [axis for axis in candidates.values() if shape[axis] in CHANNEL_COUNTS]
    if not fitting:
        raise ValueError(f"an array of shape {shape} has no axis of channels; {EXPECTED_ARRAY}.")
    if len(fitting) == 2:
        raise ValueError(
            f"in an array of shape {shape} the first or the last axis could be the channels: pass "
            "input_data_format='channels_first' or 'channels_last'."
        )
    return fitting[0]
