# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Statistics agree with scipy, with counting by hand, and with what intervals and tests promise."""

import itertools
import math

import numpy as np
import pytest

from wings_hf.evaluation.statistics import (
    bootstrap_interval,
    mcnemar,
    mean_interval,
    paired_test,
    pearson,
    retention,
)

rng = np.random.default_rng(0)


@pytest.mark.parametrize("scores", [rng.normal(2, 3, 80), rng.random(60) < 0.3, rng.integers(0, 3, 50)])
def test_bootstrap_is_scipys(scores) -> None:
    stats = pytest.importorskip("scipy.stats")
    theirs = stats.bootstrap((scores.astype(float),), np.mean, method="percentile", n_resamples=20000, rng=1)
    ours = bootstrap_interval(scores, draws=20000)
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert ours == pytest.approx(tuple(theirs.confidence_interval), abs=0.04 * width)
    narrow = bootstrap_interval(scores, level=0.5, draws=20000)
    assert ours[0] < narrow[0] < scores.mean() < narrow[1] < ours[1]


def test_bootstrap_is_deterministic_and_defined_at_the_ends() -> None:
    scores = list(rng.random(30))
    assert (
        bootstrap_interval(scores, seed=3) == bootstrap_interval(scores, seed=3) != bootstrap_interval(scores, seed=4)
    )
    assert bootstrap_interval([0.25]) == (0.25, 0.25)
    assert bootstrap_interval([True] * 10) == (1.0, 1.0)
    with pytest.raises(ValueError, match="at least one"):
        bootstrap_interval([])
    with pytest.raises(ValueError, match="nan"):
        bootstrap_interval([1.0, math.nan])
    with pytest.raises(ValueError, match="level 95"):
        bootstrap_interval([1.0], level=95)


def test_long_lists_are_drawn_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = rng.normal(size=300)
    monkeypatch.setattr("wings_hf.evaluation.statistics.LARGEST_BLOCK", 1000)
    low, high = bootstrap_interval(scores)
    assert (high - low) / (2 * 1.96) == pytest.approx(scores.std() / math.sqrt(300), rel=0.1)


def test_an_interval_over_tasks_weighs_them_alike() -> None:
    groups = [[True] * 90 + [False] * 10, [1.0] * 5 + [0.5] * 5]
    low, high = mean_interval(groups, draws=20000)
    deviation = math.sqrt((0.09 / 100 + 0.0625 / 10) / 4)
    assert (low + high) / 2 == pytest.approx((0.9 + 0.75) / 2, abs=0.01)
    assert (high - low) / (2 * 1.96) == pytest.approx(deviation, rel=0.05)


def test_intervals_cover_as_often_as_they_say() -> None:
    hits = 0
    for trial in range(200):
        low, high = bootstrap_interval(np.random.default_rng(trial).normal(size=60), draws=400, seed=trial)
        hits += low <= 0 <= high
    assert 0.88 <= hits / 200 <= 0.99


def signs_tried_by_hand(differences) -> float:
    n = len(differences)
    totals = [
        sum(s * d for s, d in zip(signs, differences, strict=True)) for signs in itertools.product((-1, 1), repeat=n)
    ]
    return sum(abs(total) >= abs(sum(differences)) - 1e-9 for total in totals) / 2**n


def test_few_pairs_try_all_signs() -> None:
    a, b = [0.9, 0.4, 0.7, 0.6, 0.5, 0.3], [0.5, 0.5, 0.2, 0.6, 0.1, 0.0]
    result = paired_test(a, b)
    assert result.difference == pytest.approx(1.5 / 6)
    assert result.p == signs_tried_by_hand([0.4, -0.1, 0.5, 0.4, 0.3])
    assert result.low < result.difference < result.high


def test_many_pairs_are_scipys_permutation_test() -> None:
    stats = pytest.importorskip("scipy.stats")
    a, b = rng.normal(0.25, 1, 60), rng.normal(0, 1, 60)
    theirs = stats.permutation_test(
        (a, b), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=20000, rng=2
    )
    ours = paired_test(a, b, draws=20000)
    assert ours.p == pytest.approx(theirs.pvalue, abs=0.015) and 0.001 < ours.p < 0.9
    assert ours.difference == pytest.approx(theirs.statistic)


def test_right_and_wrong_answers_give_mcnemar() -> None:
    stats = pytest.importorskip("scipy.stats")
    a, b = rng.random(400) < 0.55, rng.random(400) < 0.45
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    theirs = stats.binomtest(only_a, only_a + only_b).pvalue
    assert mcnemar(a, b) == pytest.approx(theirs) == pytest.approx(paired_test(a, b).p)
    assert mcnemar([True, False], [True, False]) == paired_test([1, 0], [1, 0]).p == 1.0
    assert mcnemar([True] * 5, [False] * 5) == 2 / 32
    large = mcnemar([True] * 1100 + [False] * 900, [False] * 1100 + [True] * 900)
    assert large == pytest.approx(stats.binomtest(1100, 2000).pvalue)
    with pytest.raises(ValueError, match="paired_test"):
        mcnemar([0.5], [1.0])
    with pytest.raises(ValueError, match="same questions"):
        paired_test([1.0], [1.0, 0.0])


def test_no_difference_is_rarely_found() -> None:
    generators = [np.random.default_rng(trial) for trial in range(200)]
    p = [paired_test(g.normal(size=30), g.normal(size=30), draws=300).p for g in generators]
    assert 0.01 <= np.mean(np.asarray(p) < 0.05) <= 0.1


def test_pearson_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    x = rng.normal(size=20)
    y = x + rng.normal(size=20)
    theirs = stats.pearsonr(x, y)
    ours = pearson(x, y)
    assert ours.r == pytest.approx(theirs.statistic) and ours.n == 20
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)))


def test_pearson_is_always_defined() -> None:
    assert pearson([], []) == (0.0, -1.0, 1.0, 0)
    assert pearson([1.0], [2.0]) == (0.0, -1.0, 1.0, 1)
    assert pearson([1, 1, 1, 1, 1], [1, 2, 3, 4, 5]) == (0.0, -1.0, 1.0, 5)
    assert pearson([1, 2, 3], [1, 2, 4])[1:] == (-1.0, 1.0, 3)
    exact = pearson([1, 2, 3, 4, 5], [-1, -2, -3, -4, -5])
    assert exact.r == pytest.approx(-1) and exact.low <= exact.r <= exact.high and exact.high == pytest.approx(-1)
    with pytest.raises(ValueError, match="pairs"):
        pearson([1.0], [])


def test_retention_is_a_share_of_the_base() -> None:
    found = retention({"a": 0.3, "b": 0.9, "c": 0.1, "only ours": 1.0}, {"a": 0.6, "b": 0.9, "c": 0.0, "theirs": 1.0})
    assert found.per_set == {"a": 0.5, "b": 1.0, "c": None}
    assert found.mean == 0.75
    assert retention({}, {}).mean is None
