# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Where the faster ways of the learners' attention end: caches that grow, copies, changed weights, traces, masks."""

import copy

import pytest
import torch
from tiny import logits_in_pieces, relative_error, tiny_inputs, tiny_model
from torch._subclasses import FakeTensorMode
from torch.nn.utils import parametrize

from wings_hf.modeling import wings_attention, wings_context

ROUNDING = 1e-5
LAYOUT = "ttvvvttttttttttt"
LONG = "ttvvv" + 95 * "t"  # past the room that a cache first takes


def full_logits(model, inputs, **options):
    with torch.no_grad():
        return model(**inputs.kwargs(False), use_cache=False, **options).logits


@torch.no_grad()
def prefill(model, inputs, count: int = 8, cache=None):
    part = inputs.columns(slice(0, count)).kwargs(False)
    return model(**part, past_key_values=cache, use_cache=True).past_key_values


@torch.no_grad()
def decode(model, inputs, start: int, stop: int, cache):
    """Logits of single steps of text."""
    steps = [
        model(inputs_embeds=inputs.inputs_embeds[:, i : i + 1], past_key_values=cache).logits
        for i in range(start, stop)
    ]
    return torch.cat(steps, dim=1)


@pytest.mark.parametrize("form", ["plain", "latent"])
@pytest.mark.parametrize("pieces", [[8] + 92 * [1], [8, *10 * [1], 40, *42 * [1]]], ids=["steps", "turns"])
@torch.no_grad()
def test_caches_that_outgrow_their_room(form, pieces):
    model = tiny_model("llama", "sdpa", learner_cache=form, router_positions=128)
    inputs = tiny_inputs(model, LONG)
    logits = logits_in_pieces(model, inputs, pieces, mask=False)
    assert relative_error(logits, full_logits(model, inputs)) < ROUNDING


@pytest.mark.parametrize("form", ["plain", "latent"])
def test_copies_of_a_cache_go_their_own_ways(form):
    model = tiny_model("llama", "sdpa", learner_cache=form, router_positions=128)
    first, second = (tiny_inputs(model, LONG, seed=seed) for seed in (1, 2))
    both = torch.cat([first.inputs_embeds[:, :20], second.inputs_embeds[:, 20:]], dim=1)
    cache = prefill(model, first)
    decode(model, first, 8, 20, cache)
    twin = copy.deepcopy(cache)
    assert not any(twin.wings_packed.sources)  # a copy does not take the weights along
    logits = decode(model, first, 20, 24, cache)
    second.inputs_embeds = both
    other = decode(model, second, 20, 24, twin)
    assert relative_error(logits, full_logits(model, first)[:, 20:24]) < ROUNDING
    assert relative_error(other, full_logits(model, second)[:, 20:24]) < ROUNDING
    cache.crop(-10)
    assert relative_error(decode(model, first, 14, 20, cache), full_logits(model, first)[:, 14:20]) < ROUNDING


def test_steps_under_autocast_and_without_share_a_cache():
    model = tiny_model("llama", "sdpa")
    inputs = tiny_inputs(model, LAYOUT)
    cache = prefill(model, inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        decode(model, inputs, 8, 9, cache)
    assert relative_error(decode(model, inputs, 9, 11, cache), full_logits(model, inputs)[:, 9:11]) < 0.05


def test_a_cache_filled_in_inference_mode_goes_on_outside():
    model = tiny_model("llama", "sdpa")
    inputs = tiny_inputs(model, LAYOUT)
    with torch.inference_mode():
        cache = model(**inputs.columns(slice(0, 8)).kwargs(False), use_cache=True).past_key_values
        model(inputs_embeds=inputs.inputs_embeds[:, 8:9], past_key_values=cache)
    assert relative_error(decode(model, inputs, 9, 12, cache), full_logits(model, inputs)[:, 9:12]) < ROUNDING


@torch.no_grad()
def test_weights_that_change_in_place_are_seen_by_the_next_step():
    model = tiny_model("llama", "sdpa")
    inputs = tiny_inputs(model, LAYOUT)
    cache = prefill(model, inputs)
    for name, parameter in model.named_parameters():
        if "_learner.o_b" in name:  # of no effect on what is cached
            parameter.mul_(-1.5)
    with torch.enable_grad():
        wanted = model(inputs_embeds=inputs.inputs_embeds[:, 8:9], past_key_values=copy.deepcopy(cache)).logits
    assert relative_error(decode(model, inputs, 8, 9, cache), wanted) < ROUNDING


def test_learners_whose_maps_are_replaced_are_packed_again():
    model = tiny_model("llama", "sdpa")
    inputs = tiny_inputs(model, LAYOUT)
    cache = prefill(model, inputs)
    learner = model.model.language_model.layers[0].self_attn.visual_learner
    learner.load_state_dict({name: value.clone() for name, value in learner.state_dict().items()}, assign=True)
    prefill(model, inputs, 8, cache)
    assert cache.wings_packed.names == ("visual", "textual")


def test_a_parametrisation_that_came_and_went_leaves_the_maps_in_order():
    """Removing one puts the parameter at the end of its module, as peft does after each call."""
    model = tiny_model("llama", "sdpa")
    inputs = tiny_inputs(model, LAYOUT)
    wanted = full_logits(model, inputs)
    learner = model.model.language_model.layers[0].self_attn.textual_learner
    parametrize.register_parametrization(learner, "q_a", torch.nn.Identity())
    assert torch.equal(full_logits(model, inputs), wanted)
    parametrize.remove_parametrizations(learner, "q_a")
    assert torch.equal(full_logits(model, inputs), wanted)


def test_hooks_of_learners_are_called_in_decoding():
    model = tiny_model("llama", "sdpa")
    inputs, calls = tiny_inputs(model, LAYOUT), []
    learner = model.model.language_model.layers[0].self_attn.textual_learner
    learner.register_forward_hook(lambda *arguments: calls.append(1))
    decode(model, inputs, 8, 10, prefill(model, inputs))
    assert len(calls) == 3


def test_values_narrower_than_keys():
    model = tiny_model("deepseek_v3", "sdpa")
    inputs = tiny_inputs(model, LAYOUT)
    logits = decode(model, inputs, 8, 12, prefill(model, inputs))
    assert relative_error(logits, full_logits(model, inputs)[:, 8:12]) < ROUNDING


def test_float64():
    model = tiny_model("llama", "sdpa").double()
    inputs = tiny_inputs(model, LAYOUT)
    inputs.inputs_embeds = inputs.inputs_embeds.double()
    logits = decode(model, inputs, 8, 12, prefill(model, inputs))
    assert relative_error(logits, full_logits(model, inputs)[:, 8:12]) < ROUNDING


def blocks() -> torch.Tensor:
    """A causal mask that also keeps the second half from the first, bool (1, 1, s, s)."""
    mask = torch.ones(16, 16, dtype=torch.bool).tril()
    mask[8:, :8] = False
    return mask[None, None]


def test_masks_of_the_caller_are_kept():
    mask = blocks()
    scores = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
    for family, name in (("llama", "learner_attention_mask"), ("gemma3_text", "attention_mask")):
        found = []
        for backend, each in (("eager", scores), ("sdpa", mask)):
            model = tiny_model(family, backend)
            inputs = tiny_inputs(model, LAYOUT)
            given = {"full_attention": each, "sliding_attention": each} if name == "attention_mask" else each
            found.append(full_logits(model, inputs, **{name: given}))
        assert relative_error(found[1], found[0]) < ROUNDING, family
        assert relative_error(full_logits(model, inputs), found[1]) > 1e-2, "the mask makes no difference"


def test_nothing_looks_at_values_while_a_call_is_traced_or_transformed():
    model = tiny_model("llama", "sdpa")
    inputs, others = tiny_inputs(model, LAYOUT), tiny_inputs(model, "tttttttvvvvttttt", seed=3)
    types = inputs.mm_token_type_ids

    def call(embeds, types=types):
        return model(inputs_embeds=embeds, mm_token_type_ids=types, use_cache=False).logits

    gradient = torch.func.grad(lambda embeds: call(embeds).square().sum())(inputs.inputs_embeds)
    leaf = inputs.inputs_embeds.clone().requires_grad_()
    call(leaf).square().sum().backward()
    assert relative_error(gradient, leaf.grad) < 1e-4
    with torch.no_grad():
        mapped = torch.func.vmap(lambda embeds: call(embeds.unsqueeze(0)))(inputs.inputs_embeds)
        assert relative_error(mapped[0], call(inputs.inputs_embeds)) < ROUNDING
        with FakeTensorMode(allow_non_fake_inputs=True) as fake:
            assert call(fake.from_tensor(inputs.inputs_embeds), fake.from_tensor(types)).shape[1] == len(LAYOUT)
    assert relative_error(call(others.inputs_embeds, others.mm_token_type_ids), full_logits(model, others)) < ROUNDING


def test_many_small_pieces_are_attended_in_one_call(monkeypatch):
    """A row of six images has more pieces than are worth a kernel call each; a row of one has not."""
    calls = []
    attend_split = wings_attention.attend_split
    monkeypatch.setattr(wings_attention, "attend_split", lambda *given: calls.append(1) or attend_split(*given))
    model = tiny_model(attn_implementation="sdpa", router="modality")
    fragmented, whole = tiny_inputs(model, "tvtvtvtvtvtvt"), tiny_inputs(model, "t" * 60 + "v" * 30 + "t" * 10)
    in_pieces = {name: full_logits(model, inputs) for name, inputs in (("many", fragmented), ("few", whole))}
    monkeypatch.setattr(wings_context, "LEAST_POSITIONS_PER_PIECE", 16)
    calls.clear()
    assert relative_error(full_logits(model, fragmented), in_pieces["many"]) < 1e-5 and not calls
    assert relative_error(full_logits(model, whole), in_pieces["few"]) < 1e-5 and calls
