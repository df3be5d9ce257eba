# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A tiny model to talk to, whose answers depend on all that was said and shown, and the settings of a page for it."""

from functools import cache
from pathlib import Path
from typing import Any

import demo_parts
import torch
from PIL import Image

from wings_hf.app.engine import Engine
from wings_hf.app.settings import Settings


@cache
def engine() -> Engine:
    model = demo_parts.model().eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    processor = demo_parts.processor()
    tokenizer = processor.tokenizer
    parts = [number for number in range(len(tokenizer)) if "\ufffd" in tokenizer.decode([number])]
    model.generation_config.suppress_tokens = parts  # so that answers are made of whole characters
    model.generation_config.begin_suppress_tokens = [tokenizer.eos_token_id]  # and none is empty
    return Engine(model, processor)


def settings(**fields: Any) -> Settings:
    return Settings(**{"model": "tiny", "max_new_tokens": 6, **fields})


def picture(folder: Path, shade: int = 90, side: int = 16) -> str:
    path = folder / f"{shade}.png"
    Image.linear_gradient("L").resize((side, side)).point(lambda value: (value + shade) % 256).save(path)
    return str(path)


def endless(engine: Engine, tokens: int = 150) -> Settings:
    """Settings for answers that only a stop ends: the end token is never chosen by a tiny random model's greed."""
    engine.model.generation_config.eos_token_id = None
    return settings(max_new_tokens=tokens, explain=False)
