# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What was said and shown, turn by turn, and its limits."""

from dataclasses import dataclass, field
from typing import Any, Literal

from wings_hf.app.explain import Explanation
from wings_hf.app.pictures import Picture
from wings_hf.app.placing import misplaced, placed
from wings_hf.app.settings import Settings, UserError

Ending = Literal["whole", "stopped", "cut"]


@dataclass(frozen=True)
class Question:
    """
    Args:
        text: where it has a `<image>` for each picture, that is where they go; else they go before it.
        pictures: in their order.
    """

    text: str
    pictures: tuple[Picture, ...] = ()

    def content(self) -> list[dict[str, Any]]:
        """Content items of a chat message, pictures opened."""
        return placed(self.text, [{"type": "image", "image": picture.open()} for picture in self.pictures])


@dataclass(frozen=True)
class Turn:
    """
    Args:
        answer: its text.
        ended: by itself, stopped by the user, or cut at the longest length.
        use_wings: whether the wings were on.
        explanation: what router and attention did; None where that was not measured.
    """

    question: Question
    answer: str
    ended: Ending = "whole"
    use_wings: bool = True
    explanation: Explanation | None = None


@dataclass
class Conversation:
    """The turns so far, after a system message or none."""

    system: str = ""
    turns: list[Turn] = field(default_factory=list)

    def messages(self, question: Question) -> list[dict[str, Any]]:
        """Chat messages of all turns and of a new question."""
        messages: list[dict[str, Any]] = [{"role": "system", "content": self.system}] if self.system else []
        for turn in self.turns:
            messages.append({"role": "user", "content": turn.question.content()})
            messages.append({"role": "assistant", "content": turn.answer})
        return [*messages, {"role": "user", "content": question.content()}]

    def pictures(self) -> int:
        """How many pictures were shown."""
        return sum(len(turn.question.pictures) for turn in self.turns)

    def picture_bytes(self) -> int:
        """Bytes of the files of all pictures."""
        return sum(len(each.encoded) for turn in self.turns for each in turn.question.pictures)


def check_question(question: Question, conversation: Conversation, settings: Settings, sees: bool = True) -> None:
    """
    Raises UserError for a question that is empty, too long, or has too many pictures.

    Args:
        sees: whether the model takes pictures.
    """
    text, shown = question.text, len(question.pictures)
    if not text.strip() and not shown:
        raise UserError("Write a message, or add a picture, before you send.")
    if len(text) > settings.message_characters:
        raise UserError(f"The message has {len(text):,} characters; at most {settings.message_characters:,} fit.")
    if shown and not sees:
        raise UserError("This model reads text only, it takes no pictures.")
    if shown > settings.message_images:
        raise UserError(f"{shown} pictures in one message; at most {settings.message_images} are taken.")
    total = conversation.pictures() + shown
    if total > settings.conversation_images:
        raise UserError(
            f"That makes {total} pictures in this conversation; at most {settings.conversation_images} are taken. "
            "Clear it to begin a new one."
        )
    if problem := misplaced(text, shown, "pictures"):
        raise UserError(problem)
