# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The demo's questions: right answers, nothing shared between training and test, the same for everyone who asks."""

import random
from pathlib import Path

import demo_parts
import pytest
import torch
from PIL import Image

from wings_hf.data.collator import IGNORED, ConversationCollator
from wings_hf.demo.conversations import Batches, mixture, text_turn, turn, visual_turn
from wings_hf.demo.digits import SPLIT_SIZES, VISUAL_TASKS, DigitSet, write_digits
from wings_hf.demo.text_tasks import OPPOSITES, PAST_TENSES, TEXT_TASKS
from wings_hf.demo.tower_data import TowerBatches

EXAMPLES = range(200)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, DigitSet]:
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder)
    return {split: DigitSet(folder / split) for split in SPLIT_SIZES}


def test_digits_are_all_there_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, save = tmp_path / "digits", Image.Image.save

    def interrupted(image: Image.Image, path: Path) -> None:
        if path.name.startswith("1000-"):
            path.write_bytes(b"half")
            raise KeyboardInterrupt
        save(image, path)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Image.Image, "save", interrupted)
        write_digits(folder)
    assert not folder.exists()
    write_digits(folder)
    files = sorted(folder.glob("*/*.png"))
    assert len(files) == 1797 and all(Image.open(file).size == (8, 8) for file in files)
    files[0].unlink()  # as a version before left it
    files[1].write_bytes(b"half")
    write_digits(folder)
    assert sorted(folder.glob("*/*.png")) == files and Image.open(files[1]).size == (8, 8)


def words_after(question: str, start: str) -> list[str]:
    return question.removeprefix(start).rstrip(".?").split()


def solve_text(name: str, question: str) -> str:
    """The answer, found by other means than the task's."""
    if name == "read":
        return " ".join(words_after(question, "Read "))
    if name == "add":
        return str(eval(question.removeprefix("What is ").rstrip("?").replace("plus", "+")))
    if name == "larger":
        return max(words_after(question.replace(" or", ""), "Which is larger, "))
    if name == "reverse":
        return " ".join(words_after(question, "Reverse ")[::-1])
    if name == "sort":
        return " ".join(sorted(words_after(question, "Sort ")))
    pairs = [pair.split() for pair in (OPPOSITES if name == "opposite" else PAST_TENSES).split("|")]
    word = question.rstrip("?").split()[-1]
    return next(b if word == a else a for a, b in pairs if word in (a, b))


@pytest.mark.parametrize("name", TEXT_TASKS)
def test_text_answers_are_right(name: str) -> None:
    for seed in EXAMPLES:
        question, answer = TEXT_TASKS[name](random.Random(seed))
        assert answer == solve_text(name, question)


def test_facts_have_one_answer() -> None:
    for facts in (OPPOSITES, PAST_TENSES):
        words = facts.replace("|", " ").split()
        ambiguous = {word for word in words if words.count(word) > 1}
        assert not ambiguous


@pytest.mark.parametrize("name", VISUAL_TASKS)
def test_visual_answers_are_right(name: str, digits: dict[str, DigitSet]) -> None:
    for seed in EXAMPLES:
        question, shown, answer = VISUAL_TASKS[name](random.Random(seed), digits["train"])
        assert question.count("<image>") == len(shown)
        spelled = question
        for digit in shown:
            spelled = spelled.replace("<image>", str(digit.value), 1)
        if name == "same":
            assert answer == ("yes" if shown[0].value == shown[1].value else "no")
        elif name == "count":
            *candidates, wanted = [sign for sign in spelled.rstrip("?").split() if sign.isdigit()]
            assert answer == str(candidates.count(wanted))
        else:
            assert answer == solve_text(name, spelled)


def test_no_digit_is_in_both_splits(digits: dict[str, DigitSet]) -> None:
    names = {split: {digit.path.name for digit in found.digits} for split, found in digits.items()}
    assert {split: len(found) for split, found in names.items()} == SPLIT_SIZES
    assert not names["train"] & names["test"]
    assert all(len(found.by_value) == 10 for found in digits.values())


def test_a_turn_has_its_images_in_their_places(digits: dict[str, DigitSet]) -> None:
    shown = digits["train"].digits[:2]
    content = turn("Is <image> like <image>?", "no", shown)[0]["content"]
    assert [item["type"] for item in content] == ["text", "image", "text", "image", "text"]
    assert [item["path"] for item in content if "path" in item] == [str(digit.path) for digit in shown]


def test_batches_depend_on_their_seed_and_place_alone(digits: dict[str, DigitSet]) -> None:
    collator = ConversationCollator(demo_parts.processor())
    make = mixture({visual_turn(VISUAL_TASKS["add"], digits["train"]): 1.0, text_turn(TEXT_TASKS["sort"]): 1.0}, 2)
    first, again, other = (Batches(make, 3, 2, collator, seed) for seed in "aab")
    last_first = [again[index] for index in (2, 1, 0)][::-1]
    for batch, same in zip(first, last_first, strict=True):
        assert all(torch.equal(batch[key], same[key]) for key in batch)
    assert not torch.equal(first[0]["labels"], first[1]["labels"])
    assert first[0]["input_ids"].shape != other[0]["input_ids"].shape or not torch.equal(
        first[0]["input_ids"], other[0]["input_ids"]
    )


def test_a_text_turn_and_its_picture_differ_in_the_picture_only(digits: dict[str, DigitSet]) -> None:
    """What the language model knows of a text task can serve the visual one: their words are the same tokens."""
    processor = demo_parts.processor()
    tokenizer = processor.tokenizer
    collator = ConversationCollator(processor)
    shown = digits["train"].by_value[3][:1] + digits["train"].by_value[4][:1]
    pictures = collator([turn("What is <image> plus <image>?", "7", shown)])
    text = collator([turn("What is 3 plus 4?", "7")])
    assert torch.equal(pictures["labels"][pictures["labels"] != IGNORED], text["labels"][text["labels"] != IGNORED])
    kept = pictures["input_ids"][pictures["input_ids"] != processor.image_token_id].tolist()
    words = tokenizer.decode(kept).replace(" ", "")
    assert words == "<user>Whatisplus?<assistant>7<end>"


def test_the_tower_learns_from_slightly_distorted_digits(digits: dict[str, DigitSet]) -> None:
    data = TowerBatches(digits["train"], demo_parts.processor().image_processor, count=2, batch_size=32)
    one, again, other = data[0], data[0], data[1]
    assert torch.equal(one["pixel_values"], again["pixel_values"])
    assert not torch.equal(one["pixel_values"], other["pixel_values"])
    assert one["pixel_values"].shape == (32, 3, 16, 16)
    assert one["pixel_values"].min() >= -1.01 and one["pixel_values"].max() <= 1.01


def test_test_questions_are_about_test_digits_only(digits: dict[str, DigitSet], tmp_path: Path) -> None:
    make = visual_turn(VISUAL_TASKS["count"], digits["test"])
    paths = {item.get("path") for seed in EXAMPLES for item in make(random.Random(seed))[0]["content"]}
    assert {Path(path).parent.name for path in paths if path} == {"test"}
