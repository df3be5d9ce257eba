# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The worlds by name."""

from collections.abc import Sequence
from pathlib import Path

from forgetting.digits_world import DigitsWorld
from forgetting.photos_world import PhotosWorld
from forgetting.settings import Settings
from forgetting.world import World

WORLDS = ("digits", "photos")


def build_world(name: str, folder: Path, settings: Settings, sources: Sequence[Path] = ()) -> World:
    """
    Args:
        sources: what the world is made of; `digits`: text files, or none; `photos`: one folder, see `PhotosWorld`.
    """
    if name == "digits":
        return DigitsWorld(folder, settings, sources)
    if name == "photos":
        return PhotosWorld(folder, settings, sources)
    raise ValueError(f"world {name!r}: expected one of {', '.join(WORLDS)}.")
