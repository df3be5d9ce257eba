# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Measures MLLM-LAWS while a model runs over a data set. Sums are float64; nothing grows with the data.

Shapes: `n` samples of a batch, `L` layers, `H` heads; 4 kinds of keys, and of rows (`tokens.KINDS`).
"""

import inspect
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from wings_hf.analysis.calls import AttentionCall, watch_attention
from wings_hf.analysis.laws import AFTER, BEFORE, BETWEEN, AttentionLaws, shift_of
from wings_hf.analysis.tokens import KINDS, ROWS, Tokens, counted_rows, image_token, read_tokens

NOT_FOR_MODELS = ("labels", "sample_ids")


def measure_attention(
    model: nn.Module,
    batches: Iterable[Mapping[str, Any]],
    *,
    rows: str = "all",
    per_token: bool = False,
    per_head: bool = False,
    per_row_kind: bool = False,
    image_token_id: int | None = None,
    progress: bool = False,
) -> AttentionLaws:
    """
    MLLM-LAWS (Eq. 1) of a model over a data set.

    Args:
        model: any image-text or language model whose attention goes through transformers' attention interface.
        batches: mappings of model inputs, as a processor or a collator gives them.
        rows: query rows that count, see `counted_rows`.
        per_token: divide each mass by the number of tokens it lies on.
        per_head: keep the masses of each head.
        per_row_kind: keep the masses of rows before, of, between and after images.
        image_token_id: of the image's places in `input_ids`, where neither the batch nor the configuration says.
        progress: show a progress bar.

    Raises:
        ValueError: attention that cannot be watched, a batch that does not say where its images are, other words.
    """
    if progress:
        from tqdm.auto import tqdm

        batches = tqdm(batches, desc="attention", unit="batch")
    meter = AttentionMeter(model, rows, per_token, per_head, per_row_kind, image_token_id)
    with meter:
        for batch in batches:
            meter.update(batch)
    return meter.laws()


class AttentionMeter(AbstractContextManager):
    """As `measure_attention`, batch by batch: inside `with`, `update(batch)`; at any time `laws()`."""

    def __init__(
        self,
        model: nn.Module,
        rows: str = "all",
        per_token: bool = False,
        per_head: bool = False,
        per_row_kind: bool = False,
        image_token_id: int | None = None,
    ) -> None:
        if rows not in ROWS:
            raise ValueError(f"rows={rows!r}: expected one of {', '.join(ROWS)}.")
        self.model, self.choice, self.per_token = model, rows, per_token
        self.per_head, self.per_row_kind = per_head, per_row_kind
        self.image_token_id = image_token(model) if image_token_id is None else image_token_id
        self.layers = self.samples = self.rows = self.shifted = 0
        self.shifts = 0.0
        self.skipped: Counter[str] = Counter()
        self.sums: np.ndarray | float = 0.0  # (L, H, 4)
        self.row_sums: np.ndarray | float = 0.0  # (4, L, 4)
        self.row_samples = np.zeros(len(KINDS))
        self._stack, self._open = ExitStack(), False
        self._groups: tuple[torch.Tensor, torch.Tensor, int] | None = None
        self._seen: list[torch.Tensor | None] = []

    def __enter__(self) -> "AttentionMeter":
        with ExitStack() as stack:
            self.layers = stack.enter_context(watch_attention(self.model, self._add))
            stack.enter_context(evaluating(self.model))
            self._stack, self._open = stack.pop_all(), True
        return self

    def __exit__(self, *error: Any) -> None:
        self._open = False
        self._stack.close()

    def update(self, batch: Mapping[str, Any]) -> None:
        """Runs the model over one batch and counts it."""
        if not self._open:
            raise RuntimeError("update was called on a meter that is not open: expected `with AttentionMeter(...)`.")
        tokens = read_tokens(batch, self.image_token_id)
        counted = counted_rows(tokens, batch, self.choice)
        kinds = tokens.columns().long().argmax(-1)
        groups = torch.where(counted & (tokens.samples >= 0), tokens.samples * len(KINDS) + kinds, -1)
        self._groups = (groups, tokens.columns(), tokens.count * len(KINDS))
        self._seen = [None] * self.layers
        try:
            run(self.model, batch)
            if any(seen is None for seen in self._seen):
                missing = [layer for layer, seen in enumerate(self._seen) if seen is None]
                raise ValueError(f"the self-attention of layers {missing} was not called: expected one call of each.")
            self._count(tokens, counted)
        finally:
            self._groups, self._seen = None, []

    def _add(self, call: AttentionCall) -> None:
        """One layer's masses, summed over the rows of each kind in each sample."""
        if self._groups is None:
            return
        groups, columns, count = self._groups
        if call.query.shape[2] != groups.shape[1]:
            raise ValueError(
                f"layer {call.layer} has {call.query.shape[2]} query rows for {groups.shape[1]} tokens: expected a row "
                "for each."
            )
        if self._seen[call.layer] is not None:
            raise ValueError(f"the self-attention of layer {call.layer} was called twice: expected one call.")
        attended = call.attend(columns.to(call.value.device))
        if attended.device.type == "mps":
            attended = attended.cpu()
        groups = groups.to(attended.device)
        sums = attended.new_zeros(count, *attended.shape[2:], dtype=torch.float64)
        self._seen[call.layer] = sums.index_add_(0, groups[groups >= 0], attended[groups >= 0].double()).cpu()

    def _count(self, tokens: Tokens, counted: torch.Tensor) -> None:
        """Adds a batch's samples to the sums."""
        sums = torch.stack([seen for seen in self._seen if seen is not None]).numpy()  # (L, n * 4, H, 4)
        sums = sums.reshape(self.layers, tokens.count, len(KINDS), *sums.shape[2:])
        numbers, row_numbers = tokens.numbers().numpy(), tokens.numbers(counted).numpy()
        for sample in range(tokens.count):
            self._count_sample(sums[:, sample], numbers[sample], row_numbers[sample])

    def _count_sample(self, sums: np.ndarray, numbers: np.ndarray, rows: np.ndarray) -> None:
        """Adds one sample: `sums` (L, 4 kinds of rows, H, 4), its numbers of tokens and of counted rows, each (4,)."""
        reason = self._reason_to_skip(numbers, rows)
        if reason:
            self.skipped[reason] += 1
            return
        if self.per_token:
            lengths = np.array(numbers)
            lengths[[BETWEEN, AFTER]] = numbers[BETWEEN] + numbers[AFTER]  # two parts of one text
            sums = sums / np.maximum(lengths, 1)
        masses = sums.sum(1) / rows.sum()  # (L, H, 4)
        self.sums = self.sums + masses
        self.samples, self.rows = self.samples + 1, self.rows + int(rows.sum())
        mean = masses.mean(1)
        shift = shift_of(mean[:, BEFORE], mean[:, BETWEEN] + mean[:, AFTER])
        if shift is not None:
            self.shifts, self.shifted = self.shifts + shift, self.shifted + 1
        if self.per_row_kind:
            by_kind = sums.mean(2).swapaxes(0, 1) / np.maximum(rows, 1)[:, None, None]  # (4, L, 4)
            self.row_sums, self.row_samples = self.row_sums + by_kind, self.row_samples + (rows > 0)

    @staticmethod
    def _reason_to_skip(numbers: np.ndarray, rows: np.ndarray) -> str | None:
        if not numbers[list(KINDS).index("image")]:
            return "no image"
        return None if rows.sum() else "no row that counts"

    def laws(self) -> AttentionLaws:
        """The means so far."""
        heads = np.asarray(self.sums) / self.samples if self.samples else np.zeros((self.layers, 1, len(KINDS)))
        by_row = None
        if self.per_row_kind and self.samples:
            means = np.asarray(self.row_sums) / np.where(self.row_samples, self.row_samples, np.nan)[:, None, None]
            by_row = dict(zip(KINDS, means, strict=True))
        return AttentionLaws(
            masses=heads.mean(1),
            samples=self.samples,
            rows=self.rows,
            sample_shift=self.shifts / self.shifted if self.shifted else None,
            shifted_samples=self.shifted,
            skipped=dict(self.skipped),
            head_masses=heads if self.per_head else None,
            row_masses=by_row,
            settings={"rows": self.choice, "per_token": self.per_token},
        )


def run(model: nn.Module, batch: Mapping[str, Any]) -> Any:
    """One forward pass over a batch of inputs, without labels, gradients, cache, and with one row of logits."""
    device = next(model.parameters()).device
    inputs = {name: value for name, value in batch.items() if name not in NOT_FOR_MODELS}
    for name, value in inputs.items():
        if isinstance(value, torch.Tensor):
            inputs[name] = value.to(device)
            if name.startswith("pixel_values") and value.is_floating_point():
                inputs[name] = inputs[name].to(getattr(model, "dtype", value.dtype))
    inputs["use_cache"] = False
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        inputs["logits_to_keep"] = 1
    with torch.no_grad():
        return model(**inputs)


@contextmanager
def evaluating(model: nn.Module):
    """The model in evaluation mode, each module's mode restored afterwards."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
