# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The worlds by name."""

from collections.abc import Sequence
from pathlib import Path

from forgetting.digits_world import DigitsWorld
from forgetting.photos_world import PhotosWorld
from forgetting.settings import Settings
from forgetting.world import World

WORLDS: dict[str, type[World]] = {world.name: world for world in (DigitsWorld, PhotosWorld)}


def build_world(name: str, folder: Path, settings: Settings, sources: Sequence[Path] = ()) -> World:
    """
    Args:
        sources: what the world is made of; `digits`: text files, or none; `photos`: one folder, see `PhotosWorld`.
    """
    if name not in WORLDS:
        raise ValueError(f"world {name!r}: expected one of {', '.join(WORLDS)}.")
    return WORLDS[name](folder, settings, sources)
