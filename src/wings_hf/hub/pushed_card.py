# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The card of a model that `push_to_hub` publishes."""

from pathlib import Path


def card_for_upload(folder: str, repo_id: str) -> None:
    """
    Writes the card of a model, in the place of the one without content that transformers makes for a new repository.

    A card that the repository has is left as it is.

    Args:
        folder: what `push_to_hub` has saved and is about to send.
        repo_id: where to.
    """
    from wings_hf.hub.card import says_nothing, write_card

    path = Path(folder) / "README.md"
    if (Path(folder) / "config.json").exists() and (not path.exists() or says_nothing(path.read_text("utf-8"))):
        write_card(Path(folder), repo_id=repo_id)
