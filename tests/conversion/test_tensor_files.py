# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Safetensors files, read and written a piece at a time."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from wings_hf.conversion import tensor_files
from wings_hf.conversion.tensor_files import Move, find_damage, read_header, write_moves

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.uint8, torch.float8_e4m3fn)


def ignore(count: int) -> None:
    """A progress bar that nobody looks at."""


def write(path: Path, moves: list[Move]) -> dict[str, str]:
    digests: dict[str, str] = {}
    write_moves(path, moves, digests.__setitem__, ignore)
    return digests


def tensors() -> dict[str, torch.Tensor]:
    """One matrix of each dtype, a scalar and an empty tensor."""
    made = {str(dtype): torch.randint(0, 100, (5, 3)).to(dtype) for dtype in DTYPES}
    return {**made, "scalar": torch.tensor(3.0), "empty": torch.empty(0, 4), "flags": torch.tensor([True, False])}


@pytest.mark.parametrize("transposed", [False, True])
def test_every_dtype_is_kept_bit_for_bit(transposed, tmp_path, monkeypatch):
    monkeypatch.setattr(tensor_files, "PIECE", 7)  # pieces that cut through numbers
    made = {
        name: tensor for name, tensor in tensors().items() if not transposed or (tensor.ndim == 2 and tensor.numel())
    }
    save_file(made, tmp_path / "source.safetensors")
    source = read_header(tmp_path / "source.safetensors")
    moves = [Move(tensor, f"new.{name}", transposed) for name, tensor in source.items()]
    digests = write(tmp_path / "target.safetensors", moves)
    loaded = load_file(tmp_path / "target.safetensors")
    assert loaded.keys() == {f"new.{name}" for name in made}
    for name, tensor in made.items():
        expected = tensor.T if transposed else tensor
        assert loaded[f"new.{name}"].dtype == tensor.dtype
        assert loaded[f"new.{name}"].float().equal(expected.float())
    assert find_damage(tmp_path / "target.safetensors", moves, digests, ignore) is None


def test_numbers_lie_at_multiples_of_their_size(tmp_path):
    save_file(tensors(), tmp_path / "source.safetensors")
    moves = [Move(tensor, name) for name, tensor in read_header(tmp_path / "source.safetensors").items()]
    write(tmp_path / "target.safetensors", moves)
    written = read_header(tmp_path / "target.safetensors")
    assert all(tensor.start % max(tensor.item_size, 1) == 0 for tensor in written.values())


def test_any_changed_byte_is_damage(tmp_path):
    save_file({"a": torch.rand(4, 3), "b": torch.rand(2)}, tmp_path / "source.safetensors")
    moves = [Move(t, name, name == "a") for name, t in read_header(tmp_path / "source.safetensors").items()]
    path = tmp_path / "target.safetensors"
    digests = write(path, moves)
    sound = path.read_bytes()
    for position in range(0, len(sound), 5):
        path.write_bytes(sound[:position] + bytes([sound[position] ^ 1]) + sound[position + 1 :])
        in_metadata = b"__metadata__" in sound and position < sound.index(b"}")  # says nothing about tensors
        assert in_metadata or find_damage(path, moves, digests, ignore) is not None, position
    path.write_bytes(sound[:-1])
    assert "incomplete" in str(find_damage(path, moves, digests, ignore))


def framed(header: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header


OTHER_KINDS = (b"", b"1234567", b"\xff" * 32, framed(b"no JSON"), framed(b"[]"), framed(b'{"a": 1}'))


@pytest.mark.parametrize("content", OTHER_KINDS)
def test_a_file_of_another_kind_is_refused(content, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors is no"):
        read_header(path)
