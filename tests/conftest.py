# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Shared set-up: few threads, fixed seeds, and ``tests`` helpers importable by name."""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch

HERE = Path(__file__).parent
# `from oracle import ...`, `from tiny import ...`
HELPERS = ("modeling", "modeling/triton_checks", "processing", "demo", "conversion", "data", "analysis", "evaluation")
HELPERS += ("app", "examples", "fuzz", "hub", "iit")
for folder in (HERE, *(HERE / name for name in HELPERS)):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    """Every test starts from the same random state, whatever ran before it."""
    torch.manual_seed(0)
