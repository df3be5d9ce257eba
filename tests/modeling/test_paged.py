# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Continuous batching against `generate`, one request at a time: the same tokens."""

import copy
import inspect

import pytest
import torch
import transformers
from packaging.version import Version
from test_images_and_generation import pixels
from tiny import tiny_model
from transformers import ContinuousBatchingConfig, GenerationConfig

from wings_hf import WingsForCausalLM

PATCHES = 9
NEW = 6
FAMILIES = {
    "llama": "sdpa",
    "qwen2": "eager",
    "qwen3": "sdpa",
    "mistral": "sdpa",  # all layers slide; the learners' heads are not the model's
    "gemma2": "eager",  # soft-cap; half of the layers slide
    "gemma3_text": "sdpa",
    "olmo2": "sdpa",
    "smollm3": "eager",
    "qwen3_moe": "sdpa",
    "granite": "sdpa",
    "cohere": "sdpa",
    "glm": "sdpa",
    "phi3": "eager",
}


def served_model(family: str = "llama", backend: str = "sdpa", text: dict | None = None, **options):
    return tiny_model(family, backend, vision="siglip", text={"eos_token_id": None, **(text or {})}, **options)


def prompt(model: WingsForCausalLM, layout: str, seed: int = 3) -> list[int]:
    """Ids for a layout in which ``I`` is a whole image and ``t`` text."""
    generator = torch.Generator().manual_seed(seed)
    ids: list[int] = []
    for kind in layout:
        ids += (
            [model.config.image_token_id] * PATCHES
            if kind == "I"
            else torch.randint(3, 99, (1,), generator=generator).tolist()
        )
    return ids


def settings(page: int = 4, **fields) -> dict:
    """Small pages and batches: prompts come in pieces, and requests wait for each other."""
    name = "page_size" if "page_size" in inspect.signature(ContinuousBatchingConfig).parameters else "block_size"
    generation = GenerationConfig(max_new_tokens=NEW, do_sample=False, eos_token_id=-1)
    fields = {"num_blocks": 256, "max_batch_tokens": 16, name: page, **fields}
    return {"generation_config": generation, "continuous_batching_config": ContinuousBatchingConfig(**fields)}


def one_by_one(
    model: WingsForCausalLM, prompts: list[list[int]], layouts: list[str], pixel_values=None
) -> list[list[int]]:
    """New tokens of `generate` for each prompt by itself."""
    results, start = [], 0
    for ids, layout in zip(prompts, layouts, strict=True):
        images = layout.count("I")
        inputs = {"pixel_values": pixel_values[start : start + images]} if images else {}
        start += images
        with torch.no_grad():
            made = model.generate(torch.tensor([ids]), max_new_tokens=NEW, do_sample=False, **inputs)
        results.append(made[0, len(ids) :].tolist())
    return results


def served(model: WingsForCausalLM, prompts: list[list[int]], pixel_values=None, **fields) -> list[list[int]]:
    results = model.generate_batch(prompts, pixel_values=pixel_values, **settings(**fields))
    assert [result.error for result in results.values()] == [None] * len(prompts)
    assert [result.prompt_ids for result in results.values()] == prompts
    return [result.generated_tokens for result in results.values()]


LAYOUTS = ["ttItttt", "tt", "IttttItttttttttttttttt", "tItIt", "tttttttttttttttttttttttttttt"]


def check(model: WingsForCausalLM, **fields) -> None:
    prompts = [prompt(model, layout, seed) for seed, layout in enumerate(LAYOUTS)]
    pixel_values = pixels(5)
    assert served(model, prompts, pixel_values, **fields) == one_by_one(model, prompts, LAYOUTS, pixel_values)
    texts = [prompt(model, layout, seed) for seed, layout in enumerate(["t" * 30, "tt", "ttt"])]
    assert served(model, texts, **fields) == one_by_one(model, texts, ["", "", ""])


FAST = ("llama", "gemma2")


@pytest.mark.parametrize(
    "family", [family if family in FAST else pytest.param(family, marks=pytest.mark.slow) for family in FAMILIES]
)
def test_same_tokens(family):
    check(served_model(family, FAMILIES[family]))


@pytest.mark.parametrize(
    "options",
    [
        {"router": "modality"},
        {"router": "mass"},
        *(
            pytest.param(options, marks=pytest.mark.slow)
            for options in (
                {"router": "uniform"},
                {"learner_scope": "visual_context"},
                {"learner_rope": True},
                {"learner_query": "post_attention"},
                {"learners": ("visual",)},
                {"learners": ()},
                {"learner_layers": [1]},
            )
        ),
    ],
    ids=lambda options: " ".join(map(str, next(iter(options.items())))),
)
def test_same_tokens_with_every_choice(options):
    check(served_model(**options))


def test_more_query_heads_than_key_heads():
    """The learners' keys are then spread over several of the cache's layers."""
    check(served_model(text={"num_attention_heads": 8, "num_key_value_heads": 1}))


@pytest.mark.slow
def test_whole_prompts_in_one_step():
    check(served_model(), max_batch_tokens=256)


def test_the_cache_is_read_back_exactly_in_low_precision():
    model = served_model(router="modality").to(torch.bfloat16)
    layouts = ["tIt", "tttt"]
    prompts = [prompt(model, layout) for layout in layouts]
    assert served(model, prompts, pixels(1).bfloat16()) == one_by_one(model, prompts, layouts, pixels(1).bfloat16())


def test_logits_of_every_step(monkeypatch):
    """The tokens above are an argmax; here the numbers under it, of three requests that share each step."""
    model = served_model(router="modality")
    layouts = ["tItt", "ttttt", "IIt"]
    prompts, pixel_values = [prompt(model, layout, seed) for seed, layout in enumerate(layouts)], pixels(3)
    steps = []
    with model.continuous_batching_context_manager(**settings(max_batch_tokens=64)) as manager:
        kind = type(manager.model)
        call = kind.__call__
        monkeypatch.setattr(kind, "__call__", lambda *args, **kwargs: steps.append(call(*args, **kwargs)) or steps[-1])
        ids = manager.add_requests(manager.model.admit(prompts, pixel_values), max_new_tokens=NEW)
        results = {}
        while len(results) < len(ids):
            result = manager.get_result(timeout=1)
            if result is not None and result.is_finished():
                results[result.request_id] = result
    start = 0
    for row, (tokens, layout) in enumerate(zip(prompts, layouts, strict=True)):
        inputs = {"pixel_values": pixel_values[start : start + layout.count("I")]} if "I" in layout else {}
        start += layout.count("I")
        whole = torch.tensor([tokens + results[ids[row]].generated_tokens])
        with torch.no_grad():
            expected = model(whole, **inputs).logits[0, len(tokens) - 1 : -1]
        made = [step.logits[0] for step in steps if step.logits.shape[1] == 3]
        assert len(made) == NEW
        # The manager sorts requests to share their beginnings: each row is somewhere in every step.
        for number, logits in enumerate(made):
            errors = (logits - expected[number]).abs().masked_fill(logits.isinf(), 0.0).amax(-1)
            assert errors.min() < 1e-4 * expected.abs().max()


def test_equal_images_share_their_beginning():
    model = served_model()
    a, b = pixels(2).split(1)
    tokens = prompt(model, "tIttt")
    prompts, pixel_values = [[*tokens, last] for last in (7, 8, 9)], torch.cat([a, a, b])
    expected = one_by_one(model, prompts, ["I", "I", "I"], pixel_values)
    with model.continuous_batching_context_manager(**settings()) as manager:
        paged = manager.model
        ids = paged.admit(prompts, pixel_values)
        assert ids[0][:-1] == ids[1][:-1] != ids[2][:-1]
        assert len(paged.features) == 2 * PATCHES
        made = []
        for tokens in ids:  # one after the other, so that the first has filled the cache
            request = manager.add_request(tokens, max_new_tokens=NEW)
            result = manager.get_result(request, timeout=60)
            made.append(result.generated_tokens)
        assert paged.with_placeholders(ids[2]) == prompts[2]
    assert made == expected


def test_several_answers_to_one_prompt():
    model = served_model()
    arguments = settings()
    arguments["generation_config"].num_return_sequences = 3
    tokens = prompt(model, "tItttt")
    results = model.generate_batch([tokens], pixel_values=pixels(1), **arguments)
    expected = one_by_one(model, [tokens], ["I"], pixels(1))[0]
    assert [result.generated_tokens for result in results.values()] == [expected] * len(results)
    assert len(results) == 3 or Version(transformers.__version__) < Version("5.23")  # which hands out the first alone


def test_one_tower_call_for_all_requests():
    model = served_model()
    images = []
    model.model.vision_tower.register_forward_pre_hook(
        lambda module, args, kwargs: images.append(len(args[0] if args else kwargs["pixel_values"])), with_kwargs=True
    )
    served(model, [prompt(model, "It"), prompt(model, "tII")], pixels(3))
    assert images == [3]


def test_the_placeholder_is_never_generated():
    model = served_model(image_token_id=50)
    with torch.no_grad():
        model.lm_head.weight[50] = 0
    tokens = [prompt(model, "tttt")]
    with torch.no_grad():
        logits = model(torch.tensor(tokens)).logits[0, -1]
        model.lm_head.weight[50] = model.lm_head.weight[logits.argmax()] * 3  # now the likeliest by far
        assert model(torch.tensor(tokens)).logits[0, -1].argmax() == 50
    made = served(model, tokens)
    assert made == one_by_one(model, tokens, [""]) and 50 not in made[0]


@pytest.mark.slow
def test_the_model_afterwards():
    model = served_model()
    tokens = [prompt(model, "tIt")]
    expected = one_by_one(model, tokens, ["I"], pixels(1))
    names, backend = set(model.state_dict()), model.config.text_config._attn_implementation
    for keep in (False, True):
        arguments = settings()
        for _ in range(2):
            results = model.generate_batch(tokens, pixel_values=pixels(1), persistent_manager=keep, **arguments)
            assert [result.generated_tokens for result in results.values()] == expected
    model.destroy_cached_continuous_batching_manager()
    assert set(model.state_dict()) == names and model.config.text_config._attn_implementation == backend
    assert model.config.text_config.num_hidden_layers == 2
    assert one_by_one(copy.deepcopy(model), tokens, ["I"], pixels(1)) == expected


# ---- refused -------------------------------------------------------------------------------------------------------


def test_images_that_do_not_match():
    model = served_model()
    with pytest.raises(ValueError, match="tokens: 9, features: 0"):
        model.generate_batch([prompt(model, "It")], **settings())
    with pytest.raises(ValueError, match="tokens: 9, features: 18"):
        model.generate_batch([prompt(model, "It")], pixel_values=pixels(2), **settings())


def test_backends_that_do_not_fit():
    model = served_model()
    model.config.text_config._attn_implementation = "flex_attention"
    with pytest.raises(ValueError, match="computes with eager or sdpa, this one is set to 'flex_attention'"):
        model.generate_batch([[5, 6]], **settings())
    with pytest.raises(ValueError, match="set_attn_implementation"):
        model.init_continuous_batching(**settings())


def test_released_semantics():
    model = served_model(semantics="released")
    with pytest.raises(ValueError, match="serves semantics='paper', this model has 'released'"):
        model.generate_batch([[5, 6]], **settings())


def test_prompts_longer_than_the_router():
    model = served_model(router_positions=16)
    with pytest.raises(ValueError, match="router_positions=16"):
        model.generate_batch([[5] * 12], **settings())
