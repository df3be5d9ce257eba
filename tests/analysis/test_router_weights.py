# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Router weights against what the layers really multiply their learners with."""

import numpy as np
import pytest
import torch
from tiny import tiny_inputs, tiny_model

from wings_hf.analysis.router import means_by_kind, router_weights
from wings_hf.modeling import wings_attention

LAYOUTS = ("tttvvvtttt", "ttvvtvvtt.", "..tvvvvttt")
OPTIONS = {
    "position": {"router": "position"},
    "modality": {"router": "modality"},
    "uniform": {"router": "uniform"},
    "mass": {"router": "mass"},
    "mass, stage 1": {"router": "mass", "learners": ("visual",)},
    "exact": {"learner_scope": "visual_context"},
    "stage 1": {"learners": ("visual",)},
    "one layer": {"learner_layers": (1,)},
}


@pytest.fixture
def multiplied(monkeypatch):
    """What `add_outputs` is told in each layer: weights (b, s, n) with zeros where a row gets nothing."""
    seen = []
    real = wings_attention.add_outputs

    def noting(output, low, ups, gates, present):
        weights = torch.ones(low.shape[:3]) if gates is None else gates
        seen.append(weights if present is None else torch.where(present, weights, 0.0))
        return real(output, low, ups, gates, present)

    monkeypatch.setattr(wings_attention, "add_outputs", noting)
    return seen


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
@pytest.mark.parametrize("name", OPTIONS)
def test_they_are_what_the_learners_are_multiplied_with(name, backend, multiplied):
    model = tiny_model(attn_implementation=backend, **OPTIONS[name])
    inputs = tiny_inputs(model, *LAYOUTS)
    samples = router_weights(model, inputs.kwargs())
    expected = torch.stack(multiplied)  # (L, b, s, n)
    assert len(samples) == 3
    for row, sample in enumerate(samples):
        np.testing.assert_allclose(sample.weights, expected[:, row, inputs.real[row]].numpy(), atol=1e-6)
        assert len(sample.kinds) == inputs.real[row].sum() == sample.weights.shape[1]
        assert sample.learners == list(model.config.learners)
    assert samples[0].layers == ([1] if name == "one layer" else [0, 1])
    assert samples[1].kinds == ["before"] * 2 + ["image"] * 2 + ["between"] + ["image"] * 2 + ["after"] * 2


def test_a_text_without_images_has_the_textual_learner_alone(multiplied):
    model = tiny_model(attn_implementation="sdpa")
    (sample,) = router_weights(model, {"input_ids": torch.tensor([[5, 6, 7]])})
    np.testing.assert_array_equal(sample.weights, np.tile([0.0, 1.0], (2, 3, 1)))
    assert sample.kinds == ["before"] * 3
    exact = tiny_model(attn_implementation="sdpa", learner_scope="visual_context")
    (sample,) = router_weights(exact, {"input_ids": torch.tensor([[5, 6, 7]])})
    assert not sample.weights.any()


def test_means_by_kind():
    model = tiny_model(attn_implementation="sdpa")
    samples = router_weights(model, tiny_inputs(model, *LAYOUTS).kwargs())
    means = means_by_kind(samples)
    assert list(means) == ["before", "image", "between", "after"]
    np.testing.assert_allclose(means["between"]["visual"], samples[1].weights[:, 4, 0])
    both = np.add(means["after"]["visual"], means["after"]["textual"])
    np.testing.assert_allclose(both, 2, atol=1e-6)


def test_tokens_are_told_by_a_tokenizer():
    class Letters:
        def decode(self, ids):
            return chr(96 + ids[0])

    model = tiny_model(attn_implementation="sdpa")
    (sample,) = router_weights(model, {"input_ids": torch.tensor([[5, 6, 7]])}, Letters())
    assert sample.tokens == ["e", "f", "g"]


def test_a_model_without_learners_says_so():
    model = tiny_model(attn_implementation="sdpa", learners=())
    with pytest.raises(ValueError, match="has no learners"):
        router_weights(model, tiny_inputs(model, "tvt").kwargs())
