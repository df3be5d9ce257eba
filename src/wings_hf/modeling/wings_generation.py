# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What `generate` must know of the wings: room in its caches, masks for the learners, and no image tokens out."""

from typing import Any

import torch
from torch import nn
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.cache_utils import Cache
from transformers.masking_utils import create_causal_mask

from wings_hf.modeling.wings_cache import extend_cache
from wings_hf.modeling.wings_masks import check_router_length


class ImageTokenBan(LogitsProcessor):
    """The placeholder is never generated."""

    def __init__(self, image_token_id: int):
        self.image_token_id = image_token_id

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        if self.image_token_id < scores.shape[-1]:
            scores = scores.clone()
            scores[:, self.image_token_id] = -float("inf")
        return scores


class ImageTokenGuard(LogitsProcessorList):
    """
    The logits processors of a `generate` call, kept from image placeholders.

    The placeholder is never generated. Its id may lie past the vocabulary, where processors that look up the logits
    of past tokens (repetition penalty) find nothing, so they see the row's last text token in its place.
    """

    def __init__(self, processors: LogitsProcessorList, image_token_id: int):
        # The ban is one of the list, ahead of those that sample: assisted decoding skips an empty list.
        super().__init__([ImageTokenBan(image_token_id), *processors])
        self.image_token_id = image_token_id

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **kwargs: Any) -> torch.FloatTensor:
        if len(self) > 1 and self.image_token_id >= scores.shape[-1] and input_ids.shape[-1]:
            is_image = input_ids == self.image_token_id
            places = torch.arange(input_ids.shape[-1], device=input_ids.device)
            last_text = torch.where(is_image, -1, places).amax(-1, keepdim=True).clamp(min=0)
            text = input_ids.gather(-1, last_text).clamp(max=scores.shape[-1] - 1)
            input_ids = torch.where(is_image, text, input_ids)
        return super().__call__(input_ids, scores, **kwargs)


def _repeat_images(is_image: torch.Tensor, images: int, expand_size: int) -> list[int]:
    """Indices of the images of rows that are each repeated, from the placeholders of the rows before, bool (b, s)."""
    tokens = is_image.sum(-1).tolist()
    each = max(sum(tokens) // max(images, 1), 1)  # all images have as many tokens
    order, start = [], 0
    for count in (total // each for total in tokens):
        order += list(range(start, start + count)) * expand_size
        start += count
    return order


def _full_mask(prepared: Any, cache: Cache) -> torch.Tensor | None:
    """
    The prepared mask of the language model's full layers, (b, 1, s, t), where it is the learners' too: both look over
    all keys of caches of one length. `None` where there is none of that kind.
    """
    if isinstance(prepared, dict):
        prepared = prepared.get("full_attention")
    elif any(getattr(layer, "is_sliding", False) for layer in cache.layers):
        return None
    if not isinstance(prepared, torch.Tensor) or prepared.ndim != 4:
        return None
    return prepared if prepared.shape[-1] == cache.wings.layers[0].max_cache_len else None


class WingsGenerationMixin:
    """Overrides of `GenerationMixin`."""

    def _prepare_generation_config(self, *args: Any, **kwargs: Any) -> tuple[GenerationConfig, dict]:
        generation_config, model_kwargs = super()._prepare_generation_config(*args, **kwargs)
        # `generate` sets `use_cache` where the prompt comes as embeddings; what the caller said is kept here.
        generation_config.recomputes = generation_config.use_cache is False
        return generation_config, model_kwargs

    def _prepare_cache_for_generation(self, generation_config: GenerationConfig, *args: Any) -> Any:
        if generation_config.recomputes:
            generation_config.use_cache = False
        return super()._prepare_cache_for_generation(generation_config, *args)

    def _expand_inputs_for_generation(
        self, expand_size: int = 1, *args: Any, input_ids: torch.Tensor | None = None, **kwargs: Any
    ) -> tuple[torch.Tensor | None, dict[str, Any]]:
        """Repeats each row, and with it the images of the row, in their order."""
        encoded, pixels = kwargs.get("mm_encoder_outputs") or {}, kwargs.get("pixel_values")
        features = getattr(encoded.get("image"), "pooler_output", None)
        images = pixels if features is None else features
        types = kwargs.get("mm_token_type_ids")
        told_by_embeddings = types is None and not (input_ids is not None and input_ids.numel())
        if expand_size == 1 or images is None or told_by_embeddings:
            return super()._expand_inputs_for_generation(expand_size, *args, input_ids=input_ids, **kwargs)
        is_image = (input_ids == self.config.image_token_id) if types is None else types == 1
        order = _repeat_images(is_image, len(images), expand_size)
        kwargs |= {"mm_encoder_outputs": None, "pixel_values": None}
        input_ids, kwargs = super()._expand_inputs_for_generation(expand_size, *args, input_ids=input_ids, **kwargs)
        if features is None:
            kwargs["pixel_values"] = pixels[order]
        else:
            encoded["image"].pooler_output = [features[index] for index in order]
            kwargs["mm_encoder_outputs"] = encoded
        return input_ids, kwargs

    def _prepare_static_cache(self, *args: Any, max_cache_len: int, **kwargs: Any) -> Cache:
        cache = super()._prepare_static_cache(*args, max_cache_len=max_cache_len, **kwargs)
        use_wings = (kwargs.get("model_kwargs") or {}).get("use_wings", True)
        if self.config.learners and use_wings:
            length = max(max_cache_len, getattr(self, "_previous_max_cache_length", -1))
            extend_cache(cache, self.config, length)
        return cache

    def prepare_inputs_for_generation(
        self,
        input_ids: torch.LongTensor,
        past_key_values: Cache | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_wings: bool = True,
        **kwargs: Any,
    ) -> dict[str, Any]:
        config = self.config
        winged = bool(config.learners) and use_wings
        if past_key_values is not None and winged:
            extend_cache(past_key_values, config)
        if past_key_values is None and inputs_embeds is not None and input_ids.shape[1]:
            # Without a cache every step needs the prompt again, which `generate` leaves out.
            made = self.get_input_embeddings()(input_ids)
            inputs_embeds = torch.cat([inputs_embeds, made.to(inputs_embeds)], dim=1)
            kwargs["is_first_iteration"] = True
        types = kwargs.get("mm_token_type_ids")
        length = (input_ids if inputs_embeds is None else inputs_embeds).shape[1]
        if types is not None and types.shape[-1] < length:
            # Assisted decoding does not extend it by its candidates, which are text.
            kwargs["mm_token_type_ids"] = nn.functional.pad(types, (0, length - types.shape[-1]))
        inputs = super().prepare_inputs_for_generation(
            input_ids,
            past_key_values=past_key_values,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            use_wings=use_wings,
            **kwargs,
        )
        tokens = inputs["inputs_embeds"] if inputs.get("inputs_embeds") is not None else inputs["input_ids"]
        types = inputs.get("mm_token_type_ids")
        if (
            types is not None and types.shape[1] > tokens.shape[1]
        ):  # older versions of transformers hand out all of them
            end = input_ids.shape[1] if inputs_embeds is None else types.shape[1]
            inputs["mm_token_type_ids"] = types[:, end - tokens.shape[1] : end]
        if past_key_values is not None and not past_key_values.is_initialized:
            # An assistant's prefill is no "first iteration" to `generate`, but it needs the images all the same.
            images = {
                name: kwargs[name] for name in ("pixel_values", "mm_encoder_outputs") if kwargs.get(name) is not None
            }
            inputs = {**images, **inputs}
        total = (input_ids if attention_mask is None else attention_mask).shape[-1]
        if winged and total > config.router_positions and "position_ids" in inputs:
            check_router_length(config, inputs["position_ids"], past=total, given=True)
        prepared = inputs.get("attention_mask")
        if winged and past_key_values is not None and past_key_values.is_compileable:
            batch, length = tokens.shape[:2]
            inputs["plain_masks"] = True
            mask = _full_mask(prepared, past_key_values)
            if mask is None:
                mask = create_causal_mask(
                    config=config.text_config,
                    inputs_embeds=torch.empty((batch, length, 0), dtype=self.dtype, device=tokens.device),
                    attention_mask=attention_mask,
                    past_key_values=past_key_values.wings,
                )
            inputs["learner_attention_mask"] = mask
            if attention_mask is not None and attention_mask.ndim == 2 and prepared is not attention_mask:
                inputs["padding_mask"] = attention_mask[:, -length:].contiguous()
        return inputs

    def _get_candidate_generator(self, *args: Any, **kwargs: Any) -> Any:
        generator = super()._get_candidate_generator(*args, **kwargs)
        if hasattr(generator, "vocab_size"):  # prompt lookup asks whether the placeholder that it found is allowed
            generator.vocab_size = max(generator.vocab_size, self.config.image_token_id + 1)
        return generator

    def _get_logits_processor(self, *args: Any, **kwargs: Any) -> LogitsProcessorList:
        processors = super()._get_logits_processor(*args, **kwargs)
        return ImageTokenGuard(processors, self.config.image_token_id)
