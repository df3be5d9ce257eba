# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Loading the model that is served."""

import importlib.util
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoProcessor

import wings_hf  # noqa: F401  (registers the Auto classes)
from wings_hf.cli.chat_session import check_name, pick_device
from wings_hf.serving.chat import Served
from wings_hf.serving.limits import Limits


def load(
    model_name: str,
    name: str,
    limits: Limits,
    device: str = "auto",
    dtype: str = "auto",
    attention: str | None = None,
    cached_images: int = 64,
    trust_remote_code: bool = False,
) -> Served:
    """
    A model for a server, with the features of images kept.

    Args:
        model_name: folder or name on the Hub.
        name: what clients call it.
        device: "auto" spreads it over the accelerators there are (with accelerate, else takes one), or names one.
        cached_images: images whose features are kept; 0 for none.

    Raises:
        OSError, ValueError: it cannot be loaded, or has no chat template.
    """
    check_name(model_name)
    if device != "auto":
        device = str(pick_device(device))
    kinds: dict[str, Any] = {"dtype": _dtype(dtype), "trust_remote_code": trust_remote_code, "use_safetensors": True}
    if attention is not None:
        kinds["attn_implementation"] = attention
    placed = importlib.util.find_spec("accelerate") is not None
    if placed:
        kinds["device_map"] = device
    model: Any = AutoModelForCausalLM.from_pretrained(model_name, **kinds)
    processor = AutoProcessor.from_pretrained(model_name, trust_remote_code=trust_remote_code)
    if processor.chat_template is None:
        raise ValueError(f"{model_name} has no chat template: it was not made to converse.")
    if cached_images and hasattr(model, "cache_image_features"):
        model.cache_image_features(cached_images)
    return Served((model if placed else model.to(pick_device(device))).eval(), processor, name, limits)


def _dtype(name: str) -> Any:
    found = name if name == "auto" else getattr(torch, name, None)
    if found != "auto" and not isinstance(found, torch.dtype):
        raise ValueError(f"--dtype {name}: expected auto, bfloat16, float16, float32 or another of torch's.")
    return found
