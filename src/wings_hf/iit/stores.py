# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Where vectors are kept and neighbours are found.

`NumpyStore` compares with all vectors and is exact; `ChromaStore` keeps them in chromadb, whose index proposes more
candidates than are asked for, which are then compared exactly. Both rank by the same whole numbers (see
`embedding.on_grid`), equal ones by their place.
"""

import importlib
import uuid
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from wings_hf.iit.embedding import STEPS

BLOCK = 512  # queries compared at a time
CHROMA_BATCH = 2000
MORE_CANDIDATES = 4  # times as many as asked for
MOST_CANDIDATES = 1000  # what the index searches (its ef_search)


def similarities(queries: np.ndarray, stored: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Cosines of queries (q, d) and the stored vectors (n, d) at `places` (q, k), in blocks of queries: (q, k)."""
    found = np.zeros(places.shape)
    columns = stored.astype(np.float64).T
    for start in range(0, len(queries), BLOCK):
        part = slice(start, start + BLOCK)
        products = queries[part].astype(np.float64) @ columns  # whole and below 2**53: exact
        found[part] = np.take_along_axis(products, places[part], axis=1) / STEPS**2
    return found


class VectorStore(Protocol):
    """Nearest of the vectors that were added, (n, d) whole multiples of 1 / STEPS."""

    def add(self, vectors: np.ndarray) -> None: ...

    def nearest(self, queries: np.ndarray, count: int) -> np.ndarray: ...

    def close(self) -> None: ...


class NumpyStore:
    """All vectors in one array."""

    def __init__(self) -> None:
        self.vectors = np.zeros((0, 0), dtype=np.int64)

    def add(self, vectors: np.ndarray) -> None:
        self.vectors = vectors if not len(self.vectors) else np.concatenate([self.vectors, vectors])

    def nearest(self, queries: np.ndarray, count: int) -> np.ndarray:
        """Places of the `count` nearest vectors (fewer where there are fewer), nearest first, (q, count)."""
        count = min(count, len(self.vectors))
        found = np.zeros((len(queries), count), dtype=np.int64)
        stored = self.vectors.astype(np.float64).T
        for start in range(0, len(queries), BLOCK):
            products = queries[start : start + BLOCK].astype(np.float64) @ stored  # whole and below 2**53: exact
            found[start : start + BLOCK] = np.argsort(-products, axis=1, kind="stable")[:, :count]
        return found

    def close(self) -> None:
        self.vectors = np.zeros((0, 0), dtype=np.int64)


class ChromaStore:
    """A collection of chromadb, in memory or in a folder. Nothing is sent or fetched.

    Args:
        folder: where chromadb keeps its files; None for memory.

    Raises:
        ValueError: chromadb is not installed.
    """

    def __init__(self, folder: str | None = None) -> None:
        try:
            chromadb: Any = importlib.import_module("chromadb")
        except ImportError as error:
            raise ValueError("store 'chroma' needs the package chromadb: pip install chromadb.") from error
        settings = chromadb.config.Settings(anonymized_telemetry=False)
        self._client = (
            chromadb.EphemeralClient(settings=settings)
            if folder is None
            else chromadb.PersistentClient(path=folder, settings=settings)
        )
        self._name = f"iit-{uuid.uuid4().hex}"  # clients in memory share what they keep
        self._collection = self._client.create_collection(
            self._name,
            embedding_function=None,  # the default would fetch a model
            configuration={
                "hnsw": {"space": "ip", "ef_construction": 200, "ef_search": MOST_CANDIDATES, "max_neighbors": 32}
            },
        )
        self._vectors = NumpyStore()

    def add(self, vectors: np.ndarray) -> None:
        first = len(self._vectors.vectors)
        self._vectors.add(vectors)
        for start in range(0, len(vectors), CHROMA_BATCH):
            part = vectors[start : start + CHROMA_BATCH]
            self._collection.add(
                ids=[str(first + start + index) for index in range(len(part))],
                embeddings=(part / STEPS).astype(np.float32),
            )

    def nearest(self, queries: np.ndarray, count: int) -> np.ndarray:
        """As `NumpyStore.nearest`, of the candidates that chromadb proposes."""
        stored = self._vectors.vectors
        count = min(count, len(stored))
        wanted = min(MORE_CANDIDATES * count + 16, len(stored))
        if wanted > MOST_CANDIDATES:  # an index that is asked for nearly all saves nothing, and cannot give them
            return self._vectors.nearest(queries, count)
        found = np.zeros((len(queries), count), dtype=np.int64)
        for start in range(0, len(queries), BLOCK):
            asked = queries[start : start + BLOCK]
            answer = self._collection.query(
                query_embeddings=(asked / STEPS).astype(np.float32), n_results=wanted, include=[]
            )
            for row, ids in enumerate(answer["ids"]):
                places = np.sort(np.array(ids, dtype=np.int64))
                products = stored[places] @ asked[row]
                found[start + row] = places[np.argsort(-products, kind="stable")[:count]]
        return found

    def close(self) -> None:
        self._client.delete_collection(self._name)


STORES: dict[str, Callable[[], VectorStore]] = {"numpy": NumpyStore, "chroma": ChromaStore}


def make_store(name: str) -> VectorStore:
    """
    Raises:
        ValueError: no store has this name, or its package is missing.
    """
    if name not in STORES:
        raise ValueError(f"store {name!r}: expected one of {', '.join(STORES)}.")
    return STORES[name]()
