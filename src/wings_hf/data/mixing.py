# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""In which order records come, and how often: pure functions of seed and pass, the same on every device.

A pass with weights has as many records as one without. From the pool of each source it takes the share that its weight
says, going on where the pass before stopped: after any number of passes the records of a pool have been seen equally
often, but for one.
"""

from collections.abc import Sequence

import numpy as np

from wings_hf.data.errors import DataError

MEGABATCH = 50  # batches among which records are sorted by length


def generator(seed: int, *path: int) -> np.random.Generator:
    """Random numbers that depend on all of these numbers."""
    return np.random.default_rng([seed, *path])


def shares(
    weights: Sequence[float | None],
    text_fractions: Sequence[float],
    sizes: Sequence[int | None],
    text_share: float | None,
) -> list[tuple[float, float]] | None:
    """How much of the mix each source's text-only records make up, and its others; None for all records once.

    Args:
        weights: of the sources; None throughout takes their sizes.
        text_fractions: the part of each source's records that has no images.
        sizes: numbers of records, where known.
        text_share: the part of the mix that has no images; None leaves it as it comes.

    Raises:
        DataError: weights for some sources only, or a share of text that cannot be had.
    """
    given = [weight is not None for weight in weights]
    if any(given) != all(given):
        raise DataError("some sources have a weight and others have none: give all of them one, or none")
    if not any(given) and text_share is None:
        return None
    if not any(given) and None in sizes:
        raise DataError("text_share of streamed data needs a weight for each source")
    amounts = [float(weight if weight is not None else size or 0) for weight, size in zip(weights, sizes, strict=True)]
    parts = [(amount * text, amount * (1 - text)) for amount, text in zip(amounts, text_fractions, strict=True)]
    totals = [sum(part[kind] for part in parts) for kind in (0, 1)]
    if text_share is None:
        whole = sum(totals)
        return [(text / whole, images / whole) for text, images in parts]
    for total, share, kind in zip(totals, (text_share, 1 - text_share), ("text-only records", "images"), strict=True):
        if not 0 <= text_share <= 1 or (share > 0 and total == 0):
            raise DataError(f"text_share={text_share}: it must lie in [0, 1], and there must be records with {kind}")
    scale = [share / total if total else 0.0 for share, total in zip((text_share, 1 - text_share), totals, strict=True)]
    return [(text * scale[0], images * scale[1]) for text, images in parts]


def counts(fractions: Sequence[float], total: int) -> list[int]:
    """Whole numbers in these proportions with the sum `total` (largest remainders)."""
    exact = np.asarray(fractions) * total
    whole = np.floor(exact).astype(int)
    rest = total - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:rest]] += 1
    return whole.tolist()


def draw(pool: np.ndarray, count: int, epoch: int, seed: int, number: int) -> np.ndarray:
    """The `count` entries of a pool for pass `epoch`: a window on its endless sequence of permutations.

    Args:
        number: of the pool, so that pools are shuffled each in its own way.
    """
    if not count:
        return pool[:0]
    first, last = epoch * count, (epoch + 1) * count
    rounds = range(first // len(pool), (last - 1) // len(pool) + 1)
    sequence = np.concatenate([pool[generator(seed, 1, number, turn).permutation(len(pool))] for turn in rounds])
    start = first - rounds[0] * len(pool)
    return sequence[start : start + count]


def grouped(lengths: np.ndarray, has_images: np.ndarray, batch_size: int, rng: np.random.Generator) -> np.ndarray:
    """An order in which batches hold records of about one length, all with images or all without.

    What is left over of both kinds forms the last batches, which may mix them. The batch that takes most memory comes
    first, so that a run that cannot fit fails at once.

    Args:
        lengths: of the records, in tokens or anything in proportion, (n,).
        batch_size: records that are processed at a time, on all devices together.
    """
    batches, left = [], []
    for kind in (False, True):
        chosen = rng.permutation(np.flatnonzero(has_images == kind))
        whole = len(chosen) // batch_size * batch_size
        left.append(chosen[whole:])
        for start in range(0, whole, MEGABATCH * batch_size):
            mega = chosen[start : min(start + MEGABATCH * batch_size, whole)]
            mega = mega[np.argsort(-lengths[mega], kind="stable")]
            batches += np.split(mega, len(mega) // batch_size)
    order = [batches[i] for i in rng.permutation(len(batches))]
    if order:
        longest = max(range(len(order)), key=lambda i: int(lengths[order[i]].max()))
        order[0], order[longest] = order[longest], order[0]
    return np.concatenate([*order, *left]).astype(int)
