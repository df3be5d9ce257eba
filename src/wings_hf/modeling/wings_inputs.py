# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Puts image features into the positions of the image placeholders.

Shapes: `b` batch, `s` positions of the call, `d` hidden size, `f` image features of all images.
"""

from collections.abc import Callable

import torch
from torch import nn
from transformers import PreTrainedConfig
from transformers.utils import logging, torch_compilable_check

logger = logging.get_logger(__name__)


def merge_images(
    config: PreTrainedConfig,
    embedding: nn.Module,
    input_ids: torch.Tensor | None,
    inputs_embeds: torch.Tensor | None,
    mm_token_type_ids: torch.Tensor | None,
    features: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Embeddings of text and images together.

    Args:
        config: a `WingsConfig`.
        embedding: the language model's token embedding.
        input_ids: (b, s), or else
        inputs_embeds: (b, s, d).
        mm_token_type_ids: 1 where an image feature goes, (b, s), or `None`.
        features: image features in reading order, (f, d), or `None` where the call brings no image.

    Returns:
        embeddings (b, s, d), and which positions hold images, bool (b, s).

    Raises:
        ValueError: where placeholders and features do not match.
    """
    _check_types(input_ids if inputs_embeds is None else inputs_embeds, mm_token_type_ids)
    if input_ids is None:
        is_image = _images_in_embeddings(config, embedding, inputs_embeds, mm_token_type_ids, features is not None)
    else:
        is_image = _images_in_ids(config, input_ids, mm_token_type_ids, features is not None)
        inputs_embeds = embedding(input_ids.masked_fill(is_image, 0))
    is_image = is_image.to(inputs_embeds.device)
    if features is None:
        return inputs_embeds, is_image
    if features.shape[-1] != inputs_embeds.shape[-1]:
        raise ValueError(
            f"Image features are {features.shape[-1]} wide, expected {inputs_embeds.shape[-1]}: were they made by "
            "another model's projector?"
        )
    _check_placeholders(is_image.sum(), features.shape[0])
    features = features.to(inputs_embeds.device, inputs_embeds.dtype)
    return inputs_embeds.masked_scatter(is_image.unsqueeze(-1), features), is_image


def _check_types(tokens: torch.Tensor, mm_token_type_ids: torch.Tensor | None) -> None:
    if mm_token_type_ids is None:
        return
    shape = getattr(mm_token_type_ids, "shape", None)
    if not isinstance(mm_token_type_ids, torch.Tensor) or shape != tokens.shape[:2]:
        kind = type(mm_token_type_ids).__name__ if shape is None else f"tensor of shape {tuple(shape)}"
        raise ValueError(
            f"mm_token_type_ids is a {kind}: expected a tensor of shape {tuple(tokens.shape[:2])}, one number for each "
            "of this call's tokens."
        )


def _images_in_embeddings(
    config: PreTrainedConfig,
    embedding: nn.Module,
    inputs_embeds: torch.Tensor,
    mm_token_type_ids: torch.Tensor | None,
    has_features: bool,
) -> torch.Tensor:
    if mm_token_type_ids is not None:
        return mm_token_type_ids == 1
    if not has_features:
        return torch.zeros(inputs_embeds.shape[:2], dtype=torch.bool, device=inputs_embeds.device)
    if config.image_token_id >= config.text_config.vocab_size:
        raise ValueError("inputs_embeds with images: expected mm_token_type_ids, 1 where an image feature goes.")
    placeholder = embedding(torch.tensor(config.image_token_id, device=inputs_embeds.device))
    return (inputs_embeds == placeholder).all(-1)


def _images_in_ids(
    config: PreTrainedConfig, input_ids: torch.Tensor, mm_token_type_ids: torch.Tensor | None, has_features: bool
) -> torch.Tensor:
    is_image = input_ids == config.image_token_id
    if has_features:
        if mm_token_type_ids is not None:
            _check(
                (is_image == (mm_token_type_ids == 1)).all(),
                "mm_token_type_ids and input_ids do not agree on where the images are: expected 1 exactly where "
                f"input_ids is image_token_id={config.image_token_id}.",
            )
        return is_image
    if config.image_token_id >= config.text_config.vocab_size:
        if input_ids.shape[1] > 1:  # a step of decoding brings a token that the model has made: no placeholder
            _check_placeholders(is_image.sum(), 0)
        return is_image
    if input_ids.shape[1] > 1 and not torch.compiler.is_compiling() and bool(is_image.any()):
        logger.warning_once(
            f"input_ids holds {int(is_image.sum())} image tokens (id {config.image_token_id}), but there are no "
            "images: they are read as text. Pass pixel_values if they were meant as images."
        )
    return torch.zeros_like(is_image)


def _check_placeholders(tokens: torch.Tensor, features: int) -> None:
    _check(
        tokens == features,
        lambda: (
            f"Image features and image tokens do not match, tokens: {int(tokens)}, features: {features}. Each image "
            "needs one placeholder, which the processor turns into as many tokens as it has features."
        ),
    )


def _check(condition: torch.Tensor, message: str | Callable[[], str]) -> None:
    """Raises ValueError unless `condition`; in a compiled graph, which asking the device would break, RuntimeError."""
    if torch.compiler.is_compiling():
        torch._assert_async(condition, "Image features, image tokens and mm_token_type_ids do not match.")
    else:
        torch_compilable_check(condition, message)
