# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What every method that adds parts must keep, and what some promise besides.

A layout is a string with one character per token: ``t`` text, ``v`` visual (four to an image), ``.`` padding.
"""

import copy
import re
from typing import Any

import pytest
import torch
from torch import nn

pytest.importorskip("peft")

import demo_parts
import peft
from forgetting.methods import adapters, experts, lora_experts, prefix
from forgetting.methods.base import LEARNERS, Method
from forgetting.methods.modality import Modality

TOKENS = 4  # of an image
METHODS: dict[str, Method] = {
    method.name: method for method in (*adapters.METHODS, *experts.METHODS, *lora_experts.METHODS, *prefix.METHODS)
}
CHANGED_AT_START = {"prefix"}
# Methods that leave text without an image before it as it was, whatever they learned.
EXACT_ON_TEXT = {"lora-image", "visual-expert", "visual-expert-mlp", "mot-text-frozen"}
LAYOUT = ["ttvvvvttt", "vvvvtvvvv", "ttttttttt"]
TOLERANCE = dict(rtol=1e-4, atol=2e-5)

every_method = pytest.mark.parametrize("name", METHODS)
exact_methods = pytest.mark.parametrize("name", sorted(EXACT_ON_TEXT))


@pytest.fixture(scope="module")
def plain() -> Any:
    """The model that comes out of stage 1: without learners."""
    return demo_parts.model(learners=())


def fitted(plain: Any, name: str) -> Any:
    """A copy with the method's parts."""
    torch.manual_seed(1)
    return METHODS[name].install(copy.deepcopy(plain)).eval()


def trained(model: Any, name: str) -> dict[str, nn.Parameter]:
    return {key: p for key, p in model.named_parameters() if METHODS[name].rate_of(key) is not None}


@torch.no_grad()
def shaken(plain: Any, name: str, scale: float = 0.1, projector: bool = False) -> Any:
    """Likewise, with other weights in all that the method trains; the projector only where it is asked for."""
    model = fitted(plain, name)
    generator = torch.Generator().manual_seed(2)
    for key, parameter in trained(model, name).items():
        if projector or "multi_modal_projector" not in key:
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return model


def inputs(layout: list[str], image_token: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Rows of `layout`; each row's tokens and images are the same in whatever batch and wherever padding is."""
    ids, mask, images = [], [], []
    for row in layout:
        generator = torch.Generator().manual_seed(seed + sum(map(ord, row.strip("."))))
        text = iter(torch.randint(10, 300, (len(row.strip(".")),), generator=generator).tolist())
        ids.append([next(text) if c == "t" else image_token if c == "v" else 0 for c in row])
        mask.append([int(c != ".") for c in row])
        images.append(torch.randn(row.count("v") // TOKENS, 3, 16, 16, generator=generator))
    batch = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
    batch["mm_token_type_ids"] = (batch["input_ids"] == image_token).long()
    pixels = torch.cat(images)
    return {**batch, "pixel_values": pixels} if len(pixels) else batch


@torch.no_grad()
def logits(model: Any, layout: list[str], **changes: Any) -> torch.Tensor:
    """At all positions, (b, s, v)."""
    return model(**{**inputs(layout, model.config.image_token_id), **changes}, use_cache=False).logits


def tokens_of(values: torch.Tensor, layout: list[str]) -> list[torch.Tensor]:
    """The rows without padding."""
    return [row[[c != "." for c in text]] for row, text in zip(values, layout, strict=True)]


# ---- what all must keep -------------------------------------------------------------------------------------------


@every_method
def test_installing_changes_nothing(plain: Any, name: str) -> None:
    if name in CHANGED_AT_START:
        pytest.skip("its own test says what it starts from")
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


# ---- what some promise --------------------------------------------------------------------------------------------


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


# ---- LoRA ---------------------------------------------------------------------------------------------------------


def test_lora_is_the_product_of_its_maps(plain: Any) -> None:
    """Merged into the weights by hand, it is the plain model again."""
    model, merged = shaken(plain, "lora-8"), copy.deepcopy(plain)
    maps = adapters.linear_maps(merged)
    assert len(maps) == 2 * 7  # layers x (q, k, v, o, gate, up, down)
    state = model.model.language_model.state_dict()
    with torch.no_grad():
        for key, linear in maps.items():
            linear.weight += state[f"{key}.lora_B.default.weight"] @ state[f"{key}.lora_A.default.weight"]
    torch.testing.assert_close(logits(model, LAYOUT), logits(merged, LAYOUT), **TOLERANCE)


def test_lora_leaves_the_vision_tower_alone(plain: Any) -> None:
    model = fitted(plain, "lora-matched")
    assert not [key for key, _ in model.model.vision_tower.named_parameters() if "lora" in key]


def test_image_lora_equals_lora_after_the_image(plain: Any) -> None:
    """Where an image comes first, the gate is open throughout."""
    everywhere, gated = shaken(plain, "lora-matched"), shaken(plain, "lora-image")
    gated.load_state_dict(everywhere.state_dict())
    layout = ["vvvvtttt", "vvvvtttt"]
    assert torch.equal(logits(gated, layout), logits(everywhere, layout))


def test_matched_lora_has_as_many_parameters_as_wings(plain: Any) -> None:
    """Counted on a Wings model that is built, not planned; off by at most half of what one rank more costs."""
    winged = demo_parts.model(learners=("visual", "textual"))
    wings = sum(p.numel() for key, p in winged.named_parameters() if re.search(LEARNERS, key))
    assert adapters.wings_parameters(plain) == wings
    assert adapters.wings_parameters(plain, 8) > wings
    model = fitted(plain, "lora-matched")
    lora = sum(p.numel() for key, p in model.named_parameters() if "lora_" in key)
    one_rank = sum(m.in_features + m.out_features for m in adapters.linear_maps(plain).values())
    assert abs(lora - wings) <= one_rank / 2


def test_lora_needs_the_names_of_llama(plain: Any) -> None:
    model = copy.deepcopy(plain)
    for layer in model.model.language_model.layers:
        layer.self_attn, layer.mlp = nn.Identity(), nn.Identity()
    with pytest.raises(ValueError, match="has no modules named"):
        adapters.add_lora(model, 4)


# ---- a mixture of LoRA experts ------------------------------------------------------------------------------------


def test_each_token_goes_to_the_expert_it_likes_best(plain: Any) -> None:
    """By hand, token by token, for the outputs of one MLP's first map."""
    model = shaken(plain, "lora-experts")
    mlp, seen = model.model.language_model.layers[0].mlp, []
    mixture, experts = mlp.lora_experts, lora_experts.EXPERTS
    mlp.gate_proj.register_forward_hook(lambda module, args, output: seen.append((args[0], output)))
    logits(model, LAYOUT)
    states, outputs = (value.flatten(0, 1) for value in seen[0])
    down = mixture.maps["gate_proj"].down.weight.unflatten(0, (experts, -1))  # (n, r, in)
    up = mixture.maps["gate_proj"].up.weight.unflatten(1, (experts, -1))  # (out, n, r)
    chosen = set()
    for state, output in zip(states, outputs, strict=True):
        probabilities = (mixture.chooser.weight @ state).softmax(0)
        best = int(probabilities.argmax())
        added = probabilities[best] * (up[:, best] @ (down[best] @ state))
        torch.testing.assert_close(output, mlp.gate_proj.weight @ state + added, **TOLERANCE)
        chosen.add(best)
    assert len(chosen) == experts  # or the test would say little


def test_imbalance_by_hand() -> None:
    even = torch.eye(3).repeat(2, 1)
    assert lora_experts.imbalance(even).item() == pytest.approx(1.0)
    assert lora_experts.imbalance(torch.tensor([[1.0, 0.0, 0.0]] * 4)).item() == pytest.approx(3.0)
    uneven = torch.tensor([[0.5, 0.3, 0.2], [0.6, 0.2, 0.2], [0.1, 0.8, 0.1]])
    assert lora_experts.imbalance(uneven).item() == pytest.approx(3 * (2 / 3 * 0.4 + 1 / 3 * 1.3 / 3))


def test_padding_does_not_count_in_the_balance(plain: Any) -> None:
    model, found = shaken(plain, "lora-experts"), []
    for layout in (["ttvvvvt"], ["ttvvvvt......"]):
        outputs = model(**inputs(layout, model.config.image_token_id))
        found.append(lora_experts.balance_penalty(model, plain, {}, outputs).item())
    assert found[0] == pytest.approx(found[1], rel=1e-5) and found[0] > 0.01 * lora_experts.BALANCE


@pytest.mark.parametrize("name", ["lora-experts"])
def test_other_parts_match_the_parameters_of_wings(plain: Any, name: str) -> None:
    model, before = fitted(plain, name), sum(p.numel() for p in plain.parameters())
    added = sum(p.numel() for p in model.parameters()) - before
    assert added == pytest.approx(adapters.wings_parameters(plain), rel=0.15)


# ---- prefix tuning ------------------------------------------------------------------------------------------------


def test_a_prefix_begins_as_words_that_were_read_before(plain: Any) -> None:
    model = fitted(plain, "prefix")
    words = torch.linspace(0, model.config.text_config.vocab_size - 1, prefix.LENGTH).long()
    batch = inputs(["ttvvvvttt"], model.config.image_token_id)
    with torch.no_grad():
        ids = torch.cat([words.unsqueeze(0), batch["input_ids"]], dim=1)
        read = plain(input_ids=ids, pixel_values=batch["pixel_values"], use_cache=False).logits[:, prefix.LENGTH :]
    torch.testing.assert_close(logits(model, ["ttvvvvttt"]), read, **TOLERANCE)
    unmasked = logits(model, ["ttvvvvttt"], attention_mask=None, position_ids=torch.arange(9).unsqueeze(0))
    torch.testing.assert_close(unmasked, read, **TOLERANCE)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_a_prefix_is_what_peft_makes_of_it(plain: Any) -> None:
    """peft's own wrapper with the same prefix, on text and images and with padding on either side."""
    model = shaken(plain, "prefix")
    weight = model.model.language_model.prefix.encoder.embedding.weight
    text = plain.config.text_config
    config = peft.PrefixTuningConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=prefix.LENGTH,
        num_layers=text.num_hidden_layers,
        token_dim=text.hidden_size,
        num_attention_heads=text.num_attention_heads,
        init_weights="zero",
    )
    wrapped = peft.get_peft_model(copy.deepcopy(plain), config).eval()
    with torch.no_grad():
        wrapped.prompt_encoder["default"].embedding.weight.copy_(weight)
    for layout in (LAYOUT, ["ttvvvvttt", "tttt....."], ["ttvvvvttt", ".....tttt"]):
        ours, theirs = (tokens_of(logits(each, layout), layout) for each in (model, wrapped))
        torch.testing.assert_close(ours, theirs, **TOLERANCE)


def test_a_prefix_takes_whole_sequences(plain: Any) -> None:
    model = fitted(plain, "prefix")
    assert model(input_ids=torch.tensor([[5, 6]]), use_cache=True).past_key_values is None
    past = plain(input_ids=torch.tensor([[5, 6]]), use_cache=True).past_key_values
    with pytest.raises(ValueError, match="whole sequences"):
        model(input_ids=torch.tensor([[7]]), past_key_values=past)
    with pytest.raises(ValueError, match=r"shape \(batch, tokens\)"):
        model(input_ids=torch.tensor([[5, 6]]), attention_mask=torch.zeros(1, 1, 2, 2))


# ---- weights for image tokens -------------------------------------------------------------------------------------


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


# ---- where images are ---------------------------------------------------------------------------------------------


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
