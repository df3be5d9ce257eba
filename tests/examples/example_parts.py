# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of `examples/`: the scripts as modules, and the smallest models that they can be run on."""

import importlib.util
from pathlib import Path
from types import ModuleType

from processor_parts import CHATML, build_tokenizer
from transformers import Qwen2Config, Qwen2ForCausalLM, SiglipConfig, SiglipImageProcessorPil, SiglipModel

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = {"hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZE = 16


def example(name: str) -> ModuleType:
    """A script of `examples/` as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def save_backbones(folder: Path) -> None:
    """A language model with its tokenizer in `llm`, a vision model with its image processor in `siglip`."""
    tokenizer = build_tokenizer(chat_template=CHATML)
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    config = Qwen2Config(**SMALL, vocab_size=len(tokenizer), num_key_value_heads=2, **ids)
    Qwen2ForCausalLM(config).save_pretrained(folder / "llm")
    tokenizer.save_pretrained(folder / "llm")
    vision = {**SMALL, "image_size": SIZE, "patch_size": 4}
    SiglipModel(SiglipConfig(text_config={**SMALL, "vocab_size": 99}, vision_config=vision)).save_pretrained(
        folder / "siglip"
    )
    SiglipImageProcessorPil(size={"height": SIZE, "width": SIZE}).save_pretrained(folder / "siglip")
