# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What the base LLM computes stays: at initialisation, in stage 1, between stages, with exact retention."""

import copy

import pytest
import torch
from tiny import (
    FAMILIES,
    NO_SDPA,
    backbone_of,
    randomise,
    relative_error,
    tiny_config,
    tiny_inputs,
    tiny_model,
)
from transformers import AutoConfig, AutoModelForCausalLM

from wings_hf import WingsConfig, WingsForCausalLM

BACKENDS = ("eager", "sdpa")
BOTH = [(f, b) for f in FAMILIES for b in BACKENDS if not (b == "sdpa" and f in NO_SDPA)]
every_family_and_backend = pytest.mark.parametrize(("family", "backend"), BOTH)
LAYOUTS = ("ttvvvttv", "..vvttvt", "tttttt..")


def text_ids(rows: int = 2, length: int = 9) -> torch.Tensor:
    return torch.randint(3, 99, (rows, length))


def load_backbone(model: WingsForCausalLM, source: WingsForCausalLM) -> None:
    """Copies all but the wings from ``source``."""
    plain = {k: v for k, v in source.state_dict().items() if "_learner." not in k and ".router." not in k}
    missing, unexpected = model.load_state_dict(plain, strict=False)
    assert not unexpected
    assert all("_learner." in name or ".router." in name for name in missing)


# ---- initialisation --------------------------------------------------------------------------------------


AT_START = [(f, b, "position") for f, b in BOTH]
AT_START += [
    (f, b, r) for f, b in BOTH for r in ("modality", "uniform", "mass") if f in ("llama", "gemma2", "gemma3_text")
]


@pytest.mark.parametrize(("family", "backend", "router"), AT_START)
def test_at_initialisation_the_wings_change_nothing(family, backend, router):
    plain = tiny_model(family, backend, learners=())
    fresh = AutoModelForCausalLM.from_config(tiny_config(family, router=router), attn_implementation=backend).eval()
    load_backbone(fresh, plain)
    inputs = tiny_inputs(plain, *LAYOUTS)
    with torch.no_grad():
        expected = plain(**inputs.kwargs()).logits[inputs.real]
        assert relative_error(fresh(**inputs.kwargs()).logits[inputs.real], expected) < 1e-6


def test_initial_values():
    """A Gaussian, B zero, router zero."""
    model = WingsForCausalLM(tiny_config("llama"))
    seen = set()
    for name, parameter in model.named_parameters():
        if "_learner." in name:
            seen.add(name.rsplit(".", 1)[1])
            if name.endswith("_b"):
                assert not parameter.any(), name
            else:
                assert parameter.std() > 1e-3, name
                assert parameter.mean().abs() < 5 * parameter.std() / parameter.numel() ** 0.5, name
        elif ".router." in name:
            seen.add(name.rsplit(".", 1)[1])
            assert not parameter.any(), name
    assert seen == {f"{w}_{f}" for w in "qkvo" for f in "ab"} | {"weight", "bias"}


def test_parameter_names_and_shapes():
    model = tiny_model("llama", learner_rank=4, router_positions=64)
    shapes = {n: tuple(p.shape) for n, p in model.named_parameters() if "_learner." in n or ".router." in n}
    expected = {}
    for layer in range(2):
        prefix = f"model.language_model.layers.{layer}.self_attn"
        for learner in ("visual", "textual"):
            for which in "qkvo":
                expected[f"{prefix}.{learner}_learner.{which}_a"] = (32, 4)
                expected[f"{prefix}.{learner}_learner.{which}_b"] = (4, 32)
        expected[f"{prefix}.router.weight"], expected[f"{prefix}.router.bias"] = (64, 2), (2,)
    assert shapes == expected
    modality = tiny_model("llama", router="modality").get_parameter(
        "model.language_model.layers.0.self_attn.router.weight"
    )
    assert modality.shape == (4, 3, 2)


# ---- base LLM --------------------------------------------------------------------------------------------


@every_family_and_backend
def test_without_learners_it_is_the_backbone(family, backend):
    model = tiny_model(family, backend, learners=())
    inputs = tiny_inputs(model, "ttvvvttv", "vvttttvt")
    with torch.no_grad():
        expected = backbone_of(model, backend)(inputs_embeds=inputs.inputs_embeds).logits
        assert torch.equal(model(**inputs.kwargs(mask=False)).logits, expected)


@every_family_and_backend
@pytest.mark.parametrize("options", [{"learners": ("visual",)}, {"learner_scope": "visual_context"}], ids=str)
def test_text_only_logits_are_the_base_models_bit_for_bit(family, backend, options):
    """Stage 1, and scope ``visual_context`` with both learners: with padding, and decoding on a cache."""
    model = tiny_model(family, backend, **options)
    base = backbone_of(model, backend)
    ids = text_ids()
    mask = torch.ones_like(ids)
    mask[1, :3] = 0
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        for arguments in (
            {},
            {"attention_mask": mask},
            {"attention_mask": mask.flip(-1)},
            {"attention_mask": mask, "position_ids": positions},
        ):
            ours = model(input_ids=ids, **arguments).logits
            theirs = base(input_ids=ids, **arguments).logits
            seen = arguments.get("attention_mask", mask).bool()
            assert torch.equal(ours[seen], theirs[seen]), arguments

        ours, theirs = model(input_ids=ids[:, :5], use_cache=True), base(input_ids=ids[:, :5], use_cache=True)
        assert torch.equal(ours.logits, theirs.logits)
        for column in range(5, 9):
            token = ids[:, column : column + 1]
            ours = model(input_ids=token, past_key_values=ours.past_key_values, use_cache=True)
            theirs = base(input_ids=token, past_key_values=theirs.past_key_values, use_cache=True)
            assert torch.equal(ours.logits, theirs.logits), column


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("router", ["position", "modality", "uniform", "mass"])
def test_visual_context_keeps_text_rows_beside_rows_with_images(backend, router):
    """In a mixed batch the text-only row, and rows before an image, keep the base model's bits too."""
    model = tiny_model("llama", backend, learner_scope="visual_context", router=router)
    inputs = tiny_inputs(model, "tttvvttt", "tttttttt")
    with torch.no_grad():
        logits = model(**inputs.kwargs()).logits
        expected = backbone_of(model, backend)(
            inputs_embeds=inputs.inputs_embeds, attention_mask=inputs.attention_mask
        ).logits
    assert torch.equal(logits[1], expected[1])
    assert torch.equal(logits[0, :3], expected[0, :3])
    assert relative_error(logits[0, 3:], expected[0, 3:]) > 1e-2


@pytest.mark.parametrize("known", [True, False], ids=["known to be text", "told by the device"])
def test_visual_context_keeps_text_turns_before_an_image(known):
    """Text turns equal the base model; the image that comes later still finds the text's learner keys."""
    model = tiny_model("llama", "sdpa", learner_scope="visual_context")
    base = backbone_of(model, "sdpa")
    inputs = tiny_inputs(model, "ttttttvvtt")
    ours, theirs = None, None
    with torch.no_grad():
        for start in (0, 3):
            arguments = inputs.columns(slice(start, start + 3)).kwargs(mask=False)
            if known:
                del arguments["mm_token_type_ids"]
            cache = None if ours is None else ours.past_key_values
            ours = model(**arguments, past_key_values=cache, use_cache=True)
            arguments.pop("mm_token_type_ids", None)
            cache = None if theirs is None else theirs.past_key_values
            theirs = base(**arguments, past_key_values=cache, use_cache=True)
            assert torch.equal(ours.logits, theirs.logits)
        arguments = inputs.columns(slice(6, 10)).kwargs(mask=False)
        last = model(**arguments, past_key_values=ours.past_key_values, use_cache=True)
        expected = model(**inputs.kwargs(mask=False)).logits[:, 6:]
    assert relative_error(last.logits, expected) < 1e-5


# ---- stage 1 -> stage 2 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("router", ["position", "modality", "uniform", "mass"])
@pytest.mark.parametrize(("family", "backend"), [("llama", "sdpa"), ("gemma2", "eager"), ("gemma3_text", "sdpa")])
def test_add_learners_changes_no_logit(family, backend, router):
    model = tiny_model(family, backend, learners=("visual",), router=router)
    inputs = tiny_inputs(model, *LAYOUTS)
    with torch.no_grad():
        before = model(**inputs.kwargs()).logits[inputs.real]
        names = set(model.state_dict())
        model.add_learners("textual")
        after = model(**inputs.kwargs()).logits[inputs.real]
    assert relative_error(after, before) < 1e-6
    assert tuple(model.config.learners) == ("visual", "textual")
    added = set(model.state_dict()) - names
    assert names <= set(model.state_dict())
    assert any("textual_learner" in name for name in added)
    assert any(".router." in name for name in added) == (router in ("position", "modality"))

    randomise(model)  # and the new parts work
    with torch.no_grad():
        twin = tiny_model(family, backend, router=router)
        twin.load_state_dict(model.state_dict())
        assert torch.equal(model(**inputs.kwargs()).logits[inputs.real], twin(**inputs.kwargs()).logits[inputs.real])


def test_add_learners_refuses_what_is_there_or_unknown():
    model = tiny_model("llama", learners=("visual",))
    for name in ("visual", "auditory"):
        with pytest.raises(ValueError, match=name):
            model.add_learners(name)


# ---- the LLM's head --------------------------------------------------------------------------------------


@every_family_and_backend
def test_loss_is_the_base_models(family, backend):
    """Stage 1 without an image: loss from labels, with the family's whole head (soft-cap, scaling, bias)."""
    model = tiny_model(family, backend, learners=("visual",))
    ids = text_ids()
    labels = ids.clone()
    labels[:, :2] = -100
    with torch.no_grad():
        ours = model(input_ids=ids, labels=labels)
        theirs = backbone_of(model, backend)(input_ids=ids, labels=labels)
    assert torch.equal(ours.loss, theirs.loss)
    assert torch.equal(ours.logits, theirs.logits)


def test_the_heads_extras_are_in_play():
    """The tiny families do use the soft-cap and the logit scales, or the comparison would show nothing."""
    for family, field, value in (
        ("gemma2", "final_logit_softcapping", None),
        ("granite", "logits_scaling", 1.0),
        ("cohere", "logit_scale", 1.0),
    ):
        model = tiny_model(family, learners=("visual",))
        other = tiny_model(family, learners=("visual",), text={field: value})
        other.load_state_dict(model.state_dict())
        ids = text_ids()
        with torch.no_grad():
            assert relative_error(model(input_ids=ids).logits, other(input_ids=ids).logits) > 1e-2, family


@pytest.mark.parametrize("options", [{"learners": ("visual",)}, {"learner_scope": "visual_context"}], ids=str)
def test_mixture_of_experts_auxiliary_loss(options):
    model = tiny_model("qwen3_moe", "sdpa", text={"router_aux_loss_coef": 0.5}, **options)
    base = backbone_of(model, "sdpa")
    ids = text_ids()
    mask = torch.ones_like(ids)
    mask[1, -3:] = 0
    for arguments in ({}, {"attention_mask": mask}):
        with torch.no_grad():
            ours = model(input_ids=ids, labels=ids, output_router_logits=True, **arguments)
            theirs = base(input_ids=ids, labels=ids, output_router_logits=True, **arguments)
            without = base(input_ids=ids, labels=ids, output_router_logits=False, **arguments)
        assert torch.equal(ours.loss, theirs.loss)
        assert torch.equal(ours.aux_loss, theirs.aux_loss)
        assert ours.loss > without.loss + 0.1
        assert len(ours.router_logits) == len(theirs.router_logits)


def test_auxiliary_loss_asked_for_by_the_configuration():
    model = tiny_model("qwen3_moe", "sdpa", learners=("visual",), text={"output_router_logits": True})
    ids = text_ids()
    with torch.no_grad():
        ours, theirs = model(input_ids=ids, labels=ids), backbone_of(model, "sdpa")(input_ids=ids, labels=ids)
    assert torch.equal(ours.loss, theirs.loss)


def test_logits_to_keep():
    model = tiny_model("llama", "sdpa")
    inputs = tiny_inputs(model, "ttvvtttt")
    with torch.no_grad():
        full = model(**inputs.kwargs()).logits
        last = model(**inputs.kwargs(), logits_to_keep=1).logits
        some = model(**inputs.kwargs(), logits_to_keep=torch.tensor([1, 4])).logits
    assert relative_error(last, full[:, -1:]) < 1e-6
    assert relative_error(some, full[:, [1, 4]]) < 1e-6


def test_attentions_and_hidden_states_are_the_backbones():
    """Eager attention returns its weights as ever, one tensor per layer."""
    model = tiny_model("llama", "eager", learners=("visual",))
    ids = text_ids()
    with torch.no_grad():
        ours = model(input_ids=ids, output_attentions=True, output_hidden_states=True)
        theirs = backbone_of(model)(input_ids=ids, output_attentions=True, output_hidden_states=True)
    for mine, base in zip(ours.attentions, theirs.attentions, strict=True):
        assert torch.equal(mine, base)
    for mine, base in zip(ours.hidden_states, theirs.hidden_states, strict=True):
        assert torch.equal(mine, base)


def test_a_deep_copy_is_independent_and_equal():
    model = tiny_model("llama", "sdpa")
    twin = copy.deepcopy(model)
    inputs = tiny_inputs(model, "ttvvtt")
    with torch.no_grad():
        before = model(**inputs.kwargs()).logits
        assert torch.equal(twin(**inputs.kwargs()).logits, before)
        randomise(twin, seed=9)
        assert torch.equal(model(**inputs.kwargs()).logits, before)
        assert not torch.equal(twin(**inputs.kwargs()).logits, before)


def enable_checkpointing(model: WingsForCausalLM, kind: dict[str, bool]) -> None:
    """Under the name that this version of transformers prefers."""
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=kind)
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=kind)


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt_neox"])
def test_gradient_checkpointing_gives_the_same_gradients(family):
    """Both kinds; the learners' gradient to the initial embeddings included."""
    gradients = []
    for kind in (None, {"use_reentrant": False}, {"use_reentrant": True}):
        model = tiny_model(family, "sdpa", learner_query="post_attention", learner_rope=True).train()
        if kind is not None:
            enable_checkpointing(model, kind)
        inputs = tiny_inputs(model, *LAYOUTS)
        arguments = inputs.kwargs()
        arguments["inputs_embeds"].requires_grad_()
        (model(**arguments, use_cache=False).logits * inputs.real.unsqueeze(-1)).sin().sum().backward()
        found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        gradients.append(found | {"inputs_embeds": arguments["inputs_embeds"].grad})
    for other in gradients[1:]:
        assert set(other) == set(gradients[0])
        for name, gradient in gradients[0].items():
            if gradient.any():
                assert relative_error(other[name], gradient) < 1e-5, name


@pytest.mark.parametrize("model_type", ["gpt2", "gpt_bigcode", "biogpt"])
def test_absolute_positions_and_older_heads(model_type):
    """Families with learned positions; stage 1 on text is the base model."""
    text = AutoConfig.for_model(
        model_type,
        vocab_size=99,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        bos_token_id=1,
        eos_token_id=2,
    )
    config = WingsConfig(text_config=text, vision_feature_size=20, learners=("visual",), learner_rank=4)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    randomise(model)
    ids = text_ids()
    with torch.no_grad():
        ours = model(input_ids=ids, labels=ids)
        theirs = backbone_of(model, "sdpa")(input_ids=ids, labels=ids)
    assert torch.equal(ours.logits, theirs.logits)
    assert torch.equal(ours.loss, theirs.loss)
