# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The demo's images: scikit-learn's 1,797 handwritten digits, and questions over one, two or three of them.

Where it can, a question is a text task with pictures in the place of numbers. An example of each:

    read      Read <image> <image>.                           7 3
    add       What is <image> plus <image>?                   12
    larger    Which is larger, <image> or <image>?            8
    same      Do <image> and <image> show the same digit?     no
    count     How many of <image> <image> <image> are 3?      2
"""

import random
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Question = tuple[str, list["Digit"], str]
VisualTask = Callable[[random.Random, "DigitSet"], Question]

SPLIT_SIZES = {"train": 1297, "test": 500}


class Digit:
    """One picture of a digit: a PNG file and what it shows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.value = int(path.stem.split("-")[1])


class DigitSet:
    """The digits of one split, to draw from at random, each value as often as every other."""

    def __init__(self, folder: Path) -> None:
        self.digits = [Digit(path) for path in sorted(folder.glob("*.png"))]
        self.by_value: dict[int, list[Digit]] = defaultdict(list)
        for digit in self.digits:
            self.by_value[digit.value].append(digit)

    def draw(self, rng: random.Random, value: int | None = None) -> Digit:
        return rng.choice(self.by_value[rng.randrange(10) if value is None else value])


def write_digits(folder: Path) -> None:
    """One 8x8 PNG per digit under `folder`/train and `folder`/test. The split is fixed; no digit is in both.

    Does nothing where all are there; interrupted, it leaves none of them.
    """
    if sum(1 for _ in folder.glob("*/*.png")) == sum(SPLIT_SIZES.values()):
        return
    unfinished = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    _write_digits(unfinished)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.replace(folder)


def _write_digits(folder: Path) -> None:
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.images))
    start = 0
    for split, size in SPLIT_SIZES.items():
        (folder / split).mkdir(parents=True, exist_ok=True)
        for index in order[start : start + size]:
            pixels = (data.images[index] * 255 / 16).astype(np.uint8)  # (8, 8), ink is 16
            Image.fromarray(pixels).save(folder / split / f"{index:04d}-{data.target[index]}.png")
        start += size


def read(rng: random.Random, digits: DigitSet) -> Question:
    shown = [digits.draw(rng) for _ in range(rng.randint(1, 2))]
    return f"Read {' '.join(['<image>'] * len(shown))}.", shown, " ".join(str(digit.value) for digit in shown)


def add(rng: random.Random, digits: DigitSet) -> Question:
    a, b = digits.draw(rng), digits.draw(rng)
    return "What is <image> plus <image>?", [a, b], str(a.value + b.value)


def larger(rng: random.Random, digits: DigitSet) -> Question:
    a, b = (digits.draw(rng, value) for value in rng.sample(range(10), 2))
    return "Which is larger, <image> or <image>?", [a, b], str(max(a.value, b.value))


def same(rng: random.Random, digits: DigitSet) -> Question:
    a = digits.draw(rng)
    b = digits.draw(rng, a.value if rng.random() < 0.5 else None)
    return "Do <image> and <image> show the same digit?", [a, b], "yes" if a.value == b.value else "no"


def count(rng: random.Random, digits: DigitSet) -> Question:
    wanted = rng.randrange(10)
    shown = [digits.draw(rng, wanted if rng.random() < 0.5 else None) for _ in range(3)]
    number = sum(digit.value == wanted for digit in shown)
    return f"How many of <image> <image> <image> are {wanted}?", shown, str(number)


VISUAL_TASKS: dict[str, VisualTask] = {task.__name__: task for task in (read, add, larger, same, count)}
