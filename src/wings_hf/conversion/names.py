# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Names of tensors: those of the released checkpoint, and ours.

    released                                            ours
    model.layers.i.attn_pool.q_proj.0.weight (r, d)     (in layer i) self_attn.visual_learner.q_a (d, r)
    model.layers.i.attn_t_pool.o_proj.1.weight (d, r)   (in layer i) self_attn.textual_learner.o_b (r, d)
    model.layers.i.reweight_module.linear.weight (2, P) (in layer i) self_attn.router.weight (P, 2)
    model.layers.i.reweight_module.linear.bias          (in layer i) self_attn.router.bias
    model.mm_projector.{0,2}.*                          model.multi_modal_projector.linear_{1,2}.*
    model.vision_tower.vision_tower.vision_model.*      model.vision_tower.*
    model.*, the language model's                       model.language_model.*
    lm_head.*                                           the same
"""

import re
from typing import NamedTuple

POOLS = {"visual": "attn_pool", "textual": "attn_t_pool"}
LEARNERS = {pool: learner for learner, pool in POOLS.items()}
PARTS = {"0": "a", "1": "b"}
LINEARS = {"0": "linear_1", "2": "linear_2"}
TOWER = "model.vision_tower.vision_tower.vision_model."
HEAD = "lm_head.weight"
EMBEDDING = "model.embed_tokens.weight"

_POOL = re.compile(r"model\.layers\.(\d+)\.(attn_pool|attn_t_pool)\.([qkvo])_proj\.([01])\.weight")
_REWEIGHT = re.compile(r"model\.layers\.(\d+)\.reweight_module\.linear\.(weight|bias)")
_PROJECTOR = re.compile(r"model\.mm_projector\.([02])\.(weight|bias)")
_LANGUAGE_MODEL = re.compile(r"model\.((?:embed_tokens|layers|norm)\..+)")

_OUR_LEARNER = re.compile(r"model\.language_model\.layers\.(\d+)\.self_attn\.(visual|textual)_learner\.([qkvo])_([ab])")
_OUR_ROUTER = re.compile(r"model\.language_model\.layers\.(\d+)\.self_attn\.router\.(weight|bias)")
_OUR_PROJECTOR = re.compile(r"model\.multi_modal_projector\.linear_([12])\.(weight|bias)")

_COMPUTED = re.compile(r".*(\.rotary_emb\.(inv_freq|cos_cached|sin_cached)|\.position_ids)")


class Renamed(NamedTuple):
    """A tensor's other name, and whether its matrix is the other way round there."""

    name: str
    transposed: bool = False


def to_wings(released: str) -> Renamed | None:
    """Our name of the tensor that the released code calls `released`; `None` for a name that is none of its."""
    if match := _POOL.fullmatch(released):
        layer, pool, projection, part = match.groups()
        learner = f"{LEARNERS[pool]}_learner.{projection}_{PARTS[part]}"
        return Renamed(f"model.language_model.layers.{layer}.self_attn.{learner}", transposed=True)
    if match := _REWEIGHT.fullmatch(released):
        layer, kind = match.groups()
        return Renamed(f"model.language_model.layers.{layer}.self_attn.router.{kind}", kind == "weight")
    if match := _PROJECTOR.fullmatch(released):
        return Renamed(f"model.multi_modal_projector.{LINEARS[match[1]]}.{match[2]}")
    if released.startswith(TOWER):
        return Renamed(f"model.vision_tower.{released.removeprefix(TOWER)}")
    if match := _LANGUAGE_MODEL.fullmatch(released):
        return Renamed(f"model.language_model.{match[1]}")
    return Renamed(released) if released.startswith("lm_head.") else None


def to_released(ours: str) -> Renamed | None:
    """The released code's name of our tensor `ours`; `None` for a name that is none of ours."""
    if match := _OUR_LEARNER.fullmatch(ours):
        layer, learner, projection, part = match.groups()
        index = {"a": 0, "b": 1}[part]
        return Renamed(f"model.layers.{layer}.{POOLS[learner]}.{projection}_proj.{index}.weight", transposed=True)
    if match := _OUR_ROUTER.fullmatch(ours):
        layer, kind = match.groups()
        return Renamed(f"model.layers.{layer}.reweight_module.linear.{kind}", kind == "weight")
    if match := _OUR_PROJECTOR.fullmatch(ours):
        index = {"1": 0, "2": 2}[match[1]]
        return Renamed(f"model.mm_projector.{index}.{match[2]}")
    for prefix, other in (("model.vision_tower.", TOWER), ("model.language_model.", "model.")):
        if ours.startswith(prefix):
            return Renamed(other + ours.removeprefix(prefix))
    return Renamed(ours) if ours.startswith("lm_head.") else None


def reason_without_place(released: str, stage: int, tied: bool) -> str | None:
    """
    Why a tensor of the released code has no place in our model.

    Args:
        released: its name.
        stage: 1 for a checkpoint without routers, else 2.
        tied: whether the language model's head is its embedding.

    Returns:
        the reason; `None` where there is none that is known.
    """
    if _COMPUTED.fullmatch(released):
        return "a table that is computed"
    if released.startswith(f"{TOWER}head."):
        return "the vision tower's pooling head, which is not used"
    if stage == 1 and (match := _POOL.fullmatch(released)) and match[2] == POOLS["textual"]:
        return "the textual learner, which stage 1 does not use"
    if tied and released == HEAD:
        return "a copy of the embedding, which the head is tied to"
    return None
