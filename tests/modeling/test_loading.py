# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Building, saving and loading: nothing is lost, nothing is made up, and pretrained parts keep their function."""

import gc
import pickle

import pytest
import torch
from tiny import randomise, tiny_config, tiny_model, tiny_text_config, tiny_vision_config
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    CLIPConfig,
    CLIPModel,
    MobileNetV2Config,
    MobileNetV2ForImageClassification,
    SiglipConfig,
    SiglipModel,
    ViTConfig,
    ViTModel,
)

from wings_hf import WingsConfig, WingsForCausalLM, WingsModel

IDS = torch.randint(3, 90, (2, 9))
ROUTERS = ["position", "modality", "uniform", "mass"]


def fill_with_sentinels(model: nn.Module) -> dict[str, torch.Tensor]:
    """Gives each tensor values of its own, and returns them by name."""
    with torch.no_grad():
        for number, tensor in enumerate(model.state_dict().values()):
            values = torch.arange(tensor.numel(), dtype=torch.float32).reshape(tensor.shape) % 251
            tensor.copy_((values + number).to(tensor.dtype))
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_holds(model: nn.Module, sentinels: dict[str, torch.Tensor]) -> None:
    found = model.state_dict()
    assert set(found) == set(sentinels)
    different = [name for name, tensor in sentinels.items() if not torch.equal(found[name], tensor)]
    assert not different


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma3_text", "phi3", "gpt_neox", "qwen3_moe"])
@pytest.mark.parametrize("router", ROUTERS)
def test_every_tensor_survives_save_and_load(family, router, tmp_path):
    model = tiny_model(family, vision="clip", router=router)
    sentinels = fill_with_sentinels(model)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1 and not list(tmp_path.glob("*.bin"))
    loaded, report = WingsForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    assert_holds(loaded, sentinels)


def test_position_tables_of_the_backbone_are_there_after_loading(tmp_path):
    model = tiny_model("gemma3_text", vision="siglip")
    model.save_pretrained(tmp_path)
    loaded = WingsForCausalLM.from_pretrained(tmp_path)
    expected = dict(model.named_buffers())
    assert expected and set(expected) == set(dict(loaded.named_buffers()))
    for name, buffer in loaded.named_buffers():
        assert torch.equal(buffer, expected[name]), name


@pytest.mark.parametrize("learners", [("visual", "textual"), ("visual",), ("textual",), ()])
def test_what_exists_is_configuration(learners, tmp_path):
    model = tiny_model("llama", "sdpa", vision="siglip", learners=learners)
    names = "\n".join(model.state_dict())
    assert ("visual_learner" in names) == ("visual" in learners)
    assert ("textual_learner" in names) == ("textual" in learners)
    assert ("router" in names) == (len(learners) == 2)
    model.save_pretrained(tmp_path)
    assert WingsConfig.from_pretrained(tmp_path).learners == learners
    ids = IDS.clamp(max=90)
    assert torch.equal(WingsForCausalLM.from_pretrained(tmp_path)(ids).logits, model(ids).logits)


def test_new_parts_are_initialised_when_a_checkpoint_lacks_them(tmp_path):
    """A stage-1 checkpoint loaded with a stage-2 configuration: new learners add nothing."""
    model = tiny_model(vision="siglip", learners=("visual",))
    model.save_pretrained(tmp_path)
    config = WingsConfig.from_pretrained(tmp_path)
    config.learners = ("visual", "textual")
    loaded, report = WingsForCausalLM.from_pretrained(tmp_path, config=config, output_loading_info=True)
    assert report["missing_keys"] and all("textual_learner" in k or "router" in k for k in report["missing_keys"])
    for name, parameter in loaded.named_parameters():
        if "router" in name or ("textual_learner" in name and name.endswith("_b")):
            assert not parameter.any(), name
        if "textual_learner" in name and name.endswith("_a"):
            assert 0.5 < parameter.std() * parameter.shape[0] ** 0.5 < 1.5, name
    assert torch.allclose(loaded(IDS).logits, model(IDS).logits, atol=1e-6)


def test_auto_classes(tmp_path):
    model = tiny_model("llama", "sdpa", vision="siglip")
    model.save_pretrained(tmp_path)
    for auto, cls in (
        (AutoModel, WingsModel),
        (AutoModelForCausalLM, WingsForCausalLM),
        (AutoModelForImageTextToText, WingsForCausalLM),
    ):
        loaded = auto.from_pretrained(tmp_path)
        assert type(loaded) is cls
    assert type(AutoConfig.from_pretrained(tmp_path)) is WingsConfig
    base = AutoModel.from_pretrained(tmp_path)
    assert torch.equal(base(IDS).last_hidden_state, model.model(IDS).last_hidden_state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_dtype_and_device_map(dtype, tmp_path):
    tiny_model(vision="siglip").save_pretrained(tmp_path)
    model = WingsForCausalLM.from_pretrained(tmp_path, dtype=dtype, device_map="auto")
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    ids = torch.tensor([[5, *[model.config.image_token_id] * 9, 6, 7]])
    logits = model(input_ids=ids, pixel_values=torch.randn(1, 3, 12, 12)).logits
    assert logits.dtype == dtype and logits.isfinite().all()


def test_loading_takes_the_memory_of_the_checkpoint_once(tmp_path):
    """Between a meta model and a loaded one there are no further tensors of the size of the weights."""
    model = tiny_model(vision="siglip", text={"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 8})
    model.save_pretrained(tmp_path)
    size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    del model
    gc.collect()
    made = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.device.type == "cpu":
                made.append((result.untyped_storage().data_ptr(), result.untyped_storage().nbytes()))
            return result

    with Watch():
        loaded = WingsForCausalLM.from_pretrained(tmp_path)
    held = {p.untyped_storage().data_ptr() for p in loaded.parameters()}
    extra = sum(nbytes for pointer, nbytes in dict(made).items() if pointer not in held)
    assert extra < 0.1 * size


def test_init_on_the_meta_device():
    with torch.device("meta"):
        model = WingsForCausalLM(tiny_config(vision="clip", router="modality", learner_rope=True))
    assert {tensor.device.type for tensor in model.state_dict().values()} == {"meta"}


def test_pickle_of_the_whole_model():
    model = tiny_model("gemma3_text", vision="siglip")
    copy = pickle.loads(pickle.dumps(model))
    assert type(copy.model.language_model.layers[0].self_attn) is type(model.model.language_model.layers[0].self_attn)
    assert torch.equal(copy(IDS).logits, model(IDS).logits)


@pytest.mark.parametrize("tied", [True, False])
def test_tied_and_untied_heads_and_resizing(tied, tmp_path):
    model = tiny_model("llama", "sdpa", text={"tie_word_embeddings": tied}, image_token_id=120)
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    assert (embeddings.weight is head.weight) == tied
    before = model(IDS).logits
    model.resize_token_embeddings(110)
    assert model.get_input_embeddings().num_embeddings == model.get_output_embeddings().out_features == 110
    assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) == tied
    assert torch.allclose(model(IDS).logits[..., :99], before, atol=1e-6)
    assert model.config.text_config.vocab_size == 110 and model.config.image_token_id == 120
    model.save_pretrained(tmp_path)
    assert torch.equal(WingsForCausalLM.from_pretrained(tmp_path)(IDS).logits, model(IDS).logits)
    labels = IDS.clone()
    assert model(IDS, labels=labels).loss.isfinite()


# ---- from_backbones ---------------------------------------------------------------------------------------------


def base_model(family: str, backend: str = "sdpa") -> nn.Module:
    model = AutoModelForCausalLM.from_config(tiny_text_config(family), attn_implementation=backend).eval()
    randomise(model)
    return model


@pytest.mark.parametrize(
    "family", ["llama", "qwen2", "gemma3_text", "phi3", "olmo2", "smollm3", "qwen3_moe", "granite"]
)
def test_from_backbones_keeps_text_bit_for_bit(family, tmp_path):
    base = base_model(family)
    expected = base(IDS).logits
    base.save_pretrained(tmp_path / "text")
    small = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "vocab_size": 9,
    }
    vision = SiglipModel(SiglipConfig(text_config=small, vision_config=tiny_vision_config("siglip").to_dict()))
    vision.save_pretrained(tmp_path / "vision")
    model = WingsForCausalLM.from_backbones(tmp_path / "text", tmp_path / "vision", learner_rank=2)
    assert torch.equal(model(IDS).logits, expected)
    assert torch.equal(model.generate(IDS, max_new_tokens=4), base.generate(IDS, max_new_tokens=4))
    tower = model.model.vision_tower.state_dict()
    assert not [name for name in tower if "head" in name], "the pooling head is not loaded"
    for name, tensor in tower.items():
        assert torch.equal(tensor, vision.vision_model.state_dict()[name]), name
    assert not any(parameter.is_meta for parameter in model.parameters())
    assert not any(buffer.is_meta for buffer in model.buffers())
    model.save_pretrained(tmp_path / "wings")
    assert torch.equal(WingsForCausalLM.from_pretrained(tmp_path / "wings")(IDS).logits, expected)


def test_from_backbones_takes_modules_without_a_copy():
    base = base_model("llama")
    small = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "vocab_size": 9,
    }
    vision = CLIPModel(CLIPConfig(text_config=small, vision_config=tiny_vision_config("clip").to_dict()))
    model = WingsForCausalLM.from_backbones(base, vision, learner_rank=2, learner_scope="visual_context")
    assert model.model.language_model.embed_tokens.weight is base.model.embed_tokens.weight
    assert torch.equal(model(IDS).logits, base(IDS).logits)
    assert not any(parameter.requires_grad for parameter in model.model.vision_tower.parameters())
    assert all(parameter.requires_grad for parameter in model.model.language_model.parameters())


@pytest.mark.parametrize(
    "vision",
    [
        MobileNetV2ForImageClassification(MobileNetV2Config(image_size=64)),
        ViTModel(
            ViTConfig(
                hidden_size=16,
                num_hidden_layers=3,
                num_attention_heads=2,
                intermediate_size=20,
                image_size=8,
                patch_size=4,
            )
        ),
    ],
    ids=["mobilenet_v2 with a classifier", "vit with a pooler"],
)
def test_from_backbones_takes_the_bare_encoder(vision):
    model = WingsForCausalLM.from_backbones(base_model("llama"), vision, learner_rank=2)
    names = "\n".join(model.model.vision_tower.state_dict())
    assert "classifier" not in names and "pooler" not in names


class FakeTokenizer:
    def __init__(self, vocab):
        self.vocab = vocab

    def __len__(self):
        return len(self.vocab)

    def get_vocab(self):
        return self.vocab


@pytest.mark.parametrize(
    ("vocab", "expected"),
    [
        ({str(i): i for i in range(90)}, 90),  # an unused row of the 99
        ({str(i): i for i in range(99)}, 99),  # an id past it
        ({"<image>": 7, **{str(i): i for i in range(90) if i != 7}}, 7),
    ],
)
def test_image_token_id_from_the_tokenizer(vocab, expected):
    model = WingsForCausalLM.from_backbones(
        base_model("llama"), None, tokenizer=FakeTokenizer(vocab), vision_feature_size=6
    )
    assert model.config.image_token_id == expected
    assert model.get_input_embeddings().num_embeddings == 99, "without resizing"


def test_a_model_without_head_is_refused():
    with pytest.raises(ValueError, match="expected a causal language model with its head"):
        WingsForCausalLM.from_backbones(base_model("llama").model, None, vision_feature_size=6)


# ---- backends and checkpointing -----------------------------------------------------------------------------------


def test_attention_backend_can_be_set_and_changed():
    model = tiny_model("llama", "eager")
    eager = model(IDS).logits
    model.set_attn_implementation("sdpa")
    assert model.model.language_model.config._attn_implementation == "sdpa"
    assert torch.allclose(model(IDS).logits, eager, atol=1e-5)
    with pytest.raises((ValueError, ImportError), match=r"(?i)flash"):
        model.set_attn_implementation("flash_attention_2")


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("query", ["attention_input", "post_attention"])
def test_gradient_checkpointing_of_both_kinds(reentrant, query):
    model = tiny_model("gemma3_text", "sdpa", vision="siglip", learner_query=query)
    ids = torch.tensor([[5, *[model.config.image_token_id] * 9, 6, 7, 8]])
    inputs = {"input_ids": ids, "pixel_values": torch.randn(1, 3, 12, 12), "labels": ids.clamp(max=98)}
    model.train()

    def gradients():
        model.zero_grad()
        loss = model(**inputs).loss
        loss.backward()
        return loss.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    loss, plain = gradients()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant}) if not hasattr(
        model, "activation_checkpointing_enable"
    ) else model.activation_checkpointing_enable({"use_reentrant": reentrant})
    checkpointed_loss, checkpointed = gradients()
    assert torch.equal(loss, checkpointed_loss)
    assert set(plain) == set(checkpointed)
    for name, gradient in plain.items():
        assert torch.allclose(gradient, checkpointed[name], rtol=1e-5, atol=1e-7), name
    assert any("projector" in name and gradient.any() for name, gradient in checkpointed.items())
