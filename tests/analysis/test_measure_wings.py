# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The masses of Wings' main branch, with and without learners, against eager attention tensors."""

import numpy as np
import pytest
import torch
from tiny import tiny_inputs, tiny_model

from wings_hf.analysis import measure_attention

LAYOUTS = ("tttvvvtttt", "ttvvtvvtt.", "..tvvvvttt")


def expected_masses(weights: list[torch.Tensor], layouts: tuple[str, ...]) -> np.ndarray:
    """Masses on text before, image, between and after, (layers, 4), from weights (b, H, s, t), in plain loops."""
    per_sample = []
    for row, layout in enumerate(layouts):
        images = [column for column, kind in enumerate(layout) if kind == "v"]
        real = [column for column, kind in enumerate(layout) if kind != "."]
        parts = ([], images, [], [])
        for column in real:
            if layout[column] == "t":
                index = 0 if column < images[0] else 3 if column > images[-1] else 2
                parts[index].append(column)
        layers = []
        for layer in weights:
            of_rows = layer[row][:, real].double().mean((0, 1))  # mean over heads and rows, (t,)
            layers.append([float(of_rows[part].sum()) for part in parts])
        per_sample.append(layers)
    return np.mean(per_sample, axis=0)


OPTIONS = {
    "plain": {"learners": ()},
    "stage 1": {"learners": ("visual",)},
    "position": {"router": "position"},
    "modality": {"router": "modality"},
    "exact": {"learner_scope": "visual_context"},
    "post": {"learner_query": "post_attention", "learner_rope": True},
}


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
@pytest.mark.parametrize("name", OPTIONS)
def test_masses_agree_with_eager_attention(name, backend):
    reference = tiny_model(attn_implementation="eager", **OPTIONS[name])
    inputs = tiny_inputs(reference, *LAYOUTS).kwargs()
    with torch.no_grad():
        weights = reference(**inputs, output_attentions=True, use_cache=False).attentions
    laws = measure_attention(tiny_model(attn_implementation=backend, **OPTIONS[name]), [inputs])
    np.testing.assert_allclose(laws.masses, expected_masses(weights, LAYOUTS), atol=1e-6)
    assert laws.samples == 3 and laws.rows == 27
    correlation = np.corrcoef(laws.before, laws.after)[0, 1]
    assert laws.shift == pytest.approx(1 - correlation)
