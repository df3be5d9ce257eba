# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
What can be had without looking: how far text alone leads, measured when the benchmark is built.

| Baseline | Answers with |
|---|---|
| chance | any choice, equally |
| majority | the letter that is right most often in the setting |
| repeat | the letter that was right in the turn before (chance in the first) |
| longest | the longest choice |
| text only | what a linear model of the words of question and choices learned on the other questions of the sets |
| context | the same with the words of the turns before, learned on the setting itself, cross-validated |

The linear model is a softmax over the choices of each question (conditional logit). What it learned on the sets is what
someone knows who knows them, as that the answer is mostly "no". Cross-validation keeps questions with equal text and
choices together: their answers are balanced, so that leaving one out would tell it.
All is numpy in one thread, so that it comes out the same everywhere.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np

from wings_hf.evaluation.items import Item
from wings_hf.evaluation.statistics import bootstrap_interval
from wings_hf.iit.conversation import Conversation, Turn

BASELINES = ("chance", "majority", "repeat", "longest", "text only", "context")
WORD = re.compile(r"\w+")
FEATURES, FOLDS, STEPS, RATE, PENALTY = 2**14, 5, 150, 0.1, 1e-3
MOST_LEARNED = 3000  # questions


@dataclass(frozen=True)
class Score:
    """Share of right answers to last questions, with its 95% bootstrap interval."""

    accuracy: float
    low: float
    high: float

    @classmethod
    def of(cls, right: Sequence[float] | np.ndarray) -> "Score":
        low, high = bootstrap_interval(right)
        return cls(round(float(np.mean(right)), 4), round(low, 4), round(high, 4))


def baselines(conversations: Sequence[Conversation], others: Sequence[Item] = (), seed: int = 0) -> dict[str, Score]:
    """Scores on the conversations of one setting.

    Args:
        others: questions of the same sets that are not asked here; without them there is no "text only".

    Raises:
        ValueError: no conversations.
    """
    if not conversations:
        raise ValueError("no conversations: expected those of a setting.")
    last = [chat.last for chat in conversations]
    letters = Counter((len(turn.choices), turn.answer) for turn in last)
    right: dict[str, Sequence[float] | np.ndarray] = {
        "chance": [1 / len(turn.choices) for turn in last],
        "majority": [float(turn.answer == _usual(letters, len(turn.choices))) for turn in last],
        "repeat": [_repeats(chat) for chat in conversations],
        "longest": [float(turn.answer == int(np.argmax([len(choice) for choice in turn.choices]))) for turn in last],
        "context": with_context(conversations, seed),
    }
    if others:
        right["text only"] = text_only(last, others, seed)
    return {name: Score.of(right[name]) for name in BASELINES if name in right}


def _usual(letters: Mapping[tuple[int, int], int], length: int) -> int:
    """The letter that is right most often among questions with `length` choices."""
    return max(range(length), key=lambda place: letters.get((length, place), 0))


def _repeats(chat: Conversation) -> float:
    if len(chat.turns) == 1:
        return 1 / len(chat.last.choices)
    return float(chat.turns[-2].answer == chat.last.answer)


# -- a linear model of the text ---------------------------------------------------------------------------


def text_only(turns: Sequence[Turn], others: Sequence[Item], seed: int = 0) -> np.ndarray:
    """1 where the linear model is right that learned on `others`, else 0, (n,)."""
    rng = np.random.default_rng(seed)
    drawn = [others[place] for place in sorted(rng.permutation(len(others))[:MOST_LEARNED])]
    weights = _fit([_Row.of(_shuffled(item, rng)) for item in drawn])
    return np.array([_Row.of(turn).guesses_right(weights) for turn in turns])


def with_context(conversations: Sequence[Conversation], seed: int = 0) -> np.ndarray:
    """1 where the linear model is right that learned on other conversations, turns before included, else 0, (n,)."""
    texts = [(chat.last.question, *sorted(chat.last.choices)) for chat in conversations]
    different = sorted(set(texts))
    shuffled = np.random.default_rng(seed).permutation(len(different))
    fold_of = {different[place]: index % FOLDS for index, place in enumerate(shuffled)}
    folds = np.array([fold_of[text] for text in texts])
    rows = [_Row.of(chat.last, chat.turns[:-1]) for chat in conversations]
    right = np.zeros(len(rows))
    for fold in range(FOLDS):
        weights = _fit([row for row, part in zip(rows, folds, strict=True) if part != fold])
        for index in np.flatnonzero(folds == fold):
            right[index] = rows[index].guesses_right(weights)
    return right


def _shuffled(item: Item, rng: np.random.Generator) -> Turn:
    order = rng.permutation(len(item.choices)).tolist()
    choices = tuple(item.choices[place] for place in order)
    return Turn("V", item.id, "", item.question, choices, order.index(item.answer), item.images)


@dataclass(frozen=True)
class _Row:
    """Features of the choices of a question: `features[i]` belongs to the choice `choice[i]`."""

    features: np.ndarray
    values: np.ndarray
    choice: np.ndarray
    choices: int
    answer: int

    @classmethod
    def of(cls, turn: Turn, before: Sequence[Turn] = ()) -> "_Row":
        features, values, choice = [], [], []
        said = {word for other in before for word in _words(" ".join([other.question, *other.choices]))}
        answered = {word for other in before for word in _words(other.choices[other.answer])}
        for place in range(len(turn.choices)):
            for name, value in _features(turn, place, said, answered):
                features.append(
                    int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big") % FEATURES
                )
                values.append(value)
                choice.append(place)
        return cls(np.array(features), np.array(values), np.array(choice), len(turn.choices), turn.answer)

    def guesses_right(self, weights: np.ndarray) -> float:
        scores = np.bincount(self.choice, self.values * weights[self.features], minlength=self.choices)
        return float(int(np.argmax(np.round(scores, 9))) == self.answer)


def _features(turn: Turn, place: int, said: Set[str], answered: Set[str]) -> Iterator[tuple[str, float]]:
    choice = turn.choices[place]
    words = sorted(set(_words(choice)))
    asked = sorted(set(_words(turn.question)))
    lengths = [len(other) for other in turn.choices]
    yield f"place {place} of {len(turn.choices)}", 1.0
    yield "length", len(choice) / max(lengths)
    yield "longest", float(len(choice) == max(lengths))
    yield f"whole {choice.casefold()}", 1.0
    yield from ((f"word {word}", 1.0) for word in words)
    yield from ((f"{word} for {choice.casefold()}", 1.0) for word in asked)
    yield "in question", float(sum(word in asked for word in words))
    yield "said before", float(sum(word in said for word in words))
    yield "answered before", float(sum(word in answered for word in words))


def _words(text: str) -> list[str]:
    return WORD.findall(text.casefold())


def _fit(rows: Sequence[_Row]) -> np.ndarray:
    """Weights that make right choices likely, by full-batch Adam, (FEATURES,)."""
    weights, mean, square = (np.zeros(FEATURES) for _ in range(3))
    if not rows:
        return weights
    offsets = np.cumsum([0, *(row.choices for row in rows)])
    features = np.concatenate([row.features for row in rows])
    values = np.concatenate([row.values for row in rows])
    choice = np.concatenate([row.choice + offset for row, offset in zip(rows, offsets, strict=False)])
    owner = np.repeat(np.arange(len(rows)), [row.choices for row in rows])
    target = np.zeros(offsets[-1])
    target[offsets[:-1] + [row.answer for row in rows]] = 1.0
    for step in range(1, STEPS + 1):
        scores = np.exp(np.clip(np.bincount(choice, values * weights[features], minlength=len(owner)), -30, 30))
        likely = scores / np.bincount(owner, scores)[owner]
        gradient = np.bincount(features, values * (likely - target)[choice], minlength=FEATURES) / len(rows)
        gradient += PENALTY * weights
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.99 * square + 0.01 * gradient**2
        weights = weights - RATE * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.99**step)) + 1e-8)
    return weights
