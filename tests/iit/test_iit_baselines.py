# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What can be had without looking: baselines against cases worked by hand, and leaks that were put in on purpose."""

import random

import iit_parts
import numpy as np
import pytest

from wings_hf.evaluation.items import Item
from wings_hf.iit.baselines import Score, baselines, text_only, with_context
from wings_hf.iit.benchmark import build
from wings_hf.iit.build import BuildOptions, build_conversations
from wings_hf.iit.conversation import Conversation, Turn


def chat(number: int, *answers: int, choices: tuple[str, ...] = ("x", "yy", "z")) -> Conversation:
    turns = tuple(Turn("T", f"s/{number}-{i}", "", f"Q{number}?", choices, answer) for i, answer in enumerate(answers))
    return Conversation(f"{'T' * len(turns)}/{number}", "T" * len(turns), turns)


def test_scores_are_those_counted_by_hand() -> None:
    chats = [chat(0, 0, 0), chat(1, 0, 1), chat(2, 1, 1), chat(3, 2, 1), chat(4, 2, 0, choices=("aaa", "b", "c"))]
    scores = baselines(chats)
    assert scores["chance"] == Score(0.3333, 0.3333, 0.3333)
    assert scores["majority"].accuracy == 3 / 5  # "B", of five answers A B B B A
    assert scores["repeat"].accuracy == 2 / 5
    assert scores["longest"].accuracy == 4 / 5
    assert "text only" not in scores
    assert baselines([chat(0, 0), chat(1, 1)])["repeat"].accuracy == pytest.approx(1 / 3, abs=1e-4)
    with pytest.raises(ValueError, match="no conversations"):
        baselines([])


def test_the_majority_is_that_of_each_number_of_choices() -> None:
    chats = [chat(0, 0), chat(1, 0), chat(2, 1, choices=("no", "yes")), chat(3, 1, choices=("no", "yes"))]
    assert baselines(chats)["majority"].accuracy == 1.0


def leaky(count: int, leak: float, seed: int) -> list[Item]:
    """Questions whose answer is "no" with probability `leak`, or else another of three."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        choices = rng.sample(("no", "yes", "maybe", "often"), 4)
        right = "no" if rng.random() < leak else rng.choice([choice for choice in choices if choice != "no"])
        made.append(Item(f"leaky/{seed}-{number}", f"Is it {number % 7}?", tuple(choices), choices.index(right)))
    return made


def as_turns(items: list[Item]) -> list[Turn]:
    return [Turn("T", item.id, "", item.question, item.choices, item.answer) for item in items]


def test_a_habit_of_the_sets_is_found() -> None:
    asked, known = leaky(200, 0.7, seed=1), leaky(400, 0.7, seed=2)
    right = text_only(as_turns(asked), known)
    says_no = np.mean([item.choices[item.answer] == "no" for item in asked])
    assert right.mean() == pytest.approx(says_no, abs=0.02) and right.mean() > 0.6
    fair = text_only(as_turns(leaky(300, 0.25, seed=3)), leaky(400, 0.25, seed=4))
    assert fair.mean() == pytest.approx(0.25, abs=0.08)


def test_balance_takes_the_habit_away(tmp_path) -> None:
    """Learned on discs that are mostly blue, text alone is right on a random draw, and no more than chance on ours."""
    items = iit_parts.image_items(tmp_path / "discs", 90)
    others, drawn = items[:45], items[45:]
    turns = [Turn("V", item.id, "", item.question, item.choices, item.answer, item.images) for item in drawn]
    assert text_only(turns, others).mean() > 0.6
    benchmark = build([], items, tmp_path / "iit", BuildOptions(settings=("V",), per_setting=24))
    scores = benchmark.facts["settings"]["V"]["baselines"]
    assert scores["text only"]["accuracy"] == pytest.approx(1 / 3, abs=0.01)


def test_turns_before_that_tell_the_answer_are_found() -> None:
    rng = random.Random(0)
    colours = ("red", "green", "blue", "white")
    chats = []
    for number in range(120):
        place = rng.randrange(4)
        shown = tuple(rng.sample(colours, 4))
        before = Turn("T", f"b/{number}", "", "Which one?", (shown[place], "none"), 0)
        last = Turn("T", f"l/{number}", "", f"Which of {number % 30}?", shown, place)
        chats.append(Conversation(f"TT/{number}", "TT", (before, last)))
    assert with_context(chats).mean() > 0.95
    alone = [Conversation(f"T/{i}", "T", chat.turns[1:]) for i, chat in enumerate(chats)]
    assert with_context(alone).mean() < 0.45


def test_balanced_answers_are_no_better_foretold_than_by_chance(tmp_path) -> None:
    """Leaving a question out of a balanced set tells its answer, the one that lacks: folds keep them together."""
    items = iit_parts.image_items(tmp_path / "discs", 90)
    built = build_conversations(iit_parts.text_items(60), items, BuildOptions(settings=("TV",), per_setting=24))
    assert 0.15 < with_context(built.conversations).mean() < 0.55
