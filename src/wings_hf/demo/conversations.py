# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The demo's data: conversations made from the tasks, and batches of them made when they are needed."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from wings_hf.data.collator import ConversationCollator
from wings_hf.demo.digits import DigitSet, VisualTask
from wings_hf.demo.text_tasks import TextTask

Messages = list[dict[str, Any]]
MakeMessages = Callable[[random.Random], Messages]
Batch = dict[str, torch.Tensor]


def turn(question: str, answer: str, images: Sequence[Any] = ()) -> Messages:
    """A question, with its images in the places marked `<image>`, and its answer."""
    content: list[dict[str, str]] = []
    for index, piece in enumerate(question.split("<image>")):
        content += [{"type": "image", "path": str(images[index - 1].path)}] if index else []
        content += [{"type": "text", "text": piece}] if piece else []
    return [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]


def text_turn(task: TextTask) -> MakeMessages:
    return lambda rng: turn(*task(rng))


def visual_turn(task: VisualTask, digits: DigitSet) -> MakeMessages:
    def make(rng: random.Random) -> Messages:
        question, images, answer = task(rng, digits)
        return turn(question, answer, images)

    return make


def mixture(turns: Mapping[MakeMessages, float], length: int) -> MakeMessages:
    """Conversations of `length` turns, each drawn from `turns` by weight."""
    makers, weights = list(turns), list(turns.values())

    def make(rng: random.Random) -> Messages:
        return [message for maker in rng.choices(makers, weights, k=length) for message in maker(rng)]

    return make


class Batches(Dataset):
    """Encoded batches; the i-th is a function of `seed` and i alone, and is kept for the next model that asks.

    Training on it takes `per_device_train_batch_size=1` and `data_collator=first`: these are whole batches.
    """

    def __init__(
        self, make: MakeMessages, count: int, batch_size: int, collator: ConversationCollator, seed: str
    ) -> None:
        self.make, self.count, self.batch_size = make, count, batch_size
        self.collator, self.seed = collator, seed
        self.made: dict[int, Batch] = {}

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Batch:
        if index not in self.made:
            rng = random.Random(f"{self.seed}/{index}")
            self.made[index] = self.collator([self.make(rng) for _ in range(self.batch_size)])
        return dict(self.made[index])

    def __iter__(self) -> Iterator[Batch]:
        return (self[index] for index in range(len(self)))


class TextCollator(ConversationCollator):
    """Batches for a plain language model, which knows no image tokens."""

    def __call__(self, records: Sequence[Any]) -> Batch:
        batch = super().__call__(records)
        del batch["mm_token_type_ids"]
        return batch


def first(batches: list[Batch]) -> Batch:
    """The data collator for `Batches`."""
    return batches[0]
