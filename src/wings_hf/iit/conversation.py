# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What the benchmark is made of: conversations whose turns are multiple-choice questions, with or without images."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from string import ascii_uppercase
from typing import Any, Literal

from wings_hf.data.records import IMAGE_MARK

AnswerForm = Literal["letter", "text"]
ANSWER_FORMS: tuple[AnswerForm, ...] = ("letter", "text")
INSTRUCTIONS = {"letter": "Answer with the letter.", "text": "Answer with one of the choices."}
PAPER_SETTINGS = ("T", "TT", "TTT", "TTV", "TV", "V")  # the order of the paper's Figure 5


@dataclass(frozen=True)
class Turn:
    """
    A question as it is asked.

    Args:
        kind: "T" for text alone, "V" with images.
        item: id of the item it was made of.
        phrase: what leads over to it, said before the question; "" for none.
        question: with "<image>" where each image stands; images come first where there is no mark.
        choices: in the order in which they are shown.
        answer: index of the right one.
        images: paths, relative to the benchmark's folder in its file, absolute once read.
        similarity: cosine of this question and the conversation's last one, 1 for the last one itself.
    """

    kind: Literal["T", "V"]
    item: str
    phrase: str
    question: str
    choices: tuple[str, ...]
    answer: int
    images: tuple[str, ...] = ()
    similarity: float = 1.0
    subject: str = ""
    source: str = ""
    licence: str = ""

    def text(self, form: AnswerForm = "letter") -> str:
        """What the user says, images marked by "<image>"."""
        marks = "" if IMAGE_MARK in self.question else IMAGE_MARK * len(self.images)
        lead = f"{self.phrase}\n" if self.phrase else ""
        shown = zip(ascii_uppercase, self.choices, strict=False)
        listed = [f"{letter}. {choice}" if form == "letter" else f"- {choice}" for letter, choice in shown]
        return "\n".join([f"{marks}{lead}{self.question}", *listed, INSTRUCTIONS[form]])

    def replies(self, form: AnswerForm = "letter") -> tuple[str, ...]:
        """What the assistant may answer, one for each choice."""
        return tuple(ascii_uppercase[: len(self.choices)]) if form == "letter" else self.choices

    def content(self, form: AnswerForm = "letter") -> list[dict[str, Any]]:
        """The user's message as chat templates take it: texts, and images in their places."""
        images = iter(self.images)
        made: list[dict[str, Any]] = []
        for index, piece in enumerate(self.text(form).split(IMAGE_MARK)):
            if index:
                made.append({"type": "image", "path": next(images)})
            if piece.strip():
                made.append({"type": "text", "text": piece})
        return made


@dataclass(frozen=True)
class Conversation:
    """
    Turns of one setting; the last is what the benchmark asks, those before it are its context.

    Args:
        id: unique in the benchmark: "TTV/0017".
        setting: kinds of the turns, "TTV".
    """

    id: str
    setting: str
    turns: tuple[Turn, ...]

    @property
    def last(self) -> Turn:
        return self.turns[-1]

    def messages(self, turn: int, answers: Sequence[int], form: AnswerForm = "letter") -> list[dict[str, Any]]:
        """Chat messages up to the question of `turn`; `answers` are the indices of the choices given before it."""
        made: list[dict[str, Any]] = []
        for index, asked in enumerate(self.turns[: turn + 1]):
            made.append({"role": "user", "content": asked.content(form)})
            if index < turn:
                reply = asked.replies(form)[answers[index]]
                made.append({"role": "assistant", "content": [{"type": "text", "text": reply}]})
        return made

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Conversation":
        """
        Raises:
            ValueError: for a field that is missing or wrong.
        """
        try:
            turns = tuple(_read_turn(turn) for turn in raw["turns"])
            conversation = cls(str(raw["id"]), str(raw["setting"]), turns)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a conversation of the benchmark: {type(error).__name__} {error}.") from error
        if conversation.setting != "".join(turn.kind for turn in turns) or not turns:
            raise ValueError(f"conversation {conversation.id}: setting {conversation.setting!r} is not its turns'.")
        return conversation


def _read_turn(raw: Mapping[str, Any]) -> Turn:
    known = {field.name for field in fields(Turn)}
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in raw.items() if name in known
    }
    turn = Turn(**values)
    if not 0 <= turn.answer < len(turn.choices) or not 2 <= len(turn.choices) <= len(ascii_uppercase):
        raise ValueError(f"item {turn.item}: answer {turn.answer} of {len(turn.choices)} choices.")
    if (turn.kind == "V") != bool(turn.images) or turn.question.count(IMAGE_MARK) not in (0, len(turn.images)):
        raise ValueError(f"item {turn.item}: kind {turn.kind!r}, {len(turn.images)} images and their marks disagree.")
    return turn


def check_settings(settings: Sequence[str]) -> tuple[str, ...]:
    """The settings without repetition, "T,T,V" and "(T,T,V)" written as "TTV".

    Raises:
        ValueError: for one that is no row of T and V.
    """
    plain = [setting.strip("() ").replace(",", "").replace(" ", "").upper() for setting in settings]
    for given, setting in zip(settings, plain, strict=True):
        if not setting or set(setting) - {"T", "V"}:
            raise ValueError(f"setting {given!r}: expected a row of T (text) and V (image), as TTV.")
    return tuple(dict.fromkeys(plain))


def named(setting: str) -> str:
    """As the paper writes it: "(T,T,V)"."""
    return f"({','.join(setting)})"
