# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Damaged and hostile checkpoints: tensors that lie in their file and in their folder, or ValueError."""

import functools
import json
from pathlib import Path

import torch
from fuzz_parts import LARGE_INTS, VALUES, altered, mutated, result_or, scratch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from wings_hf.conversion.base_configs import family_of, read_released_config, text_config_of, vision_config_of
from wings_hf.conversion.checkpoint import read_checkpoint
from wings_hf.conversion.tensor_files import read_pieces

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.bfloat16), "empty": torch.zeros(0, 3)}
FILE = save(TENSORS, {"format": "pt"})
HEADER = json.loads(FILE[8 : 8 + int.from_bytes(FILE[:8], "little")])
BODY = FILE[8 + int.from_bytes(FILE[:8], "little") :]
INDEX = {"metadata": {"total_size": 32}, "weight_map": dict.fromkeys(TENSORS, "part.safetensors")}
NAMES = st.sampled_from(
    ["../secret.safetensors", "/etc/passwd", "sub/part.safetensors", "part.bin", "", ".", "link.safetensors"]
)


def with_header(header, body: bytes = BODY) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


@functools.cache
def folder() -> Path:
    """`model`, and a file beside it that it must not reach."""
    root = scratch()
    (root / "model").mkdir()
    (root / "secret.safetensors").write_bytes(FILE)
    return root / "model"


def read(folder: Path) -> None:
    """Everything a conversion reads of the weights; what it takes must be what the safetensors library takes."""
    checkpoint = read_checkpoint(folder)
    for tensor in checkpoint.tensors.values():
        assert tensor.file.parent == folder
        assert 0 <= tensor.start <= tensor.start + tensor.nbytes <= tensor.file.stat().st_size
        assert sum(map(len, read_pieces(tensor))) == tensor.nbytes
    for file in checkpoint.files:
        with safe_open(file, "pt") as theirs:
            assert set(theirs.keys()) == {name for name, tensor in checkpoint.tensors.items() if tensor.file == file}
            for name in theirs.keys():  # noqa: SIM118
                assert theirs.get_tensor(name).nbytes == checkpoint.tensors[name].nbytes


@given(data=st.one_of(mutated([FILE], head=120), altered(HEADER, st.one_of(VALUES, LARGE_INTS)).map(with_header)))
def test_weights(data):
    (folder() / "model.safetensors").write_bytes(data)
    with result_or(ValueError):
        try:
            read(folder())
        except SafetensorError as error:
            raise AssertionError("taken here and refused by the safetensors library") from error
    (folder() / "model.safetensors").unlink()


@given(
    index=st.one_of(
        altered(INDEX, st.one_of(VALUES, NAMES)).map(json.dumps).map(str.encode), mutated([json.dumps(INDEX).encode()])
    )
)
def test_index_files(index):
    (folder() / "part.safetensors").write_bytes(FILE)
    (folder() / "model.safetensors.index.json").write_bytes(index)
    with result_or(ValueError):
        read(folder())
    (folder() / "model.safetensors.index.json").unlink()


RELEASED = {
    "model_type": "wings_qwen2",
    "variant": "qwen2",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 40,
    "rope_theta": 10000.0,
    "auto_map": {"AutoConfig": "evil.Config"},
    "vision_config": {"model_type": "siglip_vision_model", "hidden_size": 8, "num_hidden_layers": 1},
}


@given(values=st.one_of(altered(RELEASED).map(json.dumps).map(str.encode), mutated([json.dumps(RELEASED).encode()])))
def test_released_configurations(values):
    (folder() / "config.json").write_bytes(values)
    for read_part in (
        family_of,
        lambda found: text_config_of(found, "config"),
        lambda found: vision_config_of(found, "config"),
    ):
        with result_or(ValueError):
            read_part(read_released_config(folder()))
    (folder() / "config.json").unlink()
