# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Vision towers of every kind: which features, how many tokens, what is left out, and that they stay still."""

import pytest
import torch
from tiny import tiny_text_config
from transformers import (
    CLIPConfig,
    CLIPVisionConfig,
    ConvNextConfig,
    Dinov2Config,
    Dinov2WithRegistersConfig,
    MobileNetV2Config,
    PreTrainedConfig,
    ResNetConfig,
    Siglip2VisionConfig,
    SiglipConfig,
    SiglipVisionConfig,
    ViTConfig,
)

from wings_hf import WingsConfig, WingsForCausalLM

SMALL = {"hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 3, "num_attention_heads": 2}
TOWERS: dict[str, tuple[PreTrainedConfig, tuple[int, int], int]] = {
    # configuration, image size, tokens per image
    "siglip": (SiglipVisionConfig(**SMALL, image_size=12, patch_size=4), (12, 12), 9),
    "siglip, whole": (SiglipConfig(vision_config={**SMALL, "image_size": 12, "patch_size": 4}), (12, 12), 9),
    "clip": (CLIPVisionConfig(**SMALL, image_size=12, patch_size=4), (12, 12), 9),
    "clip, whole": (CLIPConfig(vision_config={**SMALL, "image_size": 12, "patch_size": 4}), (12, 12), 9),
    "dinov2": (Dinov2Config(**SMALL, image_size=12, patch_size=4), (12, 12), 9),
    "dinov2 with registers": (
        Dinov2WithRegistersConfig(**SMALL, image_size=12, patch_size=4, num_register_tokens=2),
        (12, 12),
        9,
    ),
    "vit": (ViTConfig(**SMALL, image_size=12, patch_size=4), (12, 12), 9),
    "mobilenet_v2": (MobileNetV2Config(image_size=64, depth_multiplier=0.35), (64, 64), 4),
    "mobilenet_v2, odd side": (MobileNetV2Config(image_size=70, depth_multiplier=1.4), (70, 70), 9),
    "resnet": (ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 8, 12], depths=[1, 1, 1, 1]), (64, 64), 4),
    "convnext": (ConvNextConfig(hidden_sizes=[8, 8, 8, 12], depths=[1, 1, 1, 1], image_size=64), (64, 64), 4),
}


def build(name: str, **options) -> tuple[WingsForCausalLM, torch.Tensor, torch.Tensor]:
    """A model with the tower, ids of a row with two images, and their pixels."""
    tower, size, tokens = TOWERS[name]
    config = WingsConfig(text_config=tiny_text_config(), vision_config=tower, learner_rank=2, **options)
    image = [config.image_token_id] * tokens
    model = WingsForCausalLM(config).eval()
    for module in model.model.vision_tower.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)  # else a deep convolutional tower fades to nothing
    return model, torch.tensor([[5, *image, 6, *image, 7]]), torch.randn(2, 3, *size)


@pytest.mark.parametrize("name", TOWERS)
def test_tokens_and_forward(name):
    model, ids, pixels = build(name)
    features = model.get_image_features(pixels)
    assert [tuple(image.shape) for image in features.pooler_output] == [(TOWERS[name][2], 32)] * 2
    logits = model(input_ids=ids, pixel_values=pixels).logits
    other = model(input_ids=ids, pixel_values=pixels + 1.0).logits
    assert logits.isfinite().all() and not torch.equal(logits[:, -1], other[:, -1])
    assert model.config.image_seq_length in (TOWERS[name][2], None)


@pytest.mark.parametrize("name", TOWERS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_finite(name, dtype):
    model, ids, pixels = build(name)
    assert model.to(dtype)(input_ids=ids, pixel_values=pixels * 3).logits.isfinite().all()


@pytest.mark.parametrize("name", TOWERS)
def test_the_pooling_head_is_not_built(name):
    model, *_ = build(name)
    modules = dict(model.model.vision_tower.named_modules())
    assert not [key for key, module in modules.items() if "pooler" in key and list(module.parameters())]
    assert not [key for key in modules if key == "head" or key.endswith((".head", "classifier"))]


@pytest.mark.parametrize("name", ["mobilenet_v2", "clip"])
def test_a_frozen_tower_stays_as_it_is(name):
    """Its parameters get no gradient and its batch norms keep their statistics, in training mode too."""
    model, ids, pixels = build(name)
    before = {key: value.clone() for key, value in model.model.vision_tower.state_dict().items()}
    model.train()
    assert not model.model.vision_tower.training and model.model.language_model.training
    model(input_ids=ids, pixel_values=pixels * 4 + 1, labels=ids.clamp(max=98)).loss.backward()
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0).step()
    for key, value in model.model.vision_tower.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert all(parameter.grad is None for parameter in model.model.vision_tower.parameters())


def test_a_tower_may_be_trained():
    model, ids, pixels = build("clip", freeze_vision_tower=False)
    model.train()
    assert model.model.vision_tower.training
    model(input_ids=ids, pixel_values=pixels, labels=ids.clamp(max=98)).loss.backward()
    assert any(p.grad is not None and p.grad.any() for p in model.model.vision_tower.parameters())


def test_feature_layers_and_strategy():
    model, _, pixels = build("clip", vision_feature_layer=[-2, -1], vision_feature_select_strategy="full")
    features = model.get_image_features(pixels).last_hidden_state
    states = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states
    assert torch.equal(features, torch.cat([states[-2], states[-1]], dim=-1))
    assert model.config.vision_feature_size == 32 and features.shape[1] == 10


def test_naflex_is_refused():
    with pytest.raises(ValueError, match=r"SigLIP 2 NaFlex.*one fixed resolution"):
        WingsConfig(text_config=tiny_text_config(), vision_config=Siglip2VisionConfig(**SMALL))


def test_a_layer_of_a_convolutional_tower_is_refused():
    with pytest.raises(ValueError, match="vision_feature_layer=-2: expected -1"):
        WingsConfig(text_config=tiny_text_config(), vision_config=MobileNetV2Config(), vision_feature_layer=-2)


def test_wrong_number_of_prefix_tokens_is_told():
    model, _, pixels = build("vit", num_prefix_tokens=0)
    with pytest.raises(ValueError, match=r"made 10 tokens .* expected 9: set num_prefix_tokens"):
        model.get_image_features(pixels)


def test_pixels_of_the_wrong_shape_are_refused():
    model, _, pixels = build("clip")
    with pytest.raises(ValueError, match=r"expected \(images, channels, height, width\)"):
        model.get_image_features(pixels[0])
