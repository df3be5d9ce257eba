# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A Hub on loopback, and a saved model to publish there."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_parts import TOKEN, build_parts
from hub_server import LocalHub


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub({TOKEN: "ann", "hf_readerreaderreaderreader": "bob"}, {"ann": ["lab"]}) as server:
        yield server


@pytest.fixture(scope="session")
def original(tmp_path_factory) -> Path:
    model, processor = build_parts()
    folder = tmp_path_factory.mktemp("published") / "model"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(original, tmp_path) -> Path:
    """A saved model that the test may change."""
    return Path(shutil.copytree(original, tmp_path / "model"))
