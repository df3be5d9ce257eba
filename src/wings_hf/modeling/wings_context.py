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

from wings_hf.modeling.wings_cache import Notes, past_classes, write_notes
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
    rope_tables: dict[RopeSpec, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    def owners(self, learner: str) -> torch.Tensor:
        """Positions of this call whose keys the learner sees, bool (b, s)."""
        return self.visual if learner == "visual" else self.textual

    def rope(self, spec: RopeSpec) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotary tables for this call's positions, made once for all layers that share a theta."""
        if spec not in self.rope_tables:
            self.rope_tables[spec] = spec.tables(self.positions)
        return self.rope_tables[spec]


def build_context(
    is_image: torch.Tensor,
    padding_mask: torch.Tensor | None,
    positions: torch.Tensor,
    samples: torch.Tensor | None,
    sees_images: bool,
    mask: Any,
    custom_mask: torch.Tensor | None,
    cache: Any,
    notes_layer: int,
) -> WingsContext:
    """
    Works out which rows see which modality, and notes this call's positions in the cache.

    Args:
        is_image: positions with an image feature, bool (b, s).
        padding_mask: False at padding, bool (b, s); `None` where there is none.
        positions: position ids, long (b, s).
        samples: index of the packed sample that each position belongs to, long (b, s); `None` where rows hold one.
        sees_images: see `WingsContext`.
        mask: causal mask of the learners for the attention backend.
        custom_mask: the same where the user gave it, (b, 1, s, t): it may be other than causal.
        cache: an extended cache or `None`.
        notes_layer: index of its layer of notes.
    """
    valid = torch.ones_like(is_image) if padding_mask is None else padding_mask
    visual, textual = is_image & valid, ~is_image & valid
    past = past_classes(cache, notes_layer)
    starts = None if samples is None else _sample_starts(samples)
    has_text = _any_before(textual, None if past is None else past > VISUAL, starts)
    if sees_images:
        has_visual = _any_before(visual, None if past is None else past == VISUAL, starts)
    else:
        has_visual = torch.zeros_like(has_text)
    text_class = torch.where(has_visual, TEXT_AFTER, TEXT_BEFORE)
    classes = torch.where(visual, VISUAL, torch.where(textual, text_class, NO_KEY))
    notes = ((classes, positions),) * 2 if cache is None else write_notes(cache, notes_layer, classes, positions)
    if custom_mask is not None:
        has_visual, has_text = _visible(custom_mask, notes[0][0])
    return WingsContext(
        visual=visual,
        textual=textual,
        present=torch.stack([has_visual, has_text], dim=-1),
        positions=positions,
        sees_images=sees_images,
        mask=mask,
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
