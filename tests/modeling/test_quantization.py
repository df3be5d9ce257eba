# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Quantised models: what is quantised, that they compute what their weights say, generate, and survive saving.

Skipped without bitsandbytes or torchao. Four-bit weights of torchao are tested with `IntxWeightOnlyConfig`:
`Int4WeightOnlyConfig` has no kernels for a CPU.
"""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import FAMILIES, relative_error, tiny_model, tiny_text_config
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, BitsAndBytesConfig, LlamaForCausalLM, TorchAoConfig
from transformers.utils import is_bitsandbytes_available, is_torchao_available

from wings_hf import WingsForCausalLM
from wings_hf.modeling.wings_quantization import KEPT_MODULES, with_exceptions

pytest.importorskip("accelerate")
METHODS = ["bitsandbytes 8", "bitsandbytes nf4", "bitsandbytes nf4 nested", "torchao int8", "torchao int4"]
SIZES = {"hidden_size": 64, "intermediate_size": 128}  # bitsandbytes packs 64 numbers, torchao here 32
QUANTISED = ("Int8Params", "Params4bit", "Int8Tensor", "IntxUnpackedToInt8Tensor")


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("bitsandbytes.autograd._functions").setLevel("ERROR")  # a line for each layer


def quantization(method: str, exceptions: list[str] | None = None) -> Any:
    library, *kind = method.split()
    if not (is_bitsandbytes_available() if library == "bitsandbytes" else is_torchao_available("0.18.0")):
        pytest.skip(f"{library} is not installed, or too old")
    if library == "bitsandbytes":
        fields = {"load_in_8bit": True} if kind == ["8"] else {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
        return BitsAndBytesConfig(
            **fields, bnb_4bit_use_double_quant="nested" in kind, llm_int8_skip_modules=exceptions
        )
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig
    from torchao.quantization.granularity import PerGroup

    four_bits = kind == ["int4"]
    weights = IntxWeightOnlyConfig(torch.int4, PerGroup(32)) if four_bits else Int8WeightOnlyConfig()
    return TorchAoConfig(weights, modules_to_not_convert=exceptions)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("quantization")
    tiny_model("llama", "sdpa", vision="siglip", text=SIZES, learner_rank=4).save_pretrained(path)
    return path


def inputs_of(model: nn.Module) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.tensor([[5, *[model.config.image_token_id] * 9, 6, 7, 8], [9, 5, *[3] * 4, *[8] * 7]])
    return {"input_ids": ids, "pixel_values": torch.randn(1, 3, 12, 12, generator=generator)}


def quantised(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if type(parameter).__name__ in QUANTISED}


def dequantised(parameter: nn.Parameter) -> torch.Tensor:
    kind = type(parameter).__name__
    if kind == "Params4bit":
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(parameter.data, parameter.quant_state).float()
    if kind == "Int8Params":
        return parameter.data.float() * parameter.SCB[:, None] / 127
    return parameter.dequantize().float()


def linear_layers_of_blocks(model: nn.Module) -> set[str]:
    return {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.startswith("model.language_model.")
    }


@pytest.mark.parametrize("method", METHODS)
@torch.no_grad()
def test_quantised_model(method, folder, tmp_path):
    reference = WingsForCausalLM.from_pretrained(folder)
    model = WingsForCausalLM.from_pretrained(folder, quantization_config=quantization(method))

    # What is quantised: the blocks. All else is as it was.
    assert quantised(model) == linear_layers_of_blocks(reference)
    kept = {name: parameter for name, parameter in model.named_parameters() if name not in quantised(model)}
    assert {part for part in ("learner", "router", "projector", "vision_tower", "lm_head") if part in " ".join(kept)}
    originals = dict(reference.named_parameters())
    for name, parameter in kept.items():
        assert torch.equal(parameter, originals[name]), name

    # It computes what its weights say.
    inputs = inputs_of(model)
    for name in quantised(model):
        weight = dequantised(model.get_parameter(name))
        assert 0 < relative_error(weight, originals[name]) < 0.3
        originals[name].copy_(weight)
    logits = model(**inputs).logits
    # 8-bit bitsandbytes quantises the activations too; on some processors 4-bit scales are rounded to bfloat16
    assert relative_error(logits, reference(**inputs).logits) < (0.05 if "bitsandbytes" in method else 1e-4)

    # It generates what it predicts.
    tokens = model.generate(**inputs, max_new_tokens=4, do_sample=False, eos_token_id=None)
    one_by_one = model.generate(**inputs, max_new_tokens=4, do_sample=False, eos_token_id=None, use_cache=False)
    assert tokens.tolist() == one_by_one.tolist()

    # It is the same after saving, with the whole of its precision.
    logits = model(**inputs).logits
    model.save_pretrained(tmp_path)
    assert torch.equal(model(**inputs).logits, logits), "saving does not change the model"
    for loaded in (WingsForCausalLM.from_pretrained(tmp_path), AutoModelForCausalLM.from_pretrained(tmp_path)):
        assert quantised(loaded) == quantised(model)
        assert torch.equal(loaded(**inputs).logits, logits)
    if "torchao" in method:  # transformers finds its tensors by their full names, which a model without head has not
        return
    base = AutoModel.from_pretrained(tmp_path)
    assert {f"model.{name}" for name in quantised(base)} == quantised(model)
    assert torch.equal(base(**inputs).last_hidden_state, model.model(**inputs).last_hidden_state)


@pytest.mark.parametrize("method", ["bitsandbytes 8", "bitsandbytes nf4", "torchao int8"])
@torch.no_grad()
def test_exceptions_that_the_user_names_are_the_only_ones(method, folder):
    config = quantization(method, exceptions=["lm_head", "model.language_model.layers.1"])
    model = WingsForCausalLM.from_pretrained(folder, quantization_config=config)
    names = " ".join(quantised(model))
    assert "multi_modal_projector.linear_1" in names and "vision_tower" in names
    assert "lm_head" not in names and "language_model.layers.1." not in names and "learner" not in names
    expected = WingsForCausalLM.from_pretrained(folder)(**inputs_of(model)).logits
    assert relative_error(model(**inputs_of(model)).logits, expected) < 0.5  # the image goes through all of it


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_what_is_kept_has_the_dtype_that_was_asked_for(dtype, folder):
    config = quantization("bitsandbytes nf4")
    model = WingsForCausalLM.from_pretrained(folder, quantization_config=config, dtype=dtype)
    assert {p.dtype for name, p in model.named_parameters() if name not in quantised(model)} == {dtype}
    assert model(**inputs_of(model)).logits.dtype == dtype


@pytest.mark.parametrize("nested", ["", " nested"])
@torch.no_grad()
def test_four_bit_weights_packed_for_a_processor_survive_saving(nested, folder, tmp_path):
    """What bitsandbytes does to the weights at the first call, where the processor computes in bfloat16."""
    config = quantization(f"bitsandbytes nf4{nested}")
    functional = pytest.importorskip("bitsandbytes.functional")
    pack = getattr(functional, "_convert_weight_packed_for_cpu", None)
    if pack is None:
        pytest.skip("this version of bitsandbytes does not pack weights")
    model = WingsForCausalLM.from_pretrained(folder, quantization_config=config)
    expected = {}
    for name in quantised(model):
        weight = model.get_parameter(name)
        expected[name] = dequantised(weight)
        weight.data, weight.quant_state = pack(weight.data, weight.quant_state)
    model.save_pretrained(tmp_path)
    loaded = WingsForCausalLM.from_pretrained(tmp_path)
    for name, before in expected.items():
        weights = dequantised(loaded.get_parameter(name))
        assert torch.equal(weights, dequantised(model.get_parameter(name))), "what is saved is what is computed with"
        assert relative_error(weights, before) < 2**-7, "but for the rounding of the scales to bfloat16"


def test_exceptions_are_added_to_a_copy():
    config = BitsAndBytesConfig(load_in_8bit=True)
    assert with_exceptions(config).llm_int8_skip_modules == [*KEPT_MODULES]
    assert config.llm_int8_skip_modules is None
    fields = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    assert with_exceptions(fields).llm_int8_skip_modules == [*KEPT_MODULES]
    own = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=["lm_head"])
    assert with_exceptions(own) is own


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_are_exceptions(family):
    assert tiny_model(family).causal_head.output_name in KEPT_MODULES


def test_a_quantised_backbone_is_refused(tmp_path):
    config = quantization("bitsandbytes 8")
    LlamaForCausalLM(tiny_text_config("llama")).save_pretrained(tmp_path)
    backbone = AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=config)
    with pytest.raises(ValueError, match="load the saved model with quantization_config"):
        WingsForCausalLM.from_backbones(backbone, None, vision_feature_size=8)
