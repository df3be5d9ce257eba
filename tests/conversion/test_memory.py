# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The memory that a conversion takes does not grow with the checkpoint."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from released_checkpoints import released_config

# A first, tiny conversion brings in what is imported late; then the peak is set back to what is in use.
SCRIPT = """
import json, sys
from pathlib import Path
from wings_hf.conversion.convert import convert_to_released, convert_to_wings

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024

def both(source, target):
    convert_to_wings(source, target, max_shard_size=sys.argv[3])
    convert_to_released(target, target + "-back", max_shard_size=sys.argv[3])

both(sys.argv[1], sys.argv[1] + "-wings")
Path("/proc/self/clear_refs").write_text("5")
before = peak()
both(sys.argv[2], sys.argv[2] + "-wings")
print(json.dumps({"growth": peak() - before}))
"""
VOCABULARY, HIDDEN, INTERMEDIATE, RANK, POSITIONS = 2000, 256, 512, 16, 64


def write_sparse(folder: Path, layers: int, width: int) -> int:
    """A checkpoint of zeros that takes no room on the disk; returns its size in bytes."""
    hidden, inner = HIDDEN * width, INTERMEDIATE * width
    shapes: dict[str, list[int]] = {
        "model.embed_tokens.weight": [VOCABULARY, hidden],
        "lm_head.weight": [VOCABULARY, hidden],
        "model.norm.weight": [hidden],
        "model.mm_projector.0.weight": [hidden, 24],
        "model.mm_projector.0.bias": [hidden],
        "model.mm_projector.2.weight": [hidden, hidden],
        "model.mm_projector.2.bias": [hidden],
    }
    for layer in range(layers):
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in _layer(hidden, inner).items()}
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 4
        for side in shape:
            size *= side
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    folder.mkdir()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + offset)
    sizes = {"vocab_size": VOCABULARY, "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 8, "lora_dim": RANK, "router_max_len": POSITIONS}
    (folder / "config.json").write_text(json.dumps(released_config("llama", **sizes, **heads)))
    return offset


def _layer(hidden: int, inner: int) -> dict[str, list[int]]:
    shapes = {f"self_attn.{projection}_proj.weight": [hidden, hidden] for projection in "qkvo"}
    for pool in ("attn_pool", "attn_t_pool"):
        for projection in "qkvo":
            shapes[f"{pool}.{projection}_proj.0.weight"] = [RANK, hidden]
            shapes[f"{pool}.{projection}_proj.1.weight"] = [hidden, RANK]
    shapes |= {f"mlp.{part}_proj.weight": [inner, hidden] for part in ("gate", "up")}
    return shapes | {
        "mlp.down_proj.weight": [hidden, inner],
        "input_layernorm.weight": [hidden],
        "post_attention_layernorm.weight": [hidden],
        "reweight_module.linear.weight": [2, POSITIONS],
        "reweight_module.linear.bias": [2],
    }


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from /proc, as Linux has it")
def test_memory_is_bounded(tmp_path):
    write_sparse(tmp_path / "tiny", layers=1, width=1)
    size = write_sparse(tmp_path / "large", layers=13, width=4)
    assert size > 400e6
    arguments = [str(tmp_path / "tiny"), str(tmp_path / "large"), "100MB"]
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    growth = json.loads(done.stdout.splitlines()[-1])["growth"]
    print(f"peak memory grew by {growth / 1e6:.0f} MB, {growth / size:.3f} of the checkpoint's {size / 1e6:.0f} MB")
    assert growth < 64e6  # an output file has 100 MB, the whole checkpoint six times that
