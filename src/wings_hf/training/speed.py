# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Speed and cost in the log: tokens and images per second, share of the device's peak, memory, time left."""

import sys
import time
from typing import Any

import torch
from torch import nn
from transformers import Trainer, TrainerCallback

from wings_hf.training.stages import part_of

PEAK_SIZE = 512  # side of the matrices that the peak is measured with
GIB = 2**30


class SpeedCallback(TrainerCallback):
    """
    Adds to each line of the log what the process did since the line before.

        tokens_per_second    tokens, image tokens included, without padding; of all processes together
        images_per_second    likewise
        mfu                  model flops utilisation: operations of the step's matrix products, over what the device
                             does in a large matrix product, measured at the start in the dtype of the run
        peak_memory_gib      largest memory so far, of the accelerator, else of the process
        minutes_left         at the speed of the last steps

    Operations are 2 for each parameter and token forward, 2 more backward where gradients go through, and 2 where
    the parameter itself has one; attention's own products are left out.
    """

    def __init__(self) -> None:
        self.tokens = self.images = self.operations = 0.0

    def attach(self, trainer: Trainer) -> None:
        """First among the callbacks, so that reports see what it adds."""
        trainer.callback_handler.callbacks.insert(0, self)
        model: Any = trainer.model
        model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, model: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        if not (model.training and torch.is_grad_enabled()):
            return
        ids, mask, pixels = (kwargs.get(name) for name in ("input_ids", "attention_mask", "pixel_values"))
        if ids is None:
            return
        tokens: Any = _in_rows(ids, kwargs.get("position_ids")) if mask is None or mask.ndim != 2 else mask.sum()
        images = 0 if pixels is None else len(pixels)
        self.tokens = self.tokens + tokens
        self.images += images
        self.operations = self.operations + tokens * self.per_token + images * self.per_image

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        model = kwargs["model"]
        dtype = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else next(model.parameters()).dtype
        self.peak = matrix_product_rate(args.device, dtype)
        self.per_token, self.per_image = operations(model)
        self.processes = args.world_size
        self.step, self.begun = state.global_step, time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if not logs or "loss" not in logs or state.global_step <= self.step:
            return
        now = time.perf_counter()
        seconds = now - self.begun
        steps = state.global_step - self.step
        found = {
            "tokens_per_second": round(float(self.tokens) * self.processes / seconds, 1),
            "images_per_second": round(self.images * self.processes / seconds, 2),
            "mfu": round(float(self.operations) / seconds / self.peak, 4),
            "peak_memory_gib": round(peak_memory(args.device) / GIB, 3),
            "minutes_left": round((state.max_steps - state.global_step) * seconds / steps / 60, 1),
        }
        logs.update(found)
        state.log_history[-1].update(found)
        self.tokens = self.images = self.operations = 0.0
        self.step, self.begun = state.global_step, now


def _in_rows(ids: torch.Tensor, positions: torch.Tensor | None) -> torch.Tensor:
    """Tokens of packed rows (r, t) without what fills them up: a last sample that is one token over and over."""
    if positions is None or positions.shape != ids.shape:
        return torch.tensor(ids.numel())
    columns = torch.arange(ids.shape[1], device=ids.device)
    start = torch.where(positions == 0, columns, 0).amax(-1, keepdim=True)  # of the last sample, (r, 1)
    fills = ((ids == ids[:, -1:]) | (columns < start)).all(-1)
    return ids.numel() - (fills * (ids.shape[1] - start[:, 0])).sum()


def operations(model: Any) -> tuple[float, float]:
    """Operations for a token and for an image, forward and backward."""
    per_token = per_image = 0.0
    embedding = model.get_input_embeddings().weight
    head = model.get_output_embeddings().weight
    tower_tokens = getattr(model.config, "image_seq_length", None) or 0
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2 or (parameter is embedding and head is not embedding) or name.endswith("router.weight"):
            continue
        part = part_of(name)
        moves = 2.0 * parameter.requires_grad
        if part == "vision_tower":
            per_image += (2 + 2 * moves) * parameter.numel() * tower_tokens
        elif part == "projector":
            per_image += (4 + moves) * parameter.numel() * tower_tokens
        else:
            per_token += (4 + moves) * parameter.numel()
    return per_token, per_image


def matrix_product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a large matrix product, the best of a few."""
    size = PEAK_SIZE if device.type == "cpu" else 16 * PEAK_SIZE
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    best, start = 0.0, time.perf_counter()
    while (begun := time.perf_counter()) - start < 0.2:
        product = left @ right
        float(product[0, 0])  # waits for the device
        best = max(best, 2 * size**3 / (time.perf_counter() - begun))
    return best


def peak_memory(device: torch.device) -> float:
    """Bytes at most so far: of the accelerator where there is one, else of the process; 0 where it is not known."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # not on Windows
        return 0.0
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(used if sys.platform == "darwin" else used * 1024)
