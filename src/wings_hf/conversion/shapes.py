# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What the shapes of a released checkpoint's tensors say about the model."""

import re
from dataclasses import dataclass

from wings_hf.conversion.names import EMBEDDING, HEAD, POOLS, TOWER
from wings_hf.conversion.tensor_files import Tensor

# The tensors that a size is read from.
MLP = "model.layers.0.mlp.gate_proj.weight"
QUERY = "model.layers.0.self_attn.q_proj.weight"
KEY = "model.layers.0.self_attn.k_proj.weight"
PROJECTOR = "model.mm_projector.0.weight"
PATCHES = f"{TOWER}embeddings.patch_embedding.weight"
POSITIONS = f"{TOWER}embeddings.position_embedding.weight"
TOWER_MLP = f"{TOWER}encoder.layers.0.mlp.fc1.weight"

_TOWER_LAYER = TOWER + "encoder"


@dataclass(frozen=True)
class TowerShapes:
    """Sizes of the vision tower. `positions` are those of its position embedding, a class token's included."""

    hidden_size: int
    intermediate_size: int
    layers: int
    channels: int
    patch_size: int
    positions: int


@dataclass(frozen=True)
class ReleasedShapes:
    """Sizes of a released checkpoint; `router_positions` is `None` in stage 1, `tower` where there is none."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    query_size: int
    key_size: int
    has_head: bool
    learner_rank: int
    learner_layers: list[int]
    router_positions: int | None
    feature_size: int
    tower: TowerShapes | None

    @property
    def stage(self) -> int:
        return 1 if self.router_positions is None else 2


def read_shapes(tensors: dict[str, Tensor]) -> ReleasedShapes:
    """
    The sizes that `tensors` have under the released names.

    Raises:
        ValueError: for tensors that are no released Wings checkpoint.
    """
    visual = _layers_with(tensors, POOLS["visual"])
    if EMBEDDING not in tensors or not visual:
        raise ValueError(
            f"The checkpoint holds no {EMBEDDING if visual else 'model.layers.*.attn_pool.*'}: expected one of Wings "
            "under the names of the code that its authors released."
        )
    shape = _Shapes(tensors)
    return ReleasedShapes(
        vocab_size=shape(EMBEDDING)[0],
        hidden_size=shape(EMBEDDING)[1],
        intermediate_size=shape(MLP)[0],
        layers=_count_layers(tensors, "model"),
        query_size=shape(QUERY)[0],
        key_size=shape(KEY)[0],
        has_head=HEAD in tensors,
        learner_rank=shape(f"model.layers.{visual[0]}.attn_pool.q_proj.0.weight")[0],
        learner_layers=visual,
        router_positions=_router_positions(tensors, visual),
        feature_size=shape(PROJECTOR)[1],
        tower=_read_tower(tensors) if any(name.startswith(TOWER) for name in tensors) else None,
    )


class _Shapes:
    """Shapes by name, with an error that says what is missing."""

    def __init__(self, tensors: dict[str, Tensor]):
        self.tensors = tensors

    def __call__(self, name: str, dimensions: int = 2) -> tuple[int, ...]:
        if name not in self.tensors:
            raise ValueError(f"The checkpoint lacks {name}, from which a size of the model is read.")
        shape = self.tensors[name].shape
        if len(shape) != dimensions:
            raise ValueError(f"{name} has the shape {shape}: expected {dimensions} dimensions.")
        return shape


def _read_tower(tensors: dict[str, Tensor]) -> TowerShapes:
    shape = _Shapes(tensors)
    hidden, channels, patch, _ = shape(PATCHES, 4)
    return TowerShapes(
        hidden_size=hidden,
        intermediate_size=shape(TOWER_MLP)[0],
        layers=_count_layers(tensors, _TOWER_LAYER),
        channels=channels,
        patch_size=patch,
        positions=shape(POSITIONS)[0],
    )


def _router_positions(tensors: dict[str, Tensor], learner_layers: list[int]) -> int | None:
    routed = _layers_with(tensors, "reweight_module")
    if not routed:
        return None
    for what, layers in (("reweight_module", routed), (POOLS["textual"], _layers_with(tensors, POOLS["textual"]))):
        if layers != learner_layers:
            raise ValueError(
                f"The layers with {what} are {layers}, those with attn_pool {learner_layers}: expected the same ones."
            )
    return _Shapes(tensors)(f"model.layers.{routed[0]}.reweight_module.linear.weight")[1]


def _count_layers(tensors: dict[str, Tensor], prefix: str) -> int:
    """One more than the highest index; a gap shows as missing tensors."""
    pattern = re.compile(re.escape(prefix) + r"\.layers\.(\d+)\.")
    return 1 + max((int(match[1]) for name in tensors if (match := pattern.match(name))), default=-1)


def _layers_with(tensors: dict[str, Tensor], module: str) -> list[int]:
    pattern = re.compile(rf"model\.layers\.(\d+)\.{module}\.")
    return sorted({int(match[1]) for name in tensors if (match := pattern.match(name))})
