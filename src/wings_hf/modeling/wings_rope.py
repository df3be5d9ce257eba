# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Rotary embedding of the learners: the plain, unscaled theta of the backbone's layer, at the learner's head size.

Shapes: `b` batch, `h` heads, `s` sequence length, `e` head size, `p` rotated part of the head.
"""

import sys
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedConfig

RopeTables = tuple[torch.Tensor, torch.Tensor]

# Whether neighbouring columns make a pair, in backbones that have no `rotate_half` to ask.
INTERLEAVED = {"gpt_oss": False, "deepseek_v2": True, "llama4_text": True}


@dataclass(frozen=True)
class RopeSpec:
    """
    How one layer rotates.

    Args:
        theta: base.
        size: number of rotated columns.
        interleaved: whether pairs are neighbours.
        dtype: what the tables are rounded to.
    """

    theta: float
    size: int
    interleaved: bool
    dtype: str = "float32"

    @property
    def key(self) -> tuple[float, int, bool, str]:
        """What tells it from others, in a form that older versions of torch can look up in a compiled graph."""
        return self.theta, self.size, self.interleaved, self.dtype

    def tables(self, positions: torch.Tensor) -> RopeTables:
        """Cosines, and sines with the sign of the rotation, float32 (b, 1, s, p), for `positions` (b, s)."""
        exponents = torch.arange(0, self.size, 2, device=positions.device, dtype=torch.float32) / self.size
        angles = positions.float().unsqueeze(-1) * self.theta**-exponents  # (b, s, p / 2)
        cos, sin = (table.to(getattr(torch, self.dtype)).float() for table in (angles.cos(), angles.sin()))
        if self.interleaved:
            cos, sin = cos.repeat_interleave(2, dim=-1), torch.stack([-sin, sin], dim=-1).flatten(-2)
        else:
            cos, sin = torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)
        return cos.unsqueeze(1), sin.unsqueeze(1)

    def rotate(self, states: torch.Tensor, tables: RopeTables, back: bool = False) -> torch.Tensor:
        """
        Rotates the first `size` columns of `states` (..., e), with tables that broadcast to (..., p).

        Args:
            back: rotate the other way, which is what a gradient needs.
        """
        cos, sin = (table.to(states.device, states.dtype) for table in tables)
        part = states[..., : self.size]
        if self.interleaved:
            swapped = torch.stack([part[..., 1::2], part[..., ::2]], dim=-1).flatten(-2)
        else:
            first, second = part.chunk(2, dim=-1)
            swapped = torch.cat([second, first], dim=-1)
        rotated = swapped.mul_(-sin if back else sin).addcmul_(part, cos)
        return rotated if self.size == states.shape[-1] else torch.cat([rotated, states[..., self.size :]], dim=-1)


def layer_rope(
    config: PreTrainedConfig, layer_index: int, attention: nn.Module, head_size: int, dtype: str
) -> RopeSpec | None:
    """
    The learners' rotary embedding in one layer; `None` in a layer of the backbone that has none.

    Raises:
        ValueError: if the backbone has no rotary embedding at all, or one that is not known here.
    """
    parameters = getattr(config, "rope_parameters", None)
    if not parameters:
        raise ValueError(
            f"learner_rope=True, but the language model {config.model_type!r} has no rotary embedding: expected "
            "learner_rope=False."
        )
    if not _layer_rotates(config, layer_index, attention):
        return None
    layer_types = getattr(config, "layer_types", None)
    if layer_types is not None and isinstance(parameters.get(layer_types[layer_index]), dict):
        parameters = parameters[layer_types[layer_index]]
    if "rope_theta" not in parameters:
        raise ValueError(
            f"learner_rope=True, but rope_parameters={parameters!r} of the language model {config.model_type!r} "
            "give no rope_theta: expected learner_rope=False."
        )
    size = int(head_size * parameters.get("partial_rotary_factor", 1.0)) // 2 * 2
    return RopeSpec(float(parameters["rope_theta"]), size, _is_interleaved(config, attention), dtype)


def _layer_rotates(config: PreTrainedConfig, layer_index: int, attention: nn.Module) -> bool:
    if config.model_type == "cohere2":
        return config.layer_types[layer_index] == "sliding_attention"
    if config.model_type == "exaone4":
        return config.sliding_window is None or config.layer_types[layer_index] == "sliding_attention"
    return bool(getattr(attention, "use_rope", True))


def _is_interleaved(config: PreTrainedConfig, attention: nn.Module) -> bool:
    """Whether the backbone rotates neighbouring columns, asked of its own `rotate_half` where it has one."""
    if config.model_type in INTERLEAVED:
        return INTERLEAVED[config.model_type]
    module = sys.modules[type(attention).__module__]
    rotate_half = getattr(module, "rotate_half", None)
    if rotate_half is None:
        raise ValueError(
            f"learner_rope=True, but {module.__name__} has no rotate_half to tell how it rotates: expected "
            "learner_rope=False."
        )
    return rotate_half(torch.arange(4.0, device="cpu")).tolist() == [-1.0, 0.0, -3.0, 2.0]
