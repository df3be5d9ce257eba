# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
From questions to vectors, so that close ones can be put together.

An embedder is anything with `name` and `embed(texts) -> (n, d)`. The default, `NGramEmbedder`, needs no download and no
further package: words and character n-grams, hashed and weighted by TF-IDF, reduced by a truncated SVD (latent semantic
analysis). `TransformersEmbedder` takes a model of transformers that the user names.

Shapes: `n` texts, `f` hashed features, `d` size of a vector.
"""

import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch

WORD = re.compile(r"\w+")
CJK = re.compile("[\u3040-\u30ff\u3400-\u9fff]")
STEPS = 2**14  # vectors are rounded to multiples of 1 / STEPS
STOP_SHARE = 0.5  # a feature that more of the texts have says nothing
SURPLUS, POWER_STEPS = 16, 2  # of the randomised SVD


class Embedder(Protocol):
    """Vectors whose cosine says how close two texts are."""

    @property
    def name(self) -> str: ...

    def embed(self, texts: Sequence[str]) -> np.ndarray: ...


class NGramEmbedder:
    """Words and character n-grams, TF-IDF, SVD; fitted on the texts it is given, all in one call.

    Args:
        dimensions: d; fewer where there are fewer texts.
        features: f, into which words and n-grams are hashed.
        seed: of the SVD's random start.
    """

    def __init__(self, dimensions: int = 128, features: int = 2**16, seed: int = 0) -> None:
        if dimensions < 1 or features < 1:
            raise ValueError(f"dimensions={dimensions}, features={features}: expected at least 1.")
        self.dimensions, self.features, self.seed = dimensions, features, seed

    @property
    def name(self) -> str:
        return f"words and character n-grams, TF-IDF, SVD to {self.dimensions}"

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """(n, d), float64."""
        matrix = self._weighted(texts)
        return _left_factors(matrix, self.dimensions, self.seed)

    def _weighted(self, texts: Sequence[str]) -> torch.Tensor:
        """TF-IDF weights (n, features that at least two texts share), sparse, rows of length 1 or 0."""
        counts = [Counter(_hashed(gram, self.features) for gram in grams(text)) for text in texts]
        having = Counter(feature for row in counts for feature in row)
        most = max(STOP_SHARE * len(texts), 2)
        kept = sorted(feature for feature, count in having.items() if 2 <= count <= most)
        column = {feature: index for index, feature in enumerate(kept)}
        rarity = [math.log((1 + len(texts)) / having[feature]) for feature in kept]
        places, weights = [], []
        for index, row in enumerate(counts):
            shared = sorted((column[feature], count) for feature, count in row.items() if feature in column)
            values = [(1 + math.log(count)) * rarity[place] for place, count in shared]
            length = math.sqrt(math.fsum(value * value for value in values)) or 1.0
            places += [(index, place) for place, _ in shared]
            weights += [value / length for value in values]
        where = torch.tensor(places, dtype=torch.long).reshape(-1, 2).T
        size = (len(texts), max(len(kept), 1))
        return torch.sparse_coo_tensor(
            where, torch.tensor(weights, dtype=torch.float64), size, check_invariants=True
        ).coalesce()


def grams(text: str) -> Iterator[str]:
    """Words, pairs of neighbouring words, and runs of characters within words: 4, or 2 of Chinese or Japanese."""
    words = WORD.findall(text.casefold())
    yield from (f"w {word}" for word in words)
    yield from (f"p {first} {second}" for first, second in pairwise(words))
    for word in words:
        marked, length = f"<{word}>", 2 if CJK.search(word) else 4
        yield from (f"c {marked[start : start + length]}" for start in range(len(marked) - length + 1))


def _hashed(gram: str, features: int) -> int:
    return zlib.crc32(gram.encode()) % features


def _left_factors(matrix: torch.Tensor, dimensions: int, seed: int) -> np.ndarray:
    """U S of the truncated SVD of a sparse (n, f), by subspace iteration from a random start: (n, d)."""
    n, f = matrix.shape
    rank = min(dimensions + SURPLUS, n, f)
    start = np.random.default_rng(seed).standard_normal((f, rank))
    across = matrix.t().coalesce()
    basis = torch.linalg.qr(torch.sparse.mm(matrix, torch.from_numpy(start)))[0]
    for _ in range(POWER_STEPS):
        basis = torch.linalg.qr(torch.sparse.mm(matrix, torch.sparse.mm(across, basis)))[0]
    inner = torch.sparse.mm(across, basis)  # (f, rank)
    squares, left = torch.linalg.eigh(inner.T @ inner)  # of the singular values, smallest first
    return (basis @ left * squares.clamp(min=0).sqrt()).flip(1)[:, :dimensions].numpy()


class TransformersEmbedder:
    """Mean of the last hidden states of a model of transformers.

    Args:
        model: name or folder; a name is fetched from the Hub as transformers does.
        batch_size: texts at a time.
        max_length: tokens of a text that are read.
    """

    def __init__(self, model: str, batch_size: int = 32, max_length: int = 256) -> None:
        from transformers import AutoModel, AutoTokenizer

        self.model_name, self.batch_size, self.max_length = model, batch_size, max_length
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.model = AutoModel.from_pretrained(model, use_safetensors=True).eval()
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token

    @property
    def name(self) -> str:
        return f"mean of the last hidden states of {self.model_name}"

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """(n, d), float64."""
        made = []
        for start in range(0, len(texts), self.batch_size):
            batch = self.tokenizer(
                list(texts[start : start + self.batch_size]),
                padding=True,
                truncation=True,
                max_length=self.max_length,
                return_tensors="pt",
            )
            states = self.model(**batch).last_hidden_state.double()  # (b, s, d)
            mask = batch["attention_mask"][..., None].double()
            made.append(((states * mask).sum(1) / mask.sum(1).clamp(min=1)).numpy())
        return np.concatenate(made)


def on_grid(vectors: np.ndarray) -> np.ndarray:
    """Vectors scaled to length 1 and rounded to whole multiples of 1 / STEPS, int64 (n, d).

    Their products are whole numbers, the same whatever order they are summed in, so that neighbours do not depend on
    threads. A vector of zeros stays zero.

    Raises:
        ValueError: vectors that are not finite, or not (n, d).
    """
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise ValueError(f"embeddings of shape {vectors.shape}: expected finite vectors, one for each text.")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.rint(vectors / np.where(lengths > 1e-12, lengths, 1.0) * STEPS).astype(np.int64)
