# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Where images are, weights for image tokens, cross-attention."""

import copy
from typing import Any

import pytest
import torch

pytest.importorskip("peft")

from forgetting.methods import cross_attention
from forgetting.methods.modality import Modality
from method_models import TOLERANCE, fitted, inputs, logits, shaken
from torch import nn

# ---- where images are -----------------------------------------------------------------------------------------------


def test_modality_is_told_by_each_call_and_forgets(plain: Any) -> None:
    model = copy.deepcopy(plain)
    modality, seen = Modality.install(model), []
    model.model.language_model.register_forward_pre_hook(lambda *_: seen.append(modality.now))
    with pytest.raises(ValueError, match="where the images are"):
        _ = modality.now
    logits(model, [".tvvvvt", "ttttttt"])
    call = seen[-1]
    assert call.is_image.tolist() == [[c == "v" for c in row] for row in (".tvvvvt", "ttttttt")]
    assert call.sees_image[0].tolist() == [False, False, True, True, True, True, True] and not call.sees_image[1].any()
    assert call.image_index.tolist() == [2, 3, 4, 5] and call.has_images
    logits(model, ["ttt"])
    assert not seen[-1].has_images and not seen[-1].is_image.any()
    with pytest.raises(ValueError):
        logits(model, ["ttt"], input_ids=None)
    assert modality.call is None


def test_modality_with_merged_embeddings(plain: Any) -> None:
    model = shaken(plain, "lora-image")
    batch = inputs(["ttvvvvt"], model.config.image_token_id)
    features = torch.cat(list(model.get_image_features(batch["pixel_values"], return_dict=True).pooler_output))
    ids = batch["input_ids"]
    is_image = ids == model.config.image_token_id
    embeds = model.get_input_embeddings()(ids.masked_fill(is_image, 0)).masked_scatter(is_image[..., None], features)
    with torch.no_grad():
        merged = model(inputs_embeds=embeds, mm_token_type_ids=is_image.long(), use_cache=False).logits
    torch.testing.assert_close(merged, logits(model, ["ttvvvvt"]), **TOLERANCE)
    with pytest.raises(ValueError, match="mm_token_type_ids"):
        model(inputs_embeds=embeds)


def test_modality_refuses_what_it_cannot_know(plain: Any) -> None:
    model = shaken(plain, "lora-image")
    past = model(**inputs(["ttt"], model.config.image_token_id), use_cache=True).past_key_values
    with pytest.raises(ValueError, match="are in a cache"):
        model(input_ids=torch.tensor([[5]]), past_key_values=past)
    with pytest.raises(ValueError, match="one sample in each row"):
        model(input_ids=torch.tensor([[5, 6, 7, 8]]), position_ids=torch.tensor([[0, 1, 0, 1]]))


# ---- weights for image tokens ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "copied"), [("visual-expert", 7), ("visual-expert-mlp", 3), ("mot", 9)])
def test_image_experts_begin_as_copies(plain: Any, name: str, copied: int) -> None:
    """`copied` weights in each of the two layers, each equal to the one that it stands beside."""
    state = dict(fitted(plain, name).named_parameters())
    copies = [key for key in state if ".image_expert." in key]
    assert len(copies) == 2 * copied
    assert all(torch.equal(state[key], state[key.replace(".image_expert.weights", "")]) for key in copies)


def test_image_experts_are_a_second_language_model_for_image_tokens(plain: Any) -> None:
    """
    A row of nothing but an image is what a language model with the image weights makes of it, a row of text what one
    with the text weights does. (The final norm is shared.)
    """
    model, other = shaken(plain, "mot-text-frozen"), copy.deepcopy(plain)
    with torch.no_grad():
        for key, parameter in model.model.language_model.named_parameters():
            if ".image_expert." in key:
                own = key.replace(".image_expert.weights", "")
                other.model.language_model.get_parameter(own).copy_(parameter)
    torch.testing.assert_close(logits(model, ["vvvvvvvv"]), logits(other, ["vvvvvvvv"]), **TOLERANCE)
    assert not torch.allclose(logits(model, ["vvvvvvvv"]), logits(plain, ["vvvvvvvv"]), atol=1e-3)


# ---- cross-attention ------------------------------------------------------------------------------------------------


def text_only(layout: str, plain: Any) -> torch.Tensor:
    """Logits of the base language model for the row's text, images left out."""
    ids = inputs([layout], plain.config.image_token_id)["input_ids"]
    return logits(plain, ["t"], input_ids=ids[ids != plain.config.image_token_id].unsqueeze(0), **NO_MASK)[0]


NO_MASK = {"attention_mask": None, "mm_token_type_ids": None}


@pytest.mark.parametrize("layout", ["ttvvvvttt", "vvvvttt", "tvvvvvvvvttvvvvt"])
def test_cross_attention_begins_as_the_language_model_without_images(plain: Any, layout: str) -> None:
    text = [c == "t" for c in layout]
    for changes in ({}, NO_MASK):
        now = logits(fitted(plain, "cross-attention"), [layout], **changes)[0, text]
        torch.testing.assert_close(now, text_only(layout, plain), **TOLERANCE)


@pytest.mark.parametrize("gates", [1.0, 0.0])
def test_cross_attention_is_the_way_of_images_to_text(plain: Any, gates: float) -> None:
    """Other pixels change later text through open gates, and nothing through closed ones."""
    model = shaken(plain, "cross-attention")
    for layer in model.model.language_model.layers:
        nn.init.constant_(layer.cross_attention.attention_gate, gates)
        nn.init.constant_(layer.cross_attention.mlp_gate, gates)
    pixels = inputs(["ttvvvvtt"], model.config.image_token_id)["pixel_values"]
    before, after = logits(model, ["ttvvvvtt"]), logits(model, ["ttvvvvtt"], pixel_values=pixels + 1.0)
    assert torch.equal(before[0, :2], after[0, :2])
    assert torch.equal(before[0, 6:], after[0, 6:]) == (gates == 0.0)


def test_cross_attention_by_hand(plain: Any) -> None:
    """One layer on two rows: one position after the other, over the images before it."""
    model = shaken(plain, "cross-attention")
    cross = model.model.language_model.layers[0].cross_attention
    is_image = torch.tensor([[c == "v" for c in row] for row in ("tvvtvt", "tttttv")])
    states, embeddings = torch.randn(2, 6, 32), torch.randn(2, 6, 32)
    images = cross_attention.Images(embeddings, is_image)
    assert images.visible.tolist() == [[False, True, True, True, True, True], [False] * 5 + [True]]
    normed, out = cross.attention_norm(states), cross(states, images)

    def heads(values: torch.Tensor) -> torch.Tensor:
        return values.unflatten(-1, (cross.heads, -1))

    for row in range(2):
        for i in range(6):
            seen = embeddings[row, : i + 1][is_image[row, : i + 1]]
            expected = states[row, i]
            if len(seen):
                q, k, v = cross.q_proj(normed[row, i]), cross.k_proj(seen), heads(cross.v_proj(seen))
                q, k = cross.q_norm(heads(q)), cross.k_norm(heads(k))
                weights = (torch.einsum("he,nhe->hn", q, k) / q.shape[-1] ** 0.5).softmax(-1)
                attended = cross.o_proj(torch.einsum("hn,nhe->he", weights, v).flatten())
                expected = expected + cross.attention_gate.tanh() * attended
                expected = expected + cross.mlp_gate.tanh() * cross.mlp(cross.mlp_norm(expected))
            torch.testing.assert_close(out[row, i], expected, **TOLERANCE)
