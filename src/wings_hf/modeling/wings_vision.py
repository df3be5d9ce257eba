# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
From pixels to the language model's embeddings: vision tower, choice of features, projector.

Shapes: `i` images, `t` tokens per image, `f` feature width, `d` hidden size of the language model.
"""

import inspect
from typing import Any

import torch
from torch import nn
from transformers import MODEL_MAPPING, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.modeling_outputs import BaseModelOutputWithPooling, ModelOutput

from wings_hf.configuration.wings_image_tokens import count_image_tokens
from wings_hf.configuration.wings_towers import describe_tower


class WingsMultiModalProjector(nn.Module):
    """Linear, activation, linear: tower features (i, t, f) -> embeddings (i, t, d)."""

    def __init__(self, config: PreTrainedConfig):
        super().__init__()
        if config.vision_feature_size is None:
            raise ValueError(
                "vision_config=None leaves only the projector, whose input width must then be given: expected "
                "vision_feature_size, the width of the features passed as pixel_values."
            )
        hidden_size = config.text_config.hidden_size
        self.linear_1 = nn.Linear(config.vision_feature_size, hidden_size, bias=config.projector_bias)
        self.act = ACT2FN[config.projector_hidden_act]
        self.linear_2 = nn.Linear(hidden_size, hidden_size, bias=config.projector_bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.linear_2(self.act(self.linear_1(features)))


def tower_arguments(config: PreTrainedConfig) -> dict[str, bool]:
    """Arguments that leave the pooling head of the tower described by `config` out."""
    model_class = MODEL_MAPPING[type(config)]
    has_switch = "add_pooling_layer" in inspect.signature(model_class.__init__).parameters
    return {"add_pooling_layer": False} if has_switch else {}


def build_vision_tower(config: PreTrainedConfig) -> PreTrainedModel:
    """The tower, without its pooling head where the family lets one leave it out."""
    return AutoModel.from_config(config, **tower_arguments(config))


@torch.compiler.assume_constant_result
def _can_record_hidden_states(tower: PreTrainedModel) -> bool:
    """
    Prepares `tower` for giving hidden states, as its first call in that mode does otherwise; always true.

    Under `torch.compile` that first call would break the graph in several places. This runs while compiling.
    """
    try:
        from transformers.utils.output_capturing import maybe_install_capturing_hooks
    except ImportError:
        return True
    maybe_install_capturing_hooks(tower)
    return True


def tower_outputs(
    tower: PreTrainedModel, pixel_values: torch.Tensor, config: PreTrainedConfig, **kwargs: Any
) -> BaseModelOutputWithPooling:
    """
    The tower's outputs, with its chosen features as a sequence (i, t, f) in `last_hidden_state`.

    Args:
        tower: the vision tower.
        pixel_values: (i, channels, height, width).
        config: a `WingsConfig`.
        kwargs: what else the tower takes, such as `output_hidden_states`.

    Raises:
        ValueError: if the tower gives another number of tokens than `count_image_tokens` says.
    """
    if pixel_values.ndim != 4:
        raise ValueError(
            f"pixel_values of shape {tuple(pixel_values.shape)}: expected (images, channels, height, width)."
        )
    wanted = kwargs.pop("output_hidden_states", None)
    wanted = tower.config.output_hidden_states if wanted is None else wanted
    convolutional = describe_tower(config.vision_config).convolutional
    if torch.compiler.is_compiling():
        _can_record_hidden_states(tower)
    outputs = tower(
        pixel_values.to(dtype=tower.dtype, device=tower.device),
        output_hidden_states=wanted or not convolutional,
        **{**kwargs, "return_dict": True},
    )
    features = _feature_map(outputs.last_hidden_state) if convolutional else _hidden_states(outputs, config)
    if config.vision_feature_select_strategy == "default":
        features = features[:, config.num_prefix_tokens :]
    expected = count_image_tokens(*pixel_values.shape[-2:], **config.image_token_geometry())
    if features.shape[1] != expected:
        raise ValueError(
            f"The vision tower {config.vision_config.model_type!r} made {features.shape[1]} tokens of an image of "
            f"{tuple(pixel_values.shape[-2:])} pixels, expected {expected}: set num_prefix_tokens (now "
            f"{config.num_prefix_tokens}) to what it puts before the patches."
        )
    return BaseModelOutputWithPooling(
        last_hidden_state=features,
        hidden_states=outputs.hidden_states if wanted else None,
        attentions=getattr(outputs, "attentions", None),
    )


def _feature_map(features: torch.Tensor) -> torch.Tensor:
    """(i, f, rows, columns) -> (i, t, f)."""
    return features.flatten(2).transpose(1, 2)


def _hidden_states(outputs: ModelOutput, config: PreTrainedConfig) -> torch.Tensor:
    layers = config.vision_feature_layer
    layers = [layers] if isinstance(layers, int) else layers
    return torch.cat([outputs.hidden_states[layer] for layer in layers], dim=-1)
