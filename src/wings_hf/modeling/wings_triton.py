# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
What the Triton kernels share: Triton itself where it is installed, and the choice between them and plain torch.

The kernels stand in wings_triton_attention_kernels.py, wings_triton_latent.py and wings_triton_low_rank.py. All can be
imported without Triton: `jit` then leaves the functions as they are, and only calling them fails.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from transformers.utils import logging

try:  # in a `try`, which transformers' check of what remote code imports leaves out
    import triton
    import triton.language as tl
    from triton.language import constexpr
except ImportError:
    triton = tl = None
    constexpr = Any

logger = logging.get_logger(__name__)

KINDS = ("auto", "torch", "triton")
DTYPES = (torch.bfloat16, torch.float16, torch.float32)
MAX_HEAD_SIZE = 256
LOG2_E = 1.4426950408889634  # kernels take powers of 2
OLDEST_CAPABILITY = (8, 0)  # Ampere: bfloat16 in matrix units


class Choice(NamedTuple):
    """Which code runs, "torch" or "triton", and why."""

    kind: str
    reason: str


class Measurement(NamedTuple):
    """Outcome of scripts/time_kernels.py on one kind of device, in bfloat16."""

    faster: bool
    note: str


# (kernel, compute capability) -> what came out there. "auto" takes a kernel only where it is known to be faster.
MEASURED: dict[tuple[str, tuple[int, int]], Measurement] = {}

_requested = "auto"


def set_kernels(kind: str) -> None:
    """
    Chooses the code of the wings for this process; graphs that are compiled already keep theirs.

    Args:
        kind: "torch"; "triton", which raises where that is impossible; or "auto": Triton where it is known to be
            faster.
    """
    global _requested
    if kind not in KINDS:
        raise ValueError(f"kernels {kind!r}: expected one of {', '.join(map(repr, KINDS))}.")
    _requested = kind


def interpreted() -> bool:
    """Whether kernels run in Triton's interpreter: TRITON_INTERPRET=1 in the environment. Slow, on any device."""
    return triton is not None and triton.knobs.runtime.interpret


def choose_kernels(
    kernel: str,
    device_type: str,
    dtype: torch.dtype,
    head_size: int,
    triton_available: bool,
    capability: tuple[int, int] | None,
    requested: str,
    in_interpreter: bool = False,
) -> Choice:
    """
    Args:
        kernel: "router_attention", "learner_attention", "low_rank_residual" or "latent_decode".
        capability: compute capability of the device, `None` where it has none.
        requested: see `set_kernels`.
        in_interpreter: see `interpreted`.

    Raises:
        ImportError: if Triton is requested and not installed.
        ValueError: if Triton is requested, and cannot run this.
    """
    if requested == "torch":
        return Choice("torch", "torch was asked for")
    obstacle = None
    if not triton_available:
        obstacle = "the package triton is not installed"
    elif dtype not in DTYPES:
        obstacle = f"{dtype} is not among {', '.join(map(str, DTYPES))}"
    elif head_size > MAX_HEAD_SIZE:
        obstacle = f"the head size {head_size} is above {MAX_HEAD_SIZE}"
    elif not in_interpreter and device_type != "cuda":
        obstacle = f"the device is {device_type}, not cuda"
    elif not in_interpreter and (capability is None or capability < OLDEST_CAPABILITY):
        obstacle = f"the device has compute capability {capability}, below {OLDEST_CAPABILITY}"
    if requested == "triton":
        if obstacle is not None:
            error = ValueError if triton_available else ImportError
            raise error(f"Triton kernels were asked for, but {obstacle}: expected kernels 'auto' or 'torch'.")
        return Choice("triton", "triton was asked for")
    if obstacle is not None:
        return Choice("torch", obstacle)
    if dtype == torch.float32:
        return Choice("torch", "in float32 the kernels were not measured")
    outcome = MEASURED.get((kernel, capability)) if capability is not None else None
    if outcome is None:
        return Choice("torch", f"{kernel} was not measured on compute capability {capability}")
    return Choice("triton" if outcome.faster else "torch", outcome.note)


def kernels_for(kernel: str, states: torch.Tensor, head_size: int) -> str:
    """
    "torch" or "triton" for `kernel` on tensors like `states`; on a GPU the log (level info) says once why.

    In a compiled graph the answer is that of the time of compilation.
    """
    return _kernels_for(kernel, states.device.type, states.device.index, states.dtype, head_size)


@torch.compiler.assume_constant_result
def _kernels_for(kernel: str, device_type: str, device_index: int | None, dtype: torch.dtype, head_size: int) -> str:
    capability = None
    if device_type == "cuda" and torch.version.hip is None:
        capability = torch.cuda.get_device_capability(device_index)
    choice = choose_kernels(
        kernel, device_type, dtype, head_size, triton is not None, capability, _requested, interpreted()
    )
    if device_type == "cuda":  # elsewhere there is nothing to choose
        logger.info_once(f"{kernel}: {choice.kind}, since {choice.reason}.")
    return choice.kind


def jit(function: Callable) -> Any:
    """`triton.jit` where Triton is installed."""
    return function if triton is None else triton.jit(function)


def operator_name(module: str, name: str) -> str:
    """Name of a custom operator, its own for each copy of a module that is loaded as remote code."""
    return f"{re.sub(r'[^0-9a-zA-Z]', '_', module)}::{name}"


def dot_precision(dtype: torch.dtype) -> str:
    """How matrix units multiply float32: in three tf32 products, nearly exact. Other types have one way only."""
    return "tf32x3" if dtype == torch.float32 else "tf32"


def padded(size: int) -> int:
    """The power of two, 16 at least, that holds `size`: sides of the tiles that matrix units take."""
    return max(16, 1 << (size - 1).bit_length())
