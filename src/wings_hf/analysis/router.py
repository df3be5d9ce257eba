# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
The weights that a Wings model's routers give its learners, layer by layer and token by token.

Shapes: `b` batch, `s` positions, `L` layers with learners, `n` learners.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from wings_hf.analysis.calls import AttentionCall, watch_attention
from wings_hf.analysis.measure import evaluating, run
from wings_hf.analysis.tokens import KINDS, Tokens, image_token, read_tokens
from wings_hf.modeling.wings_router import NO_KEY


@dataclass
class RouterWeights:
    """
    Args:
        weights: g of Eq. 5, float64 (L, s, n): 0 where a learner adds nothing to a row.
        layers: numbers of the layers with learners, (L,).
        learners: their names, (n,).
        kinds: kind of each position, (s,), see `KINDS`.
        tokens: each position's text, where a tokenizer was given; "" at images.
    """

    weights: np.ndarray
    layers: list[int]
    learners: list[str]
    kinds: list[str]
    tokens: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, for JSON."""
        return {**self.__dict__, "weights": self.weights.tolist()}


def router_weights(model: nn.Module, batch: Mapping[str, Any], tokenizer: Any = None) -> list[RouterWeights]:
    """
    Router weights of each sample of a batch, padding left out.

    Args:
        model: a Wings model with learners, or a wrapper of one.
        tokenizer: to say what each token is.

    Raises:
        ValueError: the model has no learners.
    """
    found: dict[int, tuple[tuple[str, ...], torch.Tensor]] = {}

    def look(call: AttentionCall) -> None:
        if call.wings is not None:
            found[call.layer] = (call.module.learner_names, weights_of_call(call).cpu())

    tokens = read_tokens(batch, image_token(model))
    with watch_attention(model, look), evaluating(model):
        run(model, batch)
    if not found:
        raise ValueError(f"{type(model).__name__} has no learners: router weights are those of a Wings model.")
    layers = sorted(found)
    names = list(found[layers[0]][0])
    weights = torch.stack([found[layer][1] for layer in layers])  # (L, b, s, n)
    return [_of_sample(tokens, sample, weights, layers, names, batch, tokenizer) for sample in range(tokens.count)]


def weights_of_call(call: AttentionCall) -> torch.Tensor:
    """What one layer's learners are weighted with, in the order of their names, float64 (b, s, n)."""
    module, wings = call.module, call.wings
    at_work = module.learners_at_work(wings)
    weights = torch.zeros(*wings.positions.shape, len(module.learner_names), dtype=torch.float64)
    if not at_work:
        return weights
    present = wings.present_of(at_work).cpu()
    logits = None if call.router_logits is None else call.router_logits.cpu()
    gates = module.gates(at_work, logits, present, wings)
    gates = present.double() if gates is None else gates.double()
    gates = gates * module.rows_added_to(at_work, present, wings).cpu()
    weights[..., [module.learner_names.index(name) for name in at_work]] = gates
    return weights


def means_by_kind(samples: list[RouterWeights]) -> dict[str, Any]:
    """Mean weight of each learner for each kind of row, over all tokens of the samples, by layer."""
    kinds = np.array([kind for sample in samples for kind in sample.kinds])
    weights = np.concatenate([sample.weights for sample in samples], axis=1)  # (L, tokens, n)
    return {
        kind: {
            name: weights[:, kinds == kind, index].mean(1).tolist() for index, name in enumerate(samples[0].learners)
        }
        for kind in KINDS
        if (kinds == kind).any()
    }


def _of_sample(
    tokens: Tokens,
    sample: int,
    weights: torch.Tensor,
    layers: list[int],
    names: list[str],
    batch: Mapping[str, Any],
    tokenizer: Any,
) -> RouterWeights:
    here = tokens.samples.cpu() == sample
    kinds = tokens.kinds.cpu()[here]
    assert not (kinds == NO_KEY).any()
    name_of = {number: name for name, number in KINDS.items()}
    kind_names = [name_of[int(kind)] for kind in kinds]
    texts = [""] * len(kind_names)
    ids = batch.get("input_ids")
    if tokenizer is not None and ids is not None:
        pairs = zip(ids.cpu()[here].tolist(), kind_names, strict=True)
        texts = ["" if kind == "image" else tokenizer.decode([number]) for number, kind in pairs]
    return RouterWeights(weights[:, here].numpy(), layers, names, kind_names, texts)
