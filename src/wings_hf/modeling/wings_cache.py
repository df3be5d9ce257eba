# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
What the wings keep beside a transformers `Cache`: a second one, `cache.wings`, whose layers are

    0 .. n-1   the learners' keys and values, one layer per layer with learners, full length always; in latent form
               (`WingsConfig.learner_cache`, wings_latent.py) the rank-r states that these are made of
    n          notes on every past position: class of the key and position id, as integers
    n+1        the same notes in a layer of the backbone's sliding kind, where it has one, so that they line up with
               the keys which sliding layers return
    last       in latent form, the initial embeddings, once for all layers

The cache itself keeps the language model's layers and nothing else. Its object gets a class that repeats on `wings`
what is done to it: crop, beam reordering, batch repetition, reset.
"""

from typing import Any

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
from transformers.utils import logging

from wings_hf.modeling.wings_classes import winged_class
from wings_hf.modeling.wings_masks import packed_samples
from wings_hf.modeling.wings_packed import PackedLearners

logger = logging.get_logger(__name__)

ROOM_SHARE, ROOM_LEAST = 8, 64  # a layer that grows takes an eighth more than it needs, and 64 tokens at least

Notes = tuple[torch.Tensor, torch.Tensor]


class GrowingLayer(DynamicLayer):
    """
    A dynamic layer that writes new keys and values behind the old ones, into room taken ahead of need.

    `keys` and `values` are views of the filled part. Whoever replaces them (beam reordering, repetition, offloading)
    need not know: a view of anything but the room is copied into new room at the next update.
    """

    room: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        past = self.get_seq_length()
        if past == 0:  # nothing to write behind: what is made for the cache need not be copied
            self.keys, self.values = key_states, value_states
            return key_states, value_states
        if torch.is_grad_enabled() or torch.compiler.is_compiling():  # a graph may hold on to the past as it was
            return super().update(key_states, value_states, *args, **kwargs)
        length = past + key_states.shape[-2]
        if not self._has_room(length, (key_states, value_states)):
            self._take_room(length + max(length // ROOM_SHARE, ROOM_LEAST), (key_states, value_states))
        for room, states in zip(self.room, (key_states, value_states), strict=True):
            room[:, :, past:length] = states
        self.keys, self.values = (room[:, :, :length] for room in self.room)
        return self.keys, self.values

    def _take_room(self, length: int, new: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Room for `length` tokens, with those there are; one tensor after the other, to hold little twice."""
        past, self.room = self.keys.shape[-2], None
        rooms = []
        for name, states in zip(("keys", "values"), new, strict=True):
            old = getattr(self, name)
            dtype = torch.promote_types(old.dtype, states.dtype)  # autocast may come and go
            room = old.new_empty(*old.shape[:2], length, old.shape[-1], dtype=dtype)
            room[:, :, :past] = old
            setattr(self, name, room[:, :, :past])
            rooms.append(room)
        self.room = rooms[0], rooms[1]

    def _has_room(self, length: int, new: tuple[torch.Tensor, torch.Tensor]) -> bool:
        if self.room is None or length > self.room[0].shape[2]:
            return False
        if self.room[0].is_inference() and not torch.is_inference_mode_enabled():
            return False  # which torch allows nobody to write to
        return all(
            view.data_ptr() == room.data_ptr()
            and view.shape[:2] == room.shape[:2]
            and view.stride() == room.stride()
            and room.dtype == torch.promote_types(room.dtype, states.dtype)
            for room, view, states in zip(self.room, (self.keys, self.values), new, strict=True)
        )

    def offload(self) -> None:
        self.room = None
        super().offload()

    def reset(self) -> None:
        self.room = None
        super().reset()


class WingsCacheMixin:
    """A cache of the language model, with what the wings keep in `wings`."""

    wings: Cache
    wings_latent: bool
    wings_saw_images: bool
    wings_packed: PackedLearners

    def reset(self) -> None:
        super().reset()
        self.wings.reset()
        self.wings_packed.forget()
        self.wings_saw_images = False

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        super().reorder_cache(beam_idx)
        self.wings.reorder_cache(beam_idx)

    def crop(self, tokens_to_remove: int) -> None:
        super().crop(tokens_to_remove)
        self.wings.crop(tokens_to_remove)

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        self.wings.batch_repeat_interleave(repeats)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        super().batch_select_indices(indices)
        self.wings.batch_select_indices(indices)

    def activate_past_recording(self, *args: Any) -> None:
        super().activate_past_recording(*args)
        self.wings.activate_past_recording(*args)


def extend_cache(cache: Cache, config: PreTrainedConfig, static_length: int | None = None) -> None:
    """
    Gives an empty cache room for the wings; does nothing where it has.

    Args:
        cache: any cache of transformers for the language model's attention.
        config: a `WingsConfig`.
        static_length: tokens that a static cache shall hold; read off its full layers where it has any.

    Raises:
        ValueError: if the cache holds tokens already, or layers of a kind that attention does not keep; for a form of
            the learners' cache that the model has not.
    """
    num_learner_layers, latent = len(config.winged_layers), config.learner_cache == "latent"
    if latent and config.semantics != "paper":
        raise ValueError(f"learner_cache='latent': a model with semantics={config.semantics!r} has 'plain' only.")
    if isinstance(cache, WingsCacheMixin):
        if cache.wings_learner_layers != num_learner_layers:
            raise ValueError(
                f"past_key_values was filled by a model with learners in {cache.wings_learner_layers} layers, this one "
                f"has them in {num_learner_layers}: expected an empty cache, or one that this model has filled."
            )
        return
    if cache.layers and int(cache.get_seq_length()) > 0:
        raise ValueError(
            f"past_key_values holds {int(cache.get_seq_length())} tokens that were computed without the wings: "
            "expected an empty cache, or one that this model has filled."
        )
    sliding, full = _first_layer(cache, slides=True), _first_layer(cache, slides=False)
    if isinstance(full or sliding, StaticLayer):
        static_length = full.max_cache_len if full is not None else static_length
        if static_length is None:
            raise ValueError(
                "past_key_values is a static cache of sliding layers only, which does not tell how many tokens the "
                "learners must keep: expected cache_implementation='static' in generate, or a dynamic cache."
            )
    layers = [_learner_layer(full, static_length, latent) for _ in range(num_learner_layers)]
    layers.append(_plain_layer(static_length))
    if sliding is not None:
        layers.append(_sliding_layer(sliding))
    if latent:
        layers.append(_plain_layer(static_length))
    cache.__class__ = winged_class(WingsCacheMixin, type(cache))
    cache.wings = Cache(layers=layers, offloading=cache.offloading)
    cache.wings_latent = latent
    cache.wings_saw_images = False
    cache.wings_packed = PackedLearners(num_learner_layers, keeps_addresses=cache.wings.is_compileable)
    cache.wings_learner_layers = num_learner_layers


def retract_cache(cache: Cache | None) -> None:
    """
    Takes the room for the wings from an empty cache again, for calls without them; does nothing where there is none.

    Raises:
        ValueError: if the cache holds tokens.
    """
    if not isinstance(cache, WingsCacheMixin):
        return
    if int(cache.get_seq_length()) > 0:
        raise ValueError(
            f"past_key_values holds {int(cache.get_seq_length())} tokens that were computed with the wings, and this "
            "call has use_wings=False: expected an empty cache, or one that calls without the wings have filled."
        )
    cache.__class__ = type(cache).backbone_class
    for name in [name for name in vars(cache) if name.startswith("wings")]:
        delattr(cache, name)


def _first_layer(cache: Cache, slides: bool) -> CacheLayerMixin | None:
    for layer in cache.layers:
        if getattr(layer, "is_sliding", False) == slides:
            return layer
    return None


def new_cache(config: PreTrainedConfig) -> DynamicCache:
    """An empty dynamic cache for the language model of a `WingsConfig`, with room for the wings."""
    cache = DynamicCache(config=config.text_config)
    extend_cache(cache, config)
    return cache


def prepare_cache(
    config: PreTrainedConfig,
    cache: Cache | None,
    use_cache: bool | None,
    packable: torch.Tensor | None,
    keeps_activations: bool,
) -> tuple[Cache | None, bool]:
    """
    The cache of a call with room for the wings, made here where one is wanted and none given; and whether it is used.

    Args:
        config: a `WingsConfig`.
        packable: position ids (b, s) that may mark packed samples, which a cache would not keep apart.
        keeps_activations: False under gradient checkpointing, which computes layers again and can fill no cache.

    Raises:
        ValueError: for packed samples and `use_cache=True`.
    """
    if cache is not None:
        extend_cache(cache, config)
        return cache, use_cache is not False
    if use_cache and packable is not None and bool(packed_samples(packable).any()):
        raise ValueError(
            "position_ids restart within a row, which marks packed samples, but use_cache=True keeps none apart: "
            "expected use_cache=False."
        )
    if use_cache is None:
        use_cache = config.use_cache and packable is None
    if not keeps_activations:
        if use_cache:
            logger.warning_once("use_cache=True is incompatible with gradient checkpointing: no cache is kept.")
        use_cache = False
    return (new_cache(config) if use_cache else None), use_cache


def _learner_layer(like: CacheLayerMixin | None, static_length: int | None, latent: bool) -> CacheLayerMixin:
    """A layer for what learners keep: of the backbone's full kind, so quantised where that is and keys are kept."""
    if isinstance(like, QuantizedLayer) and latent:
        return _plain_layer(static_length)
    if isinstance(like, QuantizedLayer):
        names = ("nbits", "axis_key", "axis_value", "q_group_size", "residual_length")
        return type(like)(**{name: getattr(like, name) for name in names})
    if like is not None and type(like) not in (DynamicLayer, StaticLayer):
        raise ValueError(
            f"past_key_values has layers of type {type(like).__name__}: expected a dynamic, static, offloaded, "
            "quanto or hqq cache of attention keys and values."
        )
    return _plain_layer(static_length)


def _plain_layer(static_length: int | None) -> CacheLayerMixin:
    return GrowingLayer() if static_length is None else StaticLayer(max_cache_len=static_length)


def _sliding_layer(like: CacheLayerMixin) -> CacheLayerMixin:
    if isinstance(like, StaticSlidingWindowLayer):
        return StaticSlidingWindowLayer(max_cache_len=like.max_cache_len, sliding_window=like.max_cache_len)
    layer = DynamicSlidingWindowLayer(sliding_window=like.sliding_window)
    layer.record_past = getattr(like, "record_past", False)
    return layer


def past_classes(cache: WingsCacheMixin | None, notes_layer: int) -> torch.Tensor | None:
    """Classes of all keys in the cache, long (b, t), `None` where it holds none."""
    if cache is None or not cache.wings.layers[notes_layer].is_initialized:
        return None
    return cache.wings.layers[notes_layer].keys[:, 0, :, 0]


def write_notes(
    cache: WingsCacheMixin, notes_layer: int, classes: torch.Tensor, positions: torch.Tensor
) -> tuple[Notes, Notes]:
    """
    Notes the new positions and returns the notes on all keys that full and sliding layers return.

    Args:
        cache: an extended cache.
        notes_layer: index of the layer of notes, the number of layers with learners.
        classes: classes of the new keys (wings_router.py), long (b, s).
        positions: position ids of the new keys, long (b, s).

    Returns:
        (classes, positions) for the keys of full layers, and for those of sliding ones, each (b, t).
    """
    new = [states[:, None, :, None] for states in (classes, positions)]  # (b, 1, s, 1)
    kept = []
    for index in range(notes_layer, len(cache.wings.layers) - cache.wings_latent):
        known_classes, known_positions = cache.wings.update(*new, index)
        kept.append((known_classes[:, 0, :, 0], known_positions[:, 0, :, 0]))
    return kept[0], kept[-1]
