# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Any image-text model of transformers: the masses of its language model's attention against its eager tensors."""

import image_text_models as models
import numpy as np
import pytest
import torch
from eager_masses import layouts_of, masses_of_samples

from wings_hf.analysis import measure_attention
from wings_hf.analysis.calls import self_attentions, watch_attention


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
@pytest.mark.parametrize("name", models.MODELS)
def test_masses_agree_with_eager_attention(name, backend):
    eager, batch = models.make(name, "eager")
    with torch.no_grad():
        weights = eager(**batch, output_attentions=True, use_cache=False).attentions
    weights = [of_layer for of_layer in weights if of_layer.shape[-1] == of_layer.shape[-2]]  # no cross-attention
    model, _ = models.make(name, backend)
    layouts = layouts_of(batch, models.IMAGE)
    expected = masses_of_samples(weights, layouts)
    laws = measure_attention(model, [batch], per_head=True)
    np.testing.assert_allclose(laws.head_masses, expected.mean(0), atol=1e-5)
    assert laws.samples == 2 and laws.masses.shape == (3, 4)
    before, after = laws.before, laws.after
    assert laws.shift == pytest.approx(1 - np.corrcoef(before, after)[0, 1])
    of_samples = expected.mean(2)
    shifts = [1 - np.corrcoef(each[:, 0], each[:, 2] + each[:, 3])[0, 1] for each in of_samples]
    assert laws.sample_shift == pytest.approx(np.mean(shifts), abs=1e-3)


@pytest.mark.parametrize("name", models.MODELS)
def test_only_the_language_model_is_watched_and_its_outputs_stay(name):
    model, batch = models.make(name, "sdpa")
    with torch.no_grad():
        alone = model(**batch, use_cache=False).logits
    towers = [module for module in model.modules() if "Vision" in type(module).__name__]
    watched = set(self_attentions(model))
    assert towers and len(watched) == 3 and not any(watched & set(tower.modules()) for tower in towers)
    calls = []
    with watch_attention(model, calls.append), torch.no_grad():
        assert torch.equal(model(**batch, use_cache=False).logits, alone)
    assert [call.layer for call in calls] == [0, 1, 2]


def test_left_padding_right_padding_and_none_are_the_same():
    model, batch = models.make("llava", "sdpa")
    expected = measure_attention(model, [batch], rows="after")
    first, second = ({name: values[row : row + 1] for name, values in batch.items()} for row in (0, 1))
    first["pixel_values"], second["pixel_values"] = batch["pixel_values"][:2], batch["pixel_values"][2:]
    length = int(second["attention_mask"].sum())
    pad = second["input_ids"].shape[1] - length
    cut = {name: second[name][:, :length] for name in ("input_ids", "attention_mask")}
    left = {name: torch.nn.functional.pad(values, (pad, 0)) for name, values in cut.items()}
    for form in (cut, left):
        laws = measure_attention(model, [first, {**second, **form}], rows="after")
        np.testing.assert_allclose(laws.masses, expected.masses, atol=1e-6)


def test_a_model_whose_attention_cannot_be_watched_says_so():
    with pytest.raises(ValueError, match="no stack of layers with attention"):
        measure_attention(torch.nn.Linear(2, 2), [])
