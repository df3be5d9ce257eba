# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Cached = uncached: decoding, chunked prefill, later turns, static caches, cropping and beam reordering."""

import pytest
import torch
from tiny import logits_in_pieces, relative_error, tiny_inputs, tiny_model
from transformers import DynamicCache, StaticCache

ROUNDING = 1e-5
LAYOUTS = ("ttvvvttvtt", "..vvtttvtt", "tttttttttt", "....tttvvv")
CASES = (
    ("llama", "eager", {"router": "position", "learner_rope": True}),
    ("llama", "sdpa", {"router": "modality", "learner_query": "post_attention", "learner_rope": True}),
    ("llama", "sdpa", {"router": "position", "learner_scope": "visual_context"}),
    ("llama", "eager", {"router": "modality", "learner_scope": "visual_context", "learner_rope": True}),
    ("llama", "sdpa", {"learners": ("visual",), "learner_rope": True}),
    ("llama", "sdpa", {"learner_layers": [1]}),
    ("qwen2", "sdpa", {"router": "uniform"}),
    ("mistral", "sdpa", {"router": "position", "learner_rope": True}),
    ("mistral", "eager", {"router": "modality"}),
    ("gemma2", "eager", {"router": "position", "learner_rope": True}),
    ("gemma3_text", "sdpa", {"router": "position", "learner_rope": True}),
    ("gemma3_text", "eager", {"router": "modality", "learner_query": "post_attention"}),
    (
        "gemma3_text",
        "sdpa",
        {"router": "position", "learner_scope": "visual_context", "learner_layers": [0, 2]},
    ),
    ("smollm3", "sdpa", {"router": "modality", "learner_rope": True}),
    ("phi3", "sdpa", {"router": "position", "learner_rope": True}),
    ("qwen3_moe", "sdpa", {"router": "modality"}),
    ("gpt_neox", "sdpa", {"router": "position", "learner_query": "post_attention", "learner_rope": True}),
    ("gpt_neox_parallel", "sdpa", {"router": "modality", "learner_rope": True}),
    ("granite", "sdpa", {"router": "modality", "learner_query": "post_attention"}),
    ("llama", "sdpa", {"router": "mass", "learner_rope": True}),
    ("gemma3_text", "sdpa", {"router": "mass", "learners": ("visual",), "learner_scope": "visual_context"}),
    ("llama", "sdpa", {"router": "mass", "learner_cache": "latent"}),
    ("llama", "sdpa", {"router": "position", "learner_rope": True, "learner_cache": "latent"}),
    ("llama", "eager", {"router": "modality", "learner_rope": False, "learner_cache": "latent"}),
    ("llama", "sdpa", {"learner_scope": "visual_context", "learner_rope": False, "learner_cache": "latent"}),
    ("llama", "sdpa", {"learners": ("visual",), "learner_rope": True, "learner_cache": "latent"}),
    ("gemma3_text", "sdpa", {"router": "position", "learner_rope": True, "learner_cache": "latent"}),
    ("gpt_neox", "sdpa", {"learner_query": "post_attention", "learner_layers": [1], "learner_cache": "latent"}),
)


def case_id(case) -> str:
    return "-".join([*case[:2], *(str(value) for value in case[2].values())])


cases = pytest.mark.parametrize("case", CASES, ids=case_id)
FEW_CASES = [CASES[0], CASES[2], CASES[7], CASES[10], CASES[12], *CASES[-6:]]
few_cases = pytest.mark.parametrize("case", FEW_CASES, ids=case_id)


def build(case):
    family, backend, options = case
    return tiny_model(family, backend, **options)


def full_logits(model, inputs, mask: bool = True):
    with torch.no_grad():
        return model(**inputs.kwargs(mask), use_cache=False).logits


@cases
@pytest.mark.parametrize("pieces", [[1] * 10, [4, 3, 3], [6, 1, 1, 2]], ids=str)
def test_pieces_on_a_cache_equal_one_call(case, pieces):
    """Decoding token by token, chunked prefill (also inside an image), and a second turn after decoding."""
    model = build(case)
    inputs = tiny_inputs(model, *LAYOUTS)
    logits = logits_in_pieces(model, inputs, pieces)
    assert relative_error(logits[inputs.real], full_logits(model, inputs)[inputs.real]) < ROUNDING


@few_cases
@pytest.mark.parametrize("pieces", [[1] * 10, [5, 5]], ids=str)
def test_pieces_without_a_mask(case, pieces):
    model = build(case)
    inputs = tiny_inputs(model, "ttvvvttvtt", "tttttttttv")
    logits = logits_in_pieces(model, inputs, pieces, mask=False)
    assert relative_error(logits, full_logits(model, inputs, mask=False)) < ROUNDING


@cases
def test_the_second_turn_brings_the_first_image(case):
    model = build(case)
    inputs = tiny_inputs(model, "ttttttvvvt", "..ttttttvt", "tttttttttt")
    logits = logits_in_pieces(model, inputs, [5, 1, 4])
    assert relative_error(logits[inputs.real], full_logits(model, inputs)[inputs.real]) < ROUNDING


@pytest.mark.parametrize("case", [case for case in FEW_CASES if case[0] != "mistral"], ids=case_id)
@pytest.mark.parametrize("pieces", [[1] * 10, [4, 3, 3], [9, 1]], ids=str)
def test_static_cache(case, pieces):
    """A static cache has unfilled slots, which no row may see."""
    model = build(case)
    inputs = tiny_inputs(model, *LAYOUTS)
    cache = StaticCache(config=model.config.text_config, max_cache_len=14)
    logits = logits_in_pieces(model, inputs, pieces, past_key_values=cache)
    assert relative_error(logits[inputs.real], full_logits(model, inputs)[inputs.real]) < ROUNDING


def test_a_static_cache_of_sliding_layers_only_is_refused():
    """It does not tell how many tokens the learners, which keep all of them, need room for."""
    model = tiny_model("mistral", "sdpa")
    cache = StaticCache(config=model.config.text_config, max_cache_len=14)
    with pytest.raises(ValueError, match="sliding"):
        logits_in_pieces(model, tiny_inputs(model, "ttvvtt"), [6], past_key_values=cache)


@few_cases
def test_the_callers_own_cache(case):
    """A plain ``DynamicCache`` that the caller made is extended in place."""
    model = build(case)
    inputs = tiny_inputs(model, *LAYOUTS)
    for cache in (DynamicCache(), DynamicCache(config=model.config.text_config)):
        logits = logits_in_pieces(model, inputs, [6, 4], past_key_values=cache)
        assert relative_error(logits[inputs.real], full_logits(model, inputs)[inputs.real]) < ROUNDING
        assert cache.get_seq_length() == 10


@pytest.mark.parametrize("case", [CASES[0], CASES[1], CASES[2]], ids=case_id)
def test_crop_then_continue(case):
    """After cropping the image off, another continuation equals a fresh computation of it."""
    model = build(case)
    first = tiny_inputs(model, "tttvvvtt", "ttttttvt")
    second = tiny_inputs(model, "tttttvtt", "ttttvttt", seed=5)
    for field in ("inputs_embeds", "mm_token_type_ids"):
        getattr(second, field)[:, :3] = getattr(first, field)[:, :3]
    with torch.no_grad():
        cache = model(**first.kwargs(), use_cache=True).past_key_values
        cache.crop(-5)
        assert cache.get_seq_length() == 3
        rest = second.columns(slice(3, 8)).kwargs(mask=False)
        logits = model(**rest, past_key_values=cache, use_cache=True).logits
    assert relative_error(logits, full_logits(model, second)[:, 3:]) < ROUNDING


@few_cases
def test_reordered_and_repeated_rows(case):
    """Beam search reorders rows, sampling repeats them: modality and positions go with the keys."""
    model = build(case)
    inputs = tiny_inputs(model, *LAYOUTS)
    order = torch.tensor([2, 0, 3, 3])
    start = {"attention_mask": inputs.attention_mask[:, :7], **inputs.columns(slice(0, 7)).kwargs(mask=False)}
    rest = inputs.columns(slice(7, 10)).kwargs(mask=False)
    with torch.no_grad():
        cache = model(**start, use_cache=True).past_key_values
        cache.reorder_cache(order)
        continued = {name: value[order] for name, value in rest.items()}
        mask = inputs.attention_mask[order]
        logits = model(**continued, attention_mask=mask, past_key_values=cache, use_cache=True).logits
        expected = full_logits(model, inputs)[order][:, 7:]
        assert relative_error(logits, expected) < ROUNDING

        cache = model(**start, use_cache=True).past_key_values
        cache.batch_repeat_interleave(2)
        repeated = {name: value.repeat_interleave(2, 0) for name, value in rest.items()}
        mask = inputs.attention_mask.repeat_interleave(2, 0)
        logits = model(**repeated, attention_mask=mask, past_key_values=cache, use_cache=True).logits
        assert relative_error(logits, full_logits(model, inputs)[:, 7:].repeat_interleave(2, 0)) < ROUNDING


def test_decoding_text_needs_no_modality():
    """Once the images are cached, ``mm_token_type_ids`` may be left out for text."""
    model = tiny_model("llama", "sdpa", learner_rope=True)
    inputs = tiny_inputs(model, "ttvvvttttt", "tvtttttttt")
    with torch.no_grad():
        cache = model(**inputs.columns(slice(0, 6)).kwargs(), use_cache=True).past_key_values
        rest = inputs.columns(slice(6, 10))
        logits = model(inputs_embeds=rest.inputs_embeds, past_key_values=cache, use_cache=True).logits
    assert relative_error(logits, full_logits(model, inputs)[:, 6:]) < ROUNDING


def test_a_cache_of_the_plain_backbone_is_refused():
    """Its tokens have no learner keys, and nothing can make them up."""
    model = tiny_model("llama", "sdpa")
    inputs = tiny_inputs(model, "tttttt")
    with torch.no_grad():
        foreign = DynamicCache()
        foreign.update(torch.zeros(1, 2, 3, 8), torch.zeros(1, 2, 3, 8), 0)
        with pytest.raises(ValueError, match="past_key_values"):
            model(inputs_embeds=inputs.inputs_embeds, past_key_values=foreign)


@pytest.mark.parametrize("kind", ["dynamic", "static"])
@torch.no_grad()
def test_a_cache_that_is_used_again_knows_nothing_of_old_weights(kind):
    """Decoding packs the learners' maps beside the cache."""
    model = tiny_model("llama", "sdpa")
    inputs = tiny_inputs(model, *LAYOUTS[:1])
    text = model.config.text_config
    cache = DynamicCache(config=text) if kind == "dynamic" else StaticCache(config=text, max_cache_len=16)
    pieces = [8, 1, 1]
    logits_in_pieces(model, inputs, pieces, past_key_values=cache)
    for name, parameter in model.named_parameters():
        if "_learner." in name:
            parameter.mul_(-1.5)
    cache.reset()
    if int(cache.get_seq_length()):
        pytest.skip("this version of transformers keeps the length of a dynamic cache that is reset")
    logits = logits_in_pieces(model, inputs, pieces, past_key_values=cache)
    assert relative_error(logits, full_logits(model, inputs)) < ROUNDING
