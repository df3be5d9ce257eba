# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A loss that is no number stops training, with the names of the samples that it came from."""

from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

MOST_UNCHECKED = 1000  # batches between looks at an accelerator's losses, at most


class NonFiniteLossError(ValueError):
    """The loss of a batch is NaN or infinite."""


class StopOnBadLoss(TrainerCallback):
    """
    Raises `NonFiniteLossError` for a NaN or infinite loss, with the sources (file and index) of the batch's samples.

    They travel with the batch, as `ConversationCollator(sample_ids=True)` adds them, from whatever process made it;
    here they are taken out again before the model sees it.

    On a CPU every loss is looked at before its backward pass. On an accelerator that would make the host wait, so it
    is done where `Trainer` waits itself: when it logs (and before it saves, so that no checkpoint holds weights that
    are no numbers). What is named then is the first bad batch since, on whichever device it was. For that the
    argument `logging_nan_inf_filter` should be False; where it is True, `Trainer` waits for every batch, and hides bad
    losses from its log, and every loss is looked at.
    """

    def __init__(self) -> None:
        self._handles: list[Any] = []
        self._ids: list[str] | None = None
        self._unchecked: list[tuple[int, torch.Tensor, list[str] | None]] = []  # step, whether finite, samples

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        model: nn.Module = kwargs["model"]
        self._detach()

        def before(module: nn.Module, positional: tuple, named: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
            named = dict(named)
            self._ids = named.pop("sample_ids", None)
            return positional, named

        def after(module: nn.Module, positional: tuple, output: Any) -> None:
            loss = output.get("loss") if isinstance(output, dict) else None
            if loss is None or not module.training:
                return
            self._unchecked.append((state.global_step + 1, loss.detach().isfinite().all(), self._ids))
            waits_anyway = loss.device.type == "cpu" or args.logging_nan_inf_filter
            if waits_anyway or len(self._unchecked) >= MOST_UNCHECKED:
                self._check(lambda found: found)

        self._handles = [model.register_forward_pre_hook(before, with_kwargs=True), model.register_forward_hook(after)]

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        control.should_log |= control.should_save

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        loss = (logs or {}).get("loss", (logs or {}).get("train_loss"))
        if loss is None:
            return
        if not torch.tensor(float(loss)).isfinite():  # the average over devices, so that all of them come here
            self._check(_earliest_of_all_devices)
        self._unchecked.clear()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._detach()

    def _check(self, earliest: Any) -> None:
        """Raise for the first bad batch of those that were not looked at; `earliest` chooses among devices."""
        recent, self._unchecked = self._unchecked, []
        finite = torch.stack([finite for _, finite, _ in recent]).tolist() if recent else []
        first = next((index for index, good in enumerate(finite) if not good), None)
        found = earliest(None if first is None else (recent[first][0], recent[first][2]))
        if found is None:
            return
        step, samples = found
        names = [f"\n  {sample}" for sample in samples or ["unknown: the collator adds no sample_ids"]]
        raise NonFiniteLossError(
            f"The loss is NaN or infinite in step {step}. Checkpoints from before are sound. The samples of the batch:"
            + "".join(names)
        )

    def _detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self._unchecked, self._ids = [], [], None


def _earliest_of_all_devices(found: tuple[int, list[str] | None] | None) -> tuple[int, list[str] | None] | None:
    """The first bad batch on any device. After a bad step all devices' weights are bad, and so are all later losses."""
    from accelerate.utils import gather_object

    everywhere = [each for each in gather_object([found]) if each is not None]
    step = min((each[0] for each in everywhere), default=None)
    batches = [samples for at, samples in everywhere if at == step]
    if step is None:
        return None
    return step, [sample for samples in batches for sample in samples or ()] or None
