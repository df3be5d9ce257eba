# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The benchmark measures what it says: its models agree, its memory and its limit are right on cases known by hand."""

import pytest
import torch
from speed.caches import measure_cache
from speed.cases import PRESETS, Case, Shape
from speed.eager import EagerWings
from speed.limit import backbone_operations, ceilings, limit, probes, wings_parts
from speed.measure import footprint, time_rounds
from speed.models import Bench, Contender, make_inputs

SHAPE = Shape(hidden=64, layers=2, heads=4, key_heads=2, intermediate=96, dtype="float32")
CASES = [
    Case("train", 40),
    Case("train", 40, router="modality", images=3),
    Case("train", 40, stage=1),
    Case("train", 40, layout="packed"),
    Case("train", 40, batch=3, layout="mixed"),
    Case("train", 40, batch=3, layout="mixed", router="modality"),
]


def randomised(case: Case) -> Bench:
    """With weights under which the learners and the router matter."""
    bench = Bench(SHAPE, case, "cpu")
    with torch.no_grad():
        for name, parameter in bench.wings.named_parameters():
            if "_learner." in name or ".router." in name:
                parameter.normal_(std=0.5)
    bench.x = bench.x.detach()
    return bench


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@torch.no_grad()
def test_eager_is_the_model(case):
    bench = randomised(case)
    inputs, eager = bench.inputs, EagerWings(bench.wings)
    wings = {"input_ids": inputs.ids, "pixel_values": inputs.features, **inputs.masking, "use_cache": False}
    real = inputs.masking.get("attention_mask", torch.ones_like(inputs.ids)).bool()
    expected, found = bench.wings(**wings).logits, eager(bench.x, inputs.is_image, **inputs.masking)
    plain = bench.plain(inputs_embeds=bench.x, **inputs.masking, use_cache=False).logits
    assert torch.allclose(found[real], expected[real], atol=2e-5 * expected.abs().max().item())
    assert not torch.allclose(plain[real], expected[real], atol=1e-2 * expected.abs().max().item())
    loss = bench.wings(**wings, labels=inputs.labels).loss
    assert torch.allclose(eager(bench.x, inputs.is_image, **inputs.masking, labels=inputs.labels), loss, atol=1e-5)


def test_eager_generates_the_same_ids():
    bench = randomised(Case("generate", 32, new_tokens=6, eager=True))
    made = bench.contenders()
    assert made["eager"].run().tolist() == made["wings"].run()[:, 32:].tolist()


@pytest.mark.parametrize("compiled", [False, True])
def test_decoding_goes_on_where_the_prompt_ends(compiled, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda forward, **_: forward)
    bench = randomised(Case("decode", 32, batch=2, layout="mixed", new_tokens=5, compiled=compiled))
    made, settings = bench.contenders(), {"max_new_tokens": 6, "do_sample": False}
    expected = {
        "wings": bench.wings.generate(bench.inputs.ids, pixel_values=bench.inputs.features, **settings),
        "plain": bench.plain.generate(inputs_embeds=bench.x, **settings),
    }
    for name, contender in made.items():
        for _ in range(2):  # the cache is filled anew
            contender.prepare()
            assert contender.run()[:, 0].tolist() == expected[name][:, -1].tolist()


@torch.no_grad()
def test_plain_is_the_backbone():
    bench = Bench(SHAPE, Case("train", 40), "cpu")
    for name, parameter in bench.wings.named_parameters():
        if name.endswith("_learner.o_b"):
            parameter.zero_()
    wings = bench.wings(input_ids=bench.inputs.ids, pixel_values=bench.inputs.features, use_cache=False).logits
    assert torch.allclose(bench.plain(inputs_embeds=bench.x, use_cache=False).logits, wings, atol=1e-6)
    shared = {parameter.data_ptr() for parameter in bench.wings.parameters()}
    assert all(parameter.data_ptr() in shared for parameter in bench.plain.parameters())


def test_memory_of_a_known_step():
    state = {}

    def run():
        first = torch.empty(1000)
        del state["before"]  # 100 numbers that were there before the step
        second = torch.empty(2000)
        del first
        return second, torch.empty(500)

    contender = Contender(run, prepare=lambda: state.update(before=torch.empty(100)))
    assert footprint(contender, "cpu").peak_bytes == 4 * (1000 - 100 + 2000)
    assert footprint(contender, "cpu").peak_bytes == 4 * (1000 - 100 + 2000)


def test_operators_are_counted_once():
    x = torch.ones(4, 4)
    assert footprint(Contender(lambda: torch.nn.functional.linear(x, x) + 1), "cpu").kernels == 2


def test_rounds_interleave():
    calls = []
    contenders = {name: Contender(lambda name=name: calls.append(name)) for name in "ab"}
    seconds = time_rounds(contenders, "cpu", rounds=5, budget=0.0)
    assert calls == [*"aabb", *"ab" * 3]
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}


def test_limit_by_hand():
    shape = Shape(hidden=8, layers=1, heads=2, key_heads=1, intermediate=16, dtype="float32")
    case = Case("train", 4)
    inputs = make_inputs(case, shape.vocabulary, "cpu", torch.float32)
    parts = {part.name: part for part in wings_parts(shape, case, inputs, itemsize=4)}
    # 4 rows, 4 keys, 10 pairs, one visual token; rank 1, two learners; three products in a step
    assert parts["maps"].operations == 3 * 2 * (12 * 8 * 1) * 4  # 12 d r multiply-adds per token
    assert parts["maps"].bytes == 3 * 4 * 8 * (7 * 4 + 3 * 4)
    assert parts["attention"].operations == 4 * 8 * 10
    assert parts["router"].operations == 2 * 2 * 2 * 10
    assert parts["projector"].operations == 3 * 2 * (64 * 8 + 8 * 8)
    rates = {"product": 1e3, "attention": 1e2, "memory": 1e3, "calls": 1e9}
    # maps wait for memory: 3.84 s and not 2.304; attention 3.2, router 0.8, projector 3.456
    assert limit(list(parts.values()), rates, plain_seconds=20.0) == pytest.approx(1 + 11.296 / 20)
    layer = 8 * 4 * (2 * 2 + 2 * 1) + 3 * 8 * 16
    products = 2 * (4 * layer + 4 * 8 * shape.vocabulary)
    assert backbone_operations(shape, case, inputs) == 3 * products + 3.5 * 4 * 8 * 10


def test_decode_limit_by_hand():
    shape = Shape(hidden=8, layers=2, heads=2, key_heads=1, intermediate=16, dtype="float32")
    case = Case("decode", 10, batch=3, new_tokens=4)
    inputs = make_inputs(case, shape.vocabulary, "cpu", torch.float32)
    maps, attention = wings_parts(shape, case, inputs, itemsize=4)
    assert maps.operations == 4 * 2 * 3 * 2 * 12 * 8  # tokens, layers, rows, 12 d r multiply-adds
    assert maps.bytes == 4 * 2 * 4 * (12 * 8)  # each weight once, whatever the batch
    assert maps.calls == 4 * 2 * 7
    assert attention.operations == 4 * 2 * 3 * 4 * 8 * 12  # 12 keys on average


def test_packed_samples_have_fewer_pairs():
    inputs = {
        layout: make_inputs(Case("train", 40, layout=layout), 99, "cpu", torch.float32)
        for layout in ("plain", "packed")
    }
    whole, packed = (
        wings_parts(SHAPE, Case("train", 40, layout=layout), made, 4)[1].operations for layout, made in inputs.items()
    )
    pairs = [n * (n + 1) // 2 for n in (16, 12, 8, 4)]
    assert packed / whole == pytest.approx(sum(pairs) / (40 * 41 / 2))


@pytest.mark.parametrize("case", [Case("train", 32), Case("generate", 32, new_tokens=4)], ids=lambda case: case.name)
def test_every_part_has_a_ceiling(case):
    probed = probes(SHAPE, case, "cpu", torch.float32)
    rates = ceilings(probed, dict.fromkeys(probed, 1.0))
    for part in wings_parts(SHAPE, case, make_inputs(case, 99, "cpu", torch.float32), 4):
        assert part.seconds(rates) > 0
    for probe in probed.values():
        probe.run()


def test_caches_are_counted_per_token():
    found = measure_cache("bench", "plain", SHAPE)
    assert found["main_bytes_per_token"] == SHAPE.layers * 2 * 4 * (2 * 16)  # keys and values of two heads of 16
    assert found["wings_bytes_per_token"] >= SHAPE.layers * 2 * 4 * 64


def test_names_of_cases_are_unique():
    for preset in PRESETS.values():
        cases = preset().all_cases()
        assert len({case.name for case in cases}) == len(cases)
