# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint: the safetensors files of a folder, and which tensor is in which."""

import json
from dataclasses import dataclass
from pathlib import Path

from wings_hf.conversion.tensor_files import Tensor, read_header

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth")


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a folder, by name, in the order in which they lie in its files."""

    folder: Path
    tensors: dict[str, Tensor]

    @property
    def files(self) -> list[Path]:
        return sorted({tensor.file for tensor in self.tensors.values()})

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def identity(self) -> dict[str, list[int]]:
        """What tells a changed checkpoint: for each file its size in bytes and when it was written."""
        stats = {path.name: path.stat() for path in self.files}
        return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def read_checkpoint(folder: Path) -> Checkpoint:
    """
    The checkpoint in `folder`: `model.safetensors`, or the files that `model.safetensors.index.json` names.

    Raises:
        ValueError: for a folder without one, and for files that are missing, incomplete or not as the index says.
    """
    indexed, single = (folder / INDEX).is_file(), (folder / SINGLE).is_file()
    if indexed and single and SINGLE not in _read_weight_map(folder).values():
        raise ValueError(
            f"{folder} holds two checkpoints, {SINGLE} and the files of {INDEX}: delete the one that is not meant "
            "(saving a model over a sharded one leaves the old index)."
        )
    if indexed:
        return Checkpoint(folder, _read_indexed(folder))
    if single:
        return Checkpoint(folder, _in_order(read_header(folder / SINGLE)))
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        raise ValueError(
            f"{folder} holds pickle files ({', '.join(pickles[:3])}), which run code when they are read. Expected "
            "safetensors: save them anew with safe_serialization first, in an environment that you can lose."
        )
    raise ValueError(f"{folder} holds no checkpoint: expected {SINGLE}, or {INDEX} and the files that it names.")


def _read_weight_map(folder: Path) -> dict[str, str]:
    """In which file each tensor is."""
    try:
        weight_map = json.loads((folder / INDEX).read_text())["weight_map"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{folder / INDEX} is no index of safetensors files: it has no weight_map.") from error
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise ValueError(f"{folder / INDEX} has a weight_map that does not give the name of a file for each tensor.")
    return weight_map


def _read_indexed(folder: Path) -> dict[str, Tensor]:
    weight_map = _read_weight_map(folder)
    names = sorted(set(weight_map.values()))
    _check_files(folder, names)
    tensors: dict[str, Tensor] = {}
    for name in names:
        found = read_header(folder / name)
        said = {key for key, value in weight_map.items() if value == name}
        if found.keys() != said:
            raise ValueError(
                f"{folder / name} and {INDEX} disagree about {len(found.keys() ^ said)} tensors, such as "
                f"{sorted(found.keys() ^ said)[0]}."
            )
        tensors.update(_in_order(found))
    return tensors


def _check_files(folder: Path, names: list[str]) -> None:
    outside = [name for name in names if Path(name).name != name or name == ".."]
    if outside:
        raise ValueError(f"{folder / INDEX} names files outside of its folder: {', '.join(outside[:3])}.")
    pickles = [name for name in names if not name.endswith(".safetensors")]
    if pickles:
        raise ValueError(f"{folder / INDEX} names {pickles[0]}: expected .safetensors files only.")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} lacks {len(missing)} of {len(names)} files of its index: {', '.join(missing[:3])}.")


def _in_order(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return dict(sorted(tensors.items(), key=lambda item: item[1].start))
