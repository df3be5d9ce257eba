# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Folders, and names on the Hub that a user gave."""

from pathlib import Path

DOWNLOADED = ("*.safetensors", "*.json")


def find_folder(source: str) -> Path:
    """
    The folder `source`, or a local copy of the repository of that name on the Hub.

    Only safetensors and JSON files are fetched.

    Raises:
        ValueError: where there is neither.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise ValueError(f"{source} is a file: expected the folder that it is in.")
    if not is_hub_name(source):
        raise ValueError(f"There is no folder {source}.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(source, allow_patterns=list(DOWNLOADED)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise ValueError(
            f"There is no folder {source}, and no repository of that name can be fetched: {error}"
        ) from error


def is_hub_name(source: str) -> bool:
    """Whether `source` can only be a name on the Hub: it is of that form, and nothing here has it as its path."""
    of_that_form = not is_path(source) and source.count("/") == 1 and not source.endswith("/")
    return of_that_form and not Path(source).exists()


def is_path(name: str) -> bool:
    """Whether `name` can only be a path, not a name on the Hub."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1
