# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Makes the experiments and the helpers here importable, and the model that methods begin with."""

import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
for folder in (HERE, HERE.parents[1] / "experiments"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@pytest.fixture(scope="session")
def plain() -> Any:
    """The model that comes out of stage 1: without learners. Not to be changed."""
    import demo_parts

    model = demo_parts.model(learners=())
    model.turn_marks = lambda: ([5], [6, 7])  # tokens that begin a question and its answer; layouts have none of them
    return model
