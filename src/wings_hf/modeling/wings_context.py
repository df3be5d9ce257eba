# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
What the layers of one call share: where the images are, who sees what, and the initial embeddings.

It travels to the attention modules as one keyword argument, `wings`, that the decoder passes on.

Shapes: `b` batch, `s` positions of this call, `t` keys, cached ones included.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import PreTrainedConfig

from wings_hf.modeling.wings_cache import Notes, past_classes, write_notes
from wings_hf.modeling.wings_masks import call_positions, check_router_length, learner_masks, packed_samples
from wings_hf.modeling.wings_rope import RopeSpec
from wings_hf.modeling.wings_router import NO_KEY, TEXT_AFTER, TEXT_BEFORE, VISUAL


@dataclass
class WingsContext:
    """
    Args:
        visual: positions of this call that hold an image feature and are no padding, bool (b, s).
        textual: positions that hold text and are no padding, bool (b, s).
        present: whether a visible visual, a visible textual key exists for the row, bool (b, s, 2).
        positions: position ids, long (b, s).
        sees_images: False where it is known, without asking the device, that no row has a visual key.
        mask: causal mask of the learners, in the form that the attention backend takes.
        notes: class and position of every key that full and that sliding layers return, each (b, t).
        cache: the extended cache, or `None`.
        x: initial embeddings, (b, s, d): what the first layer receives. Set there.
        residual_stream: for `learner_query="post_attention"`: attention output -> residual stream after it.
    """

    visual: torch.Tensor
    textual: torch.Tensor
    present: torch.Tensor
    positions: torch.Tensor
    sees_images: bool
    mask: Any
    notes: tuple[Notes, Notes]
    cache: Any = None
    x: torch.Tensor | None = None
    residual_stream: Callable[[torch.Tensor], torch.Tensor] | None = None
    rope_tables: dict[tuple, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    def owners(self, learner: str) -> torch.Tensor:
        """Positions of this call whose keys the learner sees, bool (b, s)."""
        return self.visual if learner == "visual" else self.textual

    def foreign(self, learner: str) -> torch.Tensor:
        """Positions of this call that hold the other modality, bool (b, s)."""
        return self.textual if learner == "visual" else self.visual

    def rope(self, spec: RopeSpec) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotary tables for this call's positions, made once for all layers that share a theta."""
        if spec.key not in self.rope_tables:
            self.rope_tables[spec.key] = spec.tables(self.positions)
        return self.rope_tables[spec.key]


def make_context(
    config: PreTrainedConfig,
    text_config: PreTrainedConfig,
    inputs_embeds: torch.Tensor,
    is_image: torch.Tensor,
    images: int | None,
    attention_mask: Any,
    padding_mask: torch.Tensor | None,
    learner_mask: Any,
    position_ids: torch.Tensor | None,
    cache: Any,
) -> WingsContext:
    """
    Works out which rows see which modality, and notes this call's positions in the cache.

    Args:
        config: a `WingsConfig`.
        text_config: the language model's configuration, with the attention backend.
        inputs_embeds: merged embeddings, (b, s, d).
        is_image: positions with an image feature, bool (b, s).
        images: how many images the call brings; `None` where the host does not know.
        attention_mask, padding_mask, learner_mask, position_ids: see `WingsModel.forward`.
        cache: an extended cache or `None`.
    """
    masks = learner_masks(text_config, inputs_embeds, attention_mask, padding_mask, learner_mask, position_ids, cache)
    past = 0 if cache is None else cache.get_seq_length()
    positions = call_positions(inputs_embeds, masks.given, position_ids, past)
    check_router_length(config, positions, past, given=position_ids is not None)
    packed = position_ids is not None and attention_mask is None and cache is None
    starts = _sample_starts(packed_samples(positions)) if packed else None
    sees_images = images != 0 or (cache is not None and cache.wings_saw_images)
    if cache is not None:
        cache.wings_saw_images = sees_images

    valid = torch.ones_like(is_image) if masks.padding is None else masks.padding
    visual, textual = is_image & valid, ~is_image & valid
    notes_layer = len(config.winged_layers)
    past_keys = past_classes(cache, notes_layer)
    has_text = _any_before(textual, None if past_keys is None else past_keys > VISUAL, starts)
    if sees_images:
        has_visual = _any_before(visual, None if past_keys is None else past_keys == VISUAL, starts)
    else:
        has_visual = torch.zeros_like(has_text)
    text_class = torch.where(has_visual, TEXT_AFTER, TEXT_BEFORE)
    classes = torch.where(visual, VISUAL, torch.where(textual, text_class, NO_KEY))
    notes = ((classes, positions),) * 2 if cache is None else write_notes(cache, notes_layer, classes, positions)
    if masks.custom is not None:
        has_visual, has_text = _visible(masks.custom, notes[0][0])
    return WingsContext(
        visual=visual,
        textual=textual,
        present=torch.stack([has_visual, has_text], dim=-1),
        positions=positions,
        sees_images=sees_images,
        mask=masks.attention,
        notes=notes,
        cache=cache,
    )


def _visible(mask: torch.Tensor, classes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Whether each row of a mask (b, 1, s, t) lets a visual, a textual key of `classes` (b, t) through, bool (b, s)."""
    allowed = mask[:, 0] if mask.dtype == torch.bool else mask[:, 0] > torch.finfo(mask.dtype).min / 2
    classes = classes[:, None, : allowed.shape[-1]]
    return (allowed & (classes == VISUAL)).any(-1), (allowed & (classes > VISUAL)).any(-1)


def _sample_starts(samples: torch.Tensor) -> torch.Tensor:
    """Index of the first position of each position's packed sample, long (b, s)."""
    index = torch.arange(samples.shape[1], device=samples.device).expand_as(samples)
    first = torch.ones_like(samples, dtype=torch.bool)
    first[:, 1:] = samples[:, 1:] != samples[:, :-1]
    return torch.where(first, index, 0).cummax(-1).values


def _any_before(owned: torch.Tensor, past: torch.Tensor | None, starts: torch.Tensor | None) -> torch.Tensor:
    """Whether a position at or before each one, in its sample, is `owned`; or any of the `past`. Bool (b, s)."""
    counts = owned.long().cumsum(-1)
    if starts is not None:
        counts = counts - (counts - owned.long()).gather(-1, starts)
    found = counts > 0
    return found if past is None else found | past.any(-1, keepdim=True)
