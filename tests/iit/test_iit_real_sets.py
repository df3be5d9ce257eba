# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A benchmark of real sets: MMLU and HellaSwag, easy-VQA and the Grocery Store photos.

Skipped where the data are not beside the project (`../shared/data`).
"""

import importlib.util
import random
import tarfile
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from wings_hf.iit.baselines import text_only
from wings_hf.iit.benchmark import Benchmark, build
from wings_hf.iit.build import BuildOptions
from wings_hf.iit.conversation import Turn
from wings_hf.iit.items import load_items

PROJECT = Path(__file__).parents[2]
DATA = PROJECT.parent / "shared" / "data"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the real sets are not at {DATA}"),
]


def example() -> ModuleType:
    path = PROJECT / "examples" / "iit_from_local_sets.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[list, list]:
    folder = tmp_path_factory.mktemp("sets")
    for name in ("easy_vqa", "grocery_store"):
        with tarfile.open(DATA / f"{name}.tar") as archive:
            archive.extractall(folder, filter="data")
    script = example()
    texts = [item for name in ("mmlu/test", "hellaswag") for item in load_items(DATA / "text_benchmarks" / name)]
    return texts, [*script.easy_vqa(folder / "easy_vqa/data"), *script.grocery(folder / "grocery_store")]


@pytest.fixture(scope="module")
def benchmark(sets: tuple[list, list], tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    return build(*sets, tmp_path_factory.mktemp("iit") / "iit", BuildOptions(per_setting=120))


def test_all_items_of_the_sets_are_read(sets: tuple[list, list]) -> None:
    texts, images = sets
    assert Counter(item.id.split("/")[0] for item in texts)["hellaswag"] == 1000
    assert Counter(item.id.split("/")[0] for item in images) == {"easy_vqa": 9673, "grocery": 2485}


def test_the_image_cannot_be_guessed(sets: tuple[list, list], benchmark: Benchmark) -> None:
    scores = benchmark.facts["settings"]["V"]["baselines"]
    assert scores["text only"]["accuracy"] == pytest.approx(scores["chance"]["accuracy"], abs=0.03)
    rng = random.Random(0)
    drawn = rng.sample(sets[1], 2000)
    turns = [Turn("V", item.id, "", item.question, item.choices, item.answer, item.images) for item in drawn[:500]]
    chance = np.mean([1 / len(turn.choices) for turn in turns])
    assert text_only(turns, drawn[500:]).mean() > chance + 0.2  # the same attack on questions drawn at random
    facts = benchmark.facts["balance"]
    assert facts["asked with another answer too"] == facts["image questions"] == 120


def test_neighbours_are_nearer_than_strangers(benchmark: Benchmark) -> None:
    for setting, least in (("TT", 0.6), ("TV", 0.25)):
        near = [turn.similarity for chat in benchmark.of(setting) for turn in chat.turns[:-1]]
        assert np.mean(near) > least
    same = [chat.turns[0].item.split("/")[:2] == chat.last.item.split("/")[:2] for chat in benchmark.of("TT")]
    assert np.mean(same) > 0.7  # of one set, HellaSwag or MMLU, without being told
