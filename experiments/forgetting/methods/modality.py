# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Tells the parts that a method installs where the images of the current call are.

One `Modality` is shared by all parts of a model. Hooks fill it when the Wings model is called and empty it when the
call ends; they are bound methods, so that a deep copy of the model gets a `Modality` of its own.

Shapes: `b` batch, `s` positions, `n` image positions in the batch.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import nn

from wings_hf.modeling.wings_masks import packed_samples


class CallState:
    """
    Args:
        is_image: positions with an image feature, bool (b, s).
        is_token: positions that are no padding, bool (b, s).
        has_images: False where the host knows that no position has one.
        past: tokens that came before this call's, in a cache.
    """

    def __init__(self, is_image: torch.Tensor, is_token: torch.Tensor, has_images: bool, past: int) -> None:
        self.is_image, self.is_token, self.has_images, self.past = is_image & is_token, is_token, has_images, past

    @cached_property
    def image_index(self) -> torch.Tensor:
        """Rows of the image positions in states that are flattened to (b * s, ...), long (n,)."""
        return self.is_image.flatten().nonzero().squeeze(-1)

    @cached_property
    def sees_image(self) -> torch.Tensor:
        """Whether the position or one before it in its row holds an image, bool (b, s)."""
        if self.past:
            raise ValueError(
                f"This method has to see the whole sequence, but {self.past} tokens of it are in a cache: expected a "
                "call without past_key_values (use_cache=False)."
            )
        return self.is_image.cumsum(-1) > 0


class Modality:
    """Where the images of the current call are. `Modality.install` gives a model one."""

    def __init__(self, image_token_id: int) -> None:
        self.image_token_id = image_token_id
        self.call: CallState | None = None

    @classmethod
    def install(cls, model: Any) -> "Modality":
        """A `Modality` that follows the calls of `model`, a `WingsForCausalLM`."""
        modality = cls(model.config.image_token_id)
        model.model.register_forward_pre_hook(modality.begin, with_kwargs=True)
        model.model.register_forward_hook(modality.end, always_call=True)
        return modality

    @property
    def now(self) -> CallState:
        """The current call.

        Raises:
            ValueError: there is none: the language model was called on its own.
        """
        if self.call is None:
            raise ValueError("This method needs to know where the images are: expected a call of the Wings model.")
        return self.call

    def begin(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        """Notes where the images are, as `WingsModel.forward` finds them; padding is no image."""
        if args:
            raise ValueError("Expected keyword arguments, as WingsForCausalLM gives them.")
        has_images = kwargs.get("pixel_values") is not None or kwargs.get("mm_encoder_outputs") is not None
        ids, types = kwargs.get("input_ids"), kwargs.get("mm_token_type_ids")
        if ids is not None:
            is_image = ids == self.image_token_id if has_images else torch.zeros_like(ids, dtype=torch.bool)
        elif types is not None:
            is_image, has_images = types == 1, True
        else:
            raise ValueError("inputs_embeds without mm_token_type_ids: expected 1 where an image feature is, else 0.")
        is_token = torch.ones_like(is_image)
        mask, positions = kwargs.get("attention_mask"), kwargs.get("position_ids")
        if isinstance(mask, torch.Tensor) and mask.ndim == 2:
            is_token = mask[:, -is_image.shape[1] :].bool()
        elif mask is None and positions is not None and bool((packed_samples(positions) > 0).any()):
            raise ValueError("position_ids mark several samples in a row: expected one sample in each row.")
        cache = kwargs.get("past_key_values")
        self.call = CallState(is_image, is_token, has_images, 0 if cache is None else int(cache.get_seq_length()))

    def end(self, module: nn.Module, args: tuple, output: Any) -> None:
        self.call = None

    # ---- hooks for modules ----------------------------------------------------------------------------------
    def only_after_images(self, module: nn.Module, args: tuple, output: torch.Tensor) -> torch.Tensor:
        """Forward hook: output (b, s, ...) of the module where an image is in sight, exactly 0 elsewhere."""
        return torch.where(self.now.sees_image.unsqueeze(-1), output, 0.0)

    def replace_images(
        self, output: torch.Tensor, states: torch.Tensor, make: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """
        `output` with the image positions' rows made anew.

        All other rows are `output`'s own, bit for bit: what makes them does not see that images are left out.

        Args:
            output: (b, s, width).
            states: what `make` reads, (b, s, ...).
            make: states of the image positions (n, ...) -> (n, width).
        """
        if not self.now.has_images:
            return output
        index = self.now.image_index
        made = make(states.flatten(0, 1).index_select(0, index)).to(output.dtype)
        return output.flatten(0, 1).index_copy(0, index, made).view(output.shape)
