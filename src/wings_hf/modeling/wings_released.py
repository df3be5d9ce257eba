# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
`semantics="released"`: what the code that the paper's authors published computes, each row as if alone in its batch.

It differs from the canonical semantics in which keys a learner sees, and in nothing else here:

    visual     the image, from every row, those before it included
    textual    without an image, or with one in front: every token of the row, each row those up to itself
               else: the tokens between the system prompt and the image, and those after it, *compacted*: row i sees the
               first i + 1 of them, and with that some of its own future
    weights    where the row has an image anywhere, the router blends both learners; else the textual one has weight 1

So a row depends on tokens after it, and a cache is exact for the prompt that is computed in one call; what is generated
afterwards sees the prompt's rows as they were then (docs/released_checkpoint.md).

Shapes: `b` batch, `s` positions of this call, `t` keys, `d` hidden size, `h` learner heads, `e` learner head size, `n`
learners.
"""

from dataclasses import dataclass, field, fields
from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.utils import torch_compilable_check

from wings_hf.modeling.wings_attention import WingsAttentionMixin
from wings_hf.modeling.wings_cache import past_classes
from wings_hf.modeling.wings_context import WingsContext, make_context
from wings_hf.modeling.wings_learners import LearnerMaps, project_queries, split_heads
from wings_hf.modeling.wings_main_attention import ModuleView, attention_function, plain_eager_attention
from wings_hf.modeling.wings_masks import packed_samples
from wings_hf.modeling.wings_router import NO_KEY, VISUAL

BACKENDS = ("eager", "sdpa")


@dataclass
class ReleasedContext(WingsContext):
    """
    Args:
        found: for each learner, whether the row sees a key, bool (b, s).
        reads: for each learner, which keys each row reads, bool (b, s, t): those that it sees, or all where it sees
            none, whose result is left out.
    """

    found: dict[str, torch.Tensor] = field(default_factory=dict)
    reads: dict[str, torch.Tensor] = field(default_factory=dict)


def make_released_context(
    config: PreTrainedConfig,
    text_config: PreTrainedConfig,
    inputs_embeds: torch.Tensor,
    is_image: torch.Tensor,
    **call: Any,
) -> ReleasedContext:
    """
    As [`make_context`].

    Raises:
        ValueError: for what the released code has no answer to: more than one image in a row, packed samples, masks
            other than padding, a backend that takes no masks.
    """
    _check_backend(text_config)
    cache, images = call["cache"], call["images"]
    if call["position_ids"] is not None and call["attention_mask"] is None and cache is None:
        torch_compilable_check(
            packed_samples(call["position_ids"]) == 0,
            "position_ids restart within a row: semantics='released' knows no packed samples.",
        )
    if call["learner_mask"] is None:
        _check_mask(call["attention_mask"])
    past = past_classes(cache, len(config.winged_layers))
    _check_images(is_image, images, None if past is None else (past == VISUAL).any(-1))
    canonical = make_context(config, text_config, inputs_embeds, is_image, **call)
    classes = canonical.notes[0][0]
    index = _row_index(classes, canonical.visual | canonical.textual)
    sees = {
        "visual": (classes == VISUAL).unsqueeze(1).expand(-1, index.shape[1], -1),
        "textual": _text_in_sight(classes, index, config.system_prompt_length),
    }
    has_image = (classes == VISUAL).any(-1, keepdim=True)
    present = torch.stack([has_image, torch.ones_like(has_image)], dim=-1).expand(-1, index.shape[1], -1)
    values = {item.name: getattr(canonical, item.name) for item in fields(canonical)}
    values |= {"present": present, "plain": False, "make_mask": lambda: None, "make_split": None}
    found = {name: seen.any(-1) for name, seen in sees.items()}
    reads = {name: seen | ~found[name].unsqueeze(-1) for name, seen in sees.items()}
    return ReleasedContext(**values, reads=reads, found=found)


def _row_index(classes: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Each position's number among its row's tokens, those in the cache included, padding left out, long (b, s)."""
    before = (classes != NO_KEY).sum(-1, keepdim=True) - real.sum(-1, keepdim=True)
    return before + real.long().cumsum(-1) - 1


def _text_in_sight(classes: torch.Tensor, index: torch.Tensor, system_prompt_length: int) -> torch.Tensor:
    """
    Which keys the textual learner's rows see, bool (b, s, t).

    Args:
        classes: of all keys, (b, t).
        index: of the rows, (b, s).
    """
    real, visual = classes != NO_KEY, classes == VISUAL
    key_index = real.long().cumsum(-1) - 1
    after_image = visual.long().cumsum(-1) > 0
    image_first = (visual & (key_index == 0)).any(-1, keepdim=True)
    split = visual.any(-1, keepdim=True) & ~image_first
    chosen = real & (~split | (~visual & ((key_index >= system_prompt_length) | after_image)))
    column = chosen.long().cumsum(-1) - 1  # of the key once the chosen ones are compacted
    return chosen.unsqueeze(1) & (column.unsqueeze(1) <= index.unsqueeze(-1))


def _check_backend(text_config: PreTrainedConfig) -> None:
    backend = text_config._attn_implementation
    if backend not in BACKENDS:
        raise ValueError(
            f"attn_implementation={backend!r}: with semantics='released' a learner's rows see tokens after them, which "
            f"needs a mask: expected one of {', '.join(BACKENDS)}."
        )


def _check_mask(attention_mask: Any) -> None:
    if isinstance(attention_mask, dict):  # prepared by `generate`; no mask for full attention is plain causal
        attention_mask = attention_mask.get("full_attention")
    if attention_mask is None or (isinstance(attention_mask, torch.Tensor) and attention_mask.ndim == 2):
        return
    shape = f" of shape {tuple(attention_mask.shape)}" if isinstance(attention_mask, torch.Tensor) else ""
    raise ValueError(
        f"attention_mask is a {type(attention_mask).__name__}{shape}: semantics='released' says itself which keys a "
        "learner sees, expected (batch, tokens) with 1 for tokens and 0 for padding."
    )


def _check_images(is_image: torch.Tensor, images: int | None, had_image: torch.Tensor | None) -> None:
    """Raises where a row has more than one image. Asks the device, in calls that bring images."""
    if images == 0 or torch.compiler.is_compiling():
        return
    starts = is_image.clone()
    starts[:, 1:] &= ~is_image[:, :-1]
    counts = starts.sum(-1)
    if had_image is not None:
        counts = counts + had_image.to(counts.device)
    rows_with_image = int(is_image.any(-1).sum())
    if bool((counts > 1).any()) or (images is not None and images > rows_with_image):
        raise ValueError(
            f"semantics='released': a row has more than one image ({'?' if images is None else images} new ones in "
            f"{rows_with_image} rows), but the released code reads only the first image of a row into its learners, so "
            "there is no released answer: expected at most one, its tokens in one call (prefill_chunk_size may cut it "
            "in two). The canonical semantics takes any number (wings-hf causalize)."
        )


class ReleasedAttentionMixin(WingsAttentionMixin):
    """Learners that see what the released code shows them; their keys are cached for both maps side by side."""

    def rows_added_to(self, names: tuple[str, ...], present: torch.Tensor, wings: ReleasedContext) -> torch.Tensor:
        """Rows that see a key of each of the learners `names`, bool (b, s, n); the router counts others, too."""
        return torch.stack([wings.found[name].to(present.device) for name in names], dim=-1)

    def learner_keys_values(
        self, wings: ReleasedContext, maps: dict[str, LearnerMaps], device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of every position in the maps of each learner, cached ones included, (b, n, h, t, e)."""
        x, of_all, heads = wings.x.to(device), maps.values(), self.learner_heads
        keys = torch.cat([split_heads(x + x @ m.k_a @ m.k_b, heads) for m in of_all], dim=1)
        values = torch.cat([split_heads(x + x @ m.v_a @ m.v_b, heads) for m in of_all], dim=1)
        keys = self.learner_rope.rotate(keys, wings.rope(self.learner_rope))  # (b, n * h, s, e)
        if wings.cache is not None:
            keys, values = wings.cache.wings.update(keys, values, self.learner_cache_index)
        return keys.unflatten(1, (len(maps), -1)), values.unflatten(1, (len(maps), -1))

    def attend_learners(
        self,
        names: tuple[str, ...],
        maps: list[LearnerMaps],
        query_input: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        mask: Any,
        wings: ReleasedContext,
        packing: dict[str, Any],
    ) -> torch.Tensor:
        """What each learner gathers from the keys that it is shown, (b, s, n, d): a call for each."""
        queries = project_queries(maps, query_input)  # (b, s, n, d)
        places = [self.learner_names.index(name) for name in names]
        attended = [
            self._attend(queries[..., i, :], keys[:, place], values[:, place], wings.reads[name], wings)
            for i, (name, place) in enumerate(zip(names, places, strict=True))
        ]
        return torch.stack(attended, dim=-2)

    def _attend(
        self,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        reads: torch.Tensor,
        wings: ReleasedContext,
    ) -> torch.Tensor:
        """One learner's attention, (b, s, d): queries (b, s, d), keys and values (b, h, t, e), `reads` (b, s, t)."""
        queries = self.learner_rope.rotate(split_heads(queries, self.learner_heads), wings.rope(self.learner_rope))
        mask = reads.to(queries.device).unsqueeze(1)
        view = ModuleView(self, num_key_value_groups=1, is_causal=False)
        if self.config._attn_implementation == "eager":
            mask = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, torch.finfo(torch.float32).min)
        attend = attention_function(self.config, plain_eager_attention)
        scaling = queries.shape[-1] ** -0.5
        attended, _ = attend(view, queries, keys, values, mask, dropout=0.0, scaling=scaling)
        return attended.flatten(2)
