# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`torch.compile` of the decode step on a static cache: one graph, no break, the same tokens."""

import shutil

import pytest
import torch
from tiny import tiny_model
from transformers import CompileConfig

from wings_hf.modeling import wings_generation

OPTIONS = [
    ("llama", {}),
    ("llama", {"router": "modality", "learner_rope": True}),
    ("llama", {"router": "mass", "learners": ("visual",)}),
    ("qwen2", {"learners": ("visual",)}),
    pytest.param("gemma3_text", {"learner_query": "post_attention"}, marks=pytest.mark.slow),
    pytest.param("phi3", {"learner_scope": "visual_context"}, marks=pytest.mark.slow),
]


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


def static_cache(model):
    """As `generate` makes it, for two rows of 32 tokens."""
    return model._prepare_static_cache(
        cache_implementation="static", batch_size=2, max_cache_len=32, prefill_chunk_size=None, model_kwargs={}
    )


@pytest.mark.parametrize(("family", "options"), OPTIONS)
def test_decode_step_is_one_graph(family, options):
    model = tiny_model(family, "sdpa", vision="siglip", **options)
    model.generation_config.eos_token_id = None  # no row ends early
    image = [model.config.image_token_id] * 9
    ids = torch.tensor([[0, 0, 5, *image, 6, 7], [5, *image, 6, 7, 8, 9]])
    mask = (ids != 0).long()
    pixels = torch.randn(2, 3, 12, 12)
    settings = {"max_new_tokens": 6, "do_sample": False}
    expected = model.generate(ids, attention_mask=mask, pixel_values=pixels, use_cache=False, **settings)

    compiled = torch.compile(model.forward, fullgraph=True, backend="eager")
    cache = static_cache(model)
    with torch.no_grad():
        inputs = model.prepare_inputs_for_generation(
            ids,
            past_key_values=cache,
            attention_mask=mask,
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
            is_first_iteration=True,
            pixel_values=pixels,
            use_cache=True,
        )
        logits = model(**inputs).logits[:, -1:]
        for _ in range(6):
            ids = torch.cat([ids, logits.argmax(-1)], dim=1)
            mask = torch.cat([mask, mask.new_ones(2, 1)], dim=1)
            positions = (mask.cumsum(-1) - 1)[:, -1:].contiguous()
            inputs = model.prepare_inputs_for_generation(
                ids,
                next_sequence_length=1,
                past_key_values=cache,
                attention_mask=mask,
                position_ids=positions,
                use_cache=True,
            )
            logits = compiled(**inputs).logits
    assert ids.tolist() == expected.tolist()
    assert not torch._dynamo.utils.counters["graph_break"]
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    slides = family == "gemma3_text"  # transformers' static sliding layers compile once more when they are full
    assert graphs <= (3 if slides else 1)


@pytest.mark.parametrize(("family", "backend"), [("llama", "sdpa"), ("llama", "eager"), ("gemma3_text", "sdpa")])
def test_learners_on_a_static_cache_share_the_mask_of_full_layers(family, backend, monkeypatch):
    """It is the one that would be made for them, and it is not made again."""
    model = tiny_model(family, backend)
    model.generation_config.eos_token_id = None
    cache = static_cache(model)
    call = {
        "input_ids": torch.tensor([[0, 0, 5, 6], [5, 6, 7, 8]]),
        "past_key_values": cache,
        "attention_mask": torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]]),
        "is_first_iteration": True,
    }
    made = []
    create = wings_generation.create_causal_mask
    monkeypatch.setattr(wings_generation, "create_causal_mask", lambda **given: made.append(create(**given)) or made[0])
    shared = model.prepare_inputs_for_generation(**call)["learner_attention_mask"]
    assert not made
    monkeypatch.setattr(wings_generation, "_full_mask", lambda *given: None)
    assert torch.equal(shared, model.prepare_inputs_for_generation(**call)["learner_attention_mask"])
    assert len(made) == 1


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="Inductor writes C++ for CPUs, and there is no compiler")
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # Inductor's own use
@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_generate_compiles_its_steps_on_a_cpu(family):
    """Code made by Inductor, through `generate` itself, gives the tokens of steps that are not compiled."""
    model = tiny_model(family, "sdpa", vision="siglip")
    model.generation_config.eos_token_id = None
    image = [model.config.image_token_id] * 9
    ids = torch.tensor([[0, 0, 5, *image, 6, 7], [5, *image, 6, 7, 8, 9]])
    inputs = {"input_ids": ids, "attention_mask": (ids != 0).long(), "pixel_values": torch.randn(2, 3, 12, 12)}
    settings = {"max_new_tokens": 8, "do_sample": False}
    expected = model.generate(**inputs, **settings)
    compile_config = CompileConfig(mode="default")
    compile_config._compile_all_devices = True
    settings |= {"cache_implementation": "static", "compile_config": compile_config}
    for _ in range(2):
        assert torch.equal(model.generate(**inputs, **settings), expected)
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert 1 <= graphs <= (3 if family == "gemma3_text" else 1)


@pytest.mark.slow
def test_training_step_compiles_without_breaks():
    model = tiny_model("llama", "sdpa", vision="siglip").train()
    ids = torch.tensor([[5, *[model.config.image_token_id] * 9, 6, 7, 8]])
    pixels = torch.randn(1, 3, 12, 12)
    expected = model(input_ids=ids, pixel_values=pixels, labels=ids.clamp(max=98), use_cache=False).loss
    compiled = torch.compile(model, backend="eager")
    loss = compiled(input_ids=ids, pixel_values=pixels, labels=ids.clamp(max=98), use_cache=False).loss
    loss.backward()
    assert torch.allclose(loss, expected)
