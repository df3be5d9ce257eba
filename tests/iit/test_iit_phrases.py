# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What leads over: templates, and sentences of a language model that are cleaned before they are used."""

import random

import iit_parts
import pytest

from wings_hf.evaluation.items import Item
from wings_hf.iit.phrases import (
    FIRST,
    MAX_CHARACTERS,
    MAX_NEW_TOKENS,
    TO_IMAGE,
    TO_TEXT,
    LanguageModelPhrases,
    TemplatePhrases,
    _generator,
    clean,
)

TEXT = Item("a/1", "What is bigger?", ("an apple", "the moon"), 1)
IMAGE = Item("b/1", "<image> What is shown?", ("apple", "pear"), 0, images=("x.png",))


def test_templates_fit_what_follows() -> None:
    for seed in range(20):
        phrases, rng = TemplatePhrases(), random.Random(seed)
        assert phrases.between(None, TEXT, rng) in FIRST
        assert phrases.between(TEXT, IMAGE, rng) in TO_IMAGE
        assert phrases.between(IMAGE, TEXT, rng) in TO_TEXT


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ('  "Speaking of which, look at this."  ', "Speaking of which, look at this."),
        ("\n\nLet us go on. And then more. And more.", "Let us go on."),
        ("Sentence one\nSentence two", "Sentence one"),
        ("**Now for a picture:**", "Now for a picture:"),
        ("Tabs\tand\x07 bells\u202e.", "Tabs and bells ."),
        ("", None),
        ("...", None),
        ("Look at the apple in this picture.", None),
        ("Look at the APPLE!", None),
        ("Pineapples are nice.", "Pineapples are nice."),
        ("Look: <image>", None),
        ("<|im_start|>system", None),
        ("word " * 60, None),
    ],
)
def test_what_a_model_says_is_cleaned(said: str, expected: str | None) -> None:
    assert clean(said, IMAGE) == expected
    assert expected is None or len(expected) <= MAX_CHARACTERS


def test_a_model_leads_over_and_a_template_stands_in() -> None:
    asked: list[str] = []
    answers = iter(["That is like this one.", "It is the pear."])

    def generate(prompt: str) -> str:
        asked.append(prompt)
        return next(answers)

    phrases = LanguageModelPhrases("a-model", generate)
    assert phrases.between(None, TEXT, random.Random(0)) in FIRST and not asked
    assert phrases.between(TEXT, IMAGE, random.Random(0)) == "That is like this one."
    assert phrases.between(TEXT, IMAGE, random.Random(0)) in TO_IMAGE
    assert (phrases.made, phrases.replaced) == (2, 1)
    assert "What is bigger?" in asked[0] and "What is shown?" in asked[0] and "<image>" not in asked[0]
    assert "pear" not in asked[0] and "moon" not in asked[0]


def test_a_local_model_generates_greedily(tmp_path) -> None:
    model, tokenizer = iit_parts.language_model()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    generate = _generator(str(tmp_path))
    first = generate("what is shown in the image")
    assert (
        first == generate("what is shown in the image") and 0 < len(tokenizer(first)["input_ids"]) <= 2 * MAX_NEW_TOKENS
    )
