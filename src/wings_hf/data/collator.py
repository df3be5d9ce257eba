# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Batches for training: conversations in, model inputs with labels on what the assistant says out."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from wings_hf.data.records import DataError, OnError, Record, summarise

IGNORED = -100  # what torch's cross-entropy leaves out


class ConversationCollator:
    """Makes a batch of `Record`s, or of plain lists of messages, with and without images mixed.

    Labels (b, s) are the input ids where the assistant speaks, its end-of-turn token included, and -100 elsewhere.

    Args:
        processor: a `WingsProcessor`.
        max_length: longest sample in tokens, images included. Of a longer conversation the oldest turns are left out,
            whole and with their images; no image is ever cut. None: no limit.
        on_error: what to do with a conversation that cannot be encoded (an image with broken pixels, a last turn longer
            than `max_length`): `"raise"` a DataError that names it, or `"skip"` it with a warning.
    """

    def __init__(self, processor: Any, max_length: int | None = None, on_error: OnError = "raise") -> None:
        self.processor = processor
        self.options = {"max_length": max_length, "overlong": "drop_turns"} if max_length else {}
        self.on_error = on_error

    def __call__(self, records: Sequence[Record | list[dict[str, Any]]]) -> dict[str, torch.Tensor]:
        try:
            return self._encode(records)
        except (ValueError, OSError):
            return self._encode(self._usable(records))

    def _usable(self, records: Sequence[Any]) -> list[Any]:
        """The records that can be encoded each by itself; raises or warns about the others."""
        usable, problems = [], []
        for record in records:
            try:
                self._encode([record])
                usable.append(record)
            except (ValueError, OSError) as error:
                problems.append(f"{getattr(record, 'source', 'a conversation')}: {error}")
        if self.on_error == "raise" or not usable:
            raise DataError(
                f"{len(problems)} of {len(records)} records of a batch cannot be used.{summarise(problems)}"
            )
        warnings.warn(f"skipped {len(problems)} of {len(records)} records{summarise(problems)}", stacklevel=3)
        return usable

    def _encode(self, records: Sequence[Any]) -> dict[str, torch.Tensor]:
        batch: Mapping[str, torch.Tensor] = self.processor.apply_chat_template(
            [getattr(record, "messages", record) for record in records],
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
            return_tensors="pt",
            padding=True,
            padding_side="right",
            **self.options,
        )
        inputs = dict(batch)
        is_answer = inputs.pop("assistant_masks").bool()
        inputs["labels"] = inputs["input_ids"].masked_fill(~is_answer, IGNORED)
        return inputs
