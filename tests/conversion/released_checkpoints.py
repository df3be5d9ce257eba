# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in the form that the authors' code writes, small and random, spelled out name by name."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import SiglipVisionConfig

HIDDEN, INTERMEDIATE, HEADS, KEY_HEADS, VOCABULARY = 32, 40, 4, 2, 310
RANK, POSITIONS = 6, 96
TOWER = {"hidden_size": 24, "intermediate_size": 28, "num_attention_heads": 2, "image_size": 12, "patch_size": 4}
IMAGE_TOKENS = 9
TOWER_LAYERS = 3  # as its maker made it; the released code takes the last one of a SigLIP tower away
TOWER_PREFIX = "model.vision_tower.vision_tower.vision_model."


class Maker:
    """Random tensors of one dtype, by name."""

    def __init__(self, dtype: torch.dtype):
        self.dtype = dtype
        self.tensors: dict[str, torch.Tensor] = {}

    def add(self, name: str, *shape: int) -> None:
        self.tensors[name] = (torch.randn(shape) * 0.3).to(self.dtype)

    def linear(self, name: str, rows: int, columns: int, bias: bool = True) -> None:
        self.add(f"{name}.weight", rows, columns)
        if bias:
            self.add(f"{name}.bias", rows)

    def norm(self, name: str, size: int, bias: bool = True) -> None:
        self.tensors[f"{name}.weight"] = torch.ones(size, dtype=self.dtype)
        if bias:
            self.add(f"{name}.bias", size)


def released_tensors(
    family: str = "qwen2",
    stage: int = 2,
    layers: int = 2,
    winged: tuple[int, ...] | None = None,
    tower: str | None = None,
    tower_layers: int | None = None,
    dtype: torch.dtype = torch.float32,
    tied: bool = False,
) -> dict[str, torch.Tensor]:
    """Tensors under the released names."""
    make = Maker(dtype)
    make.add("model.embed_tokens.weight", VOCABULARY, HIDDEN)
    for layer in range(layers):
        _add_layer(make, f"model.layers.{layer}", bias=family == "qwen2")
        if winged is None or layer in winged:
            _add_wings(make, f"model.layers.{layer}", stage)
    make.norm("model.norm", HIDDEN, bias=False)
    make.linear("model.mm_projector.0", HIDDEN, TOWER["hidden_size"])
    make.linear("model.mm_projector.2", HIDDEN, HIDDEN)
    if not tied:
        make.linear("lm_head", VOCABULARY, HIDDEN, bias=False)
    if tower is not None:
        _add_tower(make, tower, tower_layers or TOWER_LAYERS - (tower == "siglip"))
    return make.tensors


def _add_layer(make: Maker, name: str, bias: bool) -> None:
    key_size = HIDDEN // HEADS * KEY_HEADS
    for projection, rows in (("q", HIDDEN), ("k", key_size), ("v", key_size)):
        make.linear(f"{name}.self_attn.{projection}_proj", rows, HIDDEN, bias)
    make.linear(f"{name}.self_attn.o_proj", HIDDEN, HIDDEN, bias=False)
    make.linear(f"{name}.mlp.gate_proj", INTERMEDIATE, HIDDEN, bias=False)
    make.linear(f"{name}.mlp.up_proj", INTERMEDIATE, HIDDEN, bias=False)
    make.linear(f"{name}.mlp.down_proj", HIDDEN, INTERMEDIATE, bias=False)
    make.norm(f"{name}.input_layernorm", HIDDEN, bias=False)
    make.norm(f"{name}.post_attention_layernorm", HIDDEN, bias=False)


def _add_wings(make: Maker, name: str, stage: int) -> None:
    for pool in ("attn_pool", "attn_t_pool"):  # stage 1 builds both, and uses the first
        for projection in "qkvo":
            make.add(f"{name}.{pool}.{projection}_proj.0.weight", RANK, HIDDEN)
            make.add(f"{name}.{pool}.{projection}_proj.1.weight", HIDDEN, RANK)
    if stage == 2:
        make.linear(f"{name}.reweight_module.linear", 2, POSITIONS)


def _add_tower(make: Maker, kind: str, layers: int) -> None:
    size, patch = TOWER["hidden_size"], TOWER["patch_size"]
    make.add(f"{TOWER_PREFIX}embeddings.patch_embedding.weight", size, 3, patch, patch)
    make.add(f"{TOWER_PREFIX}embeddings.position_embedding.weight", IMAGE_TOKENS + (kind == "clip"), size)
    if kind == "clip":
        make.add(f"{TOWER_PREFIX}embeddings.class_embedding", size)
        make.norm(f"{TOWER_PREFIX}pre_layrnorm", size)
    else:
        make.add(f"{TOWER_PREFIX}embeddings.patch_embedding.bias", size)
    for layer in range(layers):
        name = f"{TOWER_PREFIX}encoder.layers.{layer}"
        for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
            make.linear(f"{name}.self_attn.{projection}", size, size)
        make.linear(f"{name}.mlp.fc1", TOWER["intermediate_size"], size)
        make.linear(f"{name}.mlp.fc2", size, TOWER["intermediate_size"])
        make.norm(f"{name}.layer_norm1", size)
        make.norm(f"{name}.layer_norm2", size)
    make.norm(f"{TOWER_PREFIX}post_layernorm", size)


def pooling_head() -> dict[str, torch.Tensor]:
    """What a SigLIP tower has that is not used."""
    size, name = TOWER["hidden_size"], f"{TOWER_PREFIX}head"
    return {f"{name}.probe": torch.randn(1, 1, size), f"{name}.layernorm.bias": torch.randn(size)}


def buffers(tower: bool = False) -> dict[str, torch.Tensor]:
    """What old versions of transformers saved beside parameters."""
    ids = {f"{TOWER_PREFIX}embeddings.position_ids": torch.arange(IMAGE_TOKENS)[None]}
    tables = ("model.layers.0.self_attn.rotary_emb.inv_freq", "model.layers.0.attn_pool.rotary_emb.inv_freq")
    return {**{name: torch.rand(4) for name in tables}, **(ids if tower else {})}


def released_config(family: str = "qwen2", stage: int = 2, layers: int = 2, **changes: Any) -> dict[str, Any]:
    """The flat configuration that the authors' code writes."""
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_HEADS,
        "max_position_embeddings": 256,
        "rope_theta": 20000.0,
        "rope_scaling": None,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "use_cache": False,
        "lora_dim": RANK,
        "system_prompt_length": 5,
        "image_token_length": IMAGE_TOKENS,
        "mm_hidden_size": TOWER["hidden_size"],
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "has_router": stage == 2,
        "router_max_len": POSITIONS,
        "model_type": f"wings_{family}",
        **changes,
    }


def write_released(
    folder: Path, tensors: dict[str, torch.Tensor], config: dict[str, Any] | None = None, shards: int = 1
) -> Path:
    """A folder as the authors' code leaves it; without a configuration, as their Hub repository is."""
    folder.mkdir(parents=True, exist_ok=True)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    weight_map = {}
    for shard in range(shards):
        name = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = dict(list(tensors.items())[shard::shards])
        save_file(part, folder / name, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(part, name))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def siglip_config() -> SiglipVisionConfig:
    """The tower's configuration, as its maker made it."""
    return SiglipVisionConfig(**TOWER, num_hidden_layers=TOWER_LAYERS)


def read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors in the safetensors files of a folder."""
    from safetensors.torch import load_file

    tensors: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found = load_file(path)
        assert not tensors.keys() & found.keys()
        tensors.update(found)
    return tensors


def assert_identical(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    """The same names, shapes, dtypes and bits."""
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        other = right[name]
        assert (tensor.dtype, tensor.shape) == (other.dtype, other.shape), name
        assert _bytes(tensor).equal(_bytes(other)), name


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)
