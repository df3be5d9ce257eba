# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The methods of the experiment, a family per file; `METHODS` has all of them by name, the core first."""

from forgetting.methods import adapters, cross_attention, experts, fine_tuning, prefix, wings
from forgetting.methods.base import Method

_ALL = (*fine_tuning.METHODS, *adapters.METHODS, *prefix.METHODS, *experts.METHODS, *cross_attention.METHODS, *wings.METHODS)
METHODS: dict[str, Method] = {method.name: method for method in sorted(_ALL, key=lambda method: not method.core)}
CORE = tuple(method.name for method in METHODS.values() if method.core)
