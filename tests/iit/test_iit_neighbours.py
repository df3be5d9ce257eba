# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What lies near: the default embedder, and the stores that find neighbours."""

import math
import random
import subprocess
import sys

import iit_parts
import numpy as np
import pytest
import torch

from wings_hf.iit.embedding import STEPS, NGramEmbedder, TransformersEmbedder, grams, on_grid
from wings_hf.iit.stores import NumpyStore, make_store, similarities


def cosines(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T


def test_weights_are_those_worked_by_hand() -> None:
    texts = ["red dog", "red cat", "dog dog"]
    # "cat" and "red cat" stand in one text only and cannot join two; "red" is in two of three, "dog" in two.
    weights = NGramEmbedder()._weighted(texts).to_dense().numpy()
    rarity = math.log(4 / 2)
    red = rarity * np.array([1, 1, 0])
    dog = rarity * np.array([1, 0, 1 + math.log(2)])
    # features: the words and the 4-character runs "<red" "red>" "<dog" "dog>": three of each, equal counts
    rows = np.stack([red, red, red, dog, dog, dog], axis=1)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert weights.shape == rows.shape
    np.testing.assert_allclose(weights @ weights.T, rows @ rows.T, atol=1e-12)


def test_grams_are_words_pairs_and_runs() -> None:
    assert list(grams("Red dogs")) == [
        "w red",
        "w dogs",
        "p red dogs",
        "c <red",
        "c red>",
        "c <dog",
        "c dogs",
        "c ogs>",
    ]
    assert list(grams("狗猫")) == ["w 狗猫", "c <狗", "c 狗猫", "c 猫>"]


def test_the_reduction_is_the_best_of_its_size() -> None:
    texts = [f"{item.question} {' '.join(item.choices)}" for item in iit_parts.text_items(60)]
    weights = NGramEmbedder()._weighted(texts).to_dense().numpy()
    singular = np.linalg.svd(weights, compute_uv=False)
    vectors = NGramEmbedder(dimensions=10).embed(texts)
    assert vectors.shape == (60, 10)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=0), singular[:10], rtol=1e-3)
    whole = NGramEmbedder(dimensions=60).embed(texts)
    np.testing.assert_allclose(whole @ whole.T, weights @ weights.T, atol=1e-9)


def test_texts_on_one_subject_are_nearer() -> None:
    items = iit_parts.text_items(60)
    near = cosines(NGramEmbedder().embed([f"{item.question} {' '.join(item.choices)}" for item in items]))
    np.fill_diagonal(near, -1)
    same = [items[row].subject == items[int(column)].subject for row, column in enumerate(near.argmax(1))]
    assert np.mean(same) == 1.0


def test_rounding_keeps_cosines() -> None:
    vectors = np.random.default_rng(0).standard_normal((20, 64))
    whole = on_grid(vectors)
    assert whole.dtype == np.int64 and np.abs(np.linalg.norm(whole, axis=1) / STEPS - 1).max() < 1e-3
    np.testing.assert_allclose(whole @ whole.T / STEPS**2, cosines(vectors), atol=1e-3)
    assert not on_grid(np.zeros((1, 3))).any()
    with pytest.raises(ValueError, match="finite"):
        on_grid(np.array([[np.nan, 1.0]]))


def test_neighbours_are_the_nearest_and_equal_ones_in_order() -> None:
    vectors = on_grid(np.array([[1.0, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 0]]))
    store = NumpyStore()
    store.add(vectors[:2])
    store.add(vectors[2:])
    assert store.nearest(vectors[[0, 1]], 3).tolist() == [[0, 3, 2], [1, 2, 0]]
    assert store.nearest(vectors[:1], 9).shape == (1, 4)


def test_neighbours_are_those_of_scikit_learn() -> None:
    neighbours = pytest.importorskip("sklearn.neighbors")
    vectors = on_grid(np.random.default_rng(1).standard_normal((300, 24)))
    store = NumpyStore()
    store.add(vectors)
    model = neighbours.NearestNeighbors(n_neighbors=10, metric="cosine", algorithm="brute").fit(vectors)
    ours = np.take_along_axis(cosines(vectors.astype(float)), store.nearest(vectors, 10), axis=1)
    np.testing.assert_allclose(ours, 1 - model.kneighbors(vectors)[0], atol=2e-3)


def test_chroma_finds_the_same_neighbours() -> None:
    pytest.importorskip("chromadb")
    vectors = on_grid(np.random.default_rng(2).standard_normal((700, 32)))
    stores = [make_store(name) for name in ("numpy", "chroma")]
    for store in stores:
        store.add(vectors)
    exact, found = (store.nearest(vectors[:100], 20) for store in stores)
    assert (exact == found).all()
    for store in stores:
        store.close()


def test_chroma_gives_a_whole_pool() -> None:
    """More than its index searches."""
    pytest.importorskip("chromadb")
    vectors = on_grid(np.random.default_rng(3).standard_normal((1500, 8)))
    stores = [make_store(name) for name in ("numpy", "chroma")]
    for store in stores:
        store.add(vectors)
    exact, found = (store.nearest(vectors[:600], 1500) for store in stores)
    assert (exact == found).all() and found.shape == (600, 1500)
    for store in stores:
        store.close()


def test_similarities_are_cosines_of_the_places() -> None:
    vectors = on_grid(np.random.default_rng(4).standard_normal((700, 16)))
    places = np.random.default_rng(5).integers(0, 700, (600, 50))
    expected = (vectors[places] * vectors[:600][:, None]).sum(-1) / STEPS**2
    assert (similarities(vectors[:600], vectors, places) == expected).all()


def test_chroma_neither_phones_nor_keeps_what_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    pytest.importorskip("chromadb")

    def refuse(*args: object) -> None:
        raise AssertionError(f"a connection to {args[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    vectors = on_grid(np.eye(3))
    for _ in range(2):
        store = make_store("chroma")
        store.add(vectors)
        assert store.nearest(vectors, 1).tolist() == [[0], [1], [2]]
        assert store._client._system.settings.anonymized_telemetry is False
        store.close()


@pytest.mark.slow
def test_nothing_optional_is_imported_unasked() -> None:
    code = (
        "import sys, wings_hf.iit.benchmark, wings_hf.iit.scoring, wings_hf.iit.stores, wings_hf.cli.iit;"
        "print([name for name in ('chromadb', 'sklearn', 'matplotlib', 'lm_eval', 'datasets') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_an_unknown_store_is_refused() -> None:
    with pytest.raises(ValueError, match=r"store 'faiss': expected one of numpy, chroma"):
        make_store("faiss")


def test_a_model_embeds_too(tmp_path) -> None:
    model, tokenizer = iit_parts.language_model()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    texts = ["a cat", "a dog and a cat in the image", "what is shown"]
    random.Random(0).shuffle(texts)
    together = TransformersEmbedder(str(tmp_path), batch_size=3).embed(texts)
    with torch.no_grad():
        for row, text in zip(together, texts, strict=True):
            states = model.model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
            np.testing.assert_allclose(row, states.double().mean(0).numpy(), atol=1e-5)
