# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What follows from the definition of Wings: exact zeros, causality, independence of padding and batching."""

import itertools

import pytest
import torch
from tiny import backbone_of, relative_error, tiny_inputs, tiny_model

from oracle import WingsOracle

ROUNDING = 1e-5  # max|a - b| / max|b| between two orders of the same float32 sums
BACKENDS = ("eager", "sdpa")
OPTIONS = (
    {"router": "position", "learner_rope": True},
    {"router": "modality", "learner_query": "post_attention"},
    {"router": "position", "learner_scope": "visual_context"},
    {"learners": ("visual",), "learner_rope": True},
)
option_sets = pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(map(str, options.values())))
backends = pytest.mark.parametrize("backend", BACKENDS)
families = pytest.mark.parametrize("family", ["llama", "gemma3_text", "mistral"])


# ---- rows without a visible key --------------------------------------------------------------------------


@backends
@pytest.mark.parametrize(
    ("learner", "layout", "untouched"),
    [
        ("visual", "tttvvttt", slice(0, 3)),
        ("visual", "..tttvtt", slice(2, 5)),
        ("textual", "vvvvtttv", slice(0, 4)),
        ("textual", "...vvvtt", slice(3, 6)),
    ],
)
def test_a_row_without_a_visible_key_gets_exactly_zero(backend, learner, layout, untouched):
    """A single learner has no router, so its exact 0 leaves the backbone's logits bit for bit."""
    model = tiny_model("llama", backend, learners=(learner,))
    inputs = tiny_inputs(model, layout, "." + "t" * (len(layout) - 1) if learner == "visual" else "v" * len(layout))
    with torch.no_grad():
        logits = model(**inputs.kwargs()).logits
        plain = backbone_of(model, backend)(
            inputs_embeds=inputs.inputs_embeds, attention_mask=inputs.attention_mask
        ).logits
    assert torch.equal(logits[0, untouched], plain[0, untouched])
    assert torch.equal(logits[1][inputs.real[1]], plain[1][inputs.real[1]])
    touched = slice(untouched.stop + 1, None)
    assert relative_error(logits[0, touched], plain[0, touched]) > 1e-2


@backends
def test_padding_only_rows_and_gradients_are_finite(backend):
    """A row of nothing but padding yields no NaN, neither in its own logits nor in any gradient."""
    model = tiny_model("llama", backend, router="position", learner_rope=True)
    inputs = tiny_inputs(model, "ttvvtt", "......", "..vvvv", "tttt..")
    logits = model(**inputs.kwargs()).logits
    assert logits.isfinite().all()
    (logits * inputs.real.unsqueeze(-1)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("router", ["position", "modality", "uniform", "mass"])
def test_what_padding_holds_changes_nothing(router):
    """Neither the embeddings nor the modality of padding columns reach a real row."""
    model = tiny_model("llama", router=router)
    inputs = tiny_inputs(model, "...ttvvt", "tvvttt..")
    with torch.no_grad():
        before = model(**inputs.kwargs()).logits[inputs.real]
        inputs.inputs_embeds[~inputs.real] = 3.0
        inputs.mm_token_type_ids[~inputs.real] = 1
        after = model(**inputs.kwargs()).logits[inputs.real]
    assert relative_error(after, before) < 1e-6


# ---- causality -------------------------------------------------------------------------------------------


@backends
@families
@option_sets
def test_strictly_causal(family, options, backend):
    """No change from position j on, in value or in kind, changes a logit before j; later ones do change."""
    model = tiny_model(family, backend, **options)
    inputs = tiny_inputs(model, "ttvvtvtttv", "tttttvvttt")
    with torch.no_grad():
        before = model(**inputs.kwargs()).logits
        for j in (1, 2, 3, 5, 8, 9):
            for kind in ("same", "other"):
                changed = tiny_inputs(model, "ttvvtvtttv", "tttttvvttt")
                changed.inputs_embeds[:, j:] += torch.randn_like(changed.inputs_embeds[:, j:])
                if kind == "other":
                    changed.mm_token_type_ids[:, j:] = 1 - changed.mm_token_type_ids[:, j:]
                after = model(**changed.kwargs()).logits
                assert relative_error(after[:, :j], before[:, :j]) < 1e-6, (j, kind)
                assert relative_error(after[:, j:], before[:, j:]) > 1e-2, (j, kind)


# ---- padding and batches ---------------------------------------------------------------------------------


@backends
@families
@option_sets
def test_left_padding_right_padding_and_none_agree(family, options, backend):
    model = tiny_model(family, backend, **options)
    layout = "ttvvttvtt"
    with torch.no_grad():
        plain = tiny_inputs(model, layout)
        expected = model(**plain.kwargs(mask=False)).logits
        for padded in ("..." + layout, layout + "...", ".." + layout + "."):
            inputs = tiny_inputs(model, padded)
            logits = model(**inputs.kwargs()).logits[inputs.real]
            assert relative_error(logits, expected[0]) < ROUNDING, padded


@backends
@option_sets
def test_a_turn_goes_on_from_a_right_padded_one(options, backend):
    """On a cache, with the mask alone: padding between turns takes no position. (Sliding windows do count it.)"""
    model = tiny_model("llama", backend, **options)
    turns = tiny_inputs(model, "ttvvt..tvtt", "..tvtttttvv", "tttttttt.tt")
    expected = []
    with torch.no_grad():
        for row, real in enumerate(turns.real):
            alone = {name: value[row : row + 1, real] for name, value in turns.kwargs(mask=False).items()}
            expected.append(model(**alone).logits[0])
        for splits in ((0, 7, 11), (0, 7, 8, 9, 10, 11), (0, 11)):
            cache, logits = None, []
            for start, stop in itertools.pairwise(splits):
                now = {name: value[:, start:stop] for name, value in turns.kwargs(mask=False).items()}
                mask = turns.attention_mask[:, :stop]
                outputs = model(**now, attention_mask=mask, past_key_values=cache, use_cache=True)
                cache = outputs.past_key_values
                logits.append(outputs.logits)
            for row, real in enumerate(turns.real):
                assert relative_error(torch.cat(logits, 1)[row, real], expected[row]) < ROUNDING, (splits, row)


@backends
@families
@option_sets
def test_a_batch_equals_its_rows_alone(family, options, backend):
    model = tiny_model(family, backend, **options)
    layouts = ("ttvvttvtt", "ttttttttt", "vvvvvvvvv", "...vttttt", "tvtvtv...")
    inputs = tiny_inputs(model, *layouts)
    with torch.no_grad():
        logits = model(**inputs.kwargs()).logits
        for row, real in enumerate(inputs.real):
            alone = model(
                inputs_embeds=inputs.inputs_embeds[row : row + 1, real],
                mm_token_type_ids=inputs.mm_token_type_ids[row : row + 1, real],
            ).logits
            assert relative_error(logits[row, real], alone[0]) < ROUNDING, layouts[row]


@option_sets
def test_images_anywhere(options):
    """Images first, last, adjacent, alone; rows with none beside rows with many: all equal the oracle."""
    model = tiny_model("llama", "sdpa", **options)
    oracle = WingsOracle(model.config, model.state_dict())
    for layouts in (
        ("vvtttt", "ttttvv", "tvtvtv", "tttttt", "vvvvvv"),
        ("tttttt", "tttttt"),
        ("vvvvvv",),
        ("v", "t"),
        ("tv", "vt", ".v", "t."),
    ):
        inputs = tiny_inputs(model, *layouts)
        with torch.no_grad():
            logits = model(**inputs.kwargs()).logits[inputs.real]
            wanted = oracle(**inputs.kwargs()).logits[inputs.real]
        assert relative_error(logits, wanted) < ROUNDING, layouts


def test_modality_of_text_may_be_left_out():
    """Without ``mm_token_type_ids``, embeddings are text."""
    model = tiny_model("llama", "sdpa")
    inputs = tiny_inputs(model, "tttttt")
    with torch.no_grad():
        given = model(**inputs.kwargs()).logits
        assert relative_error(model(inputs_embeds=inputs.inputs_embeds).logits, given) < ROUNDING
        assert relative_error(model(input_ids=inputs.input_ids).logits, given) < ROUNDING


def test_explicit_positions_shift_nothing_but_the_position_router():
    """Rotary attention is relative: with no position router, shifted position ids give the same logits."""
    for router, same in (("modality", True), ("position", False)):
        model = tiny_model("llama", "sdpa", router=router, learner_rope=True)
        inputs = tiny_inputs(model, "ttvvtt")
        with torch.no_grad():
            base = model(**inputs.kwargs()).logits
            shifted = model(**inputs.kwargs(), position_ids=torch.arange(6)[None] + 20).logits
        assert (relative_error(shifted, base) < ROUNDING) == same, router


# ---- router's length -------------------------------------------------------------------------------------


def test_position_router_refuses_what_is_longer_than_its_table():
    model = tiny_model("llama", "sdpa", router="position", router_positions=8)
    with torch.no_grad():
        assert model(**tiny_inputs(model, "ttvvtttt").kwargs()).logits.isfinite().all()
        assert model(**tiny_inputs(model, "....ttvvtttt").kwargs()).logits.isfinite().all()
        with pytest.raises(ValueError, match=r"router_positions.*8"):
            model(**tiny_inputs(model, "ttvvttttt").kwargs())
        with pytest.raises(ValueError, match=r"router_positions.*8"):
            inputs = tiny_inputs(model, "ttvv")
            model(**inputs.kwargs(), position_ids=torch.tensor([[0, 1, 2, 8]]))


def test_position_router_refuses_to_decode_past_its_table():
    model = tiny_model("llama", "sdpa", router="position", router_positions=8)
    inputs = tiny_inputs(model, "ttvvttttt")
    with torch.no_grad():
        past = model(**inputs.columns(slice(0, 8)).kwargs(mask=False), use_cache=True).past_key_values
        with pytest.raises(ValueError, match=r"router_positions.*8"):
            model(**inputs.columns(slice(8, 9)).kwargs(mask=False), past_key_values=past, use_cache=True)


@pytest.mark.parametrize("options", [{"router": "modality"}, {"router": "uniform"}, {"learners": ("visual",)}])
def test_other_routers_have_no_length_limit(options):
    model = tiny_model("llama", "sdpa", router_positions=8, **options)
    with torch.no_grad():
        assert model(**tiny_inputs(model, "ttvvttttttttt").kwargs()).logits.isfinite().all()
