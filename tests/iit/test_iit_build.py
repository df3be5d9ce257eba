# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Building: what is put together, how answers are balanced, and equal bytes for equal input."""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import iit_parts
import pytest

from wings_hf.evaluation.items import Item
from wings_hf.evaluation.readers import write_items
from wings_hf.iit.balance import draw_image_items, draw_text_items, spread_letters
from wings_hf.iit.benchmark import FACTS, LINES, Benchmark, build
from wings_hf.iit.build import BuildOptions, build_conversations
from wings_hf.iit.conversation import PAPER_SETTINGS, Conversation, check_settings, named
from wings_hf.iit.items import load_items, usable

TEXTS = iit_parts.text_items(60)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    return iit_parts.image_items(tmp_path_factory.mktemp("discs"), 36)


@pytest.fixture(scope="module")
def folder(pictures: list[Item], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark") / "iit"
    build(TEXTS, pictures, folder, BuildOptions(per_setting=12))
    return folder


@pytest.fixture(scope="module")
def benchmark(folder: Path) -> Benchmark:
    return Benchmark.load(folder)


# -- what is put together ---------------------------------------------------------------------------------


def test_the_papers_settings_are_there(benchmark: Benchmark) -> None:
    assert benchmark.settings == PAPER_SETTINGS == ("T", "TT", "TTT", "TTV", "TV", "V")
    assert [len(benchmark.of(setting)) for setting in PAPER_SETTINGS] == [12] * 6
    assert len(benchmark.of("(T,T,V)")) == 12 and named("TTV") == "(T,T,V)"
    for chat in benchmark.conversations:
        assert "".join(turn.kind for turn in chat.turns) == chat.setting
        assert all(bool(turn.images) == (turn.kind == "V") for turn in chat.turns)


def test_longer_settings_ask_the_same_last_questions_in_the_same_words(benchmark: Benchmark) -> None:
    for longer, alone in (("TT", "T"), ("TTT", "T"), ("TV", "V"), ("TTV", "V")):
        for chat, single in zip(benchmark.of(longer), benchmark.of(alone), strict=True):
            assert replace(chat.last, phrase="") == replace(single.last, phrase="")
    for three, two in (("TTT", "TT"), ("TTV", "TV")):
        for chat, shorter in zip(benchmark.of(three), benchmark.of(two), strict=True):
            assert replace(chat.turns[1], phrase="") == replace(shorter.turns[0], phrase="")


def test_what_comes_before_is_near_and_the_nearest_comes_last(benchmark: Benchmark) -> None:
    for chat in benchmark.of("TTT"):
        assert chat.turns[0].similarity <= chat.turns[1].similarity < 0.95
        assert len({turn.item for turn in chat.turns}) == 3
    same = [turn.subject == chat.last.subject for chat in benchmark.of("TTT") for turn in chat.turns]
    assert sum(same) == len(same)
    about_colours = [chat.turns[0].subject == "colours" for chat in benchmark.of("TV")]
    assert sum(about_colours) >= 9


def test_closeness_is_that_of_an_embedder_of_ones_own(pictures: list[Item]) -> None:
    class Lengths:
        name = "lengths"

        def embed(self, texts):
            import numpy as np

            return np.array([[1.0, len(text) / 40] for text in texts])

    built = build_conversations(TEXTS, [], BuildOptions(settings=("TT",), per_setting=5, most_similar=1.0), Lengths())
    for chat in built.conversations:
        before, last = (len(turn.question) + sum(map(len, turn.choices)) for turn in chat.turns)
        assert abs(before - last) <= 2


def test_answers_do_not_tell_what_is_near(pictures: list[Item]) -> None:
    options = BuildOptions(per_setting=8)
    moved = [replace(item, answer=(item.answer + 1) % len(item.choices)) for item in TEXTS]
    first, second = (build_conversations(items, pictures, options) for items in (TEXTS, moved))
    for one, other in zip(first.conversations, second.conversations, strict=True):
        if one.setting[-1] == "T":
            assert [turn.item for turn in one.turns] == [turn.item for turn in other.turns]


def test_questions_that_are_nearly_the_same_are_not_put_together() -> None:
    twins = [replace(item, id=f"twins/{item.id}") for item in TEXTS]
    built = build_conversations([*TEXTS, *twins], [], BuildOptions(settings=("TTT",), per_setting=20))
    for chat in built.conversations:
        assert chat.last.question not in {turn.question for turn in chat.turns[:-1]}


def test_an_item_comes_no_more_often_than_asked() -> None:
    for reuse in (1, 2):
        built = build_conversations(TEXTS, [], BuildOptions(settings=("TT",), per_setting=30, reuse=reuse))
        assert max(Counter(chat.turns[0].item for chat in built.conversations).values()) <= reuse
    few = build_conversations(TEXTS[:6], [], BuildOptions(settings=("TTT",), per_setting=6, reuse=1))
    assert few.reused == {"T after T": max(Counter(t.item for c in few.conversations for t in c.turns[:-1]).values())}


def test_any_row_of_turns_can_be_asked(pictures: list[Item]) -> None:
    built = build_conversations(TEXTS, pictures, BuildOptions(settings=("V,T", "(V,V)", "TVT"), per_setting=4))
    assert [chat.setting for chat in built.conversations] == ["VT"] * 4 + ["VV"] * 4 + ["TVT"] * 4
    for chat in built.conversations[4:8]:
        assert chat.turns[0].images != chat.last.images
    with pytest.raises(ValueError, match=r"setting 'TX': expected a row of T"):
        check_settings(["TX"])


# -- balance ----------------------------------------------------------------------------------------------


def test_right_answers_take_every_letter_equally(benchmark: Benchmark) -> None:
    for setting in PAPER_SETTINGS:
        for place in range(len(setting)):
            turns = [chat.turns[place] for chat in benchmark.of(setting)]
            counts = Counter(turn.answer for turn in turns)
            assert max(counts.values()) - min(counts.get(i, 0) for i in range(len(turns[0].choices))) <= 1


def test_a_letter_says_nothing_of_the_next_one() -> None:
    built = build_conversations(iit_parts.text_items(120), [], BuildOptions(settings=("TTT",), per_setting=100))
    for place in (0, 1):
        pairs = Counter((chat.turns[place].answer, chat.turns[place + 1].answer) for chat in built.conversations)
        assert len(pairs) == 16 and max(pairs.values()) - min(pairs.values()) <= 3


def test_letters_are_spread_within_sets_too_and_choices_are_kept() -> None:
    items = [Item(f"{'ab'[i % 2]}/{i}", "?", ("w", "x", "y", "z")[: 2 + i % 3], 0) for i in range(120)]
    orders = spread_letters(items, random.Random(0))
    for item, order in zip(items, orders, strict=True):
        assert sorted(order) == list(range(len(item.choices)))
    for length in (2, 3, 4):
        chosen = [(i, o.index(0)) for i, o in zip(items, orders, strict=True) if len(i.choices) == length]
        counts = Counter(place for _, place in chosen)
        assert max(counts.values()) - min(counts.values()) <= 1
        for name in "ab":
            counts = Counter(place for item, place in chosen if item.id.startswith(name))
            assert max(counts.values()) - min(counts.values()) <= 2


def test_image_questions_are_asked_with_every_answer(benchmark: Benchmark, pictures: list[Item]) -> None:
    shares = Counter(item.choices[item.answer] for item in pictures)
    assert shares["blue"] > 2 * shares["red"]  # so a guess by the set's habit would be right mostly
    answers: dict[str, Counter] = {}
    for chat in benchmark.of("V"):
        answers.setdefault(chat.last.question, Counter())[chat.last.choices[chat.last.answer]] += 1
    for counts in answers.values():
        assert set(counts) == {"blue", "green", "red"} and max(counts.values()) - min(counts.values()) <= 1
    facts = benchmark.facts["balance"]
    assert facts["asked with another answer too"] == facts["image questions"] == 12


def test_distractors_that_change_are_balanced_as_far_as_they_can() -> None:
    rng = random.Random(0)
    names = [f"thing {i}" for i in range(12)]
    items = []
    for number in range(600):
        right = names[min(rng.randrange(12), rng.randrange(12))]  # low numbers are right more often
        choices = [right, *rng.sample([name for name in names if name != right], 3)]
        rng.shuffle(choices)
        items.append(Item(f"x/{number}", "What is it?", tuple(choices), choices.index(right), (f"{number}.png",)))

    def surplus(chosen: list[Item]) -> float:
        offered = Counter(choice for item in chosen for choice in item.choices)
        right = Counter(item.choices[item.answer] for item in chosen)
        return max(abs(right[name] / offered[name] - 1 / 4) for name in names)

    drawn = draw_image_items(items, 120, random.Random(1))
    assert surplus(drawn) < 0.08 < 0.2 < surplus(random.Random(1).sample(items, 120))


def test_sets_and_subjects_are_drawn_evenly() -> None:
    items = [Item(f"{'abc'[i % 3]}/{i}", f"Q{i}", ("x", "y"), 0, subject=f"s{i % 5}") for i in range(90)]
    items += [Item("small/0", "Q", ("x", "y"), 0)]
    drawn = draw_text_items(items, 31, random.Random(0))
    assert Counter(item.id.split("/")[0] for item in drawn) == {"small": 1, "a": 10, "b": 10, "c": 10}
    assert set(Counter(item.subject for item in drawn if item.id[0] == "a").values()) == {2}
    with pytest.raises(ValueError, match="92 questions wanted, 91 usable items"):
        draw_text_items(items, 92, random.Random(0))


# -- what is kept, what is left out -----------------------------------------------------------------------


def test_every_question_keeps_where_it_is_from(benchmark: Benchmark, pictures: list[Item]) -> None:
    known = {item.id: item for item in [*TEXTS, *pictures]}
    for chat in benchmark.conversations:
        for turn in chat.turns:
            item = known[turn.item]
            assert (turn.subject, turn.source, turn.licence) == (item.subject, item.source, item.licence)
            assert turn.question == item.question and sorted(turn.choices) == sorted(item.choices)
            assert turn.choices[turn.answer] == item.choices[item.answer]
            for copied, image in zip(turn.images, item.images, strict=True):
                assert Path(copied).read_bytes() == Path(image).read_bytes()
    entries = {entry["set"]: entry for entry in benchmark.facts["sets"]}
    assert entries["discs"]["licence"] == "CC0" and entries["discs"]["source"] == "here"
    card = (benchmark.folder / "README.md").read_text()
    assert "| discs | V | 12 | here | CC0 |" in card and "2406.03496" in card


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        (("one", "all of the above"), "choices that refer to other choices"),
        (("None of these", "two"), "choices that refer to other choices"),
        (("Both A and B", "two"), "choices that refer to other choices"),
        (("B and C", "two"), "choices that refer to other choices"),
        (("same", "same "), "equal or empty choices"),
        (("", "two"), "equal or empty choices"),
        (tuple(map(str, range(27))), "more choices than letters"),
        (("above the clouds", "A dog", "Vitamin B and iron", "aa", "AA"), None),
    ],
)
def test_what_cannot_be_shuffled_is_left_out(choices: tuple[str, ...], reason: str | None) -> None:
    kept, left_out = usable([Item("a/1", "Which?", choices, 0)], "T")
    assert (len(kept), left_out) == ((1, {}) if reason is None else (0, {reason: 1}))


def test_ids_must_be_unique() -> None:
    with pytest.raises(ValueError, match="two items have the id 'a/1'"):
        usable([Item("a/1", "Which?", ("x", "y"), 0), Item("a/1", "What?", ("x", "y"), 0)], "T")


# -- equal input, equal bytes -----------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_order_of_items_and_the_folder_do_not_matter(folder: Path, pictures: list[Item], tmp_path: Path) -> None:
    rng = random.Random(5)
    texts, images = rng.sample(TEXTS, len(TEXTS)), rng.sample(pictures, len(pictures))
    build(texts, images, tmp_path / "again", BuildOptions(per_setting=12))
    assert contents(tmp_path / "again") == contents(folder)
    build(texts, images, tmp_path / "other", BuildOptions(per_setting=12, seed=1))
    assert contents(tmp_path / "other")[LINES] != contents(folder)[LINES]


@pytest.mark.slow
def test_threads_and_hash_seeds_do_not_matter(folder: Path, pictures: list[Item], tmp_path: Path) -> None:
    picture_folder = Path(pictures[0].images[0]).parent
    code = (
        "import sys; from pathlib import Path; sys.path[:0] = sys.argv[3:];"
        "import iit_parts; from wings_hf.iit.benchmark import build; from wings_hf.iit.build import BuildOptions;"
        "build(iit_parts.text_items(60), iit_parts.image_items(Path(sys.argv[1]), 36), sys.argv[2],"
        " BuildOptions(per_setting=12))"
    )
    helpers = [str(Path(__file__).parents[1] / name) for name in ("iit", "processing", "modeling")]
    environment = {**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-c", code, str(picture_folder), str(tmp_path / "again"), *helpers]
    subprocess.run(command, check=True, env=environment)
    assert contents(tmp_path / "again") == contents(folder)


def test_chroma_builds_the_same(folder: Path, pictures: list[Item], tmp_path: Path) -> None:
    pytest.importorskip("chromadb")
    build(TEXTS, pictures, tmp_path / "again", BuildOptions(per_setting=12, store="chroma"))
    assert contents(tmp_path / "again")[LINES] == contents(folder)[LINES]


def test_a_folder_in_use_is_left_alone(folder: Path, pictures: list[Item]) -> None:
    before = contents(folder)
    with pytest.raises(ValueError, match="is not empty"):
        build(TEXTS, pictures, folder, BuildOptions(per_setting=2))
    assert contents(folder) == before


# -- files from elsewhere ---------------------------------------------------------------------------------


def write_lines(path: Path, **changes: object) -> Path:
    record = {"id": "x/1", "question": "Q?", "choices": ["a", "b"], "answer": 0, **changes}
    path.write_text(json.dumps(record) + "\n")
    return path


def test_items_are_read_with_images_beside_the_file(tmp_path: Path) -> None:
    items = iit_parts.image_items(tmp_path / "discs", 3)
    write_items(items, tmp_path / "discs.jsonl")
    assert json.loads((tmp_path / "discs.jsonl").read_text().splitlines()[0])["images"] == ["discs/0.png"]
    assert load_items(tmp_path / "discs.jsonl") == items


def test_images_elsewhere_are_refused(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    outside = iit_parts.image_items(tmp_path / "outside", 1)[0].images[0]
    (inside / "link.png").symlink_to(outside)
    for name in ("../outside/0.png", outside, "link.png", "a/../../outside/0.png"):
        with pytest.raises(ValueError, match="leads out of"):
            load_items(write_lines(inside / "items.jsonl", images=[name]))
    with pytest.raises(ValueError, match="expected texts"):
        load_items(write_lines(inside / "items.jsonl", choices=[1, 2]))


def test_a_benchmark_that_was_tampered_with_is_refused(folder: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (folder / LINES).read_text().splitlines()]
    whole = next(row for row in rows if row["setting"] == "TV")
    (tmp_path / FACTS).write_text((folder / FACTS).read_text())

    def refused(message: str, **changes: object) -> None:
        turn = {**whole["turns"][-1], **changes}
        (tmp_path / LINES).write_text(json.dumps({**whole, "turns": [whole["turns"][0], turn]}) + "\n")
        with pytest.raises(ValueError, match=message):
            Benchmark.load(tmp_path)

    refused("leads out of", images=["../../etc/passwd"])
    refused("leads out of", images=["/etc/passwd"])
    refused("answer 3 of 3 choices", answer=3)
    refused("and their marks disagree", images=[])
    refused("setting 'TV' is not its turns'", kind="T", images=[], question="Q?")
    refused("not a conversation", extra=1, choices=None)
    with pytest.raises(ValueError, match="is no benchmark"):
        Benchmark.load(tmp_path / "nowhere")


def test_a_broken_image_is_named(pictures: list[Item], tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(Path(pictures[0].images[0]).read_bytes()[:60])
    broken = [replace(item, images=(str(bad),)) for item in pictures]
    with pytest.raises(ValueError, match=r"bad\.png"):
        build(TEXTS, broken, tmp_path / "new", BuildOptions(per_setting=3))


def test_conversations_come_back_from_their_lines(benchmark: Benchmark) -> None:
    for chat in benchmark.conversations:
        assert Conversation.from_dict(json.loads(json.dumps(chat.to_dict()))) == chat
