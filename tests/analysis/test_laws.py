# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Masses and shifts worked by hand, what is defined where Eq. 1 is not, and the way to JSON and back."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from tiny import tiny_inputs, tiny_model

from wings_hf.analysis import AttentionLaws, measure_attention


def uniform_model(layers: int = 2, **text):
    """A model whose rows attend to all keys in sight alike: its queries are zero."""
    model = tiny_model(attn_implementation="sdpa", learners=(), text={"num_hidden_layers": layers, **text})
    with torch.no_grad():
        for layer in model.model.language_model.layers:
            layer.self_attn.q_proj.weight.zero_()
    return model


def measure(model, *layouts, batch=None, **options):
    return measure_attention(model, [{**tiny_inputs(model, *layouts).kwargs(), **(batch or {})}], **options)


def test_uniform_attention_by_hand():
    # rows 0..4 of "tvvtt": row i sees i + 1 keys alike
    laws = measure(uniform_model(), "tvvtt")
    before = (1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5) / 5
    image = (0 + 1 / 2 + 2 / 3 + 2 / 4 + 2 / 5) / 5
    after = (1 / 4 + 2 / 5) / 5
    np.testing.assert_allclose(laws.masses, [[before, image, 0, after]] * 2, atol=1e-7)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("image", [(1 / 2 + 1 / 3) / 2, (1 / 2 + 2 / 3) / 2, 0]),
        ("after", [(1 / 4 + 1 / 5) / 2, (2 / 4 + 2 / 5) / 2, (1 / 4 + 2 / 5) / 2]),
        ("last", [1 / 5, 2 / 5, 2 / 5]),
        ("answer", [1 / 4, 2 / 4, 1 / 4]),  # the row that predicts the one labelled token, the last
    ],
)
def test_rows_that_count_by_hand(rows, expected):
    labels = torch.tensor([[-100, -100, -100, -100, 7]])
    laws = measure(uniform_model(), "tvvtt", batch={"labels": labels}, rows=rows)
    np.testing.assert_allclose(laws.masses[0, [0, 1, 3]], expected, atol=1e-7)


def test_several_images_by_hand():
    # the last row of "tvttvt" sees 1 before, 2 of images, 2 between, 1 after: "after" is what follows the first image
    laws = measure(uniform_model(), "tvttvt", rows="last")
    np.testing.assert_allclose(laws.masses[0], [1 / 6, 2 / 6, 2 / 6, 1 / 6], atol=1e-7)
    assert laws.after[0] == pytest.approx(3 / 6) and laws.between[0] == pytest.approx(2 / 6)
    per_token = measure(uniform_model(), "tvttvt", rows="last", per_token=True)
    np.testing.assert_allclose([per_token.before[0], per_token.image[0], per_token.after[0]], [1 / 6] * 3, atol=1e-7)


def test_a_sliding_window_by_hand():
    model = tiny_model("mistral", "sdpa", learners=())  # the window is 4
    with torch.no_grad():
        for layer in model.model.language_model.layers:
            layer.self_attn.q_proj.weight.zero_()
    np.testing.assert_allclose(measure(model, "ttvvtt", rows="last").masses[0], [0, 1 / 2, 0, 1 / 2], atol=1e-7)


def test_masses_of_each_kind_of_row_by_hand():
    laws = measure(uniform_model(), "tvvt", "tvtt", per_row_kind=True)
    by_row = laws.row_masses
    np.testing.assert_allclose(by_row["before"][0], [1, 0, 0, 0], atol=1e-7)
    np.testing.assert_allclose(by_row["image"][0, 0], ((1 / 2 + 1 / 3) / 2 + 1 / 2) / 2, atol=1e-7)
    np.testing.assert_allclose(by_row["after"][0, 3], (1 / 4 + (1 / 3 + 2 / 4) / 2) / 2, atol=1e-7)
    assert np.isnan(by_row["between"]).all()


def test_samples_count_alike_whatever_their_length():
    model = uniform_model()
    laws = measure_attention(model, [tiny_inputs(model, layout).kwargs() for layout in ("tvt", "tvtttttttt")])
    each = [measure(model, layout).masses for layout in ("tvt", "tvtttttttt")]
    np.testing.assert_allclose(laws.masses, np.mean(each, axis=0), atol=1e-7)


def laws_of(before, after) -> AttentionLaws:
    masses = np.array([[b, 0.0, 0.0, a] for b, a in zip(before, after, strict=True)])
    return AttentionLaws(masses, samples=1, rows=1)


def test_the_shift_is_one_minus_pearson():
    before, after = [0.5, 0.1, 0.4, 0.2], [0.1, 0.3, 0.3, 0.2]
    assert laws_of(before, after).shift == pytest.approx(1 - pearsonr(before, after).statistic, abs=1e-12)
    assert laws_of(before, before).shift == pytest.approx(0, abs=1e-12)
    assert laws_of(before, [-b for b in before]).shift == pytest.approx(2, abs=1e-12)
    assert laws_of(before, after).shift_is_defined


@pytest.mark.parametrize(
    ("before", "after"),
    [([0.3], [0.4]), ([0.3, 0.3, 0.3], [0.1, 0.2, 0.5]), ([0.1, 0.2, 0.4], [0, 0, 0]), ([0.3, 0.3], [0.2, 0.2])],
    ids=["one layer", "constant", "nothing after", "both constant"],
)
def test_without_a_correlation_the_shift_is_one(before, after):
    laws = laws_of(before, after)
    assert laws.shift == 1.0 and not laws.shift_is_defined


def test_a_curve_that_only_rounding_moves_is_constant():
    noise = 1e-8 * np.arange(4)
    assert not laws_of(0.25 + noise, [0.1, 0.3, 0.2, 0.2]).shift_is_defined


def test_no_text_before_no_text_after_and_no_image():
    model = tiny_model(attn_implementation="sdpa", learners=(), text={"num_hidden_layers": 3})
    first = measure(model, "vvttt")
    assert not first.before.any() and first.samples == 1
    assert first.shift == 1.0 and not first.shift_is_defined and first.sample_shift is None
    last = measure(model, "tttvv")
    assert not last.after.any() and last.shift == 1.0
    none = measure(model, "ttttt")
    assert none.samples == 0 and none.skipped == {"no image": 1}
    assert none.masses.shape == (3, 4) and not none.masses.any() and none.shift == 1.0
    mixed = measure(model, "ttvvt", "ttttt", "tttvv", rows="after")
    assert mixed.samples == 1 and mixed.skipped == {"no image": 1, "no row that counts": 1}
    np.testing.assert_allclose(mixed.masses, measure(model, "ttvvt", rows="after").masses, atol=1e-6)
    assert measure_attention(model, []).samples == 0


def test_the_expectation_is_over_samples_that_have_a_shift():
    model = tiny_model(attn_implementation="sdpa", learners=(), text={"num_hidden_layers": 4})
    inputs = tiny_inputs(model, "ttvvtt", "vvtttt", "tttvvt").kwargs()
    rows = [{name: values[row : row + 1] for name, values in inputs.items()} for row in range(3)]
    alone = [measure_attention(model, [row]).shift for row in rows]
    laws = measure_attention(model, [inputs])
    assert laws.shifted_samples == 2 and laws.samples == 3
    assert laws.sample_shift == pytest.approx((alone[0] + alone[2]) / 2, abs=1e-4)


def test_to_json_and_back():
    model = tiny_model(attn_implementation="sdpa", learners=())
    laws = measure(model, "ttvvt", "ttttt", per_head=True, per_row_kind=True)
    back = AttentionLaws.from_dict(json.loads(json.dumps(laws.to_dict(), allow_nan=False)))
    np.testing.assert_array_equal(back.masses, laws.masses)
    np.testing.assert_array_equal(back.head_masses, laws.head_masses)
    np.testing.assert_array_equal(back.row_masses["between"], laws.row_masses["between"])
    assert back.to_dict() == laws.to_dict() and back.shift == laws.shift
    assert laws.head_shifts.shape == (4,)
    with pytest.raises(ValueError, match="'masses' is missing"):
        AttentionLaws.from_dict({"samples": 1})


def test_what_is_wrong_is_said():
    model = tiny_model(attn_implementation="sdpa", learners=())
    inputs = tiny_inputs(model, "ttvvt").kwargs()
    with pytest.raises(ValueError, match="rows='some'"):
        measure_attention(model, [], rows="some")
    with pytest.raises(ValueError, match="needs labels"):
        measure_attention(model, [inputs], rows="answer")
    with pytest.raises(ValueError, match="where its images are"):
        measure_attention(model, [{"inputs_embeds": inputs["inputs_embeds"]}])
    with pytest.raises(ValueError, match="attention_mask of shape"):
        measure_attention(model, [{**inputs, "attention_mask": torch.ones(1, 1, 5, 5)}])
