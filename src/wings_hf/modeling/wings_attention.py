# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Wings attention: `Att_wings = Att_main + g_V * out_V + g_T * out_T`, Eq. 5 of arXiv 2406.03496.

`WingsAttentionMixin` is put before a backbone's own attention class (wings_backbone.py). The main branch is the
backbone's `forward`, untouched but for the name under which it looks up its attention function; that one also returns
the router's logits (wings_main_attention.py).

Shapes: `b` batch, `s` query rows, `t` keys, `d` hidden size, `e` head size, `h` learner heads, `n` learners at work,
`r` rank.
"""

import sys
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn
from transformers import PreTrainedConfig

from wings_hf.modeling.wings_context import WingsContext
from wings_hf.modeling.wings_fused import (
    attend_latent_fused,
    attend_learners_fused,
    fuses_latent,
    fuses_learners,
)
from wings_hf.modeling.wings_latent import LatentKeys, own_low_states, remember_embeddings
from wings_hf.modeling.wings_learners import (
    MODALITY_COLUMNS,
    LearnerMaps,
    add_low_rank,
    add_outputs,
    append_key_columns,
    append_query_columns,
    project_down,
    project_keys_values,
    project_queries,
    split_heads,
)
from wings_hf.modeling.wings_main_attention import (
    AttentionConfigView,
    ModuleView,
    attention_function,
    plain_eager_attention,
)
from wings_hf.modeling.wings_packed import PackedLayer, can_pack
from wings_hf.modeling.wings_rope import RopeSpec
from wings_hf.modeling.wings_router import Router
from wings_hf.modeling.wings_split import SplitCall, attend_made, attend_split, in_reading_order, split_keys_values

# What FlashAttention needs to tell packed samples apart, for the learners as for the main branch.
PACKING_ARGUMENTS = ("position_ids", "cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")


class WingsAttentionMixin:
    """Adds learners and a router to a backbone's attention class; see the module's docstring."""

    config: PreTrainedConfig
    training: bool
    backbone_class: type[nn.Module]
    backbone_eager_attention: Callable
    learner_names: tuple[str, ...]
    learner_heads: int
    learner_rope: RopeSpec | None
    learner_cache_index: int
    visual_context_only: bool
    slides: bool
    router: Router | None

    def grow_wings(self, config: PreTrainedConfig, rope: RopeSpec | None, cache_index: int, slides: bool) -> None:
        """
        Turns a backbone's attention module into a winged one.

        Args:
            config: a `WingsConfig`.
            rope: rotary embedding of the learners, or `None`.
            cache_index: layer of the cache that keeps their keys and values.
            slides: whether the main branch reads a sliding window.
        """
        self.backbone_eager_attention = sys.modules[self.backbone_class.__module__].eager_attention_forward
        self.learner_names = config.learners
        self.learner_heads = config.learner_heads
        self.learner_rope = rope
        self.learner_cache_index = cache_index
        self.visual_context_only = config.learner_scope == "visual_context"
        self.slides = slides

    def forward(
        self,
        hidden_states: torch.Tensor,
        *args: Any,
        wings: WingsContext | Literal[False] | None = None,
        **kwargs: Any,
    ):
        """
        The backbone's attention, plus the learners; returns what the backbone's attention returns.

        Args:
            wings: what the learners know of the call; False in a call without wings, which is the backbone's alone.
        """
        if wings is None:
            raise RuntimeError(
                f"{type(self).__name__} was called without the `wings` argument that says where the images are: "
                "call WingsModel or WingsForCausalLM, not the language model inside. If you did, then this "
                "language model's decoder drops keyword arguments on the way to attention, and cannot carry wings."
            )
        main = ModuleView(self, config=AttentionConfigView(self.config))
        output, (weights, logits), *rest = self.backbone_class.forward(
            main, hidden_states, *args, wings=wings or None, **kwargs
        )
        if wings is False:
            return output, weights, *rest
        query_input = hidden_states if wings.residual_stream is None else wings.residual_stream(output)
        packing = {name: kwargs[name] for name in PACKING_ARGUMENTS if name in kwargs}
        return self.run_learners(output, query_input, wings, logits, packing), weights, *rest

    # ---- learners -------------------------------------------------------------------------------------------
    def learners_at_work(self, wings: WingsContext) -> tuple[str, ...]:
        """Learners that can add something in this call, as far as is known without asking the device."""
        if wings.sees_images:
            return self.learner_names
        return () if self.visual_context_only else tuple(name for name in self.learner_names if name != "visual")

    def run_learners(
        self,
        output: torch.Tensor,
        query_input: torch.Tensor,
        wings: WingsContext,
        logits: torch.Tensor | None,
        packing: dict[str, Any],
    ) -> torch.Tensor:
        """The attention output (b, s, d) with what all learners add to it; itself where no learner is at work."""
        names = self.learners_at_work(wings)
        if not names and wings.cache is None:
            return output
        packed = self._packed(names, query_input, wings)
        if packed is not None:
            low, ups = self.gather_packed(names, packed, query_input, wings), packed.o_b
        else:
            maps = {name: getattr(self, f"{name}_learner")(query_input) for name in self.learner_names}
            low = self.gather(names, maps, query_input, wings, packing)
            if not names:
                return output
            ups = torch.cat([maps[name].o_b for name in names])
        if wings.all_present(names) and ("visual" in names or not self.visual_context_only):
            return add_outputs(output, low, ups, self.gates(names, logits, None, wings), None)
        present = wings.present_of(names).to(output.device)
        gates = self.gates(names, logits, present, wings)
        return add_outputs(output, low, ups, gates, self.rows_added_to(names, present, wings))

    def gates(
        self, names: tuple[str, ...], logits: torch.Tensor | None, present: torch.Tensor | None, wings: WingsContext
    ) -> torch.Tensor | None:
        """Weights g of the learners `names`, float32 (b, s, n), see `LearnedRouter.gates`; `None` for weight 1."""
        if logits is None or self.router is None:
            return None
        return self.router.gates(logits, names, present, wings.present.to(logits.device))

    def rows_added_to(self, names: tuple[str, ...], present: torch.Tensor, wings: WingsContext) -> torch.Tensor:
        """Rows that get something from each of the learners `names`, bool (b, s, n), out of those `present`."""
        return present & wings.present[..., :1].to(present.device) if self.visual_context_only else present

    def gather(
        self,
        names: tuple[str, ...],
        maps: dict[str, LearnerMaps],
        query_input: torch.Tensor,
        wings: WingsContext,
        packing: dict[str, Any],
    ) -> torch.Tensor | None:
        """
        What each of the learners `names` gathers, mapped down, (b, s, n, r); fills the cache.

        There are three ways, with one result: in pieces where the host knows what lies where (wings_split.py); for
        one row, over all keys at once; else in one call of the backend, where extra columns keep the modalities apart.
        """
        self._pack(names, maps, wings)
        at_work = [maps[name] for name in names]
        split = wings.split() if names and query_input.device.type == "cpu" else None
        if split is not None:
            call = SplitCall(split, names, self.learner_heads, wings.rotation(self.learner_rope))
            if wings.latent:
                self._latent_keys(wings, maps, query_input.device)
            if wings.cache is None or torch.is_grad_enabled():
                if wings.cache is not None and not wings.latent:  # which takes what gradients go through
                    self.learner_keys_values(wings, maps, query_input.device)
                return attend_split(call, query_input, wings.x, at_work)
            made = split_keys_values(call, wings.x, maps)
            if not wings.latent:
                full = in_reading_order(call, made, *query_input.shape[:2])
                wings.cache.wings.update(*full, self.learner_cache_index)
            return attend_made(call, query_input, made, at_work)
        one_row = query_input.shape[1] == 1 and wings.plain
        mask = None if one_row or not names else wings.mask()  # made before the cache takes this call's keys
        if wings.latent:
            latent = self._latent_keys(wings, maps, query_input.device)
            if one_row and names:
                queries = self.row_queries(at_work, query_input, wings)
                return project_down(at_work, self._attend_latent(names, maps, queries, latent, wings))
            keys, values = latent.keys_values(maps, self.learner_heads) if names else (None, None)
        else:
            keys, values = self.learner_keys_values(wings, maps, query_input.device)
        if not names:
            return None
        if not one_row and fuses_learners(query_input, wings, keys.shape[-1]):
            queries = self.rotated_queries(at_work, query_input, wings)
            attended = attend_learners_fused(names, queries, keys, values, wings)
        elif one_row:
            queries = self.row_queries(at_work, query_input, wings)
            attended = self.attend_one_row(names, queries, keys, values, wings)
        else:
            attended = self.attend_learners(names, at_work, query_input, keys, values, mask, wings, packing)
        return project_down(at_work, attended)

    def _pack(self, names: tuple[str, ...], maps: dict[str, LearnerMaps], wings: WingsContext) -> None:
        """Packs the maps of this call for the decoding steps to come."""
        keeps = names and wings.cache is not None and wings.plain and not wings.latent and not torch.is_grad_enabled()
        if not keeps or wings.positions.shape[1] == 1 or torch.compiler.is_compiling():
            return
        if can_pack(names, self._learners(names)):
            wings.cache.wings_packed.add(self.learner_cache_index, names, maps, self.learner_rope)

    def _packed(self, names: tuple[str, ...], query_input: torch.Tensor, wings: WingsContext) -> PackedLayer | None:
        """This layer's packed maps, in a decoding step that can do with them."""
        if query_input.shape[1] > 1 or wings.cache is None or wings.brings_images or not wings.plain:
            return None
        learners = self._learners(names)
        if torch.is_grad_enabled() or not can_pack(names, learners):
            return None
        return wings.cache.wings_packed.layer(self.learner_cache_index, names, learners)

    def _learners(self, names: tuple[str, ...]) -> list[nn.Module]:
        return [getattr(self, f"{name}_learner") for name in names]

    def gather_packed(
        self, names: tuple[str, ...], packed: PackedLayer, query_input: torch.Tensor, wings: WingsContext
    ) -> torch.Tensor:
        """As `gather`, for one row of text and packed maps."""
        index = self.learner_cache_index
        keys, values = wings.once("keys of all layers", lambda: self._all_keys_values(wings))
        keys, values = wings.cache.wings.update(keys[index], values[index], index)
        queries = packed.queries(query_input).unflatten(-1, (self.learner_heads, -1)).permute(1, 2, 0, 3)
        queries = self._rotated_row(queries, wings)
        return packed.down(self.attend_one_row(names, queries, keys, values, wings).squeeze(1))

    def _all_keys_values(self, wings: WingsContext) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of one text position in all layers, each (L, b, h, 1, e)."""
        keys, values = wings.cache.wings_packed.keys_values(wings.x)
        keys, values = (states.unflatten(-1, (self.learner_heads, 1, -1)) for states in (keys, values))
        if self.learner_rope is not None:
            keys = self.learner_rope.rotate(keys, wings.rope(self.learner_rope))
        return keys, values

    def _latent_keys(self, wings: WingsContext, maps: dict[str, LearnerMaps], device: torch.device) -> LatentKeys:
        """Writes this call's states to a latent cache, and returns those of all positions."""
        x = wings.once("x of all keys", lambda: remember_embeddings(wings.cache, wings.x)).to(device)
        owned = {name: wings.owners(name).to(device) for name in maps} if wings.brings_images else None
        new = own_low_states(wings.x.to(device), maps, owned)
        keys, values = wings.cache.wings.update(*(states.unsqueeze(1) for states in new), self.learner_cache_index)
        owned = {name: wings.keys_of(name).to(device) for name in maps}
        rope = self.learner_rope
        tables = None if rope is None else wings.once(("keys", rope.key), lambda: rope.tables(wings.notes[0][1]))
        return LatentKeys(x, keys[:, 0], values[:, 0], owned, rope, tables)

    def _attend_latent(
        self,
        names: tuple[str, ...],
        maps: dict[str, LearnerMaps],
        queries: torch.Tensor,
        latent: LatentKeys,
        wings: WingsContext,
    ) -> torch.Tensor:
        """What each learner gathers from a latent cache for one row of queries (b, h, n, e): (b, 1, n, d)."""
        if fuses_latent(queries):
            return attend_latent_fused(names, maps, queries, latent, wings).unsqueeze(1)
        key = ("rotated x", None if self.learner_rope is None else self.learner_rope.key)
        rotated_x = wings.once(key, lambda: latent.rotated(split_heads(latent.x, self.learner_heads)))
        bias = wings.own_keys_only(names, torch.float32).to(queries.device)
        return latent.attend_one_row(queries, names, maps, bias, rotated_x.to(queries.device)).unsqueeze(1)

    def learner_keys_values(
        self, wings: WingsContext, maps: dict[str, LearnerMaps], device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of all positions, cached ones included, each (b, h, t, e)."""
        x = wings.x.to(device)
        if not wings.brings_images:
            only = maps.get("textual")
            keys, values = (x, x) if only is None else project_keys_values([only], x, None)
        else:
            owners = [wings.owners(name).to(device) for name in maps]
            keys, values = project_keys_values(list(maps.values()), x, owners)
        keys, values = split_heads(keys, self.learner_heads), split_heads(values, self.learner_heads)
        if self.learner_rope is not None:
            keys = self.learner_rope.rotate(keys, wings.rope(self.learner_rope))
        if wings.cache is not None:
            keys, values = wings.cache.wings.update(keys, values, self.learner_cache_index)
        return keys, values

    def row_queries(self, maps: list[LearnerMaps], query_input: torch.Tensor, wings: WingsContext) -> torch.Tensor:
        """Queries of one row, (b, h, n, e)."""
        rows = [add_low_rank(query_input, each.q_a, each.q_b) for each in maps]
        queries = torch.cat([split_heads(row, self.learner_heads) for row in rows], dim=2)
        return self._rotated_row(queries, wings)

    def _rotated_row(self, queries: torch.Tensor, wings: WingsContext) -> torch.Tensor:
        if self.learner_rope is None:
            return queries
        return self.learner_rope.rotate(queries, wings.rope(self.learner_rope))

    def attend_one_row(
        self,
        names: tuple[str, ...],
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        wings: WingsContext,
    ) -> torch.Tensor:
        """
        What each learner gathers for one row, (b, 1, n, d): all learners read keys and values in one pass.

        Args:
            queries: rotated, (b, h, n, e).
            keys, values: (b, h, t, e).
        """
        bias = wings.own_keys_only(names, queries.dtype).to(queries.device)
        attended = nn.functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=bias, scale=queries.shape[-1] ** -0.5
        )
        return attended.transpose(1, 2).flatten(2).unsqueeze(1)

    def rotated_queries(self, maps: list[LearnerMaps], query_input: torch.Tensor, wings: WingsContext) -> torch.Tensor:
        """Queries of several rows, (b, h, n, s, e)."""
        queries = project_queries(maps, query_input)  # (b, s, n, d)
        queries = queries.unflatten(-1, (self.learner_heads, -1)).permute(0, 3, 2, 1, 4)  # (b, h, n, s, e)
        if self.learner_rope is None:
            return queries
        rotated = self.learner_rope.rotate(queries.flatten(1, 2), wings.rope(self.learner_rope))
        return rotated.unflatten(1, (self.learner_heads, -1))

    def attend_learners(
        self,
        names: tuple[str, ...],
        maps: list[LearnerMaps],
        query_input: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        mask: Any,
        wings: WingsContext,
        packing: dict[str, Any],
    ) -> torch.Tensor:
        """What each learner gathers from the keys of its modality, (b, s, n, d): one grouped-query call for all."""
        foreign = [states.to(keys.device) for states in wings.foreign_keys(self.learner_names)]
        keys, values = append_key_columns(keys, foreign), nn.functional.pad(values, (0, MODALITY_COLUMNS))
        queries = self.rotated_queries(maps, query_input, wings)
        head_size = queries.shape[-1]
        queries = append_query_columns(queries, [self.learner_names.index(name) for name in names])
        view = ModuleView(
            self,
            num_key_value_groups=len(names),
            is_causal=True,
        )
        attended, _ = attention_function(view.config, plain_eager_attention)(
            view,
            queries.flatten(1, 2),
            keys,
            values,
            mask,
            dropout=0.0,
            scaling=head_size**-0.5,
            **packing,
        )  # (b, s, h * n, e + MODALITY_COLUMNS)
        attended = attended.unflatten(2, (self.learner_heads, len(names)))[..., :head_size]
        return attended.transpose(2, 3).flatten(3)  # (b, s, n, d)
