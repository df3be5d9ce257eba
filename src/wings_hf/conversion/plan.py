# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Which tensor goes where: every tensor of the source is placed, kept aside, or an error."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wings_hf.conversion.checkpoint import SINGLE
from wings_hf.conversion.names import EMBEDDING, HEAD, reason_without_place, to_released, to_wings
from wings_hf.conversion.tensor_files import Move, Tensor, digest_of

UNUSED = "unused.safetensors"
KEPT_UNKNOWN = "unknown, kept as asked"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", re.IGNORECASE)


@dataclass
class Plan:
    """
    What goes where.

    Args:
        moves: tensors that have a place.
        aside: tensors that have none, under their own names.
        reasons: name -> why it has none.
        missing: names of the source that the model needs and that are not there.
        unexpected: names of the source that nothing is known about.
        misshapen: sentences about tensors of another shape than the model's.
    """

    moves: list[Move] = field(default_factory=list)
    aside: list[Move] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        return sum(move.source.nbytes for move in [*self.moves, *self.aside])

    def check(self) -> None:
        """
        Raises:
            ValueError: for a source that is not the model's; it names every tensor concerned.
        """
        if not (self.missing or self.unexpected or self.misshapen):
            return
        lines = ["The checkpoint's tensors are not those of the model that its configuration describes."]
        lines += [f"missing: {name}" for name in self.missing]
        lines += [f"unexpected: {name}" for name in self.unexpected]
        lines += self.misshapen
        if self.unexpected and not self.missing:
            lines.append(f"With --keep-unknown, unexpected tensors are kept in {UNUSED}.")
        raise ValueError("\n".join(lines))


def plan_to_wings(
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, tuple[int, ...]],
    stage: int,
    tied: bool,
    keep_unknown: bool = False,
) -> Plan:
    """
    From released names to ours.

    Args:
        tensors: the released ones.
        expected: names and shapes of our model's.
        stage: 1 or 2.
        tied: whether the language model's head is its embedding.
        keep_unknown: put tensors that nothing is known about aside.
    """
    plan = Plan()
    for name, tensor in tensors.items():
        renamed = to_wings(name)
        reason = reason_without_place(name, stage, tied)
        if reason is None and (renamed is None or renamed.name not in expected):
            if not keep_unknown:
                plan.unexpected.append(name)
                continue
            reason = KEPT_UNKNOWN
        if reason is not None:
            plan.aside.append(Move(tensor, name))
            plan.reasons[name] = reason
            continue
        assert renamed is not None
        move = Move(tensor, renamed.name, renamed.transposed)
        if move.shape != tuple(expected[move.name]):
            wanted = expected[move.name][:: -1 if move.transposed else 1]
            plan.misshapen.append(f"{name} has the shape {tensor.shape}: expected {tuple(wanted)}.")
        plan.moves.append(move)
    placed = {move.name for move in plan.moves}
    for name in expected:
        if name not in placed and not (tied and name == HEAD):
            renamed = to_released(name)
            plan.missing.append(renamed.name if renamed else name)
    if tied and HEAD in plan.reasons and EMBEDDING in tensors:
        _check_tied_head(tensors)
    return plan


def _check_tied_head(tensors: Mapping[str, Tensor]) -> None:
    head, embedding = tensors[HEAD], tensors[EMBEDDING]
    if (head.dtype, head.shape) != (embedding.dtype, embedding.shape) or digest_of(head, False) != digest_of(
        embedding, False
    ):
        raise ValueError(
            f"The configuration says tie_word_embeddings=True, but {HEAD} and {EMBEDDING} differ: expected "
            "tie_word_embeddings=False."
        )


def plan_to_released(tensors: Mapping[str, Tensor], aside: Mapping[str, Tensor]) -> Plan:
    """From our names back to the released ones, the tensors that were kept aside among them."""
    plan = Plan()
    for name, tensor in tensors.items():
        renamed = to_released(name)
        if renamed is None:
            plan.unexpected.append(name)
        else:
            plan.moves.append(Move(tensor, renamed.name, renamed.transposed))
    taken = {move.name for move in plan.moves}
    twice = sorted(taken & aside.keys())
    if twice:
        raise ValueError(f"{UNUSED} holds tensors that the model has too: {', '.join(twice[:3])}.")
    plan.moves += [Move(tensor, name) for name, tensor in aside.items()]
    return plan


def into_files(moves: list[Move], max_shard_size: int) -> dict[str, list[Move]]:
    """
    File name -> what goes there; files of at most `max_shard_size` bytes, or one larger tensor.
    """
    shards: list[list[Move]] = [[]]
    size = 0
    for move in moves:
        if shards[-1] and size + move.source.nbytes > max_shard_size:
            shards.append([])
            size = 0
        shards[-1].append(move)
        size += move.source.nbytes
    if len(shards) == 1:
        return {SINGLE: shards[0]}
    stem = Path(SINGLE).stem
    return {f"{stem}-{i:05d}-of-{len(shards):05d}.safetensors": shard for i, shard in enumerate(shards, 1)}


def parse_size(text: str | int) -> int:
    """
    Bytes of "5GB", "200 MB" or a number; units are powers of 1000, as in transformers.

    Raises:
        ValueError: for anything else.
    """
    match = _SIZE.fullmatch(str(text).strip())
    size = int(float(match[1]) * 1000 ** " KMGT".index(match[2].upper() or " ")) if match else 0
    if size < 1:
        raise ValueError(f"{text!r} is no size of a file: expected one like 5GB or 500MB.")
    return size
