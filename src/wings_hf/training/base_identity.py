# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What tells one language model or vision tower from another: configuration, shapes of tensors, their values."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig

# Fields of a configuration that change no weight and no logit, or are those of the way a model was loaded.
VOLATILE = {
    "_name_or_path",
    "_attn_implementation",
    "architectures",
    "bos_token_id",
    "dtype",
    "eos_token_id",
    "id2label",
    "label2id",
    "pad_token_id",
    "quantization_config",
    "torch_dtype",
    "transformers_version",
    "use_cache",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
}


def identity(config: PreTrainedConfig, tensors: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, Any]:
    """
    A record that `differences` compares: `name`, `config`, `dtype`, `tensors` (their number), `shapes`, `weights`.

    Args:
        config: of the model.
        tensors: its parameters and buffers by name.
        dtype: the one in which floating-point values are compared: a model that was saved in bfloat16 and loaded in
            float32 is the same model.
    """
    shapes = sorted((name, list(tensor.shape)) for name, tensor in tensors.items())
    return {
        "name": config.name_or_path or None,
        "config": {key: value for key, value in _plain(config).items() if key not in VOLATILE},
        "dtype": str(dtype).removeprefix("torch."),
        "tensors": len(tensors),
        "shapes": hashlib.sha256(repr(shapes).encode()).hexdigest(),
        "weights": digest(tensors, dtype),
    }


def _plain(config: PreTrainedConfig) -> dict[str, Any]:
    """The configuration as it is read back from JSON."""
    return json.loads(config.to_json_string(use_diff=False))


def differences(recorded: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """What is different in two identities of one `dtype`, in words; empty where nothing is.

    Fields of the configuration that only one of the two has are those of other versions of transformers.
    """
    old, new = recorded["config"], given["config"]
    fields = [f"{key} {old[key]!r} / {new[key]!r}" for key in old.keys() & new.keys() if old[key] != new[key]]
    if fields:
        return f"their configurations ({', '.join(sorted(fields))})"
    if recorded["shapes"] != given["shapes"]:
        return f"the names or shapes of their tensors ({recorded['tensors']} / {given['tensors']} of them)"
    return "" if recorded["weights"] == given["weights"] else "the values of their weights"


def digest(tensors: Mapping[str, torch.Tensor], dtype: torch.dtype) -> str:
    """SHA-256 over the values of all tensors in the order of their names, floating-point ones as `dtype`."""
    with ThreadPoolExecutor() as pool:  # hashing lets other threads run
        parts = pool.map(lambda name: _digest_one(tensors[name], dtype), sorted(tensors))
        return hashlib.sha256(b"".join(parts)).hexdigest()


def _digest_one(tensor: torch.Tensor, dtype: torch.dtype) -> bytes:
    tensor = tensor.detach()
    tensor = tensor.to("cpu", dtype if tensor.is_floating_point() else tensor.dtype).contiguous()
    return hashlib.sha256(tensor.flatten().view(torch.uint8).numpy().data).digest()


def saved_tensors(module: nn.Module, left_out: Iterable[nn.Module] = ()) -> dict[str, torch.Tensor]:
    """Parameters and persistent buffers of `module` by name, without those of the modules in `left_out`."""
    excluded = {id(inner) for outer in left_out for inner in outer.modules()}
    tensors: dict[str, torch.Tensor] = {}
    for prefix, inner in module.named_modules():
        if id(inner) not in excluded:
            own = {**inner._parameters, **inner._buffers}
            tensors |= {
                f"{prefix}.{name}" if prefix else name: tensor
                for name, tensor in own.items()
                if tensor is not None and name not in inner._non_persistent_buffers_set
            }
    return tensors
