# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
What the learners, the router and the attention did for each token of an answer, read off one pass over the whole text.

A token is chosen in the row before it, so that row's weights are the token's. Shapes: `n` tokens of the answer, `m`
image tokens, `i` images.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from wings_hf.analysis.calls import AttentionCall, watch_attention
from wings_hf.analysis.measure import evaluating, run
from wings_hf.analysis.router import weights_of_call


@dataclass(frozen=True)
class Explanation:
    """
    Args:
        tokens: the answer's tokens, as text.
        weights: for each learner, g of Eq. 5 at each token, mean over layers, (n,); empty with the wings off.
        attention: of the main branch, mean over layers and heads: the weight on each place of each image, float32
            (n, height, width) each; the weights on all that is in sight sum to 1. Empty where it is not known how the
            tokens lie in the image.
        seen: what the model was given of each image, uint8 (height, width, 3).
        layers: layers that the means are over.
        use_wings: whether the wings were on.
    """

    tokens: list[str]
    weights: dict[str, np.ndarray]
    attention: list[np.ndarray]
    seen: list[np.ndarray]
    layers: int
    use_wings: bool

    def visual_share(self) -> np.ndarray | None:
        """g_V / (g_V + g_T) of each token, (n,); None where the router has not both learners to weigh."""
        visual, textual = self.weights.get("visual"), self.weights.get("textual")
        if visual is None or textual is None or not len(visual) or not visual.any():
            return None
        return visual / np.maximum(visual + textual, 1e-9)


def explain(
    model: nn.Module, processor: Any, inputs: Mapping[str, torch.Tensor], answer: Sequence[int], use_wings: bool = True
) -> Explanation:
    """
    Runs the model once over a conversation and its answer.

    Args:
        model: a `WingsForCausalLM`.
        processor: its `WingsProcessor`.
        inputs: of the conversation, pictures included, a batch of one.
        answer: token ids; special ones at its end are left out.
    """
    tokenizer = getattr(processor, "tokenizer", processor)
    special = set(tokenizer.all_special_ids)
    answer = list(answer)
    while answer and answer[-1] in special:
        answer.pop()
    batch = _with_answer(inputs, answer)
    prompt = inputs["input_ids"].shape[1]
    rows = slice(prompt - 1, prompt - 1 + len(answer))
    places = _places_of_images(batch)
    gates: list[dict[str, np.ndarray]] = []
    masses: list[torch.Tensor] = []

    def look(call: AttentionCall) -> None:
        if call.wings is not None:
            of_call = weights_of_call(call)[0, rows].numpy()  # (n, learners)
            gates.append(dict(zip(call.module.learner_names, of_call.T, strict=True)))
        if len(places):
            keys, parts = batch["input_ids"].shape[1], places.split(call.value.shape[-1])  # a value's worth at once
            attended = [call.attend(_columns(part, keys, call.value))[0, rows].mean(1) for part in parts]
            masses.append(torch.cat(attended, dim=-1).float().cpu())  # (n, m)

    with watch_attention(model, look) as layers, evaluating(model):
        run(model, {**batch, "use_wings": use_wings})
    names = gates[0] if gates else ()
    return Explanation(
        tokens=_texts(tokenizer, answer),
        weights={name: np.mean([each[name] for each in gates], axis=0) for name in names},
        attention=_maps(torch.stack(masses).mean(0), batch) if masses else [],
        seen=_seen(batch, processor),
        layers=layers,
        use_wings=use_wings,
    )


def _with_answer(inputs: Mapping[str, torch.Tensor], answer: list[int]) -> dict[str, torch.Tensor]:
    """The inputs with the answer behind the prompt; it is text."""
    batch = dict(inputs)
    more = torch.tensor([answer], dtype=torch.long)
    batch["input_ids"] = torch.cat([batch["input_ids"], more], dim=1)
    if "mm_token_type_ids" in batch:
        batch["mm_token_type_ids"] = torch.cat([batch["mm_token_type_ids"], torch.zeros_like(more)], dim=1)
    if "attention_mask" in batch:
        batch["attention_mask"] = torch.cat([batch["attention_mask"], torch.ones_like(more)], dim=1)
    return batch


def _places_of_images(batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Positions of the image tokens, (m,)."""
    types = batch.get("mm_token_type_ids")
    return torch.zeros(0, dtype=torch.long) if types is None else (types[0] == 1).nonzero()[:, 0]


def _columns(places: torch.Tensor, keys: int, like: torch.Tensor) -> torch.Tensor:
    """A column for each of `places` that has 1 there, (1, keys, places), of the device and type of `like`."""
    columns = like.new_zeros(1, keys, len(places))
    columns[0, places, torch.arange(len(places))] = 1
    return columns


def _maps(masses: torch.Tensor, batch: Mapping[str, torch.Tensor]) -> list[np.ndarray]:
    """Weights (n, m) cut into images of one square each, (n, side, side)."""
    images = len(batch.get("pixel_values", ()))
    if not images or masses.shape[1] % images:
        return []
    size = masses.shape[1] // images
    side = math.isqrt(size)
    if side * side != size:
        return []
    return [part.reshape(-1, side, side).numpy() for part in masses.split(size, dim=1)]


def _seen(batch: Mapping[str, torch.Tensor], processor: Any) -> list[np.ndarray]:
    """The pictures as the model was given them; none where it was given features."""
    from wings_hf.analysis.inputs import pictures_for

    pixels = batch.get("pixel_values")
    if pixels is None or pixels.ndim != 4:
        return []
    pictures = pictures_for(len(pixels), batch, processor, [])
    return [np.asarray(picture) for picture in pictures if picture is not None]


def _texts(tokenizer: Any, ids: list[int]) -> list[str]:
    """What each token adds to the text; "" where a character needs further tokens."""
    texts, before = [], ""
    for end in range(1, len(ids) + 1):
        text = tokenizer.decode(ids[:end], skip_special_tokens=True).rstrip("\ufffd")
        texts.append(text[len(before) :] if text.startswith(before) else text)
        before = text
    return texts
