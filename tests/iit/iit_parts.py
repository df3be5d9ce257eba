# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Sets, a benchmark and tiny models for the tests of the interleaved benchmark, all made here."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from processor_parts import CHATML, build_tokenizer
from tiny import randomise
from transformers import AutoConfig, Qwen2Config, Qwen2ForCausalLM, SiglipImageProcessorPil, SiglipVisionConfig

from wings_hf import WingsConfig, WingsForCausalLM, WingsProcessor
from wings_hf.evaluation.items import Item

SIZE, PATCH = 12, 4
SUBJECTS = {
    "colours": ("paint", "wall", "brush", "red", "green", "blue", "yellow"),
    "animals": ("fur", "tail", "paws", "dog", "cat", "horse", "mouse"),
    "food": ("oven", "plate", "spoon", "bread", "soup", "cheese", "apple"),
}
COLOURS = {"red": (200, 20, 20), "green": (20, 180, 20), "blue": (20, 20, 200)}
DAYS = ("sunny", "rainy", "quiet", "busy", "long", "short", "cold")
PEOPLE = ("aunt", "farmer", "teacher", "painter", "cook", "child", "doctor", "pilot", "judge", "nurse", "sailor")
TEXT = {"hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4}


def text_items(count: int = 24) -> list[Item]:
    """Questions on three subjects, each with words of its own."""
    items = []
    for number in range(count):
        subject = sorted(SUBJECTS)[number % 3]
        things = SUBJECTS[subject]
        first, second = things[number // 3 % 3], things[(number // 3 + 1) % 3]
        who, when = PEOPLE[number % len(PEOPLE)], DAYS[number % len(DAYS)]
        question = f"On a {when} day a {who} asks: which goes with {first} and {second}, when {subject} matter?"
        choices = tuple(things[3 + (number + place) % 4] for place in range(4))
        items.append(
            Item(
                f"words/test/{number}",
                question,
                choices,
                number // 3 % 4,
                subject=subject,
                source="here",
                licence="CC0",
            )
        )
    return items


def image_items(folder: Path, count: int = 12) -> list[Item]:
    """Discs of three colours; the first colour is on two thirds of the pictures, so that its name alone is a guess."""
    folder.mkdir(parents=True, exist_ok=True)
    items = []
    for number in range(count):
        colour = sorted(COLOURS)[0 if number % 3 else number // 3 % 3]
        path = folder / f"{number}.png"
        image = Image.new("RGB", (20, 16), (240, 240, 240 - number % 40))
        ImageDraw.Draw(image).ellipse((3, 2, 15, 14), fill=COLOURS[colour])
        image.save(path)
        choices = tuple(sorted(COLOURS))
        question = "Which of the colours has the disc? <image>" if number % 2 else "Which colours matter for the disc?"
        items.append(
            Item(f"discs/{number}", question, choices, choices.index(colour), (str(path),), "discs", "here", "CC0")
        )
    return items


def tokenizer() -> Any:
    return build_tokenizer(chat_template=CHATML)


def wings(
    family: dict[str, Any] | None = None, seed: int = 0, **options: Any
) -> tuple[WingsForCausalLM, WingsProcessor]:
    """A tiny Wings model whose learners act, with its processor."""
    words = tokenizer()
    fields = {"model_type": "qwen2", **TEXT, "num_key_value_heads": 2, "vocab_size": len(words) + 8, **(family or {})}
    tower = SiglipVisionConfig(**TEXT, image_size=SIZE, patch_size=PATCH)
    config = WingsConfig(
        text_config=AutoConfig.for_model(fields.pop("model_type"), **fields),
        vision_config=tower,
        image_token_id=len(words),
        **{"learner_rank": 4, "vision_feature_layer": -1, "vision_feature_select_strategy": "full", **options},
    )
    model = WingsForCausalLM(config).eval()
    randomise(model, seed)
    images = SiglipImageProcessorPil(size={"height": SIZE, "width": SIZE})
    return model, WingsProcessor.from_model_config(model.config, images, words)


def language_model() -> tuple[Any, Any]:
    """A text model with its tokenizer."""
    torch.manual_seed(0)
    words = tokenizer()
    model = Qwen2ForCausalLM(Qwen2Config(**TEXT, num_key_value_heads=2, vocab_size=len(words) + 8)).eval()
    randomise(model)
    return model, words
