# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""How a kernel is compared with plain torch, on a GPU where there is one, else in Triton's interpreter."""

from collections.abc import Callable

import torch
from torch import Tensor

from wings_hf.modeling.wings_triton import interpreted

INTERPRETED = interpreted()
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, device=DEVICE)


def with_gradients(function: Callable, inputs: list[Tensor], dtype: torch.dtype, seeds: list[Tensor]) -> list[Tensor]:
    """Results of `function` on `inputs` in `dtype`, then the gradients of all inputs; `seeds` are those of results."""
    inputs = [each.to(dtype).requires_grad_() for each in inputs]
    results = function(*inputs)
    results = list(results) if isinstance(results, tuple) else [results]
    seeds = [seed.to(result.dtype) for seed, result in zip(seeds, results, strict=True)]
    return [*results, *torch.autograd.grad(results, inputs, seeds)]


def compare(found: list[Tensor], base: list[Tensor], exact: list[Tensor]) -> None:
    """
    The error of each of `found` against `exact` is at most twice that of `base`, in the sum of squares; sums in
    another order get 1e-6 of the size of the largest of them.
    """
    size = max(truth.norm().item() for truth in exact)
    for index, (ours, torchs, truth) in enumerate(zip(found, base, exact, strict=True)):
        assert ours.isfinite().all(), f"number {index} is not finite"
        error, allowed = ((each.detach().double() - truth).norm().item() for each in (ours, torchs))
        allowed = 2 * allowed + 1e-6 * size
        assert error <= allowed, f"number {index}: error {error}, allowed {allowed}"


def check(kernel: Callable, plain: Callable, inputs: list[Tensor], seeds: list[Tensor], dtype: torch.dtype) -> None:
    """Results and all gradients of `kernel`, compared with plain torch in `dtype` and in float64."""
    rounded = [each.to(dtype).double() for each in inputs]
    found = with_gradients(kernel, rounded, dtype, seeds)
    base = with_gradients(plain, rounded, dtype, seeds)
    compare(found, base, with_gradients(plain, rounded, torch.float64, seeds))
