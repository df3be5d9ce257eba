# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Samples packed into rows: loss and gradients are those of the samples by themselves, and none sees another."""

import itertools

import pytest
import torch
from tiny import tiny_model

from wings_hf.data.packing import IGNORED, first_fit_decreasing, pack

IMAGE_TOKENS, SIZE = 9, 12  # of the tiny tower
LAYOUTS = ("tItt", "ttttt", "IttIt", "ttt", "ttItttt")  # I: an image
CASES = list(itertools.product(("llama", "gemma3_text"), ("position", "modality"), ("eager", "sdpa")))


def make_batch(model: torch.nn.Module, layouts: tuple[str, ...] = LAYOUTS) -> dict[str, torch.Tensor]:
    """A right-padded batch of random samples with pixel values; labels on the last two tokens, and on some before."""
    generator = torch.Generator().manual_seed(3)
    rows = []
    for layout in layouts:
        row: list[int] = []
        for kind in layout:
            image = [model.config.image_token_id] * IMAGE_TOKENS
            row += image if kind == "I" else torch.randint(3, 90, (3,), generator=generator).tolist()
        rows.append(torch.tensor(row))
    pad = torch.nn.utils.rnn.pad_sequence
    ids = pad(rows, batch_first=True, padding_value=0)
    mask = pad([torch.ones_like(row) for row in rows], batch_first=True)
    is_image = (ids == model.config.image_token_id) & mask.bool()
    labels = ids.masked_fill(is_image | ~mask.bool(), IGNORED)
    labels[:, 1:3] = IGNORED  # the first token keeps its label, which nothing may predict
    images = sum(layout.count("I") for layout in layouts)
    pixels = torch.randn(images, 3, SIZE, SIZE, generator=generator)
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": labels,
        "mm_token_type_ids": is_image.long(),
        "pixel_values": pixels,
    }


def alone(batch: dict[str, torch.Tensor], layouts: tuple[str, ...] = LAYOUTS) -> list[dict[str, torch.Tensor]]:
    """Each sample as a batch of its own, without padding."""
    samples, first = [], 0
    for index, layout in enumerate(layouts):
        real = batch["attention_mask"][index].bool()
        sample = {name: batch[name][index][real][None] for name in ("input_ids", "labels", "mm_token_type_ids")}
        if count := layout.count("I"):
            sample["pixel_values"] = batch["pixel_values"][first : first + count]
            first += count
        samples.append(sample)
    return samples


def loss_and_gradients(model: torch.nn.Module, batches: list[dict]) -> tuple[float, dict[str, torch.Tensor]]:
    """The summed loss of all labelled tokens, and its gradients."""
    model.zero_grad()
    total = 0.0
    for batch in batches:
        loss = model(**batch, use_cache=False, num_items_in_batch=1).loss
        loss.backward()
        total += loss.item()
    return total, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("family", "router", "backend"), CASES)
@pytest.mark.parametrize("room", [45, None])
def test_loss_and_gradients_are_those_of_the_samples_alone(family, router, backend, room):
    model = tiny_model(family, backend, vision="siglip", router=router, freeze_vision_tower=False)
    batch = make_batch(model)
    packed = pack(batch, room, pad_token_id=0)
    assert packed["input_ids"].shape[0] < len(LAYOUTS)
    loss, gradients = loss_and_gradients(model, [packed])
    expected_loss, expected = loss_and_gradients(model, alone(batch))
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    assert gradients.keys() == expected.keys()
    for part in ("visual_learner", "textual_learner", "router", "multi_modal_projector", "vision_tower"):
        assert any(part in name for name in expected)
    largest = max(gradient.abs().max() for gradient in expected.values())
    for name, gradient in expected.items():  # some are nothing but rounding: biases of keys, say
        scale = gradient.abs().max().clamp(min=1e-3 * largest)
        assert ((gradients[name] - gradient).abs().max() / scale).item() < 5e-5, name


@pytest.mark.parametrize(("family", "router", "backend"), CASES)
@torch.no_grad()
def test_no_sample_sees_another(family, router, backend):
    model = tiny_model(family, backend, vision="siglip", router=router)
    batch = make_batch(model)
    packed = pack(batch, None, pad_token_id=0)
    labels = packed.pop("labels")
    before = model(**packed, use_cache=False).logits
    lengths = batch["attention_mask"].sum(-1).tolist()
    start = lengths[0] + lengths[1]
    own = slice(start, start + lengths[2])  # the sample in the middle, of two images
    changed = {name: tensor.clone() for name, tensor in packed.items()}
    text = changed["mm_token_type_ids"][0, own] == 0
    changed["input_ids"][0, own][text] = 5
    changed["pixel_values"][1:3] += 1.0
    after = model(**changed, use_cache=False).logits
    difference = (after - before).abs().amax(-1)[0]
    assert difference[own].min() > 1e-3
    difference[own] = 0
    assert difference.max() < 1e-6
    assert labels[0][packed["position_ids"][0] == 0].eq(IGNORED).all()


def test_images_follow_their_samples():
    model = tiny_model(vision="siglip")
    batch = make_batch(model)
    batch["pixel_values"] = torch.arange(4.0)[:, None, None, None].expand(4, 3, SIZE, SIZE)
    packed = pack(batch, 45, pad_token_id=0)  # 18, 15, 27, 9, 27 tokens
    rows = first_fit_decreasing(batch["attention_mask"].sum(-1).tolist(), 45)
    images = {0: [0], 1: [], 2: [1, 2], 3: [], 4: [3]}
    assert packed["pixel_values"][:, 0, 0, 0].tolist() == [image for row in rows for i in row for image in images[i]]
    assert (packed["mm_token_type_ids"].sum() == 4 * IMAGE_TOKENS) and rows != [[0, 1, 2, 3, 4]]


def test_first_fit_decreasing():
    assert first_fit_decreasing([3, 9, 5, 1, 6], 10) == [[0, 4], [1, 3], [2]]
    rows = first_fit_decreasing([7] * 5, 20)
    assert [len(row) for row in rows] == [2, 2, 1]
    with pytest.raises(ValueError, match="sample 1 takes 11 tokens, more than a row of 10"):
        first_fit_decreasing([3, 11], 10)
