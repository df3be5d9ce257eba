# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The world of handwritten digits: needs nothing but packages. The language model is trained here, on text tasks and
real text; images are scikit-learn's handwritten digits, alone or two or three in a question."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from forgetting.real_text import Alternating, TextBatches, held_out_part, paragraphs, training_part
from forgetting.settings import Settings
from forgetting.world import TUNE_TURNS, World
from wings_hf.demo.conversations import Batches, MakeMessages, TextCollator, mixture, text_turn, visual_turn
from wings_hf.demo.digits import VISUAL_TASKS, DigitSet, write_digits
from wings_hf.demo.fitting import Fit
from wings_hf.demo.parts import build_digit_classifier, build_language_model, build_processor, build_tokenizer
from wings_hf.demo.text_tasks import TEXT_TASKS
from wings_hf.demo.tower_data import tower_fit

LANGUAGE_BATCH, LANGUAGE_TURNS = 16, 3


class DigitsWorld(World):
    """
    Args:
        sources: files of real text to learn and to hold out; none: Python's own reference.
    """

    name = "digits"
    about = "a Llama trained here on seven text tasks and real text; handwritten digits"
    rehearsed = ("read", "add", "sort", "opposite")

    def __init__(self, folder: Path, settings: Settings, sources: Sequence[Path] = ()) -> None:
        super().__init__(folder, settings, sources)
        self.texts = paragraphs(sources)
        self.processor = build_processor(build_tokenizer(training_part(self.texts), settings.vocabulary))
        write_digits(folder / "digits")
        self.digits = {split: DigitSet(folder / "digits" / split) for split in ("train", "test")}

    @property
    def language_model(self) -> Path:  # type: ignore[override]
        return self._language.model_folder

    @property
    def vision_tower(self) -> Path:  # type: ignore[override]
        return self._tower.model_folder

    def made_of(self) -> str:
        return hashlib.sha256("\n\n".join(self.texts).encode()).hexdigest()[:16]

    def constants(self) -> dict[str, Any]:
        return {**super().constants(), "language_batch": LANGUAGE_BATCH, "language_turns": LANGUAGE_TURNS}

    # ---- parts --------------------------------------------------------------------------------------------------
    def fit_parts(self) -> None:
        torch.manual_seed(0)
        self._tower.run(build_digit_classifier)
        settings = self.settings
        self._language.run(lambda: build_language_model(self.tokenizer, settings.width, settings.layers))
        self.tokenizer.save_pretrained(self.language_model)

    @cached_property
    def _tower(self) -> Fit:
        settings = self.settings
        folder, digits = self.folder / "vision_tower", self.digits["train"]
        steps, rate, on_cpu = settings.tower_steps, settings.tower_rate, self.device == "cpu"
        return tower_fit(folder, digits, self.processor.image_processor, steps, rate, on_cpu)

    @cached_property
    def _language(self) -> Fit:
        settings, count = self.settings, self.settings.language_steps // 2
        make = mixture({text_turn(task): 1.0 for task in TEXT_TASKS.values()}, LANGUAGE_TURNS)
        tasks = Batches(make, count, LANGUAGE_BATCH, TextCollator(self.processor), "language")
        texts = TextBatches(training_part(self.texts), self.tokenizer, count, LANGUAGE_BATCH, settings.text_tokens)
        return Fit(
            "language model",
            self.folder / "language_model",
            Alternating(tasks, texts),
            learning_rate=settings.language_rate,
            use_cpu=self.device == "cpu",
        )

    # ---- conversations ------------------------------------------------------------------------------------------
    def aligning(self) -> MakeMessages:
        return visual_turn(VISUAL_TASKS["read"], self.digits["train"])

    def seeing(self) -> Mapping[MakeMessages, float]:
        return {visual_turn(task, self.digits["train"]): 1.0 for task in VISUAL_TASKS.values()}

    def replaying(self) -> Mapping[MakeMessages, float]:
        return {text_turn(TEXT_TASKS[name]): 1.0 for name in self.rehearsed}

    def asked(self) -> Mapping[str, Mapping[str, MakeMessages]]:
        return {
            "image": {name: visual_turn(task, self.digits["test"]) for name, task in VISUAL_TASKS.items()},
            "text": {name: text_turn(task) for name, task in TEXT_TASKS.items()},
            "text_after_image": {name: self._after_image(text_turn(task)) for name, task in TEXT_TASKS.items()},
        }

    def _after_image(self, ask: MakeMessages) -> MakeMessages:
        look = mixture({visual_turn(task, self.digits["test"]): 1.0 for task in VISUAL_TASKS.values()}, 1)
        return lambda rng: [*look(rng), *ask(rng)]

    def probing(self) -> MakeMessages:
        return mixture({visual_turn(task, self.digits["test"]): 1.0 for task in VISUAL_TASKS.values()}, TUNE_TURNS)

    def held_out_texts(self) -> list[list[int]]:
        settings = self.settings
        texts = held_out_part(self.texts)
        batches = TextBatches(texts, self.tokenizer, 1, settings.heldout_texts, settings.text_tokens, seed=1)
        return batches[0]["input_ids"].tolist()
