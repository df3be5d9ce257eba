# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A model's cache of one conversation: each turn costs only what is new."""

from typing import Any

import torch
from transformers import DynamicCache
from transformers.feature_extraction_utils import BatchFeature


class KeptCache:
    """
    What a model has computed of a conversation, for the turns to come.

    A conversation that does not begin with what the cache holds (it was changed, or its answers tokenize otherwise)
    is computed again from its start, and so is one in which the wings are turned on or off: keys and values are what
    they are because of the layers below.

    Args:
        model: a causal language model; a `WingsForCausalLM` for images.

    Attributes:
        nbytes: memory that the cache takes, after the last answer.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.forget()

    def forget(self) -> None:
        """Begin with an empty cache."""
        self.cache = DynamicCache(config=self.model.config.get_text_config())
        self.ids: list[int] = []
        self.images = 0
        self.use_wings = True
        self.nbytes = 0

    def left_to_compute(self, inputs: BatchFeature, use_wings: bool = True) -> BatchFeature:
        """
        Inputs for `generate` with this cache, given those of the whole conversation, a batch of one: pixels are those
        of the images that the cache does not hold, and all is on the model's device.
        """
        inputs = BatchFeature(dict(inputs))
        ids = inputs["input_ids"][0].tolist()
        goes_on = len(ids) > len(self.ids) and ids[: len(self.ids)] == self.ids
        if not self.ids or not goes_on or use_wings != self.use_wings:
            self.forget()
            self.use_wings = use_wings
        if "pixel_values" in inputs:
            images = len(inputs["pixel_values"])
            new = inputs.pop("pixel_values")[self.images :]
            if len(new):
                inputs["pixel_values"] = new.to(self.model.dtype)
            self.images = images
        return inputs.to(self.model.device)

    def remember(self, ids: list[int]) -> None:
        """Note which of `ids`, the conversation with its new answer, the cache holds after `generate`."""
        self.ids = ids[: int(self.cache.get_seq_length())]
        self.nbytes = bytes_of(self.cache)


def bytes_of(holder: Any) -> int:
    """Memory of all tensors that an object holds, each once, with the room around those that are views."""
    storages: dict[tuple[torch.device, int], int] = {}
    seen: set[int] = set()
    left = [holder]
    while left:
        each = left.pop()
        if isinstance(each, torch.Tensor):
            storage = each.untyped_storage()
            storages[each.device, storage.data_ptr()] = storage.nbytes()
        elif id(each) not in seen and not isinstance(each, type | torch.nn.Module):
            seen.add(id(each))
            left += each.values() if isinstance(each, dict) else each if isinstance(each, list | tuple) else ()
            left += getattr(each, "__dict__", {}).values()
    return sum(storages.values())
