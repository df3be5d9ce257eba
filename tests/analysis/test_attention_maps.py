# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Attention maps against eager attention tensors, and where images' tokens lie."""

import image_text_models as models
import numpy as np
import pytest
import torch
from tiny import tiny_inputs, tiny_model

from wings_hf.analysis.maps import attention_maps


def eager(model: torch.nn.Module, inputs: dict, **options) -> list[np.ndarray]:
    reference = tiny_model(attn_implementation="eager", **options)
    reference.load_state_dict(model.state_dict())
    with torch.no_grad():
        weights = reference(**inputs, output_attentions=True, use_cache=False).attentions
    return [layer.double().mean(1).numpy() for layer in weights]  # (b, s, t), means over heads


@pytest.mark.parametrize("options", [{"learners": ()}, {}], ids=["plain", "wings"])
@pytest.mark.parametrize("backend", ["sdpa", "eager"])
def test_they_are_the_mean_weights_of_the_rows_after(backend, options):
    # head size 8, so that nine tokens of an image take two calls
    model = tiny_model(attn_implementation=backend, **options)
    layouts = ("tt" + 9 * "v" + "ttt" + 4 * "v" + "tt", "...t" + 4 * "v" + "tttttttttttt")
    inputs = tiny_inputs(model, *layouts).kwargs()
    maps = attention_maps(model, inputs)
    weights = eager(model, inputs, **options)
    assert [(each.sample, each.image, each.weights.shape) for each in maps] == [
        (0, 0, (2, 3, 3)),
        (0, 1, (2, 2, 2)),
        (1, 0, (2, 2, 2)),
    ]
    rows = [[11, 12, 13, 18, 19], [11, 12, 13, 18, 19], range(8, 20)]
    columns = [range(2, 11), range(14, 18), range(4, 8)]
    for each, of_rows, of_image in zip(maps, rows, columns, strict=True):
        for layer in range(2):
            expected = weights[layer][each.sample][np.ix_(list(of_rows), list(of_image))].mean(0)
            np.testing.assert_allclose(each.weights[layer].flatten(), expected, atol=1e-6)


def test_the_last_row_alone():
    model = tiny_model(attn_implementation="sdpa", learners=())
    inputs = tiny_inputs(model, "tvvvvtt").kwargs()
    (only,) = attention_maps(model, inputs, rows="last")
    expected = eager(model, inputs, learners=())[1][0, 6, 1:5]
    np.testing.assert_allclose(only.weights[1].flatten(), expected, atol=1e-6)


def test_images_next_to_each_other_are_told_apart_by_their_number():
    model, batch = models.make("llava", "sdpa")
    ids = torch.tensor([[5, *[models.IMAGE] * 36, 6, 7]])
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": torch.randn(4, 3, 12, 12)}
    maps = attention_maps(model, batch)
    assert [each.weights.shape for each in maps] == [(3, 3, 3)] * 4  # and not one of six by six
    assert [each.image for each in maps] == [0, 1, 2, 3]


def test_a_grid_that_is_no_square():
    model, batch = models.make("qwen2_5_vl", "sdpa")
    maps = attention_maps(model, batch)
    assert [each.weights.shape for each in maps] == [(3, 2, 3)] * 3
    del batch["image_grid_thw"]
    with pytest.raises(ValueError, match="has 6 tokens, which is no square"):
        attention_maps(model, batch)


def test_tiles_and_samples_without_a_row_that_counts():
    model, batch = models.make("idefics3", "sdpa")
    maps = attention_maps(model, batch)
    assert [(each.sample, each.image) for each in maps] == [(0, 0), (0, 1), (1, 0)]
    wings = tiny_model(attn_implementation="sdpa", learners=())
    assert attention_maps(wings, tiny_inputs(wings, "ttvvvv").kwargs()) == []
