# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Low precision, and masks that the caller prepared."""

from collections.abc import Iterator

import pytest
import torch
from tiny import backbone_of, relative_error, tiny_inputs, tiny_model
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from oracle import WingsOracle, positions_from_mask

LAYOUTS = ("ttvvvttvtv", "..vvtttvtt", "tttttttt..", "....tttttt")
DTYPES = (torch.bfloat16, torch.float16)


def worst(logits, wanted, real) -> float:
    assert logits[real].isfinite().all()
    return relative_error(logits[real], wanted[real])


@pytest.mark.parametrize("backend", ["eager", "sdpa"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("options", [{"router": "position", "learner_rope": True}, {"router": "modality"}], ids=str)
def test_low_precision_costs_the_wings_no_more_than_the_backbone(options, dtype, backend):
    """Error against float64, at most three times the plain backbone's in the same dtype."""
    model = tiny_model("llama", backend, text={"hidden_size": 64}, **options)
    plain = tiny_model("llama", backend, text={"hidden_size": 64}, learners=())
    errors = []
    for each in (model, plain):
        each.to(dtype)  # the oracle gets the rounded weights
        inputs = tiny_inputs(each, *LAYOUTS)
        inputs.inputs_embeds = inputs.inputs_embeds.to(dtype)
        with torch.no_grad():
            wanted = WingsOracle(each.config, each.state_dict())(**inputs.kwargs()).logits
            errors.append(worst(each(**inputs.kwargs()).logits, wanted, inputs.real))
    assert errors[0] < 3 * errors[1], errors


@pytest.mark.parametrize(
    ("dtype", "backend"),
    [
        (torch.bfloat16, "eager"),
        (torch.bfloat16, "sdpa"),
        (torch.float16, "eager"),
        (torch.float16, "sdpa"),
    ],
    ids=str,
)
def test_low_precision_gradients_are_finite(dtype, backend):
    """With padding on either side, and rows that see no key of a modality."""
    model = tiny_model("llama", backend, learner_rope=True).to(dtype)
    inputs = tiny_inputs(model, *LAYOUTS)
    arguments = inputs.kwargs()
    arguments["inputs_embeds"] = inputs.inputs_embeds.to(dtype).requires_grad_()
    logits = model(**arguments).logits
    (logits[inputs.real].float().square().mean()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    gradients["inputs_embeds"] = arguments["inputs_embeds"].grad
    assert [name for name, gradient in gradients.items() if not gradient.isfinite().all()] == []


@pytest.mark.parametrize("backend", ["eager", "sdpa"])
@pytest.mark.parametrize("options", [{"router": "position", "learner_rope": True}, {"router": "modality"}], ids=str)
def test_a_prepared_mask_of_four_axes(options, backend):
    """A causal mask with padding, made by the caller, gives what the two-axis mask gives."""
    model = tiny_model("llama", backend, **options)
    inputs = tiny_inputs(model, *LAYOUTS)
    length = inputs.attention_mask.shape[1]
    allowed = torch.ones(length, length, dtype=torch.bool).tril() & inputs.real[:, None, None, :]
    mask = allowed
    if backend == "eager":
        mask = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)
    arguments = inputs.kwargs(mask=False) | {"position_ids": positions_from_mask(inputs.attention_mask)}
    with torch.no_grad():
        logits = model(**arguments, attention_mask=mask, use_cache=False).logits[inputs.real]
        expected = model(**arguments, attention_mask=inputs.attention_mask).logits[inputs.real]
    assert relative_error(logits, expected) < 1e-5


def test_a_prepared_mask_bit_for_bit_in_stage_1():
    model = tiny_model("llama", "sdpa", learners=("visual",))
    inputs = tiny_inputs(model, "tttttt", "tttttt")
    mask = torch.ones(2, 1, 6, 6, dtype=torch.bool).tril()
    with torch.no_grad():
        ours = model(input_ids=inputs.input_ids, attention_mask=mask, use_cache=False).logits
        theirs = backbone_of(model, "sdpa")(input_ids=inputs.input_ids, attention_mask=mask, use_cache=False).logits
    assert torch.equal(ours, theirs)


@pytest.fixture
def spied() -> Iterator[list[tuple[int, int]]]:
    """Registers the backend "spy", sdpa that notes (key heads, width of the values) of each call."""
    calls: list[tuple[int, int]] = []

    def spy(module, query, key, value, *args, **kwargs):
        calls.append((key.shape[1], value.shape[-1]))
        return sdpa_attention_forward(module, query, key, value, *args, **kwargs)

    AttentionInterface.register("spy", spy)
    AttentionMaskInterface.register("spy", sdpa_mask)
    yield calls


@pytest.mark.parametrize(
    ("options", "main_calls"),
    [
        # (key heads, width): 2 key heads of size 8 in the backbone, 4 of size 8 + 8 in the learners
        ({"router": "position"}, [(2, 16)]),  # the router's columns ride in the values
        ({"router": "modality"}, [(2, 16)]),
        ({"router": "uniform"}, [(2, 8)]),
        ({"learners": ("visual",)}, [(2, 8)]),
        ({"router": "position", "learner_scope": "visual_context"}, [(2, 8), (2, 8)]),  # a second, narrow pass
    ],
    ids=str,
)
def test_calls_of_the_attention_function(spied, options, main_calls):
    """One call for the main branch and router, one for both learners; with `visual_context` the main call is as ever.

    A widened value changes rounding on some kernels, not on every machine: so the calls themselves are looked at.
    """
    model = tiny_model("llama", "spy", **options)
    inputs = tiny_inputs(model, "tttvvttt", "tttttttt")
    with torch.no_grad():
        model(**inputs.kwargs(), use_cache=False)
        layers = model.config.text_config.num_hidden_layers
        assert [call for call in spied if call[0] == 2] == main_calls * layers
        assert len([call for call in spied if call[0] == 4]) == layers
        spied.clear()
        model(input_ids=inputs.input_ids, use_cache=False)  # text only
        assert [call for call in spied if call[0] == 2] == [(2, 8)] * layers
