# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`torch.compile(model)` in prefill and training: whole graphs, and as few of them as the backbone has.

Counted is how often dynamo compiles a frame over calls of different lengths, without a backend's own work. The
backbone needs two graphs: one for the first length, one for any.
"""

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from tiny import backbone_of, tiny_model
from torch import nn
from torch._dynamo.testing import CompileCounter

LENGTHS = (34, 37, 40, 43, 33, 46, 50, 57)
# Calls as (images per row, rows, mask); the images differ in number from call to call where a tuple says so.
CASES: dict[str, dict[str, Any]] = {
    "text": {"images": (0,), "graphs": 2},
    "one image": {"images": (1,), "graphs": 2},
    "image counts": {"images": (1, 2, 3), "graphs": 4},  # pixel_values and input_ids grow at different calls
    "with and without images": {"images": (0, 1, 2), "graphs": 4},
    "padded rows": {"images": (1, 0), "rows": 2, "graphs": 4},
}


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


def calls(model: nn.Module, images: tuple[int, ...], rows: int = 1) -> Iterable[dict[str, torch.Tensor]]:
    """One call for each length."""
    generator = torch.Generator().manual_seed(0)
    for index, length in enumerate(LENGTHS):
        count = images[index % len(images)]
        ids = torch.randint(3, 90, (rows, length), generator=generator)
        inputs = {"input_ids": ids, "use_cache": False}
        for image in range(count):
            ids[:, 10 * image + 1 : 10 * image + 10] = model.config.image_token_id
        if count:
            inputs["pixel_values"] = torch.randn(rows * count, 3, 12, 12, generator=generator)
        if rows > 1:
            inputs["attention_mask"] = torch.ones_like(ids)
            inputs["attention_mask"][0, -2:] = 0
        yield inputs


def graphs_of(model: nn.Module, inputs: Iterable[dict[str, torch.Tensor]]) -> list[int]:
    """How many graphs each call adds; in training mode a call is a step, with its backward pass."""
    torch._dynamo.reset()
    counter = CompileCounter()
    compiled = torch.compile(model, backend=counter)
    counts = []
    for call in inputs:
        before = counter.frame_count
        if model.training:
            labels = call["input_ids"].masked_fill(call["input_ids"] >= 90, -100)
            compiled(**call, labels=labels).loss.backward()
        else:
            with torch.no_grad():
                compiled(**call)
        counts.append(counter.frame_count - before)
    return counts


@pytest.mark.parametrize(
    ("router", "training", "case"),
    [
        ("position", False, "one image"),
        pytest.param("position", False, "text", marks=pytest.mark.slow),
        pytest.param("position", False, "image counts", marks=pytest.mark.slow),
        pytest.param("position", False, "with and without images", marks=pytest.mark.slow),
        pytest.param("position", False, "padded rows", marks=pytest.mark.slow),
        pytest.param("position", True, "one image", marks=pytest.mark.slow),
        pytest.param("position", True, "with and without images", marks=pytest.mark.slow),
        pytest.param("modality", False, "image counts", marks=pytest.mark.slow),
        pytest.param("modality", True, "padded rows", marks=pytest.mark.slow),
    ],
)
def test_number_of_graphs(router, training, case):
    case = dict(CASES[case])
    bound = case.pop("graphs")
    model = tiny_model("llama", "sdpa", vision="siglip", router=router).train(training)
    counts = graphs_of(model, calls(model, **case))
    assert not torch._dynamo.utils.counters["graph_break"], dict(torch._dynamo.utils.counters["graph_break"])
    backbone = backbone_of(model, "sdpa").train(training)
    plain = graphs_of(backbone, calls(model, **{**case, "images": (0,)}))
    print(f"graphs per call: {counts}, the backbone's: {plain}")
    assert sum(counts) <= bound and sum(plain) == 2
    assert not any(counts[5:]), "the number does not grow with the number of lengths"


def test_compiled_image_call_is_the_same():
    model = tiny_model("llama", "sdpa", vision="siglip")
    inputs, wrong = (next(iter(calls(model, images=(count,)))) for count in (1, 2))
    with torch.no_grad():
        expected = model(**inputs).logits
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        assert torch.allclose(compiled(**inputs).logits, expected, rtol=1e-4, atol=1e-5)
        wrong["pixel_values"] = inputs["pixel_values"]
        with pytest.raises(RuntimeError, match="do not match"):
            compiled(**wrong)
