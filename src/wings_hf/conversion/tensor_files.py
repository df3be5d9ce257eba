# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Files in the safetensors format, read and written a piece at a time.

The format is eight bytes with the length of a JSON header, the header, and the tensors' bytes one after the other.
Reading and writing them as such keeps every bit of every dtype, and keeps no more than one piece in memory.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy

PIECE = 16 * 2**20  # bytes
MAX_HEADER = 100_000_000  # bytes, the limit of the format
# Bits of a number of each dtype.
BITS = {"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8}
BITS |= {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32}
BITS |= {"F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64}


@dataclass(frozen=True)
class Tensor:
    """Where the bytes of a tensor are."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    nbytes: int

    @property
    def item_size(self) -> int:
        """Bytes of one number; 0 for a tensor without any."""
        return self.nbytes // max(math.prod(self.shape), 1)


@dataclass(frozen=True)
class Move:
    """A tensor to be written as `name`; a transposed one becomes (columns, rows)."""

    source: Tensor
    name: str
    transposed: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape[::-1] if self.transposed else self.source.shape


def read_header(path: Path) -> dict[str, Tensor]:
    """
    The tensors of a file, by name.

    Raises:
        ValueError: for a file that is incomplete or of another format.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, MAX_HEADER):
            raise ValueError(f"{path} is no complete safetensors file: its {size} bytes do not hold its header.")
        try:
            header = json.loads(file.read(length).decode())
            metadata = header.pop("__metadata__", {})
            if not all(isinstance(text, str) for text in metadata.values()):
                raise ValueError("its __metadata__ does not hold texts")
            tensors = {name: _tensor(path, name, entry, 8 + length) for name, entry in header.items()}
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
            raise ValueError(f"{path} is no safetensors file: its header cannot be read ({error}).") from error
    expected = 8 + length
    for tensor in sorted(tensors.values(), key=lambda tensor: (tensor.start, tensor.nbytes)):
        if tensor.start != expected:
            raise ValueError(f"{path} is damaged: {tensor.name} begins at byte {tensor.start}, expected {expected}.")
        expected += tensor.nbytes
    if size != expected:
        raise ValueError(f"{path} has {size} bytes, but its header describes {expected}: it is incomplete or damaged.")
    return tensors


def _tensor(path: Path, name: str, entry: dict, origin: int) -> Tensor:
    """An entry of a header, whose numbers must agree with each other.

    Raises:
        ValueError: they do not, or it has a dtype that the format does not know.
    """
    dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    name.encode()  # raises for what is no text
    if dtype not in BITS:
        raise ValueError(f"{name} has dtype {dtype!r}, expected one of {', '.join(BITS)}")
    if not isinstance(shape, list) or any(
        type(count) is not int or not 0 <= count < 2**63 for count in [*shape, begin]
    ):
        raise ValueError(f"{name} has shape {shape} and begins at {begin}, expected numbers that are not negative")
    if (end - begin) * 8 != math.prod(shape) * BITS[dtype]:
        raise ValueError(f"{name} has {end - begin} bytes, expected shape {shape} of {dtype}")
    return Tensor(path, name, dtype, tuple(shape), origin + begin, end - begin)


def read_pieces(tensor: Tensor) -> Iterator[bytes]:
    """The tensor's bytes as they are in the file."""
    with tensor.file.open("rb") as file:
        file.seek(tensor.start)
        left = tensor.nbytes
        while left:
            piece = file.read(min(PIECE, left))
            if not piece:
                raise OSError(f"{tensor.file} ends before the tensor {tensor.name} does.")
            left -= len(piece)
            yield piece


def transpose(content: bytes, shape: tuple[int, ...], item_size: int) -> bytes:
    """The bytes of a matrix of `shape` (rows, columns), columns first."""
    rows, columns = shape
    return numpy.frombuffer(content, f"V{item_size}").reshape(rows, columns).T.copy().tobytes()


def write_moves(
    path: Path, moves: Iterable[Move], digest: Callable[[str, str], None], advance: Callable[[int], None]
) -> None:
    """
    Writes a file with the tensors of `moves`.

    Args:
        path: where it goes.
        moves: what goes there.
        digest: called with each tensor's new name and the SHA-256 of its bytes in the source.
        advance: called with the number of bytes done since it was called last.
    """
    moves = in_file_order(moves)
    with path.open("wb") as file:
        file.write(_header(moves))
        for move in moves:
            sha256 = hashlib.sha256()
            for piece in _source_pieces(move):
                sha256.update(piece)
                file.write(transpose(piece, move.source.shape, move.source.item_size) if move.transposed else piece)
                advance(len(piece))
            digest(move.name, sha256.hexdigest())
        file.flush()
        os.fsync(file.fileno())


def in_file_order(moves: Iterable[Move]) -> list[Move]:
    """Wide numbers before narrow ones, so that each tensor starts at a multiple of its number's size."""
    return sorted(moves, key=lambda move: (-move.source.item_size, move.name))


def _source_pieces(move: Move) -> Iterator[bytes]:
    pieces = read_pieces(move.source)
    return iter([b"".join(pieces)]) if move.transposed else pieces


def _header(moves: list[Move]) -> bytes:
    entries: dict[str, dict] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for move in moves:
        end = offset + move.source.nbytes
        entries[move.name] = {"dtype": move.source.dtype, "shape": list(move.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def find_damage(
    path: Path, moves: Iterable[Move], digests: dict[str, str], advance: Callable[[int], None]
) -> str | None:
    """
    What is wrong with a written file, `None` when all of it is as it should be.

    Args:
        path: the file.
        moves: what was written there.
        digests: new name -> SHA-256 of the tensor's bytes in the source; transposed tensors are turned back for it.
        advance: see `write_moves`.
    """
    try:
        written = read_header(path)
    except (ValueError, OSError) as error:
        return str(error)
    wanted = {move.name: move for move in moves}
    if written.keys() != wanted.keys():
        return f"{path} holds other tensors than were written there: {sorted(written.keys() ^ wanted.keys())[:5]}"
    for name, move in wanted.items():
        found = written[name]
        if (found.dtype, found.shape) != (move.source.dtype, move.shape):
            return f"{name} in {path} is {found.dtype} {found.shape}, not {move.source.dtype} {move.shape}"
        if digest_of(found, move.transposed, advance) != digests.get(name):
            return f"{name} in {path} differs from the source"
    return None


def digest_of(tensor: Tensor, transposed: bool, advance: Callable[[int], None] = lambda count: None) -> str:
    """SHA-256 of the tensor's bytes, of the matrix turned round where `transposed`."""
    sha256 = hashlib.sha256()
    for piece in _source_pieces(Move(tensor, tensor.name, transposed)):
        sha256.update(transpose(piece, tensor.shape, tensor.item_size) if transposed else piece)
        advance(len(piece))
    return sha256.hexdigest()
