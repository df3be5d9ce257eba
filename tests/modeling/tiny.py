# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Tiny random models and inputs: a text configuration per LLM family, weights under which the wings matter.

A layout is a string with one character per token: ``t`` text, ``v`` visual, ``.`` padding. ``"ttvvt."`` is
two text tokens, an image of two, one text token and a padding column.
"""

import contextlib
import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    CLIPVisionConfig,
    PreTrainedConfig,
    PreTrainedModel,
    SiglipVisionConfig,
)

from wings_hf import WingsConfig, WingsForCausalLM

VOCABULARY = 99
VISION_WIDTH = 20  # features per visual token where the tower is left out
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
# hidden_size / num_attention_heads is not head_dim in mistral, qwen3, qwen3_moe, gemma2, gemma3_text, glm.
# mistral: 36 / 4 = 9 is odd, so its learners have 6 heads of 6.
FAMILIES: dict[str, dict] = {
    "llama": {"model_type": "llama"},
    "llama3_rope": {
        "model_type": "llama",
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 1000.0,
            "factor": 4.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8,
        },
    },
    "llama_yarn": {
        "model_type": "llama",
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 1000.0,
            "factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    },
    "qwen2": {"model_type": "qwen2", "tie_word_embeddings": True},
    "qwen3": {"model_type": "qwen3", "hidden_size": 48, "head_dim": 16},
    "mistral": {"model_type": "mistral", "hidden_size": 36, "head_dim": 8, "sliding_window": 4},
    "gemma2": {
        "model_type": "gemma2",
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "sliding_window": 4,
        "attn_logit_softcapping": 5.0,
        "final_logit_softcapping": 3.0,
    },
    "gemma3_text": {
        "model_type": "gemma3_text",
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "sliding_window": 4,
        "num_hidden_layers": 3,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
            "full_attention": {"rope_type": "linear", "rope_theta": 5000.0, "factor": 8.0},
        },
    },
    "phi3": {
        "model_type": "phi3",
        "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.75},
    },
    "olmo2": {"model_type": "olmo2"},
    "smollm3": {"model_type": "smollm3", "num_hidden_layers": 3, "no_rope_layers": [1, 0, 1]},
    "qwen3_moe": {
        "model_type": "qwen3_moe",
        "head_dim": 16,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 12,
        "decoder_sparse_step": 1,
    },
    "gpt_neox": {
        "model_type": "gpt_neox",
        "use_parallel_residual": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5},
    },
    "gpt_neox_parallel": {
        "model_type": "gpt_neox",
        "use_parallel_residual": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5},
    },
    "granite": {
        "model_type": "granite",
        "embedding_multiplier": 3.0,
        "residual_multiplier": 0.6,
        "attention_multiplier": 0.25,
        "logits_scaling": 2.0,
    },
    "cohere": {"model_type": "cohere", "logit_scale": 0.5},
    "glm": {
        "model_type": "glm",
        "hidden_size": 48,
        "head_dim": 16,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": 0.5},
    },
}
# Families compared on the forward pass alone: each has something that the ones above have not.
OTHER_FAMILIES: dict[str, dict] = {
    "cohere2": {  # rotary embedding in the sliding layers only
        "model_type": "cohere2",
        "layer_types": ["sliding_attention", "full_attention"],
        "sliding_window": 4,
    },
    "glm4": {"model_type": "glm4", "head_dim": 16},  # interleaved, and norms after attention of another name
    "gpt_oss": {  # attention sinks
        "model_type": "gpt_oss",
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "head_dim": 16,
        "sliding_window": 4,
    },
    "helium": {"model_type": "helium", "head_dim": 8},  # interleaved
    "jetmoe": {"model_type": "jetmoe"},  # attention through a mixture, under the name `self_attention`
    "phi": {"model_type": "phi"},  # parallel residual, partial rotary, a bias in the head
    "deepseek_v3": {"model_type": "deepseek_v3", "num_key_value_heads": 4},  # values narrower than keys
}
PARALLEL_RESIDUAL = ("gpt_neox_parallel", "cohere")
NO_SDPA = ("gemma2", "gpt_oss")  # soft-cap and sinks, which it cannot


def tiny_text_config(family: str = "llama", **overrides) -> PreTrainedConfig:
    """The text configuration of one family, with single fields overridden."""
    fields = {**COMMON, **(FAMILIES | OTHER_FAMILIES)[family], **overrides}
    return AutoConfig.for_model(fields.pop("model_type"), **fields)


def tiny_vision_config(kind: str = "siglip") -> PreTrainedConfig:
    """A tower of 3 layers for 12 x 12 images of 9 patches: ``siglip`` (no class token) or ``clip`` (one)."""
    classes = {"siglip": SiglipVisionConfig, "clip": CLIPVisionConfig}
    return classes[kind](
        hidden_size=VISION_WIDTH,
        intermediate_size=24,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=12,
        patch_size=4,
    )


def tiny_config(family: str = "llama", vision: str | None = None, text: dict | None = None, **options) -> WingsConfig:
    """A Wings configuration; ``vision`` None leaves the tower out, ``text`` overrides fields of the LLM."""
    defaults = {"learner_rank": 4, "router_positions": 64, "vision_feature_size": VISION_WIDTH}
    if vision is not None:
        del defaults["vision_feature_size"]
    return WingsConfig(
        text_config=tiny_text_config(family, **(text or {})),
        vision_config=None if vision is None else tiny_vision_config(vision),
        **{**defaults, **options},
    )


def tiny_model(
    family: str = "llama",
    attn_implementation: str = "eager",
    seed: int = 0,
    vision: str | None = None,
    text: dict | None = None,
    **options,
) -> WingsForCausalLM:
    """A float32 model in evaluation mode with random weights throughout, learners and routers included."""
    config = tiny_config(family, vision, text, **options)
    # Each part by itself: the towers do not know every backend's name that a text model knows.
    config._attn_implementation = {"text_config": attn_implementation}
    model = WingsForCausalLM(config).eval()
    randomise(model, seed)
    return model


@torch.no_grad()
def randomise(model: nn.Module, seed: int = 0) -> None:
    """Weights of order 1 / sqrt(inputs), so that attention, learners and routers all matter to the logits."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if ".router." in name:
            parameter.copy_(noise * 1.5)
        elif "_learner." in name:  # (d, r) and (r, d), acting from the right
            parameter.copy_(noise * parameter.shape[0] ** -0.5)
        elif "embed_tokens" in name or "embed_in" in name:
            parameter.copy_(noise * embedding_deviation(model))
        elif parameter.ndim >= 2:
            fan_in = parameter[0].numel() if parameter.ndim == 4 else parameter.shape[-1]
            parameter.copy_(noise * fan_in**-0.5)
        else:
            parameter.add_(noise * 0.2)  # norms stay near their neutral value (0 or 1), biases are small


def embedding_deviation(model: nn.Module) -> float:
    """Deviation that makes layer 0's input about 0.7, whatever scale the family applies to embeddings."""
    text = model.config.get_text_config()
    scale = getattr(text, "embedding_multiplier", 1.0)
    if text.model_type.startswith("gemma"):
        scale = text.hidden_size**0.5
    return 0.7 / scale


@dataclass
class TinyInputs:
    """A batch made from layouts; every field is (B, S) but the embeddings (B, S, D)."""

    inputs_embeds: Tensor
    mm_token_type_ids: Tensor
    attention_mask: Tensor
    input_ids: Tensor  # image positions hold an ordinary id; use with text-only layouts

    @property
    def real(self) -> Tensor:
        return self.attention_mask.bool()

    def kwargs(self, mask: bool = True) -> dict[str, Tensor]:
        """Arguments of ``forward``; ``mask`` False leaves the mask out where nothing is padded."""
        result = {"inputs_embeds": self.inputs_embeds, "mm_token_type_ids": self.mm_token_type_ids}
        if mask:
            result["attention_mask"] = self.attention_mask
        return result

    def columns(self, part: slice) -> "TinyInputs":
        return TinyInputs(
            self.inputs_embeds[:, part],
            self.mm_token_type_ids[:, part],
            self.attention_mask[:, part],
            self.input_ids[:, part],
        )


def tiny_inputs(model: nn.Module, *layouts: str, seed: int = 1) -> TinyInputs:
    """Embeddings, modality and mask for layouts of one length, one row each.

    The n-th real token of a row depends on ``seed``, the row and n only, so that a row stays the same sample
    however it is padded.
    """
    assert len({len(layout) for layout in layouts}) == 1, layouts
    embedding = model.get_input_embeddings()
    length, hidden = len(layouts[0]), embedding.embedding_dim
    ids = torch.zeros(len(layouts), length, dtype=torch.long)
    embeds = torch.zeros(len(layouts), length, hidden)
    for row, layout in enumerate(layouts):
        generator = torch.Generator().manual_seed(1000 * seed + row)
        for column, kind in enumerate(layout):
            if kind == ".":
                continue
            ids[row, column] = torch.randint(3, VOCABULARY, (1,), generator=generator)
            feature = torch.randn(hidden, generator=generator) * 0.7
            text = embedding(ids[row, column]).detach()
            embeds[row, column] = feature * text.std() / 0.7 if kind == "v" else text
    types = torch.tensor([[int(kind == "v") for kind in layout] for layout in layouts])
    mask = torch.tensor([[int(kind != ".") for kind in layout] for layout in layouts])
    return TinyInputs(embeds, types, mask, ids)


@contextlib.contextmanager
def changed(parameter: Tensor, index, delta: float = 1.0):
    """Change one entry (or slice) of a tensor in place for the block."""
    saved = parameter.detach().clone()
    with torch.no_grad():
        parameter[index] += delta
    try:
        yield parameter
    finally:
        with torch.no_grad():
            parameter.copy_(saved)


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """max|a - b| / max|b|, in float64."""
    actual, expected = actual.detach().double(), expected.detach().double()
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    return ((actual - expected).abs().max() / expected.abs().max().clamp(min=1e-30)).item()


def backbone_of(model: WingsForCausalLM, attn_implementation: str = "eager") -> PreTrainedModel:
    """The plain ``AutoModelForCausalLM`` of the model's language model, with the same weights."""
    config = copy.deepcopy(model.config.text_config)
    backbone = AutoModelForCausalLM.from_config(config, attn_implementation=attn_implementation).eval()
    prefix = f"{backbone.base_model_prefix}."
    wings = model.state_dict()
    names = {
        name: f"model.language_model.{name.removeprefix(prefix)}" if name.startswith(prefix) else name
        for name in backbone.state_dict()
    }
    backbone.load_state_dict({name: wings[wings_name] for name, wings_name in names.items() if wings_name in wings})
    return backbone


@torch.no_grad()
def logits_in_pieces(model: nn.Module, inputs: TinyInputs, pieces: list[int], mask: bool = True, **kwargs) -> Tensor:
    """Logits of a batch fed piece by piece on one cache, (B, S, vocabulary); ``pieces`` count columns."""
    assert sum(pieces) == inputs.inputs_embeds.shape[1]
    logits, start = [], 0
    for piece in pieces:
        part = inputs.columns(slice(start, start + piece))
        start += piece
        arguments = part.kwargs(mask=False)
        if not part.mm_token_type_ids.any():  # left out, a call is known to be text before the device is asked
            del arguments["mm_token_type_ids"]
        if mask:
            arguments["attention_mask"] = inputs.attention_mask[:, :start]
        outputs = model(**arguments, use_cache=True, **kwargs)
        kwargs["past_key_values"] = outputs.past_key_values
        logits.append(outputs.logits)
    return torch.cat(logits, dim=1)
