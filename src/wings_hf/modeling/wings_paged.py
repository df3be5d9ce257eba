# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Continuous batching: `generate_batch` and `init_continuous_batching` of transformers, with learners and with images.

The manager of transformers packs the new tokens of many requests into one row and keeps all keys and values in a
paged cache. It runs any object that has what it asks of a model; here that is `PagedWings`, which changes two things:

- The paged cache is made for a language model with some layers more. They hold the learners' keys and values and the
  notes on every token, so that whatever the manager does to a request's blocks (sharing of equal beginnings, copies
  for several answers, eviction) is done to them.
- Requests are lists of token ids. Each feature of an image gets an id of its own past the vocabulary, the same one
  wherever the same image comes again: equal beginnings are shared with images, too.

To the layers it is an ordinary call with a cache, one row and an explicit mask, which the eager and sdpa backends take.

Shapes: `s` new tokens of all requests, `t` keys of all requests, `d` hidden size, `K` key heads, `e` head size.
"""

import copy
import inspect
import math
from typing import Any

import torch
from torch import nn
from transformers import GenerationMixin, LogitsProcessorList, PreTrainedConfig
from transformers.cache_utils import Cache

from wings_hf.modeling.wings_context import WingsContext
from wings_hf.modeling.wings_feature_cache import image_keys
from wings_hf.modeling.wings_masks import check_router_length
from wings_hf.modeling.wings_router import TEXT_AFTER, TEXT_BEFORE, VISUAL

BACKENDS = ("eager", "sdpa")


class WingsContinuousBatchingMixin:
    """The entry points of continuous batching for a `WingsForCausalLM`."""

    def generate_batch(
        self, inputs: list[list[int]], *args: Any, pixel_values: torch.Tensor | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """
        As in transformers, and with images.

        Args:
            inputs: token ids of each request; an image stands there as in `forward`, one placeholder per feature.
            pixel_values: (images, channels, height, width), in reading order over the requests.

        Raises:
            ValueError: where images and placeholders do not match, for a model that it cannot serve, or for
                `use_wings=False`, which it does not know.
        """
        if not kwargs.pop("use_wings", True):
            raise ValueError("generate_batch has no use_wings=False: expected `generate`, which takes it.")
        paged = self._paged(keep=kwargs.get("persistent_manager", False))
        generation_config = kwargs.get("generation_config") or (args[0] if args else None) or self.generation_config
        new = kwargs.get("max_new_tokens") or generation_config.max_new_tokens or 0
        paged.check_length(max(map(len, inputs), default=0) + new)
        results = paged.generate_batch(paged.admit(inputs, pixel_values), *args, **kwargs)
        for result in results.values():
            result.prompt_ids = paged.with_placeholders(result.prompt_ids)
        return results

    def init_continuous_batching(self, *args: Any, **kwargs: Any) -> Any:
        """
        As in transformers. A request with images is added as `manager.model.admit([input_ids], pixel_values)[0]`.
        """
        return self._paged().init_continuous_batching(*args, **kwargs)

    def continuous_batching_context_manager(self, *args: Any, **kwargs: Any) -> Any:
        """As in transformers, see `init_continuous_batching`."""
        paged = self._paged(keep=kwargs.get("persistent_manager", False))
        return paged.continuous_batching_context_manager(*args, **kwargs)

    def destroy_cached_continuous_batching_manager(self) -> None:
        """As in transformers."""
        paged = self.__dict__.pop("_paged_wings", None)
        if paged is not None:
            paged.destroy_cached_continuous_batching_manager()

    def _paged(self, keep: bool = False) -> "PagedWings":
        paged = self.__dict__.get("_paged_wings") or PagedWings(self)
        if keep:
            self.__dict__["_paged_wings"] = paged  # beside the module's parts: it has no weights of its own
        return paged


class PagedWings:
    """
    What the manager of continuous batching takes for the model.

    Args:
        model: a `WingsForCausalLM`.

    Raises:
        ValueError: for a model whose calls do not fit the manager's; the message says why.
    """

    _supports_flash_attn = False  # packed rows are told apart by an explicit mask here

    init_continuous_batching = GenerationMixin.init_continuous_batching
    continuous_batching_context_manager = GenerationMixin.continuous_batching_context_manager
    generate_batch = GenerationMixin.generate_batch
    destroy_cached_continuous_batching_manager = GenerationMixin.destroy_cached_continuous_batching_manager

    def __init__(self, model: Any):
        config = model.config
        backend = config.text_config._attn_implementation
        if config.semantics != "paper":
            raise ValueError(
                f"Continuous batching serves semantics='paper', this model has {config.semantics!r}: use `generate`, "
                "which takes batches of padded rows."
            )
        if backend not in BACKENDS:
            raise ValueError(
                f"Continuous batching of a Wings model computes with {' or '.join(BACKENDS)}, this one is set to "
                f"{backend!r}: call model.set_attn_implementation('sdpa') first, or use `generate`."
            )
        self.model = model
        self.config = PagedConfig(model.config, backend)
        self.first_image_id = max(config.text_config.vocab_size, config.image_token_id + 1)
        self.features: torch.Tensor | None = None  # of all images so far, (f, d)
        self._known: dict[bytes, range] = {}  # image -> its ids

    # ---- what the manager asks of a model -------------------------------------------------------------------
    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    @property
    def generation_config(self) -> Any:
        return self.model.generation_config

    def eval(self) -> "PagedWings":
        self.model.eval()
        return self

    def set_attn_implementation(self, name: str) -> None:
        """Notes the paged name by which the manager goes; the layers get a mask, and keep their own."""
        self.config.paged_backend = name

    def _get_logits_processor(self, *args: Any, **kwargs: Any) -> LogitsProcessorList:
        # Without the guard of `generate`: the placeholder is kept out in `__call__`.
        return GenerationMixin._get_logits_processor(self.model, *args, **kwargs)

    def _supports_logits_to_keep(self) -> bool:
        return True

    # ---- images ---------------------------------------------------------------------------------------------
    @torch.no_grad()
    def admit(self, inputs: list[list[int]], pixel_values: torch.Tensor | None = None) -> list[list[int]]:
        """
        Token ids for the manager: each image placeholder becomes the id of its feature.

        Args:
            inputs: token ids of each request, lists of integers.
            pixel_values: (images, channels, height, width), in reading order over the requests.

        Raises:
            ValueError: where images and placeholders do not match.
        """
        placeholder = self.model.config.image_token_id
        ids = [] if pixel_values is None else [token for image in self._encode(pixel_values) for token in image]
        wanted = sum(token == placeholder for tokens in inputs for token in tokens)
        if wanted != len(ids):
            raise ValueError(
                f"Image features and image tokens do not match, tokens: {wanted}, features: {len(ids)}. Each image "
                "needs one placeholder, which the processor turns into as many tokens as it has features."
            )
        unused = iter(ids)
        return [[next(unused) if token == placeholder else int(token) for token in tokens] for tokens in inputs]

    def check_length(self, tokens: int) -> None:
        """Raises where the position router has no row for the last of so many tokens."""
        check_router_length(self.model.config, torch.tensor([[tokens - 1]]), past=tokens, given=True)

    def with_placeholders(self, tokens: list[int]) -> list[int]:
        """Token ids as they were before `admit`."""
        return [self.model.config.image_token_id if token >= self.first_image_id else token for token in tokens]

    def _encode(self, pixel_values: torch.Tensor) -> list[range]:
        """The ids of each image; the tower sees those that it has not seen yet, in one call."""
        keys = image_keys(pixel_values)
        new = {key: index for index, key in enumerate(keys) if key not in self._known}
        if new:
            features = self.model.get_image_features(pixel_values[list(new.values())], return_dict=True).pooler_output
            start = self.first_image_id + (0 if self.features is None else len(self.features))
            for key, image in zip(new, features, strict=True):
                self._known[key] = range(start, start + len(image))
                start += len(image)
            known = [] if self.features is None else [self.features]
            self.features = torch.cat([*known, *features])  # in one step: the manager's thread may be reading
        return [self._known[key] for key in keys]

    # ---- a step ---------------------------------------------------------------------------------------------
    @torch.no_grad()
    def __call__(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_mask: torch.Tensor | dict[str, torch.Tensor],
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Any,
    ) -> Any:
        """
        Logits of one step of the manager.

        Args:
            input_ids, position_ids: new tokens of all requests, one after the other, (1, s).
            attention_mask: additive masks (1, 1, s, t) that keep requests apart; a dictionary by kind of layer where
                the cache has both.
            kwargs: where tokens stand in the paged cache.

        Returns:
            the output of the causal head.
        """
        model, config = self.model, self.model.config
        masks = attention_mask if isinstance(attention_mask, dict) else {"full_attention": attention_mask}
        step = PagedStep(self.config, kwargs, input_ids, position_ids)
        features = self.features
        is_image = input_ids >= self.first_image_id
        embeds = model.get_input_embeddings()(input_ids.masked_fill(is_image, 0))
        if features is not None:
            rows = (input_ids - self.first_image_id).clamp(min=0)
            embeds = torch.where(is_image.unsqueeze(-1), features.to(embeds)[rows], embeds)
        context = {}
        if config.learners:
            check_router_length(config, position_ids.long(), past=config.router_positions, given=True)
            context["wings"] = step.context(masks["full_attention"], is_image, sees_images=features is not None)
        kinds = set(self.config.kinds)
        outputs = model.model.language_model(
            inputs_embeds=embeds,
            attention_mask=masks[kinds.pop()] if len(kinds) == 1 else masks,
            position_ids=position_ids.long(),
            past_key_values=step.cache,
            use_cache=True,
            return_dict=True,
            **context,
        )
        result = model.causal_head(model, outputs, attention_mask=None, labels=None, logits_to_keep=logits_to_keep)
        if config.image_token_id < result.logits.shape[-1]:  # the placeholder is never generated
            result.logits[..., config.image_token_id] = -float("inf")
        return result


class PagedConfig:
    """A `WingsConfig` whose language model has the layers more that hold what the wings keep."""

    def __init__(self, config: PreTrainedConfig, backend: str):
        self.wings_config, self.paged_backend = config, backend
        text = config.text_config
        self.layers = text.num_hidden_layers
        self.kinds = list(getattr(text, "layer_types", None) or [])
        if not self.kinds:
            slides = getattr(text, "sliding_window", None) is not None
            self.kinds = ["sliding_attention" if slides else "full_attention"] * self.layers
        self.key_heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        self.head_size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        width = text.hidden_size if config.learners else 0
        self.layers_per_learner = math.ceil(width / (self.key_heads * self.head_size))
        self.full_notes = self.layers + self.layers_per_learner * len(config.winged_layers)
        self.sliding_notes = self.full_notes + 1
        self.more_kinds = ["full_attention"] * (self.full_notes + 1 - self.layers)
        if "sliding_attention" in self.kinds:
            self.more_kinds.append("sliding_attention")
        if not config.learners:
            self.more_kinds = []

    def __getattr__(self, name: str) -> Any:
        if name == "wings_config":  # while it is being copied
            raise AttributeError(name)
        return getattr(self.wings_config, name)

    @property
    def _attn_implementation(self) -> str:
        return self.paged_backend

    @property
    def eos_token_id(self) -> Any:
        return getattr(self.wings_config.text_config, "eos_token_id", None)

    def get_text_config(self, *args: Any, **kwargs: Any) -> PreTrainedConfig:
        text = copy.deepcopy(self.wings_config.text_config)
        text._attn_implementation = self.paged_backend
        text.layer_types = self.kinds + self.more_kinds
        text.num_hidden_layers = len(text.layer_types)
        return text

    def learner_layers(self, index: int) -> range:
        """Layers of the paged cache that hold what one layer's learners keep."""
        start = self.layers + index * self.layers_per_learner
        return range(start, start + self.layers_per_learner)


class PagedStep:
    """
    One step: where its tokens stand in the paged cache.

    Args:
        config: the configuration that the paged cache was made for.
        arguments: `cache`, `read_index`, `write_index`, `cu_seq_lens_q`, `cu_seq_lens_k`, `max_length_k`.
        input_ids, positions: (1, s).
    """

    def __init__(
        self, config: PagedConfig, arguments: dict[str, Any], input_ids: torch.Tensor, positions: torch.Tensor
    ):
        self.config, self.arguments, self.positions = config, arguments, positions.long()
        self.paged = arguments["cache"]
        self.takes_arguments = "kwargs" in inspect.signature(self.paged.update).parameters  # since 5.23
        self.cache = PagedCacheView(self)

    def update(self, keys: torch.Tensor, values: torch.Tensor, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes (1, K, s, e) into a layer of the paged cache and returns all that the step reads, (1, K, t, e)."""
        places = {name: self.arguments[name] for name in ("read_index", "write_index")}
        if self.takes_arguments:
            places |= {name: self.arguments[name] for name in ("cu_seq_lens_k", "max_length_k")}
            return self.paged.update(keys, values, layer, kwargs=places)
        kept = self.paged.update(keys, values, layer, **places)
        return tuple(states.transpose(0, 1).unsqueeze(0) for states in kept)

    def update_learners(
        self, keys: torch.Tensor, values: torch.Tensor, index: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same for learner keys and values (1, h, s, width), spread over several layers of the paged cache."""
        heads, width = keys.shape[1], keys.shape[-1]
        parts = [self._split(states, len(self.config.learner_layers(index))) for states in (keys, values)]
        kept = [
            self.update(key.contiguous(), value.contiguous(), layer)
            for key, value, layer in zip(*parts, self.config.learner_layers(index), strict=True)
        ]
        return tuple(_join(list(states), heads, width) for states in zip(*kept, strict=True))

    def _split(self, states: torch.Tensor, count: int) -> list[torch.Tensor]:
        """(1, h, s, width) -> `count` of (1, K, s, e), with zeros at the end."""
        flat = states.transpose(1, 2).flatten(2)  # (1, s, h * width)
        size = self.config.key_heads * self.config.head_size
        flat = nn.functional.pad(flat, (0, count * size - flat.shape[-1]))
        parts = flat.unflatten(-1, (count, self.config.key_heads, self.config.head_size))
        return [part.transpose(1, 2) for part in parts.unbind(2)]

    def context(self, mask: torch.Tensor, is_image: torch.Tensor, sees_images: bool) -> WingsContext:
        """
        What the layers share.

        Args:
            mask: additive causal mask of all requests, (1, 1, s, t).
            is_image: which of the tokens are image features, bool (1, s).
            sees_images: whether any request so far had an image.
        """
        classes = torch.where(is_image, VISUAL, TEXT_BEFORE)
        noted = self._note(classes, self.config.full_notes)
        visible = mask[0, 0] > torch.finfo(mask.dtype).min / 2  # (s, t)
        has_text = (visible & (noted != VISUAL)).any(-1).unsqueeze(0)
        has_visual = torch.zeros_like(has_text)
        if sees_images:
            has_visual = (visible & (noted == VISUAL)).any(-1).unsqueeze(0)
            classes = torch.where(has_visual & ~is_image, TEXT_AFTER, classes)
            noted = self._note(classes, self.config.full_notes)  # once more, now that rows know what they see
        notes = [(noted, self._key_positions("full_attention"))]
        if "sliding_attention" in self.config.kinds:
            noted = self._note(classes, self.config.sliding_notes)
            notes.append((noted, self._key_positions("sliding_attention")))
        return WingsContext(
            visual=is_image,
            textual=~is_image,
            present=torch.stack([has_visual, has_text], dim=-1),
            positions=self.positions,
            sees_images=sees_images,
            brings_images=sees_images,
            plain=False,
            keys_end_here=False,
            starts=None,
            make_mask=lambda: mask,
            make_split=None,
            notes=(notes[0], notes[-1]),
            cache=self.cache,
        )

    def _note(self, classes: torch.Tensor, layer: int) -> torch.Tensor:
        """Classes of all keys, (1, t): small integers, which every dtype of a cache holds exactly."""
        shape = (1, self.config.key_heads, classes.shape[1], self.config.head_size)
        states = classes[:, None, :, None].to(self.paged.dtype).expand(shape).contiguous()
        return self.update(states, states, layer)[0][:, 0, :, 0].long()

    def _key_positions(self, kind: str) -> torch.Tensor:
        """Positions of all keys, (1, t): each request's are consecutive and end with its last new token's."""
        bounds_q, bounds_k = self.arguments["cu_seq_lens_q"].long(), self.arguments["cu_seq_lens_k"]
        bounds_k = (bounds_k[kind] if isinstance(bounds_k, dict) else bounds_k).long()
        counts = bounds_k.diff()
        last = self.positions[0, (bounds_q[1:] - 1).clamp(min=0)]
        requests = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
        places = torch.arange(len(requests), device=counts.device) - bounds_k[requests]
        return (last - counts + 1)[requests].unsqueeze(0) + places


def _join(parts: list[torch.Tensor], heads: int, width: int) -> torch.Tensor:
    """Parts (1, K, t, e) -> (1, h, t, width)."""
    flat = torch.stack([part.transpose(1, 2) for part in parts], dim=2).flatten(2)  # (1, t, count * K * e)
    return flat[..., : heads * width].unflatten(-1, (heads, width)).transpose(1, 2)


class PagedCacheView(Cache):
    """The paged cache in one step, as the layers see it: an ordinary cache with what the wings keep in `wings`."""

    is_compileable = False

    def __init__(self, step: PagedStep):
        super().__init__(layers=[])
        self.step = step
        self.wings = PagedLearnersView(step)

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any):
        return self.step.update(key_states, value_states, layer_idx)

    def get_seq_length(self, *args: Any, **kwargs: Any) -> int:
        return 0


class PagedLearnersView:
    """The learners' part of it."""

    def __init__(self, step: PagedStep):
        self.step = step
        self.layers = [None] * len(step.config.winged_layers)

    def update(self, keys: torch.Tensor, values: torch.Tensor, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.step.update_learners(keys, values, index)
