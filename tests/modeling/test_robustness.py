# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Where a model meets what surrounds it: autocast, idle parameters, offloading, resizing, careless labels."""

import pytest
import torch
from tiny import tiny_model
from transformers import DynamicCache

PIXELS = torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def image_row(model, *, types: bool = True) -> dict[str, torch.Tensor]:
    """A row of text, an image of nine tokens, and text."""
    ids = torch.tensor([[5, 6, *[model.config.image_token_id] * 9, 7, 8, 9]])
    inputs = {"input_ids": ids, "pixel_values": PIXELS, "attention_mask": torch.ones_like(ids)}
    return inputs | {"mm_token_type_ids": (ids == model.config.image_token_id).long()} if types else inputs


@pytest.mark.parametrize("backend", ["eager", "sdpa"])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float16, 0.01), (torch.bfloat16, 0.05)])
def test_autocast(backend, dtype, bound):
    model = tiny_model("llama", backend, vision="siglip")
    expected = model(**image_row(model)).logits
    with torch.autocast("cpu", dtype=dtype):
        logits = model(**image_row(model)).logits.float()
    assert (logits - expected).abs().max() < bound * expected.abs().max()
    logits.sin().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("scope", ["always", "visual_context"])
def test_a_training_batch_of_text_leaves_no_parameter_without_gradient(scope):
    """Processes that train on images beside it wait for the gradients of every parameter."""
    model = tiny_model("llama", "sdpa", vision="siglip", learner_scope=scope).train()
    ids = torch.randint(3, 90, (2, 7))
    model(ids, labels=ids).loss.backward()
    assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]


def test_stage_one_survives_a_batch_of_text():
    model = tiny_model("llama", "sdpa", vision="siglip", learners=("visual",)).train()
    model.model.language_model.requires_grad_(False)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("visual_learner" in name or "projector" in name)
    ids = torch.randint(3, 90, (1, 7))
    model(ids, labels=ids).loss.backward()
    assert all(not p.grad.any() for p in model.parameters() if p.grad is not None)


def test_labels_may_hold_placeholders():
    model = tiny_model("llama", "sdpa", vision="siglip")
    inputs = image_row(model)
    masked = inputs["input_ids"].masked_fill(inputs["mm_token_type_ids"] == 1, -100)
    assert torch.equal(model(**inputs, labels=inputs["input_ids"]).loss, model(**inputs, labels=masked).loss)


@pytest.mark.parametrize("family", ["llama", "qwen3_moe"])
def test_loss_after_resizing(family):
    model = tiny_model(family, "sdpa", image_token_id=150)
    model.resize_token_embeddings(110)
    ids = torch.randint(3, 90, (1, 7))
    assert model(ids, labels=ids).loss.isfinite()


def test_a_mask_that_does_not_cover_the_cache_is_refused():
    model = tiny_model("llama", "sdpa")
    cache = model(torch.randint(3, 90, (1, 6))).past_key_values
    with pytest.raises(ValueError, match="expected 10 columns, 6 for the tokens in the cache and 4"):
        model(torch.randint(3, 90, (1, 4)), attention_mask=torch.ones(1, 4), past_key_values=cache)


def test_a_cache_of_a_model_with_other_learners_is_refused():
    cache = tiny_model("llama", "sdpa", learner_layers=[0])(torch.randint(3, 90, (1, 6))).past_key_values
    with pytest.raises(ValueError, match="learners"):
        tiny_model("llama", "sdpa")(torch.randint(3, 90, (1, 4)), past_key_values=cache)


@pytest.mark.parametrize("image_token_id", [99, 57], ids=["past the vocabulary", "a row of it"])
@pytest.mark.parametrize("method", ["assistant", "prompt lookup"])
@pytest.mark.parametrize("types", [True, False])
def test_speculative_decoding(image_token_id, method, types):
    """With all that the processor returns; and the placeholder is never generated, though its logit be the largest."""
    model = tiny_model("llama", "sdpa", vision="siglip", image_token_id=image_token_id)
    model.generation_config.eos_token_id = None
    if image_token_id < 99:
        with torch.no_grad():
            model.lm_head.weight[image_token_id] = model.lm_head.weight.abs().sum(0)
    inputs = image_row(model, types=types)
    inputs["input_ids"][0, -2:] = inputs["input_ids"][0, :2]  # an n-gram whose match runs into the image
    settings = {"max_new_tokens": 8, "do_sample": False}
    expected = model.generate(**inputs, **settings)
    assert image_token_id not in expected[0, -8:]
    assistant = tiny_model("llama", "sdpa", seed=4, vision="siglip", image_token_id=image_token_id)
    helped = {"assistant_model": assistant} if method == "assistant" else {"prompt_lookup_num_tokens": 3}
    assert torch.equal(model.generate(**inputs, **settings, **helped), expected)


def test_repetition_penalty_with_a_placeholder_past_the_vocabulary():
    model = tiny_model("llama", "sdpa", vision="siglip")
    assert model.config.image_token_id >= model.config.text_config.vocab_size
    out = model.generate(**image_row(model), max_new_tokens=4, repetition_penalty=1.3, no_repeat_ngram_size=2)
    assert out.shape[1] == 18 or out[0, -1] == model.generation_config.eos_token_id


@pytest.mark.slow
def test_weights_offloaded_to_disk(tmp_path):
    accelerate = pytest.importorskip("accelerate")
    model = tiny_model("llama", "sdpa", vision="siglip")
    expected = model(**image_row(model)).logits
    places = {"model.vision_tower": "cpu", "model.multi_modal_projector": "cpu", "lm_head": "cpu"}
    places |= {f"model.language_model.{name}": "cpu" for name in ("embed_tokens", "norm", "rotary_emb")}
    places |= {"model.language_model.layers.0": "cpu", "model.language_model.layers.1": "disk"}
    model = accelerate.dispatch_model(model, places, main_device="cpu", offload_dir=tmp_path)
    assert torch.equal(model(**image_row(model)).logits, expected)


def test_a_cache_for_another_kind_of_layer_is_told():
    class OddLayer(type(DynamicCache(config=tiny_model().config.text_config).layers[0])):
        pass

    cache = DynamicCache(config=tiny_model().config.text_config)
    cache.layers = [OddLayer() for _ in cache.layers]
    with pytest.raises(ValueError, match="layers of type OddLayer"):
        tiny_model("llama", "sdpa")(torch.randint(3, 90, (1, 4)), past_key_values=cache)


@pytest.mark.parametrize(
    ("types", "named"), [([[0, 1]], "is a list"), (torch.zeros(1, 3, dtype=torch.long), r"shape \(1, 3\)")], ids=str
)
def test_types_of_another_form_raise(types, named):
    model = tiny_model("llama", "sdpa", vision="siglip")
    with pytest.raises(ValueError, match=rf"mm_token_type_ids .*{named}.*expected a tensor of shape \(1, 14\)"):
        model(**image_row(model) | {"mm_token_type_ids": types})
