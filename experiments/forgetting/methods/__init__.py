# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The methods of the experiment, a family per file; `METHODS` has all of them by name, the core first."""

from forgetting.methods import (
    adapters,
    cross_attention,
    experts,
    fine_tuning,
    instance_experts,
    lora_experts,
    pill,
    prefix,
    wings,
)
from forgetting.methods.base import Method

_FAMILIES = (fine_tuning, adapters, prefix, lora_experts, instance_experts, experts, pill, cross_attention, wings)
_ALL = [method for family in _FAMILIES for method in family.METHODS]
METHODS: dict[str, Method] = {method.name: method for method in sorted(_ALL, key=lambda method: not method.core)}
CORE = tuple(method.name for method in METHODS.values() if method.core)
