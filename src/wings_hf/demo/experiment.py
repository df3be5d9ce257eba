# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The demo's experiment: one language model and one vision tower, joined and trained in several ways.

    parts     a vision tower learns to tell digits; a language model learns the text tasks
    align     stage 1, pictures to read aloud: the language model is frozen
    tune      stage 2, questions about one to three pictures, with turns from two of the text tasks mixed in
    score     every model answers the same new questions: about pictures it never saw, and from every text task

All get the same batches in the same order, and the same learning rates. Each fit and each score is kept in the
folder, so that an interrupted run goes on where it was.
"""

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM

from wings_hf.conversion.writing import write_text
from wings_hf.data.collator import ConversationCollator
from wings_hf.demo.conversations import Batches, MakeMessages, TextCollator, mixture, text_turn, visual_turn
from wings_hf.demo.digits import VISUAL_TASKS, DigitSet, write_digits
from wings_hf.demo.fitting import Fit
from wings_hf.demo.parts import build_digit_classifier, build_language_model, build_processor, build_tokenizer
from wings_hf.demo.scoring import Answers, accuracy, exact_matches
from wings_hf.demo.settings import DemoSettings
from wings_hf.demo.text_tasks import TEXT_TASKS
from wings_hf.demo.tower_data import tower_fit
from wings_hf.modeling.modeling_wings import WingsForCausalLM
from wings_hf.training.recipes import Recipe, load_recipe
from wings_hf.training.stages import Stage

REHEARSED = ("add", "opposite")  # text tasks that stage 2 mixes in; it never sees the others
LANGUAGE_BATCH, ALIGN_BATCH, TUNE_BATCH, TEST_BATCH = 16, 32, 16, 50  # conversations
LANGUAGE_TURNS, TUNE_TURNS = 3, 2  # turns in a conversation


@dataclass(frozen=True)
class Contender:
    """A way to join the parts: a recipe of `wings_hf.training.stages`, what the demo calls it, and further fields of
    `WingsConfig`."""

    recipe: str
    name: str
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """Name of the folder that its fits are kept in."""
        return "-".join([self.recipe, *(f"{name}={value}" for name, value in self.fields.items())])


CONTENDERS = (
    Contender("wings", "Wings"),
    Contender("exact", "Wings, exact retention"),
    Contender("plain", "plain fine-tuning"),
)


class Experiment:
    """Everything that the demo trains and scores, in `folder`."""

    def __init__(self, folder: Path, settings: DemoSettings) -> None:
        settings.save_or_check(folder)
        self.folder, self.settings = folder, settings
        self.tokenizer = build_tokenizer()
        self.processor = build_processor(self.tokenizer)
        self.collator = ConversationCollator(self.processor)
        write_digits(folder / "digits")
        self.digits = {split: DigitSet(folder / "digits" / split) for split in ("train", "test")}

    # -- questions ----------------------------------------------------------------------------------------

    def _questions(self, purpose: str, number: int) -> dict[str, dict[str, Batches]]:
        """`number` questions of every task, about pictures ("sight") and in text; the same for every model."""
        makers: dict[str, dict[str, MakeMessages]] = {
            "sight": {name: visual_turn(task, self.digits["test"]) for name, task in VISUAL_TASKS.items()},
            "text": {name: text_turn(task) for name, task in TEXT_TASKS.items()},
        }
        size = min(number, TEST_BATCH)
        return {
            kind: {
                name: Batches(make, number // size, size, self.collator, f"{purpose}/{kind}/{name}")
                for name, make in of_kind.items()
            }
            for kind, of_kind in makers.items()
        }

    @cached_property
    def _watched(self) -> dict[str, dict[str, Batches]]:
        return self._questions("watch", self.settings.watch_questions)

    @cached_property
    def _asked(self) -> dict[str, dict[str, Batches]]:
        return self._questions("test", self.settings.test_questions)

    def _watch(self, model: Any) -> dict[str, float]:
        return {
            kind: accuracy({name: exact_matches(model, batches) for name, batches in of_kind.items()})
            for kind, of_kind in self._watched.items()
        }

    # -- parts --------------------------------------------------------------------------------------------

    @cached_property
    def tower(self) -> Fit:
        settings = self.settings
        image_processor = self.processor.image_processor
        folder, digits = self.folder / "vision_tower", self.digits["train"]
        return tower_fit(folder, digits, image_processor, settings.tower_steps, settings.tower_rate)

    @cached_property
    def language(self) -> Fit:
        settings = self.settings
        make = mixture({text_turn(task): 1.0 for task in TEXT_TASKS.values()}, LANGUAGE_TURNS)
        collator = TextCollator(self.processor)
        data = Batches(make, settings.language_steps, LANGUAGE_BATCH, collator, "language")
        return Fit("language model", self.folder / "language_model", data, learning_rate=settings.language_rate)

    def fit_parts(self) -> None:
        """Train the vision tower and the language model."""
        settings = self.settings
        torch.manual_seed(0)
        self.tower.run(build_digit_classifier)
        self.language.run(lambda: build_language_model(self.tokenizer, settings.width, settings.layers))
        self.tokenizer.save_pretrained(self.language.model_folder)

    # -- contenders ---------------------------------------------------------------------------------------

    def recipe(self, contender: Contender) -> Recipe:
        """The contender's recipe, with the demo's learning rates."""
        rate = self.settings.new_parts_rate
        changes: dict[str, Any] = {"stage1.learning_rate": rate, "stage2.learning_rate": rate}
        changes["model.learner_rank"] = self.settings.learner_rank
        if contender.recipe != "exact":
            changes["stage2.learning_rates.language_model"] = self.settings.language_model_rate
        return load_recipe(contender.recipe, changes)

    def fits(self, contender: Contender, seed: int) -> list[Fit]:
        """The fits of the two stages."""
        stages = self.recipe(contender).stages
        folder = self.folder / f"seed-{seed}"
        data = self._training_data(seed)
        return [
            Fit(
                f"{contender.name}, {stage.name}",
                folder / self._owner(contender, stage) / stage.name,
                data[stage.name],
                seed,
                stage,
                watch=self._watch,
            )
            for stage in stages
        ]

    @staticmethod
    def _owner(contender: Contender, stage: Stage) -> str:
        """Whose fit this is: exact retention is aligned as Wings is, where all learners act after images only."""
        if contender.recipe == "exact" and stage.name == "align":
            contender = replace(contender, recipe="wings")
        return contender.folder

    def _training_data(self, seed: int) -> dict[str, Batches]:
        if seed not in self._data:
            settings, digits = self.settings, self.digits["train"]
            reading = visual_turn(VISUAL_TASKS["read"], digits)
            seeing = {visual_turn(task, digits): 1 - settings.text_share for task in VISUAL_TASKS.values()}
            texts = {
                text_turn(TEXT_TASKS[name]): settings.text_share * len(VISUAL_TASKS) / len(REHEARSED)
                for name in REHEARSED
            }
            asking = mixture({**seeing, **texts}, TUNE_TURNS)
            self._data[seed] = {
                "align": Batches(reading, settings.align_steps, ALIGN_BATCH, self.collator, f"align/{seed}"),
                "tune": Batches(asking, settings.tune_steps, TUNE_BATCH, self.collator, f"tune/{seed}"),
            }
        return self._data[seed]

    @cached_property
    def _data(self) -> dict[int, dict[str, Batches]]:
        return {}

    def fit(self, contender: Contender, seed: int) -> None:
        """Train `contender` through both stages."""
        recipe = self.recipe(contender)
        options = {**recipe.model, **contender.fields}
        align, tune = self.fits(contender, seed)
        torch.manual_seed(seed)
        align.run(lambda: self.untrained(**options, learners=tuple(recipe.stages[0].learners)))
        tune.run(lambda: WingsForCausalLM.from_pretrained(align.model_folder, **options))

    def untrained(self, **fields: Any) -> WingsForCausalLM:
        """The two parts, joined."""
        return WingsForCausalLM.from_backbones(
            LlamaForCausalLM.from_pretrained(self.language.model_folder),
            str(self.tower.model_folder),
            tokenizer=self.tokenizer,
            vision_feature_layer=-1,
            **{"learner_rank": self.settings.learner_rank, **fields},
        )

    # -- scores -------------------------------------------------------------------------------------------

    def scores(self, contender: Contender, seed: int) -> dict[str, Answers]:
        """Right and wrong answers of a trained contender, by kind ("sight", "text") and task."""
        folder = self.fits(contender, seed)[-1].folder
        return self._scored(folder, lambda: WingsForCausalLM.from_pretrained(folder / "model"))

    def scores_before(self) -> dict[str, Answers]:
        """Those of the language model before it is given sight."""
        return self._scored(self.language.folder, lambda: self.untrained(learners=()))

    def _scored(self, folder: Path, load: Any) -> dict[str, Answers]:
        path = folder / "answers.json"
        if not path.exists():
            model = load()
            answers = {
                kind: {name: exact_matches(model, batches) for name, batches in of_kind.items()}
                for kind, of_kind in self._asked.items()
            }
            write_text(path, json.dumps(answers))
        return json.loads(path.read_text())
