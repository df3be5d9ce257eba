# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""How far the logits of one set of weights move between two semantics, on random prompts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from wings_hf.conversion.checkpoint import read_checkpoint
from wings_hf.modeling.modeling_wings import WingsForCausalLM

TEXT_BEFORE, TEXT_AFTER = 16, 24  # tokens beside the system prompt and the image
UNKNOWN_IMAGE_LENGTH = 64
MEMORY_FACTOR = 1.3  # of the weights' bytes: activations, logits


@dataclass(frozen=True)
class Movement:
    """
    Difference of logits over some rows.

    Args:
        rows: which ones.
        largest: the largest absolute difference of a logit.
        mean: the mean one.
        scale: standard deviation of the first model's logits, to compare with.
        divergence: mean over rows of KL(first || second) of next-token distributions, in nats.
        agreement: share of rows whose likeliest token is the same.
    """

    rows: str
    largest: float
    mean: float
    scale: float
    divergence: float
    agreement: float

    def __str__(self) -> str:
        return (
            f"{self.rows:24} max |difference| {self.largest:9.3g}   mean {self.mean:9.3g}   (logits' deviation "
            f"{self.scale:.3g})   KL {self.divergence:9.3g} nats   same likeliest token {self.agreement:6.1%}"
        )


@dataclass(frozen=True)
class Prompt:
    """Inputs of one row, and which of its rows are to be compared under which name."""

    inputs: dict[str, torch.Tensor]
    rows: dict[str, slice]


def fits_in_memory(folder: Path) -> bool:
    """Whether the model in `folder` can be loaded here; true where the free memory is not known."""
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return True
    available = [int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("MemAvailable:")]
    return not available or read_checkpoint(folder).nbytes * MEMORY_FACTOR < available[0]


@torch.no_grad()
def compare_logits(first: Path, second: Path, prompts: int = 4, seed: int = 0) -> list[Movement]:
    """
    How far the logits move from the model in `first` to the one in `second`, which has the same tensors.

    Args:
        first, second: folders; they are loaded one after the other.
        prompts: how many random prompts of either kind, without and with an image.
        seed: of the prompts.
    """
    made: list[Prompt] = []
    results = []
    for folder in (first, second):
        model = WingsForCausalLM.from_pretrained(folder).eval()
        if not made:
            generator = torch.Generator().manual_seed(seed)
            made = [make(model, generator) for _ in range(prompts) for make in (text_prompt, image_prompt)]
        results.append([model(**prompt.inputs, use_cache=False).logits[0].float() for prompt in made])
        del model
    names = dict.fromkeys(name for prompt in made for name in prompt.rows)
    movements = []
    for name in names:
        pairs = [(a[p.rows[name]], b[p.rows[name]]) for p, a, b in zip(made, *results, strict=True) if name in p.rows]
        movements.append(_movement(name, torch.cat([a for a, _ in pairs]), torch.cat([b for _, b in pairs])))
    return movements


def text_prompt(model: Any, generator: torch.Generator) -> Prompt:
    """Random tokens without an image."""
    length = min(model.config.system_prompt_length + TEXT_BEFORE + TEXT_AFTER, model.config.router_positions)
    return Prompt({"input_ids": _tokens(model.config, length, generator)}, {"text alone": slice(None)})


def image_prompt(model: Any, generator: torch.Generator) -> Prompt:
    """Random tokens around a random image."""
    config = model.config
    image = config.image_seq_length or UNKNOWN_IMAGE_LENGTH
    before, after = config.system_prompt_length + TEXT_BEFORE, TEXT_AFTER
    if config.has_router and before + image + after > config.router_positions:  # a small model's router is short
        before = after = max((config.router_positions - image) // 2, 1)
    ids = _tokens(config, before + image + after, generator)
    ids[0, before : before + image] = config.image_token_id
    if config.vision_config is None:
        shape: tuple[int, ...] = (1, image, config.vision_feature_size)
    else:
        tower = config.vision_config
        shape = (1, tower.num_channels, tower.image_size, tower.image_size)
    pixels = torch.randn(shape, generator=generator).to(model.dtype)
    rows = {"text before an image": slice(0, before), "text after an image": slice(before + image, None)}
    return Prompt({"input_ids": ids, "pixel_values": pixels}, rows)


def _tokens(config: Any, length: int, generator: torch.Generator) -> torch.Tensor:
    ids = torch.randint(0, config.text_config.vocab_size - 1, (1, length), generator=generator)
    return ids + (ids >= config.image_token_id).long()


def _movement(rows: str, first: torch.Tensor, second: torch.Tensor) -> Movement:
    """Of logits (rows, vocabulary)."""
    difference = (first - second).abs()
    log_p, log_q = first.log_softmax(-1), second.log_softmax(-1)
    return Movement(
        rows=rows,
        largest=float(difference.max()),
        mean=float(difference.mean()),
        scale=float(first.std()),
        divergence=float((log_p.exp() * (log_p - log_q)).sum(-1).mean()),
        agreement=float((first.argmax(-1) == second.argmax(-1)).float().mean()),
    )
