# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""How long the fuzz tests go on: a few fixed inputs in `make test`, as many new ones as asked for in `make fuzz`."""

import os

import pytest

hypothesis = pytest.importorskip("hypothesis")

checks = [
    hypothesis.HealthCheck.too_slow,
    hypothesis.HealthCheck.data_too_large,
    hypothesis.HealthCheck.filter_too_much,
]
common = {"deadline": None, "suppress_health_check": checks, "print_blob": True}
hypothesis.settings.register_profile("fast", max_examples=25, derandomize=True, database=None, **common)
hypothesis.settings.register_profile("long", max_examples=int(os.environ.get("WINGS_FUZZ") or 1), **common)
hypothesis.settings.load_profile("long" if os.environ.get("WINGS_FUZZ") else "fast")
