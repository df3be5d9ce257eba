# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The demo's parts, untrained and tiny, for tests of what is made of them."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file

from wings_hf import WingsForCausalLM, WingsProcessor
from wings_hf.demo.parts import build_digit_classifier, build_language_model, build_processor, build_tokenizer


@cache
def tokenizer() -> Any:
    return build_tokenizer()


def processor() -> WingsProcessor:
    return build_processor(tokenizer())


def model(**fields: Any) -> WingsForCausalLM:
    torch.manual_seed(0)
    language_model = build_language_model(tokenizer(), width=32, layers=2)
    vision_model = build_digit_classifier()
    fields = {"tokenizer": tokenizer(), "learner_rank": 4, "vision_feature_layer": -1, **fields}
    return WingsForCausalLM.from_backbones(language_model, vision_model, **fields)


def picture(path: Path, shade: int = 90) -> Path:
    Image.new("L", (8, 8), shade).save(path)
    return path


def chat(question: str, answer: str, *images: Path) -> list[dict[str, Any]]:
    content = [{"type": "image", "path": str(image)} for image in images] + [{"type": "text", "text": question}]
    return [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]


def saved_parts(folder: Path) -> Path:
    """Folders `text` and `vision` in `folder`, with what saved models have beside their weights."""
    torch.manual_seed(0)
    build_language_model(tokenizer(), 32, 2).save_pretrained(folder / "text")
    tokenizer().save_pretrained(folder / "text")
    build_digit_classifier().save_pretrained(folder / "vision")
    processor().image_processor.save_pretrained(folder / "vision")
    return folder


def state(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of a saved model."""
    return load_file(folder / "model.safetensors")
