# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0

"""The demo's text tasks: what the language model knows before it learns to see, and may forget.

Each task makes one question and its only right answer from a random generator. An example of each:

    read       Read 7 k.                          7 k
    add        What is 7 plus 8?                  15
    larger     Which is larger, 3 or 7?           7
    reverse    Reverse t a k e.                   e k a t
    sort       Sort m c x a.                      a c m x
    opposite   What is the opposite of hot?       cold
    past       What is the past tense of go?      went
"""

import random
from collections.abc import Callable

TextTask = Callable[[random.Random], tuple[str, str]]

LETTERS = "abcdefghijkm"
DIGITS = "0123456789"
OPPOSITES = (
    "hot cold|big small|up down|left right|open closed|early late|fast slow|full empty|happy sad|hard soft|"
    "high low|bright dark|long short|loud quiet|near far|new old|rich poor|wet dry|wide narrow|wild tame"
)
PAST_TENSES = (
    "go went|see saw|take took|give gave|find found|think thought|come came|know knew|make made|say said|"
    "begin began|break broke|bring brought|buy bought|catch caught|choose chose|draw drew|drink drank|drive drove|"
    "eat ate"
)


def _pairs(text: str) -> list[tuple[str, str]]:
    return [(first, second) for first, second in (pair.split() for pair in text.split("|"))]


def read(rng: random.Random) -> tuple[str, str]:
    signs = rng.choices(LETTERS + DIGITS, k=rng.randint(1, 2))
    return f"Read {' '.join(signs)}.", " ".join(signs)


def add(rng: random.Random) -> tuple[str, str]:
    a, b = rng.randrange(10), rng.randrange(10)
    return f"What is {a} plus {b}?", str(a + b)


def larger(rng: random.Random) -> tuple[str, str]:
    a, b = rng.sample(range(10), 2)
    return f"Which is larger, {a} or {b}?", str(max(a, b))


def reverse(rng: random.Random) -> tuple[str, str]:
    letters = rng.sample(LETTERS, 3)
    return f"Reverse {' '.join(letters)}.", " ".join(reversed(letters))


def sort(rng: random.Random) -> tuple[str, str]:
    letters = rng.sample(LETTERS, 3)
    return f"Sort {' '.join(letters)}.", " ".join(sorted(letters))


def opposite(rng: random.Random) -> tuple[str, str]:
    pair = rng.choice(_pairs(OPPOSITES))
    given, answer = pair if rng.random() < 0.5 else pair[::-1]
    return f"What is the opposite of {given}?", answer


def past(rng: random.Random) -> tuple[str, str]:
    present, answer = rng.choice(_pairs(PAST_TENSES))
    return f"What is the past tense of {present}?", answer


TEXT_TASKS: dict[str, TextTask] = {task.__name__: task for task in (read, add, larger, reverse, sort, opposite, past)}
