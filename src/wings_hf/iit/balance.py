# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
What keeps answers from being guessed: which image questions are asked, and where right answers stand.

Content: a choice that is offered for a question should be right as often as chance says. Questions are drawn one by
one, each time one that brings the shares nearest to that, so a question that was asked about one image is asked about
another with a different answer where the set allows. Position: right answers take every letter equally often.
"""

import random
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from wings_hf.evaluation.items import Item

REPEATED_IMAGE = 2.0  # cost of showing an image once more; a choice that was right once too often costs about 1


def set_of(item: Item) -> str:
    """The set that an item is from: its id up to the first slash."""
    return item.id.partition("/")[0]


def draw_text_items(items: Sequence[Item], count: int, rng: random.Random) -> list[Item]:
    """`count` items, evenly over sets, and within a set evenly over subjects.

    Raises:
        ValueError: there are fewer.
    """
    drawn: list[Item] = []
    for name, quota in _quotas(items, count).items():
        by_subject: dict[str, list[Item]] = defaultdict(list)
        for item in items:
            if set_of(item) == name:
                by_subject[item.subject].append(item)
        queues = [rng.sample(queue, len(queue)) for _, queue in sorted(by_subject.items())]
        rng.shuffle(queues)
        in_turns = [queue[row] for row in range(max(map(len, queues))) for queue in queues if row < len(queue)]
        drawn += in_turns[:quota]
    return drawn


def draw_image_items(items: Sequence[Item], count: int, rng: random.Random) -> list[Item]:
    """`count` items, evenly over sets, such that text says as little as possible about answers.

    Raises:
        ValueError: there are fewer.
    """
    drawn: list[Item] = []
    for name, quota in _quotas(items, count).items():
        members = [item for item in items if set_of(item) == name]
        rng.shuffle(members)
        drawn += [members[index] for index in _balanced(members, quota)]
    return drawn


def _quotas(items: Sequence[Item], count: int) -> dict[str, int]:
    """How many of each set: as evenly as their sizes allow, small sets whole."""
    sizes: dict[str, int] = defaultdict(int)
    for item in items:
        sizes[set_of(item)] += 1
    if count > len(items):
        raise ValueError(f"{count} questions wanted, {len(items)} usable items: give more, or ask for fewer.")
    quotas, left = {}, count
    for place, (size, name) in enumerate(sorted((size, name) for name, size in sizes.items())):
        quotas[name] = min(size, left // (len(sizes) - place))
        left -= quotas[name]
    return dict(sorted(quotas.items()))


def _balanced(items: Sequence[Item], count: int) -> list[int]:
    """Places of `count` items, drawn greedily: each time the first of those that leave the least surplus.

    The surplus of a choice is how often it was right less how often chance would have it right, over the times it was
    offered: for its question, and whatever the question. The sum of their squares is what is kept small.
    """
    keys: dict[object, int] = {}
    width = max(len(item.choices) for item in items)
    ids = np.zeros((len(items), 2 * width), dtype=np.int64)  # key 0 is of no choice
    steps = np.zeros((len(items), 2 * width))
    images: dict[str, int] = {}
    shown = np.zeros(len(items), dtype=np.int64)
    for row, item in enumerate(items):
        question = " ".join(item.question.casefold().split())
        for place, choice in enumerate(item.choices):
            for offset, key in ((0, (question, choice)), (width, choice)):
                ids[row, offset + place] = keys.setdefault(key, len(keys) + 1)
                steps[row, offset + place] = (place == item.answer) - 1 / len(item.choices)
        shown[row] = images.setdefault(" ".join(item.images), len(images))
    surplus = np.zeros(len(keys) + 1)
    times_shown = np.zeros(len(images))
    free = np.ones(len(items), dtype=bool)
    drawn = []
    for _ in range(count):
        cost = (2 * surplus[ids] * steps + steps**2).sum(1) + REPEATED_IMAGE * times_shown[shown]
        best = int(np.argmin(np.where(free, np.round(cost, 9), np.inf)))
        free[best] = False
        np.add.at(surplus, ids[best], steps[best])
        times_shown[shown[best]] += 1
        drawn.append(best)
    return drawn


def spread_letters(
    items: Sequence[Item], rng: random.Random, groups: Sequence[int] | None = None
) -> list[tuple[int, ...]]:
    """For each item the order in which its choices are shown, right answers evenly over the letters.

    Among items of as many choices the numbers of right answers at two letters differ by at most one; within a group of
    them, and within a set of a group, by at most two.

    Args:
        groups: a number for each item, as the place of the right answer that follows.
    """
    groups = [0] * len(items) if groups is None else groups
    orders: list[tuple[int, ...]] = [()] * len(items)
    by_length: dict[int, list[int]] = defaultdict(list)
    for index in sorted(range(len(items)), key=lambda index: (groups[index], set_of(items[index]), index)):
        by_length[len(items[index].choices)].append(index)
    for length, members in sorted(by_length.items()):
        places: list[int] = []
        for index in members:
            places = places or rng.sample(range(length), length)
            answer = items[index].answer
            order = rng.sample([choice for choice in range(length) if choice != answer], length - 1)
            order.insert(places.pop(), answer)
            orders[index] = tuple(order)
    return orders
