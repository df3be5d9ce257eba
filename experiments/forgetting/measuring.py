# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What is measured of a trained model, and what its training cost."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from forgetting.methods import METHODS
from forgetting.methods.base import Method
from forgetting.training import Runs
from forgetting.world import World
from wings_hf.analysis import measure_attention
from wings_hf.demo.scoring import accuracy, exact_matches
from wings_hf.training.retention import measure as measure_text

TIMED_STEPS = 5


def measures(model: Any, world: World) -> dict[str, Any]:
    """
    Every measure of the table.

    Returns:
        `answers`: kind -> task -> right or wrong, question by question; `accuracy`: kind -> mean over tasks;
        `held_out_loss`, `held_out_kl`: nats per token of real text, loss and divergence from the base model;
        `attention`: what `measure_attention` found for the rows that write answers, with `shift`.
    """
    answers = {
        kind: {name: exact_matches(model, batches) for name, batches in tasks.items()}
        for kind, tasks in world.questions.items()
    }
    text = measure_text(model, *world.held_out)
    attention = measure_attention(model, world.probes, rows="answer")
    return {
        "answers": {kind: {name: _digits(right) for name, right in tasks.items()} for kind, tasks in answers.items()},
        "accuracy": {kind: accuracy(tasks) for kind, tasks in answers.items()},
        "held_out_loss": text["retention_loss"],
        "held_out_kl": text["retention_kl"],
        "attention": attention.to_dict(),
        "attention_shift": attention.shift,
    }


def _digits(right: Sequence[bool]) -> str:
    return "".join("01"[each] for each in right)


def cost(runs: Runs, method: Method, seed: int) -> dict[str, Any]:
    """
    What the method costs beside full fine-tuning, on one batch of stage 2, in training.

    Returns:
        `added_parameters`, `trained_parameters`; `step_ratio`: median over rounds of the time of a step, forward and
        backward, over that of full fine-tuning in the same round; `activation_bytes`: kept for the backward pass;
        `state_bytes`: gradients and Adam's moments.
    """
    if method.derived_from is not None:
        return {}
    full = METHODS["full"]
    models = {"full": runs.start(full, seed), "this": runs.start(method, seed)}
    start = runs.start(method, seed).requires_grad_(False).eval().to(runs.world.device) if method.penalty else None
    device = runs.world.device
    for name, model in models.items():
        model.to(device)
        rate_of = (full if name == "full" else method).rate_of
        for parameter_name, parameter in model.train().named_parameters():
            parameter.requires_grad_(rate_of(parameter_name) is not None)
    batch = {name: value.to(device) for name, value in runs.world.tune_batches(seed, method.text_share)[0].items()}
    trained = sum(p.numel() for p in models["this"].parameters() if p.requires_grad)
    seconds: dict[str, list[float]] = {"full": [], "this": []}
    for _ in range(TIMED_STEPS + 1):
        for name, model in models.items():
            penalty = partial(method.penalty, model, start) if method.penalty and name == "this" else None
            seconds[name].append(_step_seconds(model, batch, penalty))
    ratios = [this / other for this, other in zip(seconds["this"][1:], seconds["full"][1:], strict=True)]
    return {
        "added_parameters": _count(models["this"]) - _count(models["full"]),
        "trained_parameters": trained,
        "step_ratio": statistics.median(ratios),
        "activation_bytes": _activation_bytes(models["this"], batch),
        "state_bytes": 3 * 4 * trained,
    }


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _step_seconds(
    model: nn.Module, batch: Mapping[str, torch.Tensor], penalty: Callable[..., torch.Tensor] | None
) -> float:
    begun = time.perf_counter()
    outputs = model(**batch, use_cache=False)
    (outputs.loss + penalty(batch, outputs) if penalty else outputs.loss).backward()
    elapsed = time.perf_counter() - begun
    model.zero_grad()
    return elapsed


def _activation_bytes(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> int:
    """Bytes that autograd keeps from forward to backward, parameters excepted, each storage once."""
    kept: dict[int, torch.UntypedStorage] = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage  # holding it keeps its address from being used again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(**batch, use_cache=False)
    return sum(storage.nbytes() for storage in kept.values())
