# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A whole model with the kernels and without: logits, gradients, tokens. Run by test_triton.py."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from tiny import logits_in_pieces, relative_error, tiny_inputs, tiny_model

import wings_hf
from wings_hf.modeling import wings_attention, wings_main_attention

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LAYOUTS = ("ttvvvttvtt", "..vvtttvtt", "tttttttttt")


@pytest.fixture(autouse=True)
def kernels_are_chosen_again():
    yield
    wings_hf.set_kernels("auto")


@pytest.fixture
def calls(monkeypatch):
    """Names of the kernels that were called."""
    seen = set()
    callers = {
        "attend_learners_fused": wings_attention,
        "attend_latent_fused": wings_attention,
        "attend_router_fused": wings_main_attention,
    }
    for name, caller in callers.items():
        function = getattr(caller, name)

        def spy(*arguments, name=name, function=function):
            seen.add(name)
            return function(*arguments)

        monkeypatch.setattr(caller, name, spy)
    # What the host knows of the layout is for CPUs; the kernels are for devices whose layout it does not know.
    monkeypatch.setattr(wings_attention.WingsContext, "split", lambda self: None)
    return seen


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
@pytest.mark.parametrize("router", ["position", "modality"])
@pytest.mark.parametrize("rope", [True, False])
def test_logits_and_gradients(family, router, rope, calls):
    model = tiny_model(family, "sdpa", router=router, learner_rope=rope).to(DEVICE)
    inputs = {name: value.to(DEVICE) for name, value in tiny_inputs(model, *LAYOUTS).kwargs().items()}
    found = {}
    for kind in ("torch", "triton"):
        wings_hf.set_kernels(kind)
        model.zero_grad()
        logits = model(**inputs, use_cache=False).logits
        logits[inputs["attention_mask"].bool()].square().sum().backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        found[kind] = logits.detach()[inputs["attention_mask"].bool()], gradients
    assert "attend_learners_fused" in calls and "attend_router_fused" in calls
    assert relative_error(found["triton"][0], found["torch"][0]) < 1e-5
    for name, gradient in found["torch"][1].items():
        if ".router.bias" not in name:  # where signs cancel; the weight has the same terms
            assert relative_error(found["triton"][1][name], gradient) < 2e-4, name


def test_packed_samples(calls):
    model = tiny_model("llama", "sdpa").to(DEVICE)
    inputs = {name: value.to(DEVICE) for name, value in tiny_inputs(model, "ttvvvttvtt").kwargs(False).items()}
    inputs["position_ids"] = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4, 5]], device=DEVICE)
    logits = {}
    for kind in ("torch", "triton"):
        wings_hf.set_kernels(kind)
        logits[kind] = model(**inputs, use_cache=False).logits
    assert calls
    assert relative_error(logits["triton"], logits["torch"]) < 1e-5


@pytest.mark.parametrize("form", ["plain", "latent"])
@pytest.mark.parametrize("rope", [True, False])
@torch.no_grad()
def test_pieces_on_a_cache(form, rope, calls):
    model = tiny_model("llama", "sdpa", learner_cache=form, learner_rope=rope).to(DEVICE)
    inputs = tiny_inputs(model, *LAYOUTS)
    wings_hf.set_kernels("torch")
    wanted = model(**inputs.kwargs(), use_cache=False).logits
    wings_hf.set_kernels("triton")
    logits = logits_in_pieces(model, inputs, [4, 3, 1, 1, 1])
    assert ("attend_latent_fused" in calls) == (form == "latent")
    assert relative_error(logits[inputs.real], wanted[inputs.real]) < 1e-5
