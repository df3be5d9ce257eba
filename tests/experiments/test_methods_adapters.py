# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""LoRA, prefix tuning, mixtures of LoRA experts, PILL: each is what it is said to be."""

import copy
import re
from typing import Any

import pytest
import torch

pytest.importorskip("peft")

import demo_parts
import peft
from forgetting.methods import adapters, instance_experts, lora_experts, prefix
from forgetting.methods.base import LEARNERS
from forgetting.methods.modality import Modality
from method_models import (
    LAYOUT,
    TOLERANCE,
    fitted,
    inputs,
    logits,
    shaken,
    tokens_of,
)
from torch import nn

# ---- LoRA -----------------------------------------------------------------------------------------------------------


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


# ---- a mixture of LoRA experts --------------------------------------------------------------------------------------


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


def test_instances_go_from_a_question_to_the_end_of_its_answer() -> None:
    ids = torch.tensor([[9, 5, 1, 2, 6, 7, 3, 5, 4, 6, 7, 8], [5, 1, 6, 1, 6, 7, 5, 2, 2, 2, 0, 0]])
    is_text = ids > 0
    instance, asks = instance_experts.instances(ids, is_text, ([5], [6, 7]))
    assert instance.tolist() == [[0, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2], [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]]
    assert asks.int().tolist() == [[0, 1, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 0]]


def asked(answer: int = 30, question: int = 20) -> torch.Tensor:
    """Two turns: 5 begins a question, 6 7 its answer."""
    return torch.tensor([[5, question, 21, 6, 7, answer, 31, 5, 22, 23, 24, 6, 7, 32]])


@torch.no_grad()
def test_experts_are_chosen_by_the_instruction(plain: Any) -> None:
    """A turn is the model with its two experts merged into the weights, by hand."""
    model, merged = shaken(plain, "instance-experts", scale=0.5), copy.deepcopy(plain)
    made, ids = model.model.language_model.instance_experts, asked()[:, :7]
    embedded = model.get_input_embeddings()(ids)
    shares = made.chooser(embedded[0, :3].mean(0)).softmax(-1)
    first, second = shares.argsort(descending=True)[:2].tolist()
    gates = {each: float(shares[each] / (shares[first] + shares[second])) for each in (first, second)}
    for key, linear in adapters.linear_maps(merged).items():
        each = made.maps[key.replace(".", "_")]
        rank = each.down.out_features // 4
        for expert, gate in gates.items():
            part = slice(expert * rank, (expert + 1) * rank)
            linear.weight += gate * each.up.weight[:, part] @ each.down.weight[part]
    torch.testing.assert_close(model(ids, use_cache=False).logits, merged(ids).logits, **TOLERANCE)
    assert (plain(ids).logits - merged(ids).logits).abs().max() > 1e-2


@torch.no_grad()
def test_no_answer_chooses_its_experts(plain: Any) -> None:
    model = shaken(plain, "instance-experts", scale=0.5)
    made, seen = model.model.language_model.instance_experts, []
    gates_of = made.gates_of
    made.gates_of = lambda *given: seen.append(gates_of(*given)) or seen[-1]
    first, other_answer, _ = (
        model(ids, use_cache=False).logits for ids in (asked(), asked(answer=40), asked(question=40))
    )
    torch.testing.assert_close(first[:, :5], other_answer[:, :5])
    torch.testing.assert_close(seen[0], seen[1])
    assert (seen[0][0, :7] - seen[2][0, :7]).abs().max() > 1e-3  # another question
    torch.testing.assert_close(seen[0][0, 7:], seen[2][0, 7:])  # is not that of the second turn
    assert (seen[0] > 0).sum(-1).tolist() == [[2] * 14]
    model(torch.tensor([[20, 21, 22]]), use_cache=False)
    assert seen[3].tolist() == [[[0.25] * 4] * 3]  # text without a question


def test_experts_by_instruction_need_to_know_where_questions_are(plain: Any) -> None:
    model = copy.deepcopy(plain)
    model.turn_marks = lambda: ([5], [])
    with pytest.raises(ValueError, match="tokens that begin an answer"):
        instance_experts.add_instance_experts(model)


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


@pytest.mark.parametrize("name", ["lora-experts", "pill"])
def test_other_parts_match_the_parameters_of_wings(plain: Any, name: str) -> None:
    model, before = fitted(plain, name), sum(p.numel() for p in plain.parameters())
    added = sum(p.numel() for p in model.parameters()) - before
    assert added == pytest.approx(adapters.wings_parameters(plain), rel=0.15)


# ---- prefix tuning --------------------------------------------------------------------------------------------------


def test_a_prefix_begins_as_words_that_were_read_before(plain: Any) -> None:
    model = fitted(plain, "prefix")
    words = torch.linspace(0, model.config.text_config.vocab_size - 1, prefix.LENGTH).long()
    batch = inputs(["ttvvvvttt"], model.config.image_token_id)
    with torch.no_grad():  # as embeddings: one of the words may be the image token
        ids = torch.cat([words.unsqueeze(0), batch["input_ids"]], dim=1)
        embeds = plain.get_input_embeddings()(ids.clamp(max=plain.config.text_config.vocab_size - 1))
        types = torch.tensor([[0] * prefix.LENGTH + [int(kind == "v") for kind in "ttvvvvttt"]])
        seen = {"mm_token_type_ids": types, "pixel_values": batch["pixel_values"]}
        read = plain(inputs_embeds=embeds, **seen, use_cache=False).logits[:, prefix.LENGTH :]
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


# ---- PILL -----------------------------------------------------------------------------------------------------------


def test_pill_begins_with_images_of_no_value(plain: Any) -> None:
    """As the plain model whose attention finds zeros at the images, and text as it was."""
    model, blind = fitted(plain, "pill"), copy.deepcopy(plain)
    modality = Modality.install(blind)
    for layer in blind.model.language_model.layers:
        layer.self_attn.v_proj.register_forward_hook(
            lambda module, args, output: output * ~modality.now.is_image.unsqueeze(-1)
        )
    torch.testing.assert_close(logits(model, LAYOUT), logits(blind, LAYOUT), **TOLERANCE)
    assert torch.equal(logits(model, LAYOUT)[2], logits(plain, LAYOUT)[2])
    assert not torch.allclose(logits(model, LAYOUT), logits(plain, LAYOUT), atol=1e-4)


def test_pill_adapts_each_modality_with_its_own(plain: Any) -> None:
    model = shaken(plain, "pill")
    layer, seen = model.model.language_model.layers[0], {}
    for name in ("input_layernorm", "post_attention_layernorm", "self_attn.v_proj"):
        layer.get_submodule(name).register_forward_hook(
            lambda module, args, output, name=name: seen.update({name: (args[0], output)})
        )
    logits(model, ["ttvvvvt"])
    read, output = seen["post_attention_layernorm"]
    norm = nn.functional.rms_norm(read, read.shape[-1:], layer.post_attention_layernorm.weight, 1e-6)
    for position in range(7):
        adapter = layer.pill.image if position in range(2, 6) else layer.pill.text
        expected = norm[0, position] + adapter(norm[0, position])
        torch.testing.assert_close(output[0, position], expected, **TOLERANCE)
    states, values = seen["self_attn.v_proj"]
    plainly = states @ layer.self_attn.v_proj.weight.T
    heads = model.config.text_config.num_key_value_heads
    gates = (states @ layer.pill.gate.weight.T).tanh().repeat_interleave(plainly.shape[-1] // heads, dim=-1)
    torch.testing.assert_close(values[0, 2:6], (plainly * gates)[0, 2:6], **TOLERANCE)
    torch.testing.assert_close(values[0, [0, 1, 6]], plainly[0, [0, 1, 6]], **TOLERANCE)
