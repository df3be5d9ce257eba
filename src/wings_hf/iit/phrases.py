# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
What leads over from one question to the next: templates, or a language model that the user names.

A phrase says nothing of any choice; one of a model that does, is empty or goes on too long is replaced by a template.
"""

import random
import re
from collections.abc import Callable
from typing import Any, Protocol

from wings_hf.evaluation.items import Item

FIRST = ("", "I have a question for you.", "Here is a question.", "Please help me with this question.")
TO_TEXT = (
    "Thanks. That reminds me of another question.",
    "Let us stay near that topic.",
    "Here is a question that goes with it.",
    "Next, something related.",
    "While we are at it, one more question.",
)
TO_IMAGE = (
    "Now look at the picture and answer this.",
    "That brings me to this picture.",
    "Here is a picture; the question is about it.",
    "Next, a question about what you see here.",
    "Please look at this one as well.",
)
MAX_CHARACTERS, MAX_NEW_TOKENS = 160, 40
PROMPT = (
    "Two questions follow. Write one short sentence with which a person who has asked the first one leads over to the "
    "second. Do not answer either of them and do not repeat them.\n\n"
    "First question: {before}\n\nSecond question: {after}\n\nSentence:"
)
MARKUP = " \"'\u201c\u201d\u2018\u2019*`#-"  # around a sentence
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]+")


class Phrases(Protocol):
    """Makes what stands before a question; `before` is the item asked before it, None at the start."""

    @property
    def name(self) -> str: ...

    def between(self, before: Item | None, after: Item, rng: random.Random) -> str: ...


class TemplatePhrases:
    """One of a few fixed sentences, drawn by `rng`."""

    name = "templates"

    def between(self, before: Item | None, after: Item, rng: random.Random) -> str:
        if before is None:
            return rng.choice(FIRST)
        return rng.choice(TO_IMAGE if after.images else TO_TEXT)


class LanguageModelPhrases:
    """Sentences of a language model, generated greedily; a template where a sentence does not do.

    Args:
        name: a model folder, or a name that transformers fetches from the Hub.
        generate: prompt -> continuation; None loads the model.
    """

    def __init__(self, name: str, generate: Callable[[str], str] | None = None) -> None:
        self.model_name, self._generate = name, generate or _generator(name)
        self._templates = TemplatePhrases()
        self.made = self.replaced = 0

    @property
    def name(self) -> str:
        return f"sentences of {self.model_name}, greedy"

    def between(self, before: Item | None, after: Item, rng: random.Random) -> str:
        template = self._templates.between(before, after, rng)  # drawn in any case: the others then stay the same
        if before is None:
            return template
        said = self._generate(PROMPT.format(before=_plain(before), after=_plain(after)))
        phrase = clean(said, after)
        self.made += 1
        self.replaced += phrase is None
        return phrase or template


def clean(said: str, after: Item) -> str | None:
    """The first sentence of `said` on one line; None where there is none that can be used.

    Not used are those of more than MAX_CHARACTERS, and those with a choice of `after`, markup of special tokens or an
    image mark in them.
    """
    lines = [" ".join(CONTROL.sub(" ", line).split()).strip(MARKUP) for line in said.strip().splitlines()]
    first = next((line for line in lines if line), "")
    match = re.match(r".+?[.!?:](?=\s|$)", first)
    phrase = (match.group() if match else first).strip()
    if not re.search(r"\w{2}", phrase) or len(phrase) > MAX_CHARACTERS or re.search(r"[<>\[\]{}|]", first):
        return None
    said_words = f" {_words(phrase)} "
    if any(f" {_words(choice)} " in said_words for choice in after.choices if _words(choice)):
        return None
    return phrase


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _plain(item: Item) -> str:
    return item.question.replace("<image>", "").strip()


def _generator(name: str) -> Callable[[str], str]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(name)
    model: Any = AutoModelForCausalLM.from_pretrained(name, use_safetensors=True).eval()

    @torch.no_grad()
    def generate(prompt: str) -> str:
        if tokenizer.chat_template:
            messages = [{"role": "user", "content": prompt}]
            prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=not tokenizer.chat_template)
        inputs.pop("token_type_ids", None)
        made = model.generate(
            **inputs,
            max_new_tokens=MAX_NEW_TOKENS,
            do_sample=False,
            num_beams=1,
            pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id,
        )
        return tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)

    return generate
