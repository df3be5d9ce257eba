# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Which classes load a model to be measured, and what identifies it in a record."""

import hashlib
import json
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

import wings_hf  # noqa: F401  (Wings among transformers' auto classes)


def read_config(name: str, trust_remote_code: bool = False, revision: str = "main") -> Any:
    return AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code, revision=revision)


def takes_images(config: Any) -> bool:
    """Whether a model of this configuration is an image-text model, of transformers or with code of its own."""
    return type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING or "AutoModelForImageTextToText" in (
        getattr(config, "auto_map", None) or {}
    )


def auto_class(config: Any) -> Any:
    return AutoModelForImageTextToText if takes_images(config) else AutoModelForCausalLM


def load_processor(name: str, config: Any, trust_remote_code: bool = False, revision: str = "main") -> Any:
    """The processor of an image-text model, the tokenizer of any other.

    Raises:
        ValueError: an image-text model without a processor that takes images.
    """
    auto: Any = AutoProcessor if takes_images(config) else AutoTokenizer
    processor = auto.from_pretrained(name, trust_remote_code=trust_remote_code, revision=revision)
    if takes_images(config) and not hasattr(processor, "image_processor"):
        raise ValueError(f"{name} is an image-text model, and no image processor is saved with it.")
    return processor


def load(name: str, trust_remote_code: bool = False, revision: str = "main", **arguments: Any) -> tuple[Any, Any]:
    """Model, in evaluation mode, and processor (or tokenizer); `arguments` are those of `from_pretrained`."""
    config = read_config(name, trust_remote_code, revision)
    processor = load_processor(name, config, trust_remote_code, revision)
    remote = {"trust_remote_code": trust_remote_code, "revision": revision}
    return auto_class(config).from_pretrained(name, use_safetensors=True, **remote, **arguments).eval(), processor


def default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def describe(model: Any, processor: Any, name: str) -> dict[str, Any]:
    """What a record says of the model: enough to see whether two runs measured the same one the same way."""
    parameters = list(model.parameters())
    image_processor = getattr(processor, "image_processor", None)
    tokenizer = getattr(processor, "tokenizer", processor)
    return {
        "name": name,
        "type": model.config.model_type,
        "class": type(model).__name__,
        "config_hash": config_hash(model.config),
        "weights_hash": weights_hash(parameters),
        "parameters": sum(parameter.numel() for parameter in parameters),
        "dtype": str(model.dtype).removeprefix("torch."),
        "attention": getattr(model.config, "_attn_implementation", None),
        "processor": type(processor).__name__,
        "image_processor": image_processor.to_dict() if image_processor is not None else None,
        "tokenizer": type(tokenizer).__name__,
        "vocabulary": len(tokenizer),
        "chat_template_hash": chat_template_hash(processor),
    }


def chat_template_hash(processor: Any) -> str | None:
    """Of the template that conversations are written by, the processor's before its tokenizer's; None without one."""
    tokenizer = getattr(processor, "tokenizer", processor)
    template = getattr(processor, "chat_template", None) or getattr(tokenizer, "chat_template", None)
    return _digest(json.dumps(template, sort_keys=True).encode()) if template else None


def config_hash(config: Any) -> str:
    """Of what the configuration says, but for where it was loaded from and by which version."""
    content = config.to_dict()
    for name in ("_name_or_path", "transformers_version"):
        content.pop(name, None)
    return _digest(json.dumps(content, sort_keys=True, default=str).encode())


@torch.no_grad()
def weights_hash(parameters: list[torch.Tensor]) -> str:
    """Of the shapes and of sums in double precision: cheap, and another training run has another."""
    sums = [(tuple(p.shape), float(p.double().sum()), float(p.double().abs().sum())) for p in parameters]
    return _digest(repr(sums).encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
