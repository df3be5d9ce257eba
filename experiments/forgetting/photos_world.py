# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The world of real parts and photos: a Llama of 260K parameters that writes stories, MobileNetV2, the drawn scenes of
easy-VQA and the photos of the Grocery Store data set.

The language model has no text tasks: what it can do is go on with a story. Text that is replayed is written by the
language model itself, since the folder holds few stories; these are held out.
"""

import csv
import json
import random
import tarfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, MobileNetV2ImageProcessorPil

from forgetting.settings import Settings
from forgetting.world import TEST_BATCH, TUNE_TURNS, Questions, World
from wings_hf.data.collator import IGNORED
from wings_hf.demo.conversations import Batch, MakeMessages, Messages, mixture, turn
from wings_hf.processing.processing_wings import WingsProcessor

IMAGE_SIZE = 96
STORY_TOKENS, STORIES, PREFIX_TOKENS = 64, 400, 24
MODEL, TOWER, SCENES, PHOTOS = "stories260K_hf", "mobilenet_v2_hf", "easy_vqa", "grocery_store"


class Image:
    """An image file, as `turn` takes it."""

    def __init__(self, path: Path) -> None:
        self.path = path


class PhotosWorld(World):
    """
    Args:
        sources: the folder that holds stories260K_hf, mobilenet_v2_hf, easy_vqa.tar and grocery_store.tar.

    Raises:
        ValueError: no such folder is given, or one of them is not in it.
    """

    name = "photos"
    about = "a real Llama of 260K parameters that writes stories; MobileNetV2; easy-VQA and grocery photos"
    rehearsed = ("stories",)

    def __init__(self, folder: Path, settings: Settings, sources: Sequence[Path] = ()) -> None:
        super().__init__(folder, settings, sources)
        self.source = _checked(sources)
        self.language_model, self.vision_tower = self.source / MODEL, self.source / TOWER
        size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
        image_processor = MobileNetV2ImageProcessorPil(size=size, do_center_crop=False)
        tokenizer = AutoTokenizer.from_pretrained(self.language_model)
        tokenizer.pad_token = tokenizer.unk_token  # it has none
        config = self._joined(tokenizer).config
        self.processor = WingsProcessor.from_model_config(config, image_processor, tokenizer)

    def _joined(self, tokenizer: Any, **fields: Any) -> Any:
        from wings_hf.modeling.modeling_wings import WingsForCausalLM

        return WingsForCausalLM.from_backbones(
            str(self.language_model), str(self.vision_tower), tokenizer=tokenizer, **{"learners": (), **fields}
        )

    def constants(self) -> dict[str, Any]:
        sizes = {"image_size": IMAGE_SIZE, "prefix_tokens": PREFIX_TOKENS}
        return {**super().constants(), **sizes, "stories": STORIES, "story_tokens": STORY_TOKENS}

    def fit_parts(self) -> None:
        for name in (SCENES, PHOTOS):
            if not (self.folder / name / ".complete").exists():
                with tarfile.open(self.source / f"{name}.tar") as archive:
                    archive.extractall(self.folder, filter="data")
                (self.folder / name / ".complete").touch()
        if not self._stories_file.exists():
            unfinished = self._stories_file.with_suffix(".part")
            unfinished.write_text(json.dumps(self._write_stories()))
            unfinished.replace(self._stories_file)

    # ---- images -------------------------------------------------------------------------------------------------
    def aligning(self) -> MakeMessages:
        return self._scene("train")

    def seeing(self) -> Mapping[MakeMessages, float]:
        return {self._scene("train"): 1.0, self._photo("train"): 1.0}

    def _scene(self, split: str) -> MakeMessages:
        data = self.folder / SCENES / "data" / split
        questions = json.loads((data / "questions.json").read_text())

        def make(rng: random.Random) -> Messages:
            question, answer, number = rng.choice(questions)
            return turn(f"<image> {question}", answer, [Image(data / "images" / f"{number}.png")])

        return make

    def _photo(self, split: str) -> MakeMessages:
        data = self.folder / PHOTOS
        with open(data / "classes.csv", newline="") as file:
            kinds = {row["Class ID (int)"]: row["Coarse Class Name (str)"] for row in csv.DictReader(file)}
        lines = [line.split(", ") for line in (data / f"{split}.txt").read_text().splitlines() if line.strip()]
        photos = [(data / path, kinds[number].replace("-", " ").lower()) for path, number, _ in lines]

        def make(rng: random.Random) -> Messages:
            path, kind = rng.choice(photos)
            return turn("<image> What is this?", kind, [Image(path)])

        return make

    # ---- text ---------------------------------------------------------------------------------------------------
    def replaying(self) -> Mapping[MakeMessages, float]:
        stories = json.loads(self._stories_file.read_text())
        return {lambda rng: turn("Tell a story.", rng.choice(stories)): 1.0}

    @property
    def _stories_file(self) -> Path:
        return self.folder / "written_stories.json"

    @torch.no_grad()
    def _write_stories(self) -> list[str]:
        """Beginnings of stories, sampled from the language model."""
        model = AutoModelForCausalLM.from_pretrained(self.language_model).eval()
        torch.manual_seed(0)
        first = torch.full((STORIES, 1), self.tokenizer.bos_token_id)
        ids = model.generate(first, do_sample=True, max_new_tokens=STORY_TOKENS, attention_mask=torch.ones_like(first))
        return self.tokenizer.batch_decode(ids, skip_special_tokens=True)

    @cached_property
    def _real_stories(self) -> torch.Tensor:
        """Real stories in rows of tokens, (rows, STORY_TOKENS)."""
        text = (self.source / MODEL / "tinystories_sample.txt").read_text()
        ids = [token for story in text.split("<|endoftext|>") for token in self.tokenizer(story.strip())["input_ids"]]
        return torch.tensor(ids[: len(ids) // STORY_TOKENS * STORY_TOKENS]).view(-1, STORY_TOKENS)

    def held_out_texts(self) -> list[list[int]]:
        return self._real_stories.tolist()

    # ---- questions ----------------------------------------------------------------------------------------------
    def asked(self) -> Mapping[str, Mapping[str, MakeMessages]]:
        return {"image": {"scenes": self._scene("test"), "photos": self._photo("test")}}

    @property
    def questions(self) -> Questions:
        """Those about images, and the next token of the real stories, as a text task."""
        return {**super().questions, "text": {"next token of a story": self._next_tokens}}

    @cached_property
    def _next_tokens(self) -> list[Batch]:
        """Rows whose one label is the last token: (rows, PREFIX_TOKENS + 1)."""
        windows = self._real_stories.flatten().unfold(0, PREFIX_TOKENS + 1, 2)
        rows = windows[: max(1, min(len(windows), 4 * self.settings.test_questions))]
        labels = rows.clone()
        labels[:, :-1] = IGNORED
        return [
            {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": wanted}
            for ids, wanted in zip(rows.split(TEST_BATCH), labels.split(TEST_BATCH), strict=True)
        ]

    def probing(self) -> MakeMessages:
        return mixture({self._scene("test"): 1.0, self._photo("test"): 1.0}, TUNE_TURNS)


def _checked(sources: Sequence[Path]) -> Path:
    wanted = [MODEL, TOWER, f"{SCENES}.tar", f"{PHOTOS}.tar"]
    if len(sources) != 1 or (missing := [name for name in wanted if not (sources[0] / name).exists()]):
        given = " ".join(map(str, sources)) or "nothing"
        absent = f" ({', '.join(missing)} missing)" if len(sources) == 1 else ""
        raise ValueError(f"--sources {given}{absent}: the world of photos needs one folder with {', '.join(wanted)}.")
    return sources[0]
