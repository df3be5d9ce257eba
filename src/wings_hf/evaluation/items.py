# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A multiple-choice question, whatever set it comes from: what readers give and builders take."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """
    Args:
        id: unique over all sets, readable: "mmlu/anatomy/test/17".
        question: the question, with what it needs to be understood (passage, context). Each image stands where
            "<image>" does; where the mark is missing, images come first.
        choices: the texts of the choices, without letters, at least two.
        answer: index of the right one in `choices`.
        images: paths of image files.
        subject: part of the set it belongs to, "" where there are none.
        source: where the set is from, as a reader could find it.
        licence: of the set, as it states it.

    Raises:
        ValueError: for fewer than two choices, an answer that is none of them, or more marks than images.
    """

    id: str
    question: str
    choices: tuple[str, ...]
    answer: int
    images: tuple[str, ...] = ()
    subject: str = ""
    source: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        if len(self.choices) < 2:
            raise ValueError(f"item {self.id!r} has {len(self.choices)} choices: expected at least 2.")
        if not 0 <= self.answer < len(self.choices):
            raise ValueError(f"item {self.id!r}: answer {self.answer}, expected 0 to {len(self.choices) - 1}.")
        marks = self.question.count("<image>")
        if marks and marks != len(self.images):
            raise ValueError(f"item {self.id!r} has {marks} <image> marks and {len(self.images)} images.")
