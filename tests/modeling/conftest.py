# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Tests are short: without this, hardly any of their calls would be long enough for attention in pieces."""

import pytest

from wings_hf.modeling import wings_context


@pytest.fixture(autouse=True)
def any_piece_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wings_context, "LEAST_POSITIONS_PER_PIECE", 0)
