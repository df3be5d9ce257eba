# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Real text: the reference that comes with every Python, or files that the user names."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from wings_hf.demo.conversations import Batch

SHORTEST = 200  # characters of a paragraph that is kept
HELD_OUT = 10  # every tenth paragraph is held out


def paragraphs(files: Sequence[Path] = ()) -> list[str]:
    """Paragraphs of the text files, each once, or else of Python's own reference (which differs between versions).

    Raises:
        ValueError: a file without paragraphs of `SHORTEST` characters.
    """
    return list(dict.fromkeys(text for source in _sources(files) for text in source))


def _sources(files: Sequence[Path]) -> Iterator[list[str]]:
    if not files:
        from pydoc_data.topics import topics  # real English, on every machine

        yield _split("\n\n".join(topics[name] for name in sorted(topics)))
    for path in files:
        found = _split(path.read_text(encoding="utf-8"))
        if not found:
            raise ValueError(f"{path}: no paragraph of at least {SHORTEST} characters.")
        yield found


def _split(text: str) -> list[str]:
    pieces = (" ".join(piece.split()) for piece in text.replace("\r\n", "\n").split("\n\n"))
    return [piece for piece in pieces if len(piece) >= SHORTEST]


def training_part(texts: Sequence[str]) -> list[str]:
    return [text for index, text in enumerate(texts) if index % HELD_OUT]


def held_out_part(texts: Sequence[str]) -> list[str]:
    return list(texts[::HELD_OUT])


class TextBatches(Dataset):
    """Batches of pieces of text; the i-th depends on the texts, `seed` and i alone.

    Shapes: ids, mask and labels (batch_size, tokens).
    """

    def __init__(
        self, texts: Sequence[str], tokenizer: Any, count: int, batch_size: int, tokens: int, seed: int = 0
    ) -> None:
        ids = [token for row in tokenizer(list(texts))["input_ids"] for token in [*row, tokenizer.eos_token_id]]
        if len(ids) <= tokens:
            raise ValueError(f"the texts have {len(ids)} tokens: expected more than the {tokens} of one row.")
        self.ids = torch.tensor(ids)
        self.count, self.batch_size, self.tokens, self.seed = count, batch_size, tokens, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Batch:
        rng = random.Random(f"text/{self.seed}/{index}")
        starts = [rng.randrange(len(self.ids) - self.tokens) for _ in range(self.batch_size)]
        rows = torch.stack([self.ids[start : start + self.tokens] for start in starts])
        return {"input_ids": rows, "attention_mask": torch.ones_like(rows), "labels": rows.clone()}


class Alternating(Dataset):
    """Batches of two data sets of the same length in turn."""

    def __init__(self, first: Dataset, second: Dataset) -> None:
        self.sets = first, second

    def __len__(self) -> int:
        return sum(map(len, self.sets))  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Batch:
        return self.sets[index % 2][index // 2]
