# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Images through an image processor, and what size they come out."""

from collections.abc import Sequence
from typing import Any

from PIL import Image

from wings_hf.processing.wings_image_sources import ImageOptions, read_image
from wings_hf.processing.wings_square_padding import pad_to_square


def read_samples(samples: Sequence[Sequence[Any]], options: ImageOptions) -> list[list[Image.Image]]:
    """The images of each sample as RGB PIL images.

    Raises:
        ValueError: one cannot be read. The message says which, of which sample, and why.
    """
    return [
        [_read(source, options, position, sample) for position, source in enumerate(sources)]
        for sample, sources in enumerate(samples)
    ]


def _read(source: Any, options: ImageOptions, position: int, sample: int) -> Image.Image:
    try:
        return read_image(source, options)
    except ValueError as error:
        raise ValueError(f"Image {position} of sample {sample}: {error}") from error


def process_images(
    image_processor: Any,
    images: Sequence[Image.Image],
    images_kwargs: dict[str, Any],
    max_pixels: int | None,
    square_colour: list[int] | None,
) -> list[Any]:
    """Pixel values of each image, (channels, height, width).

    Args:
        images: RGB images.
        images_kwargs: arguments for the image processor.
        max_pixels: limit for the size of an image padded or scaled; None for none.
        square_colour: what images are padded with to squares before anything else; None leaves them.

    Raises:
        ValueError: an image would be padded or scaled to more than `max_pixels`, or the image processor gives
            something else than one such array for each image.
    """
    if not images:
        return []
    images = [pad_to_square(image, square_colour, max_pixels) for image in images]
    for image in images:
        _check_scaled(image_processor, image, images_kwargs, max_pixels)
    if "do_convert_rgb" in argument_names(image_processor):
        images_kwargs = {**images_kwargs, "do_convert_rgb": False}  # they are RGB, and would be copied
    pixels = image_processor(images, **images_kwargs)["pixel_values"]
    if len(pixels) != len(images) or any(pixel.ndim != 3 for pixel in pixels):
        raise ValueError(
            f"{type(image_processor).__name__} does not return one (channels, height, width) array for each "
            "image; image processors that cut images into tiles are not supported."
        )
    return list(pixels)


def _check_scaled(
    image_processor: Any, image: Image.Image, images_kwargs: dict[str, Any], max_pixels: int | None
) -> None:
    """A sliver one pixel wide grows without bound where its shorter edge is given: raise before it does."""
    size = _setting(image_processor, images_kwargs, "size")
    shortest = size.get("shortest_edge") if hasattr(size, "get") else None
    if max_pixels is None or not shortest or size.get("longest_edge"):
        return
    longest = round(shortest * max(image.size) / min(image.size))
    if shortest * longest > max_pixels:
        raise ValueError(
            f"An image of {image.width}x{image.height} pixels would be scaled to {shortest} by {longest}, more "
            f"than max_image_pixels={max_pixels}. Cut it to a usual shape first."
        )


def fixed_size(image_processor: Any, images_kwargs: dict[str, Any]) -> tuple[int, int] | None:
    """(height, width) of the pixel values where it is known to be the same for every image; else None."""
    if _setting(image_processor, images_kwargs, "do_pad"):
        return None
    size: Any = None
    if _setting(image_processor, images_kwargs, "do_center_crop"):
        size = _setting(image_processor, images_kwargs, "crop_size")
    elif _setting(image_processor, images_kwargs, "do_resize"):
        size = _setting(image_processor, images_kwargs, "size")
    if not hasattr(size, "get") or not (size.get("height") and size.get("width")):
        return None
    return size["height"], size["width"]


def argument_names(image_processor: Any) -> set[str]:
    """Names of the arguments that the image processor says it takes; none where it does not say."""
    return set(getattr(getattr(image_processor, "valid_kwargs", None), "__annotations__", {}))


def _setting(image_processor: Any, images_kwargs: dict[str, Any], name: str) -> Any:
    """An argument of the call, or else the image processor's own setting."""
    value = images_kwargs.get(name)
    return getattr(image_processor, name, None) if value is None else value
