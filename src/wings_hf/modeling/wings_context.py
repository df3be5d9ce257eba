# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
What the layers of one call share: where the images are, who sees what, and the initial embeddings.

It travels to the attention modules as one keyword argument, `wings`, that the decoder passes on.

Shapes: `b` batch, `s` positions of this call, `t` keys, cached ones included.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedConfig

from wings_hf.configuration.configuration_wings import LEARNERS
from wings_hf.modeling.wings_cache import Notes, past_classes, write_notes
from wings_hf.modeling.wings_masks import call_positions, check_router_length, learner_masks, packed_samples
from wings_hf.modeling.wings_rope import RopeSpec, RopeTables
from wings_hf.modeling.wings_router import NO_KEY, TEXT_AFTER, TEXT_BEFORE, VISUAL
from wings_hf.modeling.wings_split import Rotation, Split, make_split

LEAST_POSITIONS_PER_PIECE = 16  # with fewer, one call over all keys is faster than many small ones
OTHER = {"visual": "textual", "textual": "visual"}


@dataclass
class WingsContext:
    """
    Args:
        visual: positions of this call that hold an image feature and are no padding, bool (b, s).
        textual: positions that hold text and are no padding, bool (b, s).
        present: whether a visible visual, a visible textual key exists for the row, bool (b, s, 2).
        positions: position ids, long (b, s).
        sees_images: False where it is known, without asking the device, that no row has a visual key.
        brings_images: False where it is known that this call's positions hold text only.
        plain: whether a row sees all earlier keys of its sample, and no mask of the user says otherwise.
        keys_end_here: whether the last of the keys are this call's: not in a static cache, with its unfilled slots.
        starts: first position of each position's packed sample, long (b, s); `None` where a row is one sample.
        make_mask: makes the causal mask of the learners, in the form that the attention backend takes.
        make_split: sorts the positions by modality; `None` where the host does not know them.
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
    brings_images: bool
    plain: bool
    keys_end_here: bool
    starts: torch.Tensor | None
    make_mask: Callable[[], Any]
    make_split: Callable[[], Split] | None
    notes: tuple[Notes, Notes]
    cache: Any = None
    x: torch.Tensor | None = None
    residual_stream: Callable[[torch.Tensor], torch.Tensor] | None = None
    made: dict[Any, Any] = field(default_factory=dict)

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """What `make` gives, made for the first layer that asks and kept for the others."""
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

    @property
    def latent(self) -> bool:
        """Whether the cache keeps what keys and values are made of (wings_latent.py)."""
        return getattr(self.cache, "wings_latent", False)

    def owners(self, learner: str) -> torch.Tensor:
        """Positions of this call whose keys the learner sees, bool (b, s)."""
        return self.visual if learner == "visual" else self.textual

    def keys_of(self, learner: str) -> torch.Tensor:
        """Keys, cached ones included, that the learner sees, bool (b, t)."""
        classes = self.notes[0][0]
        return classes == VISUAL if learner == "visual" else classes > VISUAL

    def owner_index(self, learners: tuple[str, ...]) -> torch.Tensor:
        """Index in `learners` of the one that sees a key, -1 where none does, long (b, t)."""
        owner = torch.full_like(self.notes[0][0], -1)
        for index, name in enumerate(learners):
            owner = torch.where(self.keys_of(name), index, owner)
        return owner

    def foreign_keys(self, learners: tuple[str, ...]) -> list[torch.Tensor]:
        """For each learner the keys of the other modality, bool (b, t); padding is foreign to none."""
        return self.once("foreign", lambda: [self.keys_of(OTHER[name]) for name in learners])

    def own_keys_only(self, learners: tuple[str, ...], dtype: torch.dtype) -> torch.Tensor:
        """What a row that sees all keys adds to the scores of each learner, (b, 1, n, t): 0 for keys that it sees."""

        def make() -> torch.Tensor:
            own = torch.stack([self.keys_of(name) for name in learners], dim=1)
            bias = torch.zeros(own.shape, dtype=dtype, device=own.device)
            return bias.masked_fill(~own, torch.finfo(dtype).min).unsqueeze(1)

        return self.once(("own", learners, dtype), make)

    def present_of(self, learners: tuple[str, ...]) -> torch.Tensor:
        """Whether a visible key of each learner exists for the row, bool (b, s, n)."""
        return self.once(("present", learners), lambda: self.present[..., [LEARNERS.index(name) for name in learners]])

    def all_present(self, learners: tuple[str, ...]) -> bool:
        """Whether every row has a visible key of each learner, where the host can tell at no cost."""
        if not self.plain or not host_may_look(self.present):
            return False
        return self.once(("all present", learners), lambda: bool(self.present_of(learners).all()))

    def mask(self) -> Any:
        """The learners' causal mask."""
        return self.once("mask", self.make_mask)

    def split(self) -> Split | None:
        """The positions sorted by modality; `None` where the host does not know them, or it would not pay."""
        if self.make_split is None:
            return None
        split = self.once("split", self.make_split)
        return split if split.positions_per_piece() >= LEAST_POSITIONS_PER_PIECE else None

    def rope(self, spec: RopeSpec) -> RopeTables:
        """Rotary tables for this call's positions, (b, 1, s, p), made once for all layers that share a theta."""
        return self.once(spec.key, lambda: spec.tables(self.positions))

    def rotation(self, spec: RopeSpec | None) -> Rotation | None:
        """The same at the sorted positions of `split`."""
        if spec is None:
            return None

        def make() -> Rotation:
            sorted_positions = self.positions.flatten().index_select(0, self.split().order)
            cos, sin = spec.tables(sorted_positions.unsqueeze(0))  # (1, 1, N, p)
            return Rotation(spec, (cos[0, 0], sin[0, 0]))

        return self.once(("sorted", spec.key), make)


def host_may_look(states: torch.Tensor) -> bool:
    """Whether values decide what is done next: they are the host's, and nothing traces or transforms the call."""
    if states.device.type != "cpu" or type(states) not in (torch.Tensor, torch.nn.Parameter):
        return False
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    return not torch._C._are_functorch_transforms_active()


def make_context(
    config: PreTrainedConfig,
    text_config: PreTrainedConfig,
    inputs_embeds: torch.Tensor,
    is_image: torch.Tensor,
    images: int | None,
    attention_mask: Any,
    padding_mask: torch.Tensor | None,
    learner_mask: Any,
    plain_masks: bool,
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
        attention_mask, padding_mask, learner_mask, plain_masks, position_ids: see `WingsModel.forward`.
        cache: an extended cache or `None`.
    """
    masks = learner_masks(
        text_config, inputs_embeds, attention_mask, padding_mask, learner_mask, plain_masks, position_ids, cache
    )
    past = 0 if cache is None else cache.get_seq_length()
    positions = call_positions(inputs_embeds, masks.given, position_ids, past)
    check_router_length(config, positions, past, given=position_ids is not None)
    packed = position_ids is not None and attention_mask is None and cache is None
    samples = packed_samples(positions) if packed else None
    starts = None if samples is None else _sample_starts(samples)
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
    splits = (
        masks.plain
        and text_config._attn_implementation == "sdpa"
        and inputs_embeds.shape[1] > 1
        and past_keys is None
        and host_may_look(inputs_embeds)
    )
    return WingsContext(
        visual=visual,
        textual=textual,
        present=torch.stack([has_visual, has_text], dim=-1),
        positions=positions,
        sees_images=sees_images,
        brings_images=images != 0,
        plain=masks.plain,
        keys_end_here=cache is None or not cache.wings.is_compileable,
        starts=starts,
        make_mask=masks.make,
        make_split=partial(make_split, visual, textual, samples) if splits else None,
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
