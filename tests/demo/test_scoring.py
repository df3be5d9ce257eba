# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Scores: teacher-forced matches are those of greedy decoding; intervals behave as intervals do."""

import demo_parts
import numpy as np
import pytest
import torch

from wings_hf.data.collator import IGNORED
from wings_hf.demo.report import as_text, summarise
from wings_hf.demo.scoring import accuracy, bootstrap_interval, exact_matches


def test_one_pass_finds_what_greedy_decoding_writes() -> None:
    processor, model = demo_parts.processor(), demo_parts.model().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    batches = []
    for question in ("Read a b.", "What is 1 plus 2?", "Sort c b a."):
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": question}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        prompt = inputs["input_ids"].shape[1]
        tokens = model.generate(**inputs, max_new_tokens=4, do_sample=False)
        labels = tokens.clone()
        labels[:, :prompt] = IGNORED
        batches.append({"input_ids": tokens, "labels": labels})
    assert exact_matches(model, batches) == [True, True, True]
    for place in (-4, -1):  # a single wrong token, the first or the last of the answer
        batches[1]["labels"][0, place] += 1
        assert exact_matches(model, batches) == [True, False, True]
        batches[1]["labels"][0, place] -= 1


def test_scoring_leaves_the_mode_of_the_model() -> None:
    model = demo_parts.model().train()
    exact_matches(model, [])
    assert model.training


def test_accuracy_weighs_tasks_alike_and_lies_in_its_interval() -> None:
    answers = {"a": [True] * 90 + [False] * 10, "b": [True] * 5 + [False] * 5}
    assert accuracy(answers) == pytest.approx(0.7)
    low, high = bootstrap_interval(answers)
    assert low < 0.7 < high
    # Half of the mean's variance is each task's: sqrt((.09 / 100 + .25 / 10) / 4) = 0.08
    assert (high - low) / (2 * 1.96) == pytest.approx(np.sqrt((0.09 / 100 + 0.25 / 10) / 4), rel=0.15)
    assert bootstrap_interval({"a": [True] * 10}) == (1.0, 1.0)


def test_the_report_has_every_number() -> None:
    seeds = [{"sight": {"read": [True, False]}, "text": {"add": [True], "sort": [False]}}] * 2
    found = summarise("Wings", seeds)
    assert found["sight"]["accuracy"] == 0.5 and found["text"]["seeds"] == [0.5, 0.5]
    text = as_text(found, [found], rehearsed=("add",))
    assert "add*" in text and "sort" in text and "100.0%" in text and "seeds 50.0% 50.0%" in text
