# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The latent form of the learners' cache: the tokens of the plain form, in less memory. See also test_cache.py."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassFieldValidationError
from test_images_and_generation import image_ids, pixels
from tiny import relative_error, tiny_config, tiny_inputs, tiny_model
from transformers import GenerationMixin, LlamaConfig, StaticCache

from wings_hf import WingsConfig, WingsForCausalLM

KINDS = {
    "dynamic": {},
    "static": {"cache_implementation": "static", "disable_compile": True},
    "beams": {"num_beams": 3},
    "sequences": {"do_sample": True, "num_return_sequences": 2},
    "chunked prefill": {"prefill_chunk_size": 5},
    "prompt lookup": {"prompt_lookup_num_tokens": 2},
}


@pytest.mark.parametrize("rope", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_tokens_in_every_kind_of_cache(kind, rope):
    if kind == "chunked prefill" and not hasattr(GenerationMixin, "_expand_multimodal_outputs"):
        pytest.skip("this version of transformers hands all images to the first chunk")
    model = tiny_model("llama", "sdpa", vision="siglip", learner_rope=rope)
    model.generation_config.eos_token_id = None
    layouts = ("ttItttt",) if kind == "prompt lookup" else ("ttItttt", ".tttIt.")
    inputs, images = image_ids(model, *layouts), pixels(len(layouts))
    tokens = {}
    for form in ("plain", "latent"):
        model.config.learner_cache = form
        torch.manual_seed(0)
        options = {"max_new_tokens": 8, "do_sample": False} | KINDS[kind]
        tokens[form] = model.generate(**inputs, pixel_values=images, return_dict_in_generate=True, **options)
        assert tokens[form].past_key_values.wings_latent == (form == "latent")
    assert torch.equal(tokens["plain"].sequences, tokens["latent"].sequences)


@pytest.mark.parametrize("rope", [True, False])
def test_gradients_go_through_a_latent_cache(rope):
    models = {form: tiny_model("llama", "sdpa", learner_rope=rope, learner_cache=form) for form in ("plain", "latent")}
    gradients = {}
    for form, model in models.items():
        inputs = tiny_inputs(model, "ttvvvttvtt").kwargs(False)
        embeds, types = inputs["inputs_embeds"], inputs["mm_token_type_ids"]
        first = model(inputs_embeds=embeds[:, :6], mm_token_type_ids=types[:, :6], use_cache=True)
        second = model(
            inputs_embeds=embeds[:, 6:], mm_token_type_ids=types[:, 6:], past_key_values=first.past_key_values
        )
        second.logits.square().sum().backward()
        gradients[form] = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert gradients["plain"].keys() == gradients["latent"].keys()
    for name, gradient in gradients["plain"].items():
        assert relative_error(gradients["latent"][name], gradient) < 1e-4, name


def cache_bytes(layers) -> int:
    return sum(states.nbytes for layer in layers for states in (layer.keys, layer.values) if states is not None)


@pytest.mark.parametrize("heads,key_heads,hidden,layers", [(28, 4, 3584, 28), (32, 8, 4096, 32)])
@torch.no_grad()
def test_size_beside_the_main_cache(heads, key_heads, hidden, layers):
    """At the attention shapes of Qwen2.5-7B and Llama-3.1-8B; two layers are run, the others are alike."""
    text = LlamaConfig(
        vocab_size=8,
        hidden_size=hidden,
        intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
    )
    sizes = {}
    for form in ("plain", "latent"):
        config = WingsConfig(text_config=text, vision_feature_size=4, learner_rank=64, learner_cache=form)
        model = WingsForCausalLM(config)
        cache = model(torch.tensor([[1, 2, 3, 4]]), use_cache=True).past_key_values
        main, per_layer, *shared = (
            cache_bytes(part) for part in (cache.layers, cache.wings.layers[:2], cache.wings.layers[3:])
        )
        sizes[form] = (per_layer / 2 * layers + sum(shared)) / (main / 2 * layers)
    assert sizes["plain"] == pytest.approx(heads / key_heads)
    assert sizes["latent"] <= 0.3


def test_a_static_cache_of_the_caller():
    model = tiny_model("llama", "sdpa", vision="siglip", learner_cache="latent")
    model.generation_config.eos_token_id = None
    inputs = image_ids(model, "ttItttt")
    cache = StaticCache(config=model.config.text_config, max_cache_len=64)
    options = {"pixel_values": pixels(1), "max_new_tokens": 6, "do_sample": False}
    wanted = model.generate(**inputs, **options)
    assert torch.equal(model.generate(**inputs, **options, past_key_values=cache, disable_compile=True), wanted)


def test_forms_that_are_not_there():
    with pytest.raises(StrictDataclassFieldValidationError, match="expected one of \\('plain', 'latent'\\), got small"):
        tiny_config("llama", learner_cache="small")
    model = tiny_model("qwen2", "sdpa", semantics="released", learner_cache="latent")
    with pytest.raises(ValueError, match=r"learner_cache='latent'.*'released'"):
        model(torch.tensor([[5, 6, 7]]), use_cache=True)
