# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Features of images that come again: a conversation that is sent whole at each turn, a server, an evaluation that asks
several questions about one picture.

Off unless asked for (`model.cache_image_features()`), and at work only where nothing is learned: in eval mode and
without gradients. Images are told apart by their pixels, as they come out of the processor.

Shapes: `i` images, `t` tokens per image, `f` feature width of the tower, `d` hidden size.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPooling


class ImageFeatures(NamedTuple):
    """Features of one image: chosen ones of the tower (t, f), and projected ones (t, d)."""

    chosen: torch.Tensor
    projected: torch.Tensor


def image_keys(pixel_values: torch.Tensor) -> list[bytes]:
    """
    A key for each image, equal for equal pixels of the same shape and dtype only.

    Args:
        pixel_values: (i, ...); pixels on an accelerator are copied to the host.
    """
    kind = f"{pixel_values.dtype} {tuple(pixel_values.shape[1:])}".encode()
    pixels = pixel_values.detach().cpu().contiguous()
    return [hashlib.blake2b(image.view(-1).view(torch.uint8).numpy(), key=kind[:64]).digest() for image in pixels]


class ImageFeatureCache:
    """
    The features of the images that were seen last, as long as the weights that made them stay as they are.

    A change of the weights is seen where torch counts it: optimizer steps, `load_state_dict`, `copy_`, moves to another
    device or dtype, parameters that come or go. Writing through `.data`, or switching an adapter of the tower on or
    off, is not: call `clear` then. Copies and pickles of it are empty.

    Args:
        max_images: how many images it keeps; the one not asked for longest goes first.
    """

    def __init__(self, max_images: int = 32):
        if max_images < 1:
            raise ValueError(f"max_images={max_images}: expected at least 1.")
        self.max_images = max_images
        self.hits = self.misses = 0
        self.clear()

    def clear(self) -> None:
        """Forgets all features."""
        self._features: OrderedDict[tuple, ImageFeatures] = OrderedDict()
        self._weights: tuple = ()

    def __len__(self) -> int:
        return len(self._features)

    def __reduce__(self) -> tuple:
        return type(self), (self.max_images,)

    @property
    def nbytes(self) -> int:
        """Bytes that the features take."""
        return sum(part.numel() * part.element_size() for image in self._features.values() for part in image)

    @staticmethod
    def applies(model: nn.Module, wanted: dict[str, Any]) -> bool:
        """
        Whether a call may be answered from a cache: no gradients, and nothing asked for but the features.

        Args:
            model: a `WingsModel`.
            wanted: the call's further arguments.
        """
        asks_for_more = any(value for name, value in wanted.items() if name != "return_dict")
        return not (model.training or torch.is_grad_enabled() or torch.compiler.is_compiling() or asks_for_more)

    def encode(
        self, parts: list[nn.Module], pixel_values: torch.Tensor, make: Callable[..., BaseModelOutputWithPooling]
    ) -> BaseModelOutputWithPooling:
        """
        Features of images, made in one call for those that are not known yet.

        Args:
            parts: modules whose weights make the features.
            pixel_values: (i, ...).
            make: pixels -> `last_hidden_state` (i, t, f) and `pooler_output`, a list of (t, d).
        """
        weights = _state_of(parts)
        if weights != self._weights:
            self.clear()
            self._weights = weights
        device = pixel_values.device.type
        autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        keys = [(key, autocast) for key in image_keys(pixel_values)]
        known = {key: self._features[key] for key in keys if key in self._features}
        new = {key: index for index, key in enumerate(keys) if key not in known}
        self.misses += len(new)
        self.hits += len(keys) - len(new)
        if new:
            everything = len(new) == len(keys)
            outputs = make(pixel_values if everything else pixel_values[list(new.values())])
            made = zip(new, outputs.last_hidden_state, outputs.pooler_output, strict=True)
            known |= {key: ImageFeatures(chosen.clone(), projected.clone()) for key, chosen, projected in made}
        for key in keys:
            self._features[key] = known[key]
            self._features.move_to_end(key)
        while len(self._features) > self.max_images:
            self._features.popitem(last=False)
        return BaseModelOutputWithPooling(  # copies: what the caller does to them is not kept
            last_hidden_state=torch.stack([known[key].chosen for key in keys]),
            pooler_output=list(torch.stack([known[key].projected for key in keys])),
        )


def _state_of(parts: list[nn.Module]) -> tuple:
    """What changes whenever torch knows of a change to a weight or buffer."""
    tensors = [tensor for part in parts for tensor in (*part.parameters(), *part.buffers())]
    return tuple(
        (tensor.data_ptr(), tensor.dtype, tensor.device, 0 if tensor.is_inference() else tensor._version)
        for tensor in tensors
    )
