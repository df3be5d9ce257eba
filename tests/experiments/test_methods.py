# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What every method that adds parts must keep, and what some promise besides."""

import copy
from typing import Any

import pytest
import torch

pytest.importorskip("peft")

from method_models import (
    CHANGED_AT_START,
    EXACT_ON_TEXT,
    LAYOUT,
    METHODS,
    TOLERANCE,
    fitted,
    inputs,
    logits,
    shaken,
    tokens_of,
    trained,
)

every_method = pytest.mark.parametrize("name", METHODS)
exact_methods = pytest.mark.parametrize("name", sorted(EXACT_ON_TEXT))


# ---- what all must keep ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in METHODS if name not in CHANGED_AT_START])
def test_installing_changes_nothing(plain: Any, name: str) -> None:
    assert torch.equal(logits(fitted(plain, name), LAYOUT), logits(plain, LAYOUT))


@every_method
def test_what_it_trains_changes_answers_about_images(plain: Any, name: str) -> None:
    difference = logits(shaken(plain, name), LAYOUT) - logits(fitted(plain, name), LAYOUT)
    assert difference[0, 6:].abs().max() > 1e-3


@every_method
@pytest.mark.parametrize("layout", [["ttvvvvttt..", "ttttt......"], ["..ttvvvvttt", "......ttttt"]])
def test_padding_and_batch_make_no_difference(plain: Any, name: str, layout: list[str]) -> None:
    model = shaken(plain, name)
    for row, text in zip(tokens_of(logits(model, layout), layout), layout, strict=True):
        torch.testing.assert_close(row, logits(model, [text.strip(".")])[0], **TOLERANCE)


@every_method
def test_a_row_does_not_see_the_others(plain: Any, name: str) -> None:
    model = shaken(plain, name)
    together = logits(model, LAYOUT)
    for index, row in enumerate(LAYOUT):
        torch.testing.assert_close(together[index], logits(model, [row])[0], **TOLERANCE)


@every_method
def test_nothing_sees_what_comes_later(plain: Any, name: str) -> None:
    model = shaken(plain, name)
    batch = inputs(["ttvvvvttvvvvt"], model.config.image_token_id)
    with torch.no_grad():
        before = model(**batch, use_cache=False).logits
        pixels = batch["pixel_values"].clone()
        pixels[1] += 1.0
        other_image = model(**{**batch, "pixel_values": pixels}, use_cache=False).logits
        ids = batch["input_ids"].clone()
        ids[0, 7] += 1
        other_text = model(**{**batch, "input_ids": ids}, use_cache=False).logits
    assert torch.equal(other_image[:, :8], before[:, :8]) and not torch.equal(other_image[:, 12], before[:, 12])
    assert torch.equal(other_text[:, :7], before[:, :7]) and not torch.equal(other_text[:, 7], before[:, 7])


@every_method
def test_all_that_is_trained_gets_a_gradient_and_nothing_else(plain: Any, name: str) -> None:
    model = shaken(plain, name).train()
    for key, parameter in model.named_parameters():
        parameter.requires_grad_(METHODS[name].rate_of(key) is not None)
    batch = inputs(LAYOUT, model.config.image_token_id)
    if name == "instance-experts":  # a question, by which it chooses
        model.model.language_model.instance_experts.marks = ([int(batch["input_ids"][0, 0])], [-1])
    labels = batch["input_ids"].masked_fill(batch["mm_token_type_ids"] == 1, -100)
    outputs = model(**batch, labels=labels)
    loss = outputs.loss
    if METHODS[name].penalty is not None:
        loss = loss + METHODS[name].penalty(model, plain, batch, outputs)
    loss.backward()
    idle = [key for key, p in trained(model, name).items() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not idle, idle
    assert not [key for key, p in model.named_parameters() if p.grad is not None and key not in trained(model, name)]
    copy.deepcopy(model)  # also after a step


@every_method
def test_weights_load_into_a_new_installation(plain: Any, name: str) -> None:
    model, other = shaken(plain, name, projector=True), fitted(plain, name)
    other.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(logits(other, LAYOUT), logits(model, LAYOUT))


@every_method
def test_a_copy_is_on_its_own(plain: Any, name: str) -> None:
    model = shaken(plain, name)
    before = logits(model, LAYOUT)
    twin = copy.deepcopy(model)
    assert torch.equal(logits(twin, LAYOUT), before)
    with torch.no_grad():
        for parameter in trained(twin, name).values():
            parameter.zero_()
    assert torch.equal(logits(model, LAYOUT), before)
    del model
    logits(twin, ["tttt"])  # asks nothing of the other one


@every_method
def test_train_mode_computes_the_same(plain: Any, name: str) -> None:
    model = shaken(plain, name)
    torch.testing.assert_close(logits(model.train(), LAYOUT), logits(model.eval(), LAYOUT), **TOLERANCE)


@every_method
def test_nothing_but_the_method_and_the_projector_is_trained(plain: Any, name: str) -> None:
    model = fitted(plain, name)
    before = dict(plain.named_parameters())
    learned = [key for key in trained(model, name) if key in before]
    if METHODS[name].trained == METHODS["lora-8"].trained:
        assert learned and all("multi_modal_projector" in key for key in learned)
    assert not any("vision_tower" in key for key in trained(model, name))


@every_method
def test_it_trains_in_mixed_precision(plain: Any, name: str) -> None:
    model = shaken(plain, name).train()
    batch = inputs(LAYOUT, model.config.image_token_id)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**batch, labels=batch["input_ids"].masked_fill(batch["mm_token_type_ids"] == 1, -100)).loss
    loss.backward()
    expected = model(**batch, labels=batch["input_ids"]).loss
    torch.testing.assert_close(loss, expected, rtol=0.05, atol=0.05)
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


# ---- what some promise ----------------------------------------------------------------------------------------------


@exact_methods
def test_text_without_images_is_bit_identical(plain: Any, name: str) -> None:
    model = shaken(plain, name, scale=1.0)
    for layout in (["tttttttt"], ["ttttt...", "tttttttt"], ["...ttttt", "tttttttt"]):
        assert torch.equal(logits(model, layout), logits(plain, layout))


@exact_methods
def test_text_before_images_is_bit_identical(plain: Any, name: str) -> None:
    now, then = logits(shaken(plain, name, scale=1.0), LAYOUT), logits(plain, LAYOUT)
    assert torch.equal(now[2], then[2]) and torch.equal(now[0, :2], then[0, :2])
    assert not torch.equal(now[0, 6:], then[0, 6:])


@pytest.mark.parametrize("name", [name for name in METHODS if name not in EXACT_ON_TEXT])
def test_the_others_change_text_as_well(plain: Any, name: str) -> None:
    assert not torch.allclose(logits(shaken(plain, name), ["tttttt"]), logits(plain, ["tttttt"]), atol=1e-3)
