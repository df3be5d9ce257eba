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


def shares_of_allowed(found: list[Tensor], base: list[Tensor], exact: list[Tensor]) -> list[float]:
    """
    The errors of `found` against `exact`, in the sum of squares, as shares of what is allowed.

    That is twice the error of `base`, and for sums in another order 1e-6 of the size of the largest of `exact`.
    """
    size = max(truth.norm().item() for truth in exact)
    errors = [[(each.detach().double() - truth).norm().item() for each, truth in zip(of, exact, strict=True)]
              for of in (found, base)]  # fmt: skip
    return [ours / (2 * torchs + 1e-6 * size) if ours else 0.0 for ours, torchs in zip(*errors, strict=True)]


def compare(found: list[Tensor], base: list[Tensor], exact: list[Tensor]) -> None:
    """Raises where an error is larger than allowed, or not a number."""
    shares = shares_of_allowed(found, base, exact)
    assert all(share <= 1 for share in shares), f"errors as shares of what is allowed: {shares}"


def check(kernel: Callable, plain: Callable, inputs: list[Tensor], seeds: list[Tensor], dtype: torch.dtype) -> None:
    """Results and all gradients of `kernel`, compared with plain torch in `dtype` and in float64."""
    rounded = [each.to(dtype).double() for each in inputs]
    found = with_gradients(kernel, rounded, dtype, seeds)
    base = with_gradients(plain, rounded, dtype, seeds)
    compare(found, base, with_gradients(plain, rounded, torch.float64, seeds))
