# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Differences between methods: against scipy's paired tests where one source of chance is alone, and by simulation."""

import numpy as np
import pytest
from forgetting.differences import Difference, crossed_difference, differences, holm
from forgetting.report import differences_table
from scipy import stats


def test_where_seeds_alone_differ_it_is_the_paired_t_test_over_seeds() -> None:
    ours, theirs = np.array([0.5, 0.9, 0.4]), np.array([0.1, 0.2, 0.3])
    found = crossed_difference([np.repeat((ours - theirs)[:, None], 50, axis=1)])
    expected = stats.ttest_rel(ours, theirs)
    assert found.p == pytest.approx(expected.pvalue) and found.seeds == 3
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))


def test_where_questions_alone_differ_it_is_the_paired_t_test_over_questions() -> None:
    """All seeds answer alike: no more is known than of one."""
    ours, theirs = np.random.default_rng(0).integers(0, 2, (2, 60)).astype(float)
    found = crossed_difference([np.stack([ours - theirs] * 3)])
    expected = stats.ttest_rel(ours, theirs)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))


@pytest.mark.parametrize(("of_seeds", "of_questions"), [(0.3, 0.1), (0.05, 1.0), (0.0, 0.0)])
def test_intervals_hold_what_other_seeds_and_questions_would_give(of_seeds: float, of_questions: float) -> None:
    """Three seeds, two tasks of other means; an interval is to hold the difference in 95 % of the draws or more."""
    rng, held, draws = np.random.default_rng(1), 0, 600
    for _ in range(draws):
        seeds = rng.normal(0, of_seeds, (3, 1))
        tasks = [
            mean + seeds + rng.normal(0, of_questions, (1, 30)) + rng.normal(0, 1, (3, 30)) for mean in (0.2, -0.1)
        ]
        found = crossed_difference(tasks)
        held += found.low <= 0.05 <= found.high
    assert held / draws >= 0.95 - 3 * (0.95 * 0.05 / draws) ** 0.5


def test_seeds_that_disagree_widen_what_questions_alone_would_say() -> None:
    rng = np.random.default_rng(2)
    agreed = rng.integers(-1, 2, (3, 400)).astype(float)
    apart = agreed + np.array([[-0.5], [0.0], [0.5]])
    (a, b) = (crossed_difference([each]) for each in (agreed, apart))
    assert b.high - b.low > 5 * (a.high - a.low)
    assert b.high - b.mean > stats.t.ppf(0.975, 2) * 0.5 / 3**0.5 * 0.9  # two degrees of freedom, not the questions'


def test_one_seed_tests_no_method() -> None:
    found = crossed_difference([np.array([[1.0, 0.0, 1.0, 1.0]])])
    assert found.p is None and found.low < found.mean == 0.75 <= found.high


def test_no_difference_is_none() -> None:
    found = crossed_difference([np.zeros((3, 5))])
    assert (found.mean, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert crossed_difference([np.ones((2, 6))]).p == pytest.approx(stats.binomtest(6, 6).pvalue)


def test_holm_is_as_r_has_it() -> None:
    """p.adjust(..., "holm") of R."""
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm([0.04, 0.001, 0.6]) == pytest.approx([0.08, 0.003, 0.6]) and holm([]) == []


def record(method: str, seed: int, image: str, text: str) -> dict:
    answers = {"image": {"see": image}, "text": {"read": text}}
    return {
        **{"method": method, "title": method.title(), "family": "wings", "world": "digits", "seed": seed},
        **{"accuracy": {"image": image.count("1") / len(image), "text": 1.0}, "answers": answers},
        **{"held_out_loss": 1.0, "held_out_kl": 0.0, "attention_shift": 0.1, "cost": {}},
    }


def test_methods_are_compared_on_the_seeds_that_both_have() -> None:
    records = [record("base", 0, "0000", "1111")]
    records += [record("full", seed, "11110000", "1111") for seed in range(3)]
    records += [record("wings", seed, "11111100", "1111") for seed in range(2)]
    records += [record("other", 7, "11110000", "1111")]
    found = differences(records)
    assert found["full"]["image"].keys() == {"wings"} and found["full"]["text_after_image"] == {}
    wings = found["full"]["image"]["wings"]
    assert wings.mean == 0.25 and wings.seeds == 2 and wings.corrected == wings.p
    assert found["wings"]["image"]["full"].mean == -0.25
    assert "| Wings | 2 | +25.0 (" in differences_table(records, found)


def test_only_what_is_sure_after_correction_is_bold() -> None:
    records = [record("base", 0, "0", "1"), record("full", 0, "0", "1"), record("wings", 0, "1", "1")]
    for corrected, shown in ((0.049, "**+100.0 (90.0 to 110.0)**"), (0.051, "| +100.0 (90.0 to 110.0)")):
        each = {"wings": Difference(1.0, 0.9, 1.1, 0.01, 3, corrected)}
        assert shown in differences_table(records, {"full": {"image": each, "text": {}, "text_after_image": {}}})


def test_other_questions_are_refused() -> None:
    records = [record("base", 0, "0", "1"), record("full", 0, "01", "1"), record("wings", 0, "011", "1")]
    with pytest.raises(ValueError, match="wings and full, image: expected records of the same tasks"):
        differences(records)
