# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Batches for training: conversations in, model inputs with labels on what the assistant says out."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from PIL import Image

from wings_hf.data.errors import DataError, OnError, summarise
from wings_hf.data.packing import IGNORED, pack
from wings_hf.data.records import Record

__all__ = ["IGNORED", "ConversationCollator"]


class ConversationCollator:
    """Makes a batch of `Record` objects, or of plain lists of messages, with and without images mixed.

    Labels (b, s) are the input ids where the assistant speaks, its end-of-turn token included, and -100 elsewhere.

    Args:
        processor: a `WingsProcessor`.
        max_length: longest sample in tokens, images included. Of a longer conversation the oldest turns are left out,
            whole and with their images; no image is ever cut. None: no limit.
        on_error: what to do with a conversation that cannot be encoded (an image with broken pixels, a last turn longer
            than `max_length`): `"raise"` a DataError that names it, or `"skip"` it with a warning.
        learn: the assistant's turns that carry labels: `"all"` or only the `"last"`.
        padding_side: where padding goes; None: right, at which a row's positions begin with its first token.
        packing: put several samples into a row, of at most `max_length` tokens or of the number given. Rows then have
            `position_ids` that start at 0 in each sample and no `attention_mask`. `"one_row"` puts the whole batch into
            one row, as FlashAttention needs it.
        sample_ids: add `sample_ids`, the list of the records' sources, to a batch; the model does not take it, so
            whoever asks for it takes it out again.
        image_in_every_batch: give a batch of text alone one more row, a blank image without labels. Where parameters
            are in shards (FSDP, ZeRO-3), devices wait for each other in every module, so that all must use the same.

    Attributes:
        last_sources: where the records of the latest batch came from (in this process).
    """

    def __init__(
        self,
        processor: Any,
        max_length: int | None = None,
        on_error: OnError = "raise",
        learn: Literal["all", "last"] = "all",
        padding_side: Literal["left", "right"] | None = None,
        packing: bool | int | Literal["one_row"] = False,
        sample_ids: bool = False,
        image_in_every_batch: bool = False,
    ) -> None:
        if learn not in ("all", "last"):
            raise ValueError(f"learn must be 'all' or 'last', got {learn!r}.")
        room = max_length if packing is True else packing or None
        if packing and room is None:
            raise ValueError("packing=True needs max_length: the tokens of a row. Or pass packing=TOKENS.")
        if isinstance(room, int):  # no sample is longer than a row
            max_length = min(max_length or room, room)
        self.processor = processor
        self.max_length, self.on_error, self.learn = max_length, on_error, learn
        self.padding_side = padding_side or "right"
        self.room, self.sample_ids = room, sample_ids
        self.image_in_every_batch = image_in_every_batch
        self.last_sources: list[str] = []

    def __call__(self, records: Sequence[Any]) -> dict[str, Any]:
        """A batch of records, of lists of messages, or of lists of records (what belongs into one row)."""
        records = [sample for record in records for sample in (record if _is_row(record) else [record])]
        try:
            inputs = self._encode(records)
        except (ValueError, OSError):
            records = self._usable(records)
            inputs = self._encode(records)
        if self.image_in_every_batch and inputs.get("pixel_values") is None:
            inputs = self._encode([*records, blank_image()])
            inputs["labels"][-1] = IGNORED
        self.last_sources = [getattr(record, "source", "a conversation") for record in records]
        batch: dict[str, Any] = inputs
        if self.room is not None:
            room = None if self.room == "one_row" else int(self.room)
            batch = {**pack(inputs, room, self.processor.tokenizer.pad_token_id or 0), "use_cache": False}
        if self.sample_ids:
            batch["sample_ids"] = self.last_sources
        return batch

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
        limit: dict[str, Any] = {"max_length": self.max_length, "overlong": "drop_turns"} if self.max_length else {}
        batch: Mapping[str, torch.Tensor] = self.processor.apply_chat_template(
            [getattr(record, "messages", record) for record in records],
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
            return_tensors="pt",
            padding=True,
            padding_side=self.padding_side,
            **limit,
        )
        inputs = dict(batch)
        is_answer = inputs.pop("assistant_masks").bool()
        if self.learn == "last":
            is_answer &= _last_run(is_answer | (inputs["mm_token_type_ids"] == 1), is_answer)
        inputs["labels"] = inputs["input_ids"].masked_fill(~is_answer, IGNORED)
        return inputs


def blank_image() -> list[dict[str, Any]]:
    """A conversation about nothing, for its image."""
    image = {"type": "image", "image": Image.new("RGB", (32, 32))}
    return [{"role": "user", "content": [image]}, {"role": "assistant", "content": "."}]


def _is_row(record: Any) -> bool:
    return isinstance(record, list) and bool(record) and isinstance(record[0], Record)


def _last_run(joined: torch.Tensor, is_answer: torch.Tensor) -> torch.Tensor:
    """The run of `joined` positions that the last answer token of each row is in, bool (b, s)."""
    columns = torch.arange(joined.shape[1])
    last = torch.where(is_answer, columns, -1).amax(-1, keepdim=True)  # (b, 1)
    gap = torch.where(~joined & (columns <= last), columns, -1).amax(-1, keepdim=True)
    return (columns > gap) & (columns <= last)
