# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Right or wrong answers, and how sure one can be of their shares."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from wings_hf.data.collator import IGNORED
from wings_hf.evaluation.statistics import mean_interval

Answers = Mapping[str, Sequence[bool]]  # task -> right or wrong, question by question


@torch.no_grad()
def exact_matches(model: Any, batches: Iterable[Mapping[str, torch.Tensor]]) -> list[bool]:
    """Whether greedy decoding gives exactly the labelled answer, for each sample of one labelled answer.

    Takes one forward pass: greedy decoding writes the labels if and only if each of them is the likeliest token
    after those before it.
    """
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    right: list[bool] = []
    for batch in batches:
        inputs = {name: value.to(device) for name, value in batch.items() if name != "labels"}
        labels = batch["labels"][:, 1:].to(device)
        likeliest = model(**inputs, use_cache=False).logits[:, :-1].argmax(-1)  # (b, s - 1)
        right += ((likeliest == labels) | (labels == IGNORED)).all(-1).tolist()
    model.train(was_training)
    return right


def accuracy(answers: Answers) -> float:
    """Mean over tasks of the share of right answers."""
    return float(np.mean([np.mean(right) for right in answers.values()]))


def bootstrap_interval(answers: Answers, draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """95% interval of `accuracy`, by drawing each task's questions anew."""
    return mean_interval(list(answers.values()), draws=draws, seed=seed)
