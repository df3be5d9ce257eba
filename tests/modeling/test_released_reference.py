# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Converted checkpoints against tensors that the released code itself computed; skipped where those are absent.

The folder holds one folder per case: weights under the released names, inputs, logits, greedy ids, and for some loss,
gradients and what each layer made on the way.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from wings_hf import WingsForCausalLM
from wings_hf.cli import main as cli
from wings_hf.conversion.names import to_wings
from wings_hf.modeling import wings_attention

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
CASES = (
    "qwen2_text_only",
    "qwen2_image_middle",
    "qwen2_image_start",
    "qwen2_stage1",
    "llama_image_middle",
    "llama_text_only",
)
BF16_LOGITS = "logits_with_official_bf16_rounded_learner_rope"
TOLERANCE = 2e-5
IMAGE = -200  # the released code's placeholder

pytestmark = pytest.mark.skipif(not REFERENCE.is_dir(), reason=f"no tensors of the released code in {REFERENCE}")
cases = pytest.mark.parametrize("case", CASES)
backends = pytest.mark.parametrize("backend", ["eager", "sdpa"])


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every case, converted with no further option."""
    folder = tmp_path_factory.mktemp("converted")
    for case in CASES:
        assert cli.main(["convert", str(REFERENCE / case), str(folder / case)]) == 0
    return {case: folder / case for case in CASES}


def load(folder: Path, backend: str = "sdpa", **options) -> WingsForCausalLM:
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation=backend, **options).eval()


def io(case: str) -> dict[str, Tensor]:
    return load_file(REFERENCE / case / "io.safetensors")


def prompt(case: str, model: WingsForCausalLM) -> dict[str, Tensor]:
    """The case's ids with each placeholder expanded, and its image features."""
    tensors = io(case)
    tokens = json.loads((REFERENCE / case / "config.json").read_text())["image_token_length"]
    repeats = torch.where(tensors["input_ids"][0] == IMAGE, tokens, 1)
    ids = tensors["input_ids"].repeat_interleave(repeats, dim=1)
    inputs = {"input_ids": ids.masked_fill(ids == IMAGE, model.config.image_token_id)}
    if "images" in tensors:
        inputs["pixel_values"] = tensors["images"]
    return inputs


def embeddings(case: str, model: WingsForCausalLM) -> dict[str, Tensor]:
    types = (prompt(case, model)["input_ids"] == model.config.image_token_id).long()
    return {"inputs_embeds": io(case)["inputs_embeds"], "mm_token_type_ids": types}


@cases
@backends
@torch.no_grad()
def test_logits(converted, case, backend):
    model, expected = load(converted[case], backend), io(case)["logits"]
    assert (model(**prompt(case, model)).logits - expected).abs().max() < TOLERANCE
    assert (model(**embeddings(case, model)).logits - expected).abs().max() < TOLERANCE


@cases
def test_greedy_ids_without_a_cache(converted, case):
    model, expected = load(converted[case]), io(case)["generated_ids"]
    settings = {"max_new_tokens": expected.shape[1], "do_sample": False, "use_cache": False}
    settings |= {"eos_token_id": None, "pad_token_id": 0}
    made = model.generate(**prompt(case, model), **settings)
    assert torch.equal(made[:, -expected.shape[1] :], expected)
    made = model.generate(**embeddings(case, model), **settings)
    assert torch.equal(made[:, -expected.shape[1] :], expected)


@pytest.mark.parametrize("case", [case for case in CASES if REFERENCE.is_dir() and BF16_LOGITS in io(case)])
@torch.no_grad()
def test_rotary_tables_in_bfloat16(converted, case):
    model = load(converted[case], learner_rope_dtype="bfloat16")
    logits = model(**prompt(case, model)).logits
    assert (logits - io(case)[BF16_LOGITS]).abs().max() < TOLERANCE
    assert (logits - io(case)["logits"]).abs().max() > 1e-3


@pytest.mark.parametrize("case", [case for case in CASES if REFERENCE.is_dir() and "loss" in io(case)])
@backends
def test_loss_and_gradients(converted, case, backend):
    """All gradients that are given, and the norm of every parameter's gradient."""
    model, tensors = load(converted[case], backend), io(case)
    inputs = prompt(case, model)
    labels = torch.full_like(inputs["input_ids"], -100)
    labels[inputs["input_ids"] != model.config.image_token_id] = tensors["labels"][tensors["input_ids"] != IMAGE]
    loss = model(**inputs, labels=labels).loss
    assert abs(loss.item() - tensors["loss"].item()) < TOLERANCE
    model.requires_grad_(True)
    model(**inputs, labels=labels).loss.backward()
    parameters = dict(model.named_parameters())
    for name, expected in tensors.items():
        if not name.startswith("grad."):
            continue
        released, _, part = name.removeprefix("grad.").partition("[")
        ours, transposed = to_wings(released)
        found = parameters[ours].grad.T if transposed else parameters[ours].grad
        found = found[:, : expected.shape[1]] if part else found
        assert (found - expected).abs().max() < TOLERANCE, name
    for released, norm in json.loads((REFERENCE / case / "meta.json").read_text()).get("grad_norms", {}).items():
        assert abs(parameters[to_wings(released)[0]].grad.norm().item() - norm) < TOLERANCE * max(1.0, norm), released


@pytest.mark.parametrize("case", [case for case in CASES if (REFERENCE / case / "intermediates.safetensors").exists()])
@backends
@torch.no_grad()
def test_what_each_layer_makes(converted, case, backend, monkeypatch):
    model = load(converted[case], backend)
    expected = load_file(REFERENCE / case / "intermediates.safetensors")
    layers = model.model.language_model.layers
    made: dict[str, Tensor] = {}
    current: list[int] = []
    weigh, add_outputs = wings_attention.WingsAttentionMixin.gates, wings_attention.add_outputs

    def spy_on_outputs(output, low, ups, gates, present):
        prefix, count = f"layer{current[-1]}", low.shape[2]
        for i, name in enumerate(model.config.learners[-count:] if count > 1 else ["visual"]):
            made[f"{prefix}.{name}_learner_out"] = low[..., i, :] @ ups.unflatten(0, (count, -1))[i]
        added = add_outputs(output, low, ups, gates, present)
        made[f"{prefix}.added"] = added - output
        return added

    def spy_on_weights(module, names, logits, present, wings):
        gates = weigh(module, names, logits, present, wings)
        # Each learner is added twice; without a router each has weight 1.
        made[f"layer{current[-1]}.router_weights"] = present.float() / 2 if gates is None else gates / 2
        return gates

    monkeypatch.setattr(wings_attention, "add_outputs", spy_on_outputs)
    monkeypatch.setattr(wings_attention.WingsAttentionMixin, "gates", spy_on_weights)

    def before_layer(index: int):
        def hook(module, args):
            current.append(index)
            made[f"layer{index}.in"] = args[0]

        return hook

    def keep(name: str, part: Callable = lambda output: output):
        return lambda module, args, output: made.update({name: part(output)})

    for index, layer in enumerate(layers):
        layer.register_forward_pre_hook(before_layer(index))
        layer.register_forward_hook(keep(f"layer{index}.layer_out"))
        layer.self_attn.register_forward_hook(keep(f"layer{index}.attention", lambda output: output[0]))
    model(**prompt(case, model))
    for index in range(len(layers)):
        prefix = f"layer{index}"
        made[f"{prefix}.after_learners"] = made[f"{prefix}.in"] + made[f"{prefix}.attention"]
        made[f"{prefix}.main_attn_out"] = made[f"{prefix}.attention"] - made[f"{prefix}.added"]
        made[f"{prefix}.learner_query"] = made[f"{prefix}.in"] + made[f"{prefix}.main_attn_out"]
    compared = [name for name in expected if name in made]
    for name in compared:
        assert (made[name] - expected[name]).abs().max() < TOLERANCE, name
    kinds = {name.split(".")[1] for name in compared}
    wanted = {name.split(".")[1] for name in expected if name.startswith("layer")} - {"attn_probs_sum_over_heads"}
    assert kinds == wanted


@pytest.mark.parametrize("case", [case for case in CASES if "image" in case])
@torch.no_grad()
def test_attention_weights(converted, case):
    """The router's input: the eager backend's weights, summed over heads."""
    model = load(converted[case], "eager")
    expected = load_file(REFERENCE / case / "intermediates.safetensors")
    attentions = model(**prompt(case, model), output_attentions=True).attentions
    for index, weights in enumerate(attentions):
        assert (weights.sum(1) - expected[f"layer{index}.attn_probs_sum_over_heads"]).abs().max() < TOLERANCE
