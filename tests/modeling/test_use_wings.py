# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`use_wings=False`: the language model alone, by a word to one call, whatever other threads do meanwhile."""

import threading

import pytest
import torch
from tiny import FAMILIES, NO_SDPA, TinyInputs, backbone_of, logits_in_pieces, tiny_inputs, tiny_model
from transformers import DynamicCache, StaticCache

from wings_hf.modeling.wings_cache import new_cache

BOTH = [(f, b) for f in FAMILIES for b in ("eager", "sdpa") if not (b == "sdpa" and f in NO_SDPA)]
LAYOUTS = ("ttvvvttv", "..vvttvt", "tttttt..")


def plain_arguments(inputs: TinyInputs) -> dict[str, torch.Tensor]:
    return {"inputs_embeds": inputs.inputs_embeds, "attention_mask": inputs.attention_mask}


@pytest.mark.parametrize(("family", "backend"), BOTH)
@torch.no_grad()
def test_equals_the_language_model_on_the_same_embeddings_bit_for_bit(family: str, backend: str) -> None:
    model = tiny_model(family, backend)
    inputs = tiny_inputs(model, *LAYOUTS)
    expected = backbone_of(model, backend)(**plain_arguments(inputs)).logits
    assert torch.equal(model(**inputs.kwargs(), use_wings=False).logits, expected)
    assert not torch.allclose(model(**inputs.kwargs()).logits, expected, atol=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"learner_query": "post_attention"},
        {"learner_scope": "visual_context", "router": "modality"},
        {"learners": ("visual",)},
        {"learners": ()},
        {"learner_cache": "latent"},
        {"semantics": "released"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
@torch.no_grad()
def test_whatever_the_wings_are(options: dict) -> None:
    if options.get("semantics") == "released":
        options = {**options, "system_prompt_length": 1}
    model = tiny_model("llama", "sdpa", **options)
    inputs = tiny_inputs(model, "ttvvvttt")
    expected = backbone_of(model, "sdpa")(**plain_arguments(inputs)).logits
    assert torch.equal(model(**inputs.kwargs(), use_wings=False).logits, expected)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_generates_what_the_language_model_generates(family: str, cache: str) -> None:
    model = tiny_model(family, "sdpa")
    backbone = backbone_of(model, "sdpa")
    inputs = tiny_inputs(model, "ttvvvttt", "..tvvvtt")
    options = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    if cache == "static":
        options |= {"cache_implementation": "static", "disable_compile": True}
    told = {"return_dict_in_generate": True, "output_logits": True, **options}
    found = model.generate(**inputs.kwargs(), use_wings=False, **told)
    expected = backbone.generate(**plain_arguments(inputs), **told)
    assert torch.equal(found.sequences, expected.sequences)
    assert torch.equal(torch.stack(found.logits), torch.stack(expected.logits))
    assert not torch.equal(model.generate(**inputs.kwargs(), **options), expected.sequences)


def test_pixels_are_seen_by_the_language_model_alone() -> None:
    model = tiny_model("llama", "sdpa", vision="siglip", image_token_id=98)
    ids = torch.tensor([[5, *[98] * 9, 6, 7]])
    pixels = torch.randn(1, 3, 12, 12)
    embeddings = model.get_input_embeddings()(ids)
    embeddings[0, 1:10] = model.get_image_features(pixels).pooler_output[0]
    with torch.no_grad():
        expected = backbone_of(model, "sdpa")(inputs_embeds=embeddings).logits
        assert torch.equal(model(input_ids=ids, pixel_values=pixels, use_wings=False).logits, expected)


@torch.no_grad()
def test_cached_without_wings_equals_uncached() -> None:
    model = tiny_model("llama", "eager")
    inputs = tiny_inputs(model, "ttvvttvt")
    whole = model(**inputs.kwargs(), use_wings=False).logits
    pieces = logits_in_pieces(model, inputs, [3, 4, 1], use_wings=False)
    torch.testing.assert_close(pieces, whole, atol=1e-5, rtol=1e-5)


def test_a_cache_is_of_one_kind() -> None:
    model = tiny_model("llama", "sdpa")
    inputs = tiny_inputs(model, "tttt").kwargs(mask=False)
    filled_with = model(**inputs, use_cache=True).past_key_values
    with pytest.raises(ValueError, match="4 tokens that were computed with the wings"):
        model(**inputs, past_key_values=filled_with, use_wings=False)
    filled_without = model(**inputs, use_cache=True, use_wings=False).past_key_values
    with pytest.raises(ValueError, match="4 tokens that were computed without the wings"):
        model(**inputs, past_key_values=filled_without)
    assert filled_with.get_seq_length() == filled_without.get_seq_length() == 4


@pytest.mark.parametrize("made", ["for wings", "static", "reset"])
def test_an_empty_cache_takes_either(made: str) -> None:
    model = tiny_model("llama", "sdpa")
    inputs = tiny_inputs(model, "tttt").kwargs(mask=False)
    if made == "static":
        cache = StaticCache(config=model.config.text_config, max_cache_len=8)
    else:
        cache = new_cache(model.config)
    if made == "reset":
        model(**inputs, past_key_values=cache)
        cache.reset()
    model(**inputs, past_key_values=cache, use_wings=False)
    assert type(cache) in (DynamicCache, StaticCache) and not [name for name in vars(cache) if "wings" in name]
    with pytest.raises(ValueError, match="without the wings"):
        model(**inputs, past_key_values=cache)


def test_the_position_routers_limit_is_not_the_language_models() -> None:
    model = tiny_model("llama", "sdpa", router_positions=4)
    inputs = tiny_inputs(model, "tttttttt")
    with pytest.raises(ValueError, match="router_positions=4"):
        model(**inputs.kwargs())
    model(**inputs.kwargs(), use_wings=False)
    model.generate(input_ids=inputs.input_ids, max_new_tokens=3, use_wings=False)


def test_threads_with_and_without_at_once() -> None:
    model = tiny_model("llama", "sdpa")
    inputs = tiny_inputs(model, "ttvvvttt").kwargs()
    expected = {use: model.generate(**inputs, max_new_tokens=6, use_wings=use).tolist() for use in (True, False)}
    assert expected[True] != expected[False]
    found: list[tuple[bool, list]] = []

    def ask(use: bool) -> None:
        for _ in range(5):
            found.append((use, model.generate(**inputs, max_new_tokens=6, use_wings=use).tolist()))

    threads = [threading.Thread(target=ask, args=(use,)) for use in (True, False, True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20 and all(tokens == expected[use] for use, tokens in found)


def test_training_without_wings_moves_no_wing() -> None:
    model = tiny_model("llama", "sdpa", vision="siglip", image_token_id=98).train()
    ids = torch.tensor([[5, *[98] * 9, 6, 7]])
    model(input_ids=ids, pixel_values=torch.randn(1, 3, 12, 12), labels=ids, use_wings=False).loss.backward()
    wings = [p for n, p in model.named_parameters() if "_learner." in n or ".router." in n]
    assert wings and all(p.grad is not None and not p.grad.any() for p in wings)
    assert model.model.multi_modal_projector.linear_1.weight.grad.any()


def test_gradient_checkpointing_without_wings() -> None:
    model = tiny_model("llama", "sdpa").train()
    inputs = tiny_inputs(model, "ttvvvttt")
    weight = model.model.language_model.layers[0].self_attn.q_proj.weight
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            (getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable)()
        model.zero_grad()
        embeddings = inputs.inputs_embeds.clone().requires_grad_()
        arguments = {**inputs.kwargs(), "inputs_embeds": embeddings, "labels": inputs.input_ids}
        model(**arguments, use_wings=False).loss.backward()
        gradients.append((weight.grad.clone(), embeddings.grad.clone()))
    for plain, checkpointed in zip(*gradients, strict=True):
        assert plain.any()
        torch.testing.assert_close(checkpointed, plain)


def test_continuous_batching_says_that_it_has_no_switch() -> None:
    model = tiny_model("llama", "sdpa")
    with pytest.raises(ValueError, match="use_wings=False"):
        model.generate_batch([[5, 6, 7]], max_new_tokens=2, use_wings=False)
