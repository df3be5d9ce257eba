# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
What the wings keep in a transformers `Cache`, as extra layers behind the language model's own.

    0 .. L-1          the language model's keys and values, untouched
    L .. L+n-1        the learners' keys and values, one layer per layer with learners, full length always
    L+n               notes on every past position: class of the key and position id, as integers
    L+n+1             the same notes in a layer of the backbone's sliding kind, where the backbone has one, so that
                      they line up with the keys which sliding layers return

As layers of the cache they follow crop, beam reordering, batch repetition, reset and offloading by themselves. The
cache object gets a class that counts the language model's layers only, as its users expect of `len(cache)`.
"""

import torch
from transformers import PreTrainedConfig
from transformers.cache_utils import (
    Cache,
    CacheLayerMixin,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    QuantizedLayer,
    StaticLayer,
    StaticSlidingWindowLayer,
)

from wings_hf.modeling.wings_classes import winged_class


class WingsCacheMixin:
    """A cache that holds the wings' layers behind those of the language model."""

    num_backbone_layers: int

    def __len__(self) -> int:
        return min(self.num_backbone_layers, len(self.layers))  # type: ignore[attr-defined]


def extend_cache(
    cache: Cache, config: PreTrainedConfig, num_learner_layers: int, static_length: int | None = None
) -> None:
    """
    Adds the wings' layers to an empty cache of the language model; does nothing where they are there.

    Args:
        cache: any cache of transformers that holds one layer per layer of the language model, or makes them lazily.
        config: the language model's configuration.
        num_learner_layers: how many layers carry learners.
        static_length: tokens that a static cache shall hold; read off its full layers where it has any.

    Raises:
        ValueError: if the cache holds tokens already but not the wings' part of them, or layers of a kind that
            attention does not keep.
    """
    backbone_layers = config.num_hidden_layers
    if isinstance(cache, WingsCacheMixin):
        return
    if cache.layer_class_to_replicate is not None:
        while len(cache.layers) < backbone_layers:
            cache.layers.append(cache.layer_class_to_replicate())
    if len(cache.layers) == backbone_layers and int(cache.get_seq_length()) > 0:
        raise ValueError(
            f"past_key_values holds {cache.get_seq_length()} tokens that were computed without the wings: expected an "
            "empty cache, or one that this model has filled."
        )
    cache.__class__ = winged_class(WingsCacheMixin, type(cache))
    cache.num_backbone_layers = backbone_layers
    if len(cache.layers) > backbone_layers:  # made again out of the layers of an extended cache
        return
    sliding = next((layer for layer in cache.layers if layer.is_sliding), None)
    full = next((layer for layer in cache.layers if not layer.is_sliding), None)
    if isinstance(full or sliding, StaticLayer):
        static_length = full.max_cache_len if full is not None else static_length
        if static_length is None:
            raise ValueError(
                "past_key_values is a static cache of sliding layers only, which does not tell how many tokens the "
                "learners must keep: expected cache_implementation='static' in generate, or a dynamic cache."
            )
    cache.layers.extend(_learner_layer(full, static_length) for _ in range(num_learner_layers))
    notes = _plain_layer(static_length)
    notes.saw_images = False
    cache.layers.append(notes)
    if sliding is not None:
        cache.layers.append(_sliding_layer(sliding))


def new_cache(config: PreTrainedConfig, num_learner_layers: int) -> DynamicCache:
    """An empty dynamic cache with room for the wings."""
    cache = DynamicCache(config=config)
    extend_cache(cache, config, num_learner_layers)
    return cache


def notes_index(config: PreTrainedConfig, num_learner_layers: int) -> int:
    """Index of the layer that holds notes on all past positions."""
    return config.num_hidden_layers + num_learner_layers


def _learner_layer(like: CacheLayerMixin | None, static_length: int | None) -> CacheLayerMixin:
    """A layer for learner keys and values: of the backbone's full kind, so quantised where that is."""
    if isinstance(like, QuantizedLayer):
        names = ("nbits", "axis_key", "axis_value", "q_group_size", "residual_length")
        return type(like)(**{name: getattr(like, name) for name in names})
    if like is not None and type(like) not in (DynamicLayer, StaticLayer):
        raise ValueError(
            f"past_key_values has layers of type {type(like).__name__}: expected a dynamic, static, offloaded or "
            "quantized cache of attention keys and values."
        )
    return _plain_layer(static_length)


def _plain_layer(static_length: int | None) -> CacheLayerMixin:
    return DynamicLayer() if static_length is None else StaticLayer(max_cache_len=static_length)


def _sliding_layer(like: CacheLayerMixin) -> CacheLayerMixin:
    if isinstance(like, StaticSlidingWindowLayer):
        return StaticSlidingWindowLayer(max_cache_len=like.max_cache_len, sliding_window=like.max_cache_len)
    layer = DynamicSlidingWindowLayer(sliding_window=like.sliding_window)
    layer.record_past = getattr(like, "record_past", False)
    return layer


def past_classes(cache: Cache | None, index: int) -> torch.Tensor | None:
    """Classes of all keys in the cache, long (b, t), `None` where it holds none."""
    if cache is None or not cache.layers[index].is_initialized:
        return None
    return cache.layers[index].keys[:, 0, :, 0]


def write_notes(
    cache: Cache, index: int, classes: torch.Tensor, positions: torch.Tensor
) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """
    Notes the new positions and returns the notes on all keys that full and sliding layers return.

    Args:
        cache: an extended cache.
        index: the notes layer.
        classes: classes of the new keys (wings_router.py), long (b, s).
        positions: position ids of the new keys, long (b, s).

    Returns:
        (classes, positions) for the keys of full layers, and for those of sliding ones, each (b, t).
    """
    new = [states[:, None, :, None] for states in (classes, positions)]  # (b, 1, s, 1)
    kept = [
        tuple(states[:, 0, :, 0] for states in cache.update(*new, layer_idx))
        for layer_idx in range(index, len(cache.layers))
    ]
    return kept[0], kept[-1]
