# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What all methods share: a language model, a vision tower, batches to learn from and questions to answer."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from forgetting.settings import Settings
from wings_hf.data.collator import ConversationCollator
from wings_hf.demo.conversations import Batches, MakeMessages, mixture
from wings_hf.modeling.modeling_wings import WingsForCausalLM
from wings_hf.training.retention import load_reference

ALIGN_BATCH, TUNE_BATCH, TEST_BATCH = 32, 16, 50  # conversations
TUNE_TURNS = 2
ROUTER_POSITIONS = 1024  # more than any row has tokens

Questions = Mapping[str, Mapping[str, Batches]]  # kind -> task -> batches with one labelled answer in a row


class World(ABC):
    """
    Attributes:
        folder: of the parts that are trained here, shared by all runs.
        processor, tokenizer: of all models.
        sources: files or folders that the world is made of.
        rehearsed: text tasks that replay draws from; it never has the others.
    """

    name: str
    about: str
    processor: Any
    rehearsed: Sequence[str]
    language_model: Path
    vision_tower: Path

    def __init__(self, folder: Path, settings: Settings, sources: Sequence[Path] = ()) -> None:
        self.folder, self.settings, self.sources = folder, settings, sources

    def made_of(self) -> str:
        """Tells the data apart that the parts are made of."""
        return ""

    def constants(self) -> dict[str, Any]:
        """What is the same in every size, for the records: batches are numbers of conversations."""
        return {
            "align_batch": ALIGN_BATCH,
            "tune_batch": TUNE_BATCH,
            "tune_turns": TUNE_TURNS,
            "router_positions": ROUTER_POSITIONS,
            "rehearsed": list(self.rehearsed),
            "data": self.made_of(),
        }

    def check_folder(self) -> None:
        """Notes in the folder what its parts are made of, or checks that they are made of the same.

        Raises:
            ValueError: they were made with other settings or of other data.
        """
        path = self.folder / "made_of.json"
        ours = {**self.settings.to_dict(), "data": self.made_of()}
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(ours, indent=1) + "\n")
            return
        theirs = json.loads(path.read_text())
        if changed := sorted(name for name in ours.keys() | theirs if ours.get(name) != theirs.get(name)):
            raise ValueError(
                f"{self.folder.parent} was begun with other settings ({', '.join(changed)}): expected the same, or "
                "another --output. (The text that comes with Python differs between its versions.)"
            )

    @abstractmethod
    def fit_parts(self) -> None:
        """Train what is not there yet: the language model and the vision tower."""

    @abstractmethod
    def seeing(self) -> Mapping[MakeMessages, float]:
        """Makers of turns about training images, with their shares of the turns of stage 2."""

    @abstractmethod
    def replaying(self) -> Mapping[MakeMessages, float]:
        """Makers of text turns for replay, likewise."""

    @abstractmethod
    def aligning(self) -> MakeMessages:
        """Maker of the conversations of stage 1."""

    @abstractmethod
    def asked(self) -> Mapping[str, Mapping[str, MakeMessages]]:
        """Makers of conversations whose last answer counts, by kind and task. Kinds are "image" (about test images),
        "text", and "text_after_image" (a text question in the second turn, an image in the first)."""

    @abstractmethod
    def probing(self) -> MakeMessages:
        """Maker of conversations about test images, with text before and after them, to measure attention on."""

    @abstractmethod
    def held_out_texts(self) -> list[list[int]]:
        """Token ids of real text that no training has."""

    @property
    def device(self) -> str:
        """Where models are trained and measured: a GPU where there is one and the size is meant for it."""
        return "cuda" if self.settings.size == "gpu" and torch.cuda.is_available() else "cpu"

    @property
    def tokenizer(self) -> Any:
        return self.processor.tokenizer

    @cached_property
    def turn_marks(self) -> tuple[list[int], list[int]]:
        """The tokens by which the template begins a question, and those by which it begins an answer.

        Raises:
            ValueError: they are not the same tokens in every turn.
        """
        question = {"role": "user", "content": [{"type": "text", "text": "What is it?"}]}
        answer = {"role": "assistant", "content": [{"type": "text", "text": "nothing"}]}
        alone, prompt, whole = (
            self.processor.apply_chat_template(messages, add_generation_prompt=ends)
            for messages, ends in (([question], False), ([question], True), ([question, answer] * 2, False))
        )
        texts = alone.partition("What is it?")[0].strip(), prompt.removeprefix(alone).strip()
        tokens = self.tokenizer(whole, return_offsets_mapping=True, add_special_tokens=False)
        ids, places = tokens["input_ids"], tokens["offset_mapping"]
        marks = []
        for text in texts:
            start = whole.rfind(text)
            inside = [token for token, (a, b) in zip(ids, places, strict=True) if start <= a < b <= start + len(text)]
            times = sum(ids[at : at + len(inside)] == inside for at in range(len(ids)))
            if not text or not inside or times != 2:
                raise ValueError(f"the template's {text!r} is not the same tokens in each of two turns: {inside}.")
            marks.append(inside)
        return marks[0], marks[1]

    def untrained(self, **fields: Any) -> WingsForCausalLM:
        """The two parts, joined, with fields of `WingsConfig`."""
        text_model = AutoModelForCausalLM.from_pretrained(self.language_model)
        options = {"learner_rank": self.settings.learner_rank, "router_positions": ROUTER_POSITIONS, **fields}
        options["vision_feature_layer"] = -1
        return WingsForCausalLM.from_backbones(text_model, str(self.vision_tower), tokenizer=self.tokenizer, **options)

    # ---- what models learn from ---------------------------------------------------------------------------------
    def align_batches(self, seed: int) -> Batches:
        return self._batches(self.aligning(), self.settings.align_steps, ALIGN_BATCH, f"align/{seed}")

    def tune_batches(self, seed: int, text_share: float) -> Batches:
        """Batches of stage 2, of whose turns `text_share` are replayed text; the same for all methods of that share."""
        seen, replayed = self.seeing(), self.replaying()
        shares = {make: share * (1 - text_share) / sum(seen.values()) for make, share in seen.items()}
        if text_share:
            shares |= {make: share * text_share / sum(replayed.values()) for make, share in replayed.items()}
        return self._batches(mixture(shares, TUNE_TURNS), self.settings.tune_steps, TUNE_BATCH, f"tune/{seed}")

    def _batches(self, make: MakeMessages, count: int, size: int, seed: str, learn: str = "all") -> Batches:
        return Batches(make, count, size, ConversationCollator(self.processor, learn=learn), seed)  # type: ignore[arg-type]

    # ---- what they are asked ------------------------------------------------------------------------------------
    @property
    def questions(self) -> Questions:
        return self._questions

    @cached_property
    def _questions(self) -> Questions:
        number = self.settings.test_questions
        size = min(number, TEST_BATCH)
        return {
            kind: {
                name: self._batches(make, number // size, size, f"test/{kind}/{name}", "last")
                for name, make in makers.items()
            }
            for kind, makers in self.asked().items()
        }

    @cached_property
    def probes(self) -> Batches:
        size = min(self.settings.probes, TEST_BATCH // 2)
        return self._batches(self.probing(), -(-self.settings.probes // size), size, "probes")

    @cached_property
    def held_out(self) -> tuple[list[list[int]], dict[str, Any]]:
        """Held-out texts, and what the language model predicts for them before it sees."""
        texts = self.held_out_texts()
        base = lambda: AutoModelForCausalLM.from_pretrained(self.language_model).eval()  # noqa: E731
        path = self.folder / "held_out.safetensors"
        return texts, load_reference(base, texts, path)
