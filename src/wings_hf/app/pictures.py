# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Pictures that users upload: untrusted files, read within limits."""

import io
import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from wings_hf.app.settings import Settings, UserError
from wings_hf.processing.wings_image_sources import ImageOptions, read_image


@dataclass(frozen=True)
class Picture:
    """
    A picture that was read once, so it can be read again.

    Args:
        path: where the page shows it from.
        name: what the user calls it.
        encoded: the file's bytes, kept so that a conversation outlives its uploaded files.
        options: the limits that it was read within.
    """

    path: str
    name: str
    encoded: bytes
    options: ImageOptions

    def open(self) -> Image.Image:
        """The picture, upright, RGB."""
        return read_image(io.BytesIO(self.encoded), self.options)


def read_picture(path: str, settings: Settings) -> Picture:
    """
    An uploaded file as a picture.

    Raises:
        UserError: it is too large, damaged, or no picture.
    """
    name = Path(path).name
    if len(name) > 60:
        name = f"{name[:57]}..."
    try:
        size = os.path.getsize(path)
        if size > settings.image_bytes:
            raise UserError(
                f"“{name}” has {size / 1e6:.1f} MB; a picture may have {settings.image_bytes / 1e6:.1f} MB."
            )
        encoded = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"“{name}” could not be read: {error.strerror}. Please upload it again.") from error
    picture = Picture(path, name, encoded, ImageOptions(animated="first_frame", max_pixels=settings.image_pixels))
    try:
        picture.open()
    except ValueError as error:
        reason = str(error).split(", or raise ")[0]  # what the host of the page could do is not for its users
        raise UserError(f"“{name}” cannot be used: {reason}") from error
    return picture
