# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""How sure one can be of a score, of a difference and of a correlation. All is deterministic by its `seed`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

Interval = tuple[float, float]
Numbers = Sequence[float] | np.ndarray  # one dimension
LARGEST_BLOCK = 2**22  # numbers drawn at a time: what bounds the memory of a bootstrap
TIED = 1e-9  # sums nearer than this are the same sum, rounded in another order


class PairedResult(NamedTuple):
    """
    Args:
        difference: mean of a - b.
        low, high: bootstrap interval of it.
        p: two-sided; how often differences of random signs have a mean as far from zero.
    """

    difference: float
    low: float
    high: float
    p: float


class Correlation(NamedTuple):
    """
    Args:
        r: Pearson's; 0 where it is undefined (fewer than two points, or one side constant).
        low, high: Fisher's interval; (-1, 1) where it says nothing (r undefined, or fewer than four points).
        n: number of points.
    """

    r: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Retention:
    """
    Args:
        per_set: score / base score of each set both have; None where the base scored 0.
        mean: over the sets where it is defined; None where there are none.
    """

    per_set: dict[str, float | None]
    mean: float | None


def bootstrap_interval(scores: Numbers, level: float = 0.95, draws: int = 2000, seed: int = 0) -> Interval:
    """Percentile bootstrap interval of the mean of `scores`.

    Raises:
        ValueError: for no scores, one that is not finite, or a level outside (0, 1).
    """
    return mean_interval([scores], level, draws, seed)


def mean_interval(groups: Sequence[Numbers], level: float = 0.95, draws: int = 2000, seed: int = 0) -> Interval:
    """Interval of the mean over `groups` (tasks) of their means; each group's scores are drawn anew.

    The groups themselves are fixed: the interval speaks of other questions of these tasks, not of other tasks.

    Raises:
        ValueError: for no groups, an empty one, a score that is not finite, or a level outside (0, 1).
    """
    if not len(groups):
        raise ValueError("no scores: expected at least one group.")
    rng = np.random.default_rng(seed)
    means = [_resampled_means(_checked(scores), draws, rng) for scores in groups]
    return _percentiles(np.mean(means, axis=0), level)


def paired_test(a: Numbers, b: Numbers, level: float = 0.95, draws: int = 10000, seed: int = 0) -> PairedResult:
    """Whether two runs differ on the same questions: `a[i]` and `b[i]` are the scores of question i.

    p is exact where the differences that are not zero have one size (right or wrong answers: it is McNemar's exact
    test) or are so few that all signs can be tried; otherwise from `draws` random signs.

    Raises:
        ValueError: for runs of unequal length, no scores, one that is not finite, or a level outside (0, 1).
    """
    if len(a) != len(b):
        raise ValueError(f"a has {len(a)} scores and b {len(b)}: expected the same questions in both.")
    differences = _checked(a) - _checked(b)
    low, high = bootstrap_interval(differences, level, draws, seed)
    p = _sign_flip_p(differences[differences != 0], draws, np.random.default_rng(seed))
    return PairedResult(float(differences.mean()), low, high, p)


def mcnemar(a: Sequence[bool] | np.ndarray, b: Sequence[bool] | np.ndarray) -> float:
    """Exact two-sided p of McNemar's test: the questions only one of them got right fell evenly.

    Raises:
        ValueError: for runs of unequal length or answers other than right and wrong.
    """
    if len(a) != len(b):
        raise ValueError(f"a has {len(a)} answers and b {len(b)}: expected the same questions in both.")
    left, right = np.asarray(a), np.asarray(b)
    for answers in (left, right):
        if not np.isin(answers, (0, 1)).all():
            raise ValueError("McNemar's test takes right and wrong answers (True, False): use paired_test.")
    left, right = left.astype(bool), right.astype(bool)
    return _binomial_p(int((left & ~right).sum()), int((left ^ right).sum()))


def pearson(x: Numbers, y: Numbers, level: float = 0.95) -> Correlation:
    """Pearson correlation of `x` and `y` with Fisher's interval; never nan (see `Correlation`).

    Raises:
        ValueError: for unequal lengths, a number that is not finite, or a level outside (0, 1).
    """
    if len(x) != len(y):
        raise ValueError(f"x has {len(x)} numbers and y {len(y)}: expected pairs.")
    _check_level(level)
    n = len(x)
    if n < 2:
        return Correlation(0.0, -1.0, 1.0, n)
    left, right = _checked(x), _checked(y)
    if np.ptp(left) == 0 or np.ptp(right) == 0:
        return Correlation(0.0, -1.0, 1.0, n)
    r = float(np.clip(np.corrcoef(left, right)[0, 1], -1.0, 1.0))
    if n < 4 or abs(r) == 1.0:
        return Correlation(r, *((-1.0, 1.0) if n < 4 else (r, r)), n)
    half = NormalDist().inv_cdf(0.5 + level / 2) / math.sqrt(n - 3)
    return Correlation(r, math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half), n)


def retention(scores: Mapping[str, float], base_scores: Mapping[str, float]) -> Retention:
    """What is left of the base model's ability: score / base score of each set that both have, and their mean."""
    shared = [name for name in scores if name in base_scores]
    per_set = {name: scores[name] / base_scores[name] if base_scores[name] else None for name in shared}
    defined = [value for value in per_set.values() if value is not None]
    return Retention(per_set, float(np.mean(defined)) if defined else None)


def _checked(scores: Numbers) -> np.ndarray:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"scores of shape {values.shape}: expected a list of at least one number.")
    if not np.isfinite(values).all():
        raise ValueError(f"score {values[~np.isfinite(values)][0]} among {len(values)}: expected finite numbers.")
    return values


def _resampled_means(values: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Means of `draws` samples with replacement, (draws,)."""
    n = len(values)
    if np.isin(values, (0.0, 1.0)).all():
        return rng.binomial(n, values.mean(), size=draws) / n
    rows = max(1, LARGEST_BLOCK // n)
    blocks = [min(rows, draws - start) for start in range(0, draws, rows)]
    return np.concatenate([values[rng.integers(n, size=(block, n))].mean(1) for block in blocks])


def _percentiles(means: np.ndarray, level: float) -> Interval:
    _check_level(level)
    tail = round((1 - level) / 2, 12)
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level {level}: expected a share between 0 and 1, as 0.95.")


def _sign_flip_p(differences: np.ndarray, draws: int, rng: np.random.Generator) -> float:
    n = len(differences)
    if not n:
        return 1.0
    sizes = np.abs(differences)
    if np.ptp(sizes) <= TIED * sizes.max():
        return _binomial_p(int((differences > 0).sum()), n)
    observed = abs(differences.sum()) - TIED * sizes.sum()
    if n < 63 and 2**n <= draws:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return float((np.abs(signs @ differences) >= observed).mean())
    rows = max(1, LARGEST_BLOCK // n)
    blocks = [min(rows, draws - start) for start in range(0, draws, rows)]
    farther = sum(
        int((np.abs(rng.choice((-1.0, 1.0), size=(block, n)) @ differences) >= observed).sum()) for block in blocks
    )
    return (farther + 1) / (draws + 1)


def _binomial_p(successes: int, n: int) -> float:
    """Two-sided p of `successes` among `n` throws of a fair coin."""
    fewer = min(successes, n - successes)
    term = total = 1
    for k in range(1, fewer + 1):
        term = term * (n - k + 1) // k
        total += term
    return min(1.0, 2 * total / 2**n)
