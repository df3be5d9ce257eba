# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The model equals the float64 oracle: logits and every gradient, per family, option and backend."""

import functools
from dataclasses import dataclass

import pytest
import torch
from tiny import FAMILIES, NO_SDPA, OTHER_FAMILIES, PARALLEL_RESIDUAL, relative_error, tiny_inputs, tiny_model
from torch import Tensor

from oracle import WingsOracle

TOLERANCE = 1e-5  # max|a - b| / max|b|, float32 against float64
# Image inside and last; image first, after left padding; text only, padded right.
LAYOUTS = ("ttvvvttvtv", "..vvtttvtt", "tttttttt..")

# Per family: each query kind, router with weights, and rope value once.
FAMILY_OPTIONS = (
    {"learner_query": "attention_input", "router": "position", "learner_rope": True},
    {"learner_query": "post_attention", "router": "modality", "learner_rope": False},
)
# On single families: every value of every option, in combinations that meet in the code.
OPTION_CASES = (
    ("llama", {"learners": ()}),
    ("llama", {"learners": ("visual",)}),
    ("llama", {"learners": ("visual",), "learner_query": "post_attention", "learner_rope": True}),
    ("llama", {"learners": ("textual",)}),
    ("llama", {"learners": ("textual",), "learner_scope": "visual_context"}),
    ("llama", {"learner_layers": [1]}),
    ("llama", {"learner_layers": [0], "router": "modality"}),
    ("llama", {"learner_layers": []}),
    ("llama", {"learner_heads": 1, "learner_rope": True}),
    ("llama", {"learner_heads": 8, "router": "modality"}),
    ("llama", {"router": "uniform"}),
    ("llama", {"router": "uniform", "learner_scope": "visual_context"}),
    ("llama", {"router": "position", "learner_scope": "visual_context"}),
    ("llama", {"router": "modality", "learner_scope": "visual_context", "learner_query": "post_attention"}),
    ("llama", {"router": "mass"}),
    ("llama", {"router": "mass", "learners": ("visual",)}),
    ("llama", {"router": "mass", "learners": ("textual",), "learner_rope": True}),
    ("llama", {"router": "mass", "router_power": 1}),
    ("gemma3_text", {"router": "mass", "router_power": 1.5, "learner_scope": "visual_context"}),
    ("llama", {"router": "mass", "learner_scope": "visual_context", "learner_query": "post_attention"}),
    ("gemma3_text", {"router": "mass", "learner_scope": "visual_context", "learner_rope": True}),
    ("gemma2", {"router": "mass", "learner_rope": True}),
    ("gemma2", {"router": "position", "learner_scope": "visual_context"}),
    ("gemma3_text", {"router": "modality", "learner_scope": "visual_context", "learner_rope": True}),
    ("gemma3_text", {"router": "position", "learner_layers": [0, 2], "learner_rope": True}),
    ("llama", {"learner_query": "post_attention", "router": "position", "learner_rope": True}),
    ("gemma3_text", {"learner_query": "post_attention", "router": "position", "learner_rope": True}),
    ("gpt_neox", {"learner_query": "post_attention", "router": "position", "learner_rope": True}),
    ("mistral", {"router": "modality", "learner_rope": True}),
    ("smollm3", {"router": "modality", "learner_layers": [1], "learner_rope": True}),
)
CASES = [(family, options) for family in FAMILIES for options in FAMILY_OPTIONS] + list(OPTION_CASES)
CASES = [
    (family, options)
    for family, options in CASES
    if not (family in PARALLEL_RESIDUAL and options.get("learner_query") == "post_attention")
]
CASES += [(family, {"router": "modality", "learner_rope": False}) for family in PARALLEL_RESIDUAL]


def case_id(case: tuple[str, dict]) -> str:
    return "-".join([case[0], *(f"{key.removeprefix('learner_')}={value}" for key, value in case[1].items())])


@dataclass
class Result:
    logits: Tensor
    gradients: dict[str, Tensor | None]


@functools.cache
def expected(index: int) -> Result:
    """The oracle's logits and gradients of one case; several backends are compared with it."""
    family, options = CASES[index]
    model = tiny_model(family, **options)
    inputs = tiny_inputs(model, *LAYOUTS)
    oracle = WingsOracle(model.config, model.state_dict())
    embeds = inputs.inputs_embeds.double().requires_grad_()
    logits = oracle(embeds, None, inputs.mm_token_type_ids, inputs.attention_mask).logits
    (logits * cotangent(logits, inputs.real)).sum().backward()
    return Result(logits.detach(), {**oracle.named_gradients(), "inputs_embeds": embeds.grad})


def cotangent(logits: Tensor, real: Tensor) -> Tensor:
    """Fixed random weights of the logits in the scalar that is differentiated, 0 on padding."""
    generator = torch.Generator().manual_seed(7)
    return torch.randn(logits.shape, generator=generator).to(logits.dtype) * real.unsqueeze(-1)


def gradient_errors(actual: dict[str, Tensor | None], wanted: dict[str, Tensor | None]) -> dict[str, float]:
    """max|a - b| per parameter, over its largest gradient.

    A router's gradient gathers terms of both signs over rows and positions, so it is small where these cancel, but its
    rounding is not: all routers share the scale of the largest of their gradients.
    """
    errors = {}
    routers = [gradient.abs().max() for name, gradient in wanted.items() if ".router." in name and gradient is not None]
    for name, gradient in wanted.items():
        if name not in actual:  # a tied head, named once in the model
            continue
        if gradient is None or not gradient.any():
            assert actual[name] is None or not actual[name].any(), f"{name}: expected no gradient"
            continue
        assert actual[name] is not None, f"{name}: expected a gradient"
        scale = gradient.abs().max()
        if ".router." in name:
            scale = max(routers)
        errors[name] = ((actual[name].double() - gradient).abs().max() / scale).item()
    return errors


@pytest.mark.parametrize("backend", ["eager", "sdpa"])
@pytest.mark.parametrize("index", range(len(CASES)), ids=[case_id(case) for case in CASES])
def test_forward_and_gradients(index, backend):
    family, options = CASES[index]
    if backend == "sdpa" and family in NO_SDPA:
        pytest.skip(f"{family} does more to its scores than sdpa can")
    model = tiny_model(family, backend, **options)
    inputs = tiny_inputs(model, *LAYOUTS)
    wanted = expected(index)

    arguments = inputs.kwargs()
    arguments["inputs_embeds"].requires_grad_()
    logits = model(**arguments).logits
    assert relative_error(logits[inputs.real], wanted.logits[inputs.real]) < TOLERANCE

    (logits * cotangent(logits, inputs.real)).sum().backward()
    actual = {name: parameter.grad for name, parameter in model.named_parameters()}
    trained = {name for name, parameter in model.named_parameters() if "multi_modal_projector" not in name}
    assert trained <= set(wanted.gradients)
    errors = gradient_errors(actual | {"inputs_embeds": arguments["inputs_embeds"].grad}, wanted.gradients)
    assert {name: error for name, error in errors.items() if error > TOLERANCE} == {}


OTHER_CASES = [
    (family, backend)
    for family in OTHER_FAMILIES
    for backend in ("eager", "sdpa")
    if not (backend == "sdpa" and family in NO_SDPA)
]


@pytest.mark.parametrize(("family", "backend"), OTHER_CASES)
def test_other_families(family, backend):
    model = tiny_model(family, backend, router="position", learner_rope=True)
    inputs = tiny_inputs(model, *LAYOUTS)
    with torch.no_grad():
        logits = model(**inputs.kwargs()).logits
        wanted = WingsOracle(model.config, model.state_dict())(**inputs.kwargs()).logits
    assert relative_error(logits[inputs.real], wanted[inputs.real]) < TOLERANCE


@pytest.mark.parametrize("family", list(FAMILIES))
def test_the_wings_matter(family):
    """The tiny weights are such that each part of the wings changes the logits far above the tolerance."""
    model = tiny_model(family, learner_rope=True)
    inputs = tiny_inputs(model, *LAYOUTS)
    with torch.no_grad():
        before = model(**inputs.kwargs()).logits[inputs.real]
        for part in ("visual_learner.q_b", "visual_learner.k_b", "textual_learner.v_b", "router.weight"):
            tensors = [p for name, p in model.named_parameters() if name.endswith(part)]
            saved = [tensor.clone() for tensor in tensors]
            for tensor in tensors:
                tensor.mul_(0.5)
            assert relative_error(model(**inputs.kwargs()).logits[inputs.real], before) > 1e-3, part
            for tensor, value in zip(tensors, saved, strict=True):
                tensor.copy_(value)


# ---- packed samples --------------------------------------------------------------------------------------

PACKED_LAYOUT = ("ttvttt" + "vvtttt" + "ttttt", "tttttt" + "tt" + "vtvtttttt")
PACKED_LENGTHS = ((6, 6, 5), (6, 2, 9))


def packed_ids() -> tuple[Tensor, Tensor]:
    """Position ids that restart with each sample, and the sample each token belongs to; (B, S)."""
    positions = [torch.cat([torch.arange(n) for n in lengths]) for lengths in PACKED_LENGTHS]
    documents = [torch.cat([torch.full((n,), i) for i, n in enumerate(lengths)]) for lengths in PACKED_LENGTHS]
    return torch.stack(positions), torch.stack(documents)


PACKED_CASES = (
    ("llama", {"router": "position", "learner_rope": True}),
    ("llama", {"router": "modality", "learner_scope": "visual_context"}),
    ("llama", {"learners": ("visual",)}),
    ("gemma3_text", {"router": "modality", "learner_rope": True}),
    ("mistral", {"router": "position"}),
    ("gemma2", {"router": "position", "learner_query": "post_attention"}),
)


@pytest.mark.parametrize("backend", ["eager", "sdpa"])
@pytest.mark.parametrize("case", PACKED_CASES, ids=case_id)
def test_packed_samples(case, backend):
    """Packed = oracle, and = each sample by itself."""
    family, options = case
    if backend == "sdpa" and family in NO_SDPA:
        pytest.skip(f"{family} does more to its scores than sdpa can")
    model = tiny_model(family, backend, **options)
    inputs = tiny_inputs(model, *PACKED_LAYOUT)
    position_ids, document_ids = packed_ids()
    with torch.no_grad():
        packed = model(**inputs.kwargs(mask=False), position_ids=position_ids, use_cache=False).logits
        oracle = WingsOracle(model.config, model.state_dict())
        wanted = oracle(**inputs.kwargs(mask=False), position_ids=position_ids, document_ids=document_ids).logits
        assert relative_error(packed, wanted) < TOLERANCE
        for row, lengths in enumerate(PACKED_LENGTHS):
            start = 0
            for length in lengths:
                part = slice(start, start + length)
                alone = model(
                    inputs_embeds=inputs.inputs_embeds[row : row + 1, part],
                    mm_token_type_ids=inputs.mm_token_type_ids[row : row + 1, part],
                ).logits
                assert relative_error(packed[row : row + 1, part], alone) < TOLERANCE
                start += length


# ---- FlexAttention ---------------------------------------------------------------------------------------

FLEX_CASES = (
    ("llama", {"router": "position", "learner_rope": True}),
    ("gemma2", {"router": "modality"}),
    ("gemma3_text", {"router": "position", "learner_scope": "visual_context"}),
    ("llama", {"learners": ("visual",)}),
)


@pytest.mark.slow  # compiles a kernel per shape
@pytest.mark.filterwarnings("default::DeprecationWarning")  # transformers' and torch's own, when they compile
@pytest.mark.parametrize("case", FLEX_CASES, ids=case_id)
def test_flex_attention(case):
    family, options = case
    text = {"head_dim": 16, "hidden_size": 64}
    model = tiny_model(family, "flex_attention", text=text, **options)
    inputs = tiny_inputs(model, *LAYOUTS)
    with torch.no_grad():
        logits = model(**inputs.kwargs()).logits
        wanted = WingsOracle(model.config, model.state_dict())(**inputs.kwargs()).logits
    assert relative_error(logits[inputs.real], wanted[inputs.real]) < TOLERANCE
