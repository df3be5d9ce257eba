# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`torch.compile` of the decode step on a static cache: one graph, no break, the same tokens."""

import pytest
import torch
from tiny import tiny_model

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
    cache = model._prepare_static_cache(
        cache_implementation="static", batch_size=2, max_cache_len=32, prefill_chunk_size=None, model_kwargs={}
    )
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
