# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Masks and positions of one call, as the learners and the router need them.

Shapes: `b` batch, `s` positions of the call, `t` keys, cached ones included.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.masking_utils import create_causal_mask


@dataclass
class LearnerMasks:
    """
    Args:
        make: makes the causal mask of the learners (no sliding window), in the form that the attention backend takes;
            to be called before they write to the cache.
        custom: the same where the user gave it, (b, 1, s, t): it may be other than causal.
        plain: whether the masks forbid the future and padding and nothing else.
        padding: False at padding among this call's positions, bool (b, s); `None` where there is none.
        given: the mask that the user gave, 1 for tokens and 0 for padding, (b, t), or `None`.
    """

    make: Callable[[], Any]
    custom: torch.Tensor | None
    plain: bool
    padding: torch.Tensor | None
    given: torch.Tensor | None


def learner_masks(
    config: PreTrainedConfig,
    inputs_embeds: torch.Tensor,
    attention_mask: Any,
    padding_mask: torch.Tensor | None,
    learner_mask: Any,
    plain_masks: bool,
    position_ids: torch.Tensor | None,
    cache: Any,
) -> LearnerMasks:
    """
    The learners' masks for a call's arguments, see `WingsModel.forward`.

    Args:
        config: the language model's configuration, with the attention backend.
        cache: an extended cache, or `None`.
    """
    given = attention_mask if isinstance(attention_mask, torch.Tensor) and attention_mask.ndim == 2 else None
    custom = None
    plain = plain_masks or (learner_mask is None and (attention_mask is None or given is not None))
    if isinstance(attention_mask, dict):  # prepared by `generate`; no mask for full attention is plain causal
        learner_mask = attention_mask.get("full_attention") if learner_mask is None else learner_mask
    elif learner_mask is None and attention_mask is not None and given is None:
        learner_mask = custom = _check_custom_mask(attention_mask, config._attn_implementation)
    if given is not None:
        past = 0 if cache is None else cache.get_seq_length()
        expected = past + inputs_embeds.shape[1]
        if isinstance(past, int) and given.shape[1] < expected:
            raise ValueError(
                f"attention_mask of shape {tuple(given.shape)}: expected {expected} columns, {past} for the tokens in "
                f"the cache and {inputs_embeds.shape[1]} for this call's."
            )
        padding_mask = given[:, _call_columns(inputs_embeds, given, past)]
    if padding_mask is not None:
        padding_mask = padding_mask.to(inputs_embeds.device, torch.bool)

    def make() -> Any:
        if isinstance(attention_mask, dict) or learner_mask is not None:
            return learner_mask
        return create_causal_mask(
            config=config,
            inputs_embeds=inputs_embeds,
            attention_mask=given,
            past_key_values=None if cache is None else cache.wings,
            position_ids=position_ids,
        )

    return LearnerMasks(make, custom, plain, padding_mask, given)


def _check_custom_mask(attention_mask: Any, backend: str) -> torch.Tensor:
    """A mask (b, 1, s, t) from the user, which main attention and learners share."""
    if not isinstance(attention_mask, torch.Tensor) or attention_mask.ndim != 4 or backend not in ("eager", "sdpa"):
        kind = type(attention_mask).__name__
        shape = f" of shape {tuple(attention_mask.shape)}" if hasattr(attention_mask, "shape") else ""
        raise ValueError(
            f"attention_mask is a {kind}{shape}: with attn_implementation={backend!r} expected (batch, tokens); eager "
            "and sdpa also take (batch, 1, queries, keys)."
        )
    return attention_mask


def call_positions(
    inputs_embeds: torch.Tensor, given_mask: torch.Tensor | None, position_ids: torch.Tensor | None, past: Any
) -> torch.Tensor:
    """Position ids (b, s): as given, else counted from the mask, else from the number of tokens in the cache."""
    batch, length = inputs_embeds.shape[:2]
    if position_ids is not None:
        positions = position_ids.to(inputs_embeds.device)
    elif given_mask is not None:
        positions = (given_mask.long().cumsum(-1) - 1).clamp(min=0)[:, _call_columns(inputs_embeds, given_mask, past)]
        positions = positions.to(inputs_embeds.device)
    else:
        positions = (torch.arange(length, device=inputs_embeds.device) + past).unsqueeze(0)
    return positions.expand(batch, -1)


def language_model_positions(inputs_embeds: torch.Tensor, given_mask: torch.Tensor, past: Any) -> torch.Tensor:
    """
    Position ids (b, s) for a language model that is given a mask and no position ids.

    They are the column numbers that it would use itself, less the padding between two tokens of a row: what a turn
    finds there that goes on from a right-padded one. Without such padding they are the model's own.

    Args:
        given_mask: 1 for tokens and 0 for padding, (b, t).
        past: tokens in the cache.
    """
    tokens = given_mask.to(inputs_embeds.device).long()
    seen = tokens.cumsum(-1)
    between = (tokens == 0) & (seen > 0) & (seen < seen[:, -1:])
    columns = torch.arange(tokens.shape[1], device=tokens.device)
    return (columns - between.long().cumsum(-1))[:, _call_columns(inputs_embeds, given_mask, past)]


def _call_columns(inputs_embeds: torch.Tensor, given_mask: torch.Tensor, past: Any) -> slice:
    """Columns of the mask that stand for this call's tokens; the last ones where the host does not know the past."""
    length = inputs_embeds.shape[1]
    start = past if isinstance(past, int) else given_mask.shape[1] - length
    return slice(start, start + length)


def check_router_length(config: PreTrainedConfig, positions: torch.Tensor, past: Any, given: bool) -> None:
    """
    Raises where the position router has no row for a position.

    Positions are below the number of tokens, which the host knows; only where that does not settle it, or a prompt
    comes with positions of its own, the device is asked. Compiled steps are checked by `generate`.
    """
    if not (config.has_router and config.router == "position") or torch.compiler.is_compiling():
        return
    limit, length = config.router_positions, positions.shape[1]
    enough = isinstance(past, int) and past + length <= limit
    if enough and (not given or (length == 1 and positions.device.type != "cpu")):
        return
    largest = int(positions.max())
    if largest >= limit:
        raise ValueError(
            f"The input reaches position {largest}, but router_positions={limit}: expected at most {limit} tokens. A "
            "model with router='modality' or a larger router_positions has room for more."
        )


def packed_samples(positions: torch.Tensor) -> torch.Tensor:
    """Index of the packed sample of each position, (b, s): a new one starts where positions do not go on by one."""
    return (positions.diff(dim=-1, prepend=positions[:, :1] - 1) != 1).cumsum(-1)
