# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
What is quantised: the linear layers of the language model's blocks, unless the user says otherwise.

Learners and routers are parameters of their own and no linear layers, so the quantisers of transformers pass them
by. Vision tower, projector and head are linear layers; they are named here as exceptions.
"""

import copy
from typing import Any

from torch import nn
from transformers.quantizers import AutoQuantizationConfig
from transformers.utils import is_bitsandbytes_available

# Module names in `WingsForCausalLM` and in `WingsModel`; quantisers compare from the start of the full name.
KEPT_MODULES = (
    "lm_head",
    "embed_out",
    "model.vision_tower",
    "model.multi_modal_projector",
    "vision_tower",
    "multi_modal_projector",
)
# What the exceptions are called in the configurations of transformers.
EXCEPTION_FIELDS = ("llm_int8_skip_modules", "modules_to_not_convert")


def with_exceptions(quantization_config: Any) -> Any:
    """
    The same configuration with vision tower, projector and head left out, where it does not say what to leave out.

    Args:
        quantization_config: one of transformers' configurations or the dictionary of one; it is not changed.
    """
    if isinstance(quantization_config, dict):
        quantization_config = AutoQuantizationConfig.from_dict(quantization_config)
    given = {
        name: getattr(quantization_config, name) for name in EXCEPTION_FIELDS if hasattr(quantization_config, name)
    }
    if not given or any(value is not None for value in given.values()):
        return quantization_config
    quantization_config = copy.copy(quantization_config)
    for name in given:
        setattr(quantization_config, name, [*KEPT_MODULES])
    return quantization_config


def restore_packed_weights(model: nn.Module) -> None:
    """
    Brings four-bit weights of bitsandbytes into the form that can be saved, in place.

    On processors with AVX-512 for bfloat16, its first call without gradients puts them in another order and rounds
    their scales to bfloat16. Its own way back, which saving takes, leaves the scales in that order (version 0.50).
    """
    for module in model.modules():
        weight = getattr(module, "weight", None)
        state = getattr(weight, "quant_state", None)
        if not getattr(state, "packing_format_for_cpu", False):
            continue
        if is_bitsandbytes_available():  # it is; said so, or transformers would ask everybody for it who loads the code
            from bitsandbytes.functional import _convert_weight_packed_for_cpu_inverse

            state.original_nested = False  # scales are no longer nested, and quantising them again would change them
            weight.data, weight.quant_state = _convert_weight_packed_for_cpu_inverse(weight.data, state)
            if state.absmax.ndim == 2:  # (blocks of a row, rows)
                state.absmax = state.absmax.T.reshape(-1)
            state.absmax = state.absmax.float()
