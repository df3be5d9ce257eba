# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Bytes of the learners' cache beside the language model's, read off the caches that a model fills."""

from collections.abc import Iterator

import torch
from transformers import LlamaConfig

from speed.cases import CACHE_SHAPES, Shape
from wings_hf import WingsConfig, WingsForCausalLM

TOKENS = 64  # half of them visual


def tensors_in(thing: object) -> Iterator[torch.Tensor]:
    """All tensors that an object of a cache holds, in lists, dicts and attributes."""
    if isinstance(thing, torch.Tensor):
        yield thing
    elif isinstance(thing, (list, tuple)):
        for item in thing:
            yield from tensors_in(item)
    elif isinstance(thing, dict):
        yield from tensors_in(list(thing.values()))
    elif type(thing).__module__.startswith(("transformers.cache_utils", "wings_hf.")):
        yield from tensors_in(list(vars(thing).values()))


def bytes_of(thing: object) -> int:
    """Bytes of the different tensors in `thing`."""
    different = {id(tensor): tensor for tensor in tensors_in(thing)}
    return sum(tensor.nbytes for tensor in different.values())


@torch.no_grad()
def filled_cache(text: LlamaConfig, rank: int, form: str) -> tuple[int, int]:
    """Bytes that `TOKENS` tokens take in the language model's cache and in the learners'."""
    config = WingsConfig(
        text_config=text, vision_feature_size=64, learner_rank=rank, router_positions=TOKENS, learner_cache=form
    )
    config.dtype = text.dtype
    model = WingsForCausalLM._from_config(config).eval()
    ids = torch.full((1, TOKENS), config.image_token_id)
    ids[:, TOKENS // 2 :] = 3
    features = torch.zeros(1, TOKENS // 2, 64, dtype=model.dtype)
    cache = model(input_ids=ids, pixel_values=features, use_cache=True, logits_to_keep=1).past_key_values
    return bytes_of(cache.layers), bytes_of(cache.wings)


def measure_cache(name: str, form: str, bench: Shape) -> dict:
    """
    Bytes per token of both caches, for a shape of `CACHE_SHAPES` or "bench".

    Models of one and of two layers are run, and the difference stands for each further layer, so that what layers
    share counts once. Nothing else matters to a cache: the MLP and the vocabulary are tiny.
    """
    hidden, layers, heads, key_heads, head, dtype = (
        (bench.hidden, bench.layers, bench.heads, bench.key_heads, bench.hidden // bench.heads, bench.dtype)
        if name == "bench"
        else (*CACHE_SHAPES[name], "bfloat16")
    )
    main, wings = zip(
        *(
            filled_cache(
                LlamaConfig(
                    vocab_size=8,
                    hidden_size=hidden,
                    intermediate_size=8,
                    num_hidden_layers=count,
                    num_attention_heads=heads,
                    num_key_value_heads=key_heads,
                    head_dim=head,
                    dtype=dtype,
                ),
                max(hidden // 64, 1),
                form,
            )
            for count in (1, 2)
        ),
        strict=True,
    )
    main_bytes, wings_bytes = ((one + (layers - 1) * (two - one)) / TOKENS for one, two in (main, wings))
    return {"layers": layers, "main_bytes_per_token": main_bytes, "wings_bytes_per_token": wings_bytes}
