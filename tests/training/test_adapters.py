# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""LoRA, DoRA and QLoRA with peft: what moves, what is saved, and that nothing is lost on the way.

Skipped without peft; QLoRA also without bitsandbytes.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load_file
from transformers import Trainer, TrainingArguments

from wings_hf import WingsForCausalLM
from wings_hf.training.adapters import WINGS, qlora_quantization, train_in_float32, wings_lora_config
from wings_hf.training.stages import PARTS, Stage, begin_stage, parameter_groups, part_of

peft = pytest.importorskip("peft")

pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),  # asked for by peft
    pytest.mark.filterwarnings("ignore:The model has no name:UserWarning"),
]
EVERYTHING = ("language_model", "vision_tower", "projector", "visual_learner", "textual_learner")


def model_of(family: str = "qwen2", **options: Any) -> WingsForCausalLM:
    return tiny.tiny_model(family, "sdpa", **{"vision": "siglip", **options})


def inputs_of(model: Any, images: bool = True) -> dict[str, torch.Tensor]:
    """Two rows of 12 tokens, each with an image of 9 in it."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 90, (2, 12), generator=generator)
    if not images:
        return {"input_ids": ids}
    ids[:, 2:11] = model.config.image_token_id
    return {"input_ids": ids, "pixel_values": torch.randn(2, 3, 12, 12, generator=generator)}


@torch.no_grad()
def disturb(model: torch.nn.Module) -> None:
    """As training would: everything trainable moves, LoRA's zeros too."""
    generator = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        if parameter.requires_grad:
            noise = torch.randn(parameter.shape, generator=generator) * 0.1
            parameter.add_(noise.to(parameter.dtype))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    model_of().save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def adapted(base: Path, *parts: str, **fields: Any) -> Any:
    torch.manual_seed(0)
    model = WingsForCausalLM.from_pretrained(base)
    return peft.get_peft_model(model, wings_lora_config(model, parts or ("language_model",), **{"r": 2, **fields}))


# -- which modules ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "family", ["llama", "qwen2", "phi3", "gemma3_text", "qwen3_moe", "gpt_neox", "gpt_oss", "jetmoe", "deepseek_v3"]
)
def test_adapters_on_the_language_model_alone_and_wings_whole(family: str) -> None:
    model = tiny.tiny_model(family, vision="siglip")
    linears = {
        name
        for name, module in model.model.language_model.named_modules()
        if isinstance(module, torch.nn.Linear) and "router" not in name
    }
    inputs = inputs_of(model)
    before = model(**inputs).logits
    wrapped = peft.get_peft_model(model, wings_lora_config(model, r=2)).eval()
    assert torch.equal(wrapped(**inputs).logits, before), "an adapter at its start changes nothing"
    prefix = "base_model.model.model.language_model."
    trained = {name for name, parameter in wrapped.named_parameters() if parameter.requires_grad}
    adapters = {name for name in trained if ".lora_" in name}
    assert {name.split(".lora_")[0].removeprefix(prefix) for name in adapters} == linears
    assert all(
        "multi_modal_projector" in name or "_learner." in name or ".router." in name for name in trained - adapters
    )
    assert len(trained - adapters) == 4 + len(model.model.language_model.layers) * (8 + 8 + 2)
    disturb(wrapped)
    moved = wrapped(**inputs).logits
    assert tiny.relative_error(moved, before) > 0.01
    with wrapped.disable_adapter():
        assert torch.equal(wrapped(**inputs).logits, before)
    assert tiny.relative_error(wrapped.merge_and_unload()(**inputs).logits, moved) < 1e-4


def test_each_part_has_its_own_targets() -> None:
    for part, roots in {
        "vision_tower": {"model.vision_tower"},
        "projector": {"model.multi_modal_projector"},
        "visual_learner": {"model.language_model"},
    }.items():
        model = model_of()
        wrapped = peft.get_peft_model(model, wings_lora_config(model, [part], train_fully=[], r=2))
        names = [name for name, parameter in wrapped.named_parameters() if parameter.requires_grad]
        assert names and all(".lora_" in name for name in names)
        assert {".".join(name.split(".")[2:4]) for name in names} == roots
        if part == "visual_learner":
            assert {part_of(name) for name in names} == {part} and len(names) == 2 * 8 * 2  # A, B; maps; layers


def test_names_of_layers_narrow_the_parts() -> None:
    model = model_of()
    config = wings_lora_config(model, target_modules=["q_proj", "v_proj"], modules_to_save=["embed_tokens"], r=2)
    wrapped = peft.get_peft_model(model, config)
    adapters = {name for name, _ in wrapped.named_parameters() if ".lora_A" in name}
    assert len(adapters) == 2 * 2 and not any("vision_tower" in name for name in adapters)
    assert wrapped.get_input_embeddings().modules_to_save.default.weight.requires_grad


def test_stage_one_has_no_textual_learner_to_train() -> None:
    config = wings_lora_config(model_of(learners=("visual",)))
    assert config.modules_to_save == ["model.multi_modal_projector", "self_attn.visual_learner"]
    assert wings_lora_config(model_of(learners=())).modules_to_save == ["model.multi_modal_projector"]
    assert wings_lora_config(model_of(), train_fully=()).modules_to_save is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"parts": ["language_models"]}, "unknown .'language_models'., expected some of"),
        ({"parts": "language_model"}, "expected a list of parts"),
        ({"parts": ["language_model", "projector"], "train_fully": ["projector"]}, "in parts and in train_fully"),
        ({"parts": ["router"]}, "too small for adapters"),
        ({"train_fully": ["language_model"], "parts": ["projector"]}, "no adapter; train it without peft"),
        ({"train_fully": ["textual_learner"]}, "this model has no textual_learner; it has"),
        ({"parts": ["visual_learner"], "use_dora": True}, "neither use_dora nor lora_dropout"),
        ({"target_modules": "q_proj"}, "expected a list of names of layers"),
        ({"target_modules": ["query"]}, "no linear layers called"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wings_lora_config(model_of(learners=("visual",)), **arguments)


def test_a_base_that_is_not_what_its_name_holds_is_warned_of(base: Path) -> None:
    with pytest.warns(UserWarning, match="no name or path"):
        wings_lora_config(model_of())
    model_of(learners=("visual",)).save_pretrained(base)
    model = WingsForCausalLM.from_pretrained(base)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wings_lora_config(model)
    model.add_learners("textual")
    with pytest.warns(
        UserWarning, match="has learners .'visual',. and 99 tokens, the model .'visual', 'textual'. and 99"
    ):
        wings_lora_config(model)
    grown = WingsForCausalLM.from_pretrained(base)
    grown.resize_token_embeddings(120)
    with pytest.warns(UserWarning, match="99 tokens, the model .'visual',. and 120"):
        wings_lora_config(grown)


# -- saving and loading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [("language_model",), ("language_model", "vision_tower"), EVERYTHING])
@pytest.mark.parametrize("fields", [{}, {"use_dora": True}], ids=["lora", "dora"])
def test_saved_adapters_hold_everything_that_moved(
    base: Path, tmp_path: Path, parts: tuple[str, ...], fields: dict[str, Any]
) -> None:
    if fields and "visual_learner" in parts:
        pytest.skip("peft has no DoRA for parameters")
    wrapped = adapted(base, *parts, **fields).eval()
    disturb(wrapped)
    inputs = inputs_of(wrapped)
    moved = wrapped(**inputs).logits
    wrapped.save_pretrained(tmp_path / "adapter")
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert {part_of(name) for name in saved} >= {*WINGS}
    assert sorted(path.suffix for path in (tmp_path / "adapter").iterdir()) == [".json", ".md", ".safetensors"]
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"] == str(
        base
    )
    by_hand = peft.PeftModel.from_pretrained(WingsForCausalLM.from_pretrained(base), tmp_path / "adapter")
    by_name = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter")
    for loaded in (by_hand, by_name):
        assert isinstance(loaded.get_base_model(), WingsForCausalLM)
        assert torch.equal(loaded(**inputs).logits, moved)
    merged = by_name.merge_and_unload()
    assert tiny.relative_error(merged(**inputs).logits, moved) < 1e-4
    merged.save_pretrained(tmp_path / "merged")
    again = WingsForCausalLM.from_pretrained(tmp_path / "merged")
    assert torch.equal(again(**inputs).logits, merged(**inputs).logits)


def test_auto_peft_model_without_a_task(base: Path, tmp_path: Path) -> None:
    wrapped = adapted(base, task_type=None).eval()
    disturb(wrapped)
    wrapped.save_pretrained(tmp_path / "adapter")
    loaded = peft.AutoPeftModel.from_pretrained(tmp_path / "adapter", import_allowlist=["wings_hf"])
    inputs = inputs_of(wrapped)
    assert torch.equal(loaded(**inputs).logits, wrapped(**inputs).logits)


def test_transformers_own_loading_of_adapters(base: Path, tmp_path: Path) -> None:
    """`load_adapter` of every transformers model, and `from_pretrained` of a folder with an adapter."""
    wrapped = adapted(base).eval()
    disturb(wrapped)
    wrapped.save_pretrained(tmp_path / "adapter")
    inputs = inputs_of(wrapped)
    moved = wrapped(**inputs).logits
    model = WingsForCausalLM.from_pretrained(base)
    model.load_adapter(str(tmp_path / "adapter"))
    assert torch.equal(model(**inputs).logits, moved)


def test_merge_and_unmerge(base: Path) -> None:
    wrapped = adapted(base, *EVERYTHING).eval()
    disturb(wrapped)
    inputs = inputs_of(wrapped)
    moved = wrapped(**inputs).logits
    wrapped.merge_adapter()
    assert tiny.relative_error(wrapped(**inputs).logits, moved) < 1e-4
    wrapped.unmerge_adapter()
    assert tiny.relative_error(wrapped(**inputs).logits, moved) < 1e-4


def test_two_adapters_and_none(base: Path) -> None:
    wrapped = adapted(base).eval()
    inputs = inputs_of(wrapped)
    plain = wrapped(**inputs).logits
    disturb(wrapped)
    first = wrapped(**inputs).logits
    wrapped.add_adapter("second", wings_lora_config(wrapped.get_base_model(), r=3))
    wrapped.set_adapter("second")
    assert torch.equal(wrapped(**inputs).logits, plain), "the second begins at the base, not at the first"
    disturb(wrapped)
    second = wrapped(**inputs).logits
    assert not torch.equal(second, first) and not torch.equal(second, plain)
    wrapped.set_adapter("default")
    assert torch.equal(wrapped(**inputs).logits, first)
    with wrapped.disable_adapter():
        assert torch.equal(wrapped(**inputs).logits, plain)
    wrapped.delete_adapter("default")
    wrapped.set_adapter("second")
    assert torch.equal(wrapped(**inputs).logits, second)


def test_learners_added_before(base: Path, tmp_path: Path) -> None:
    model_of(learners=("visual",)).save_pretrained(base)
    model = WingsForCausalLM.from_pretrained(base).add_learners("textual")
    model.save_pretrained(tmp_path / "two")
    wrapped = adapted(tmp_path / "two").eval()
    assert any("textual_learner" in name for name, p in wrapped.named_parameters() if p.requires_grad)
    disturb(wrapped)
    wrapped.save_pretrained(tmp_path / "adapter")
    loaded = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter")
    inputs = inputs_of(wrapped)
    assert torch.equal(loaded(**inputs).logits, wrapped(**inputs).logits)


# -- embeddings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["qwen2", "llama"], ids=["tied", "untied"])
def test_grown_vocabulary(family: str, tmp_path: Path) -> None:
    model = model_of(family)
    model.resize_token_embeddings(120)
    model.save_pretrained(tmp_path / "base")
    tied = bool(model.config.tie_word_embeddings)
    trained = {"modules_to_save": ["embed_tokens"]} if tied else {"modules_to_save": ["embed_tokens", "lm_head"]}
    wrapped = adapted(tmp_path / "base", **trained, ensure_weight_tying=tied).eval()
    disturb(wrapped)
    inputs = inputs_of(wrapped)
    logits = wrapped(**inputs).logits
    assert logits.shape[-1] == 120
    wrapped.save_pretrained(tmp_path / "adapter")
    loaded = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter")
    assert torch.equal(loaded(**inputs).logits, logits)
    merged = loaded.merge_and_unload()
    shared = merged.get_input_embeddings().weight is merged.get_output_embeddings().weight
    assert shared == tied and tiny.relative_error(merged(**inputs).logits, logits) < 1e-4


# -- training -----------------------------------------------------------------------------------------------


def rows(model: Any, images: bool = True) -> list[dict[str, torch.Tensor]]:
    batch = inputs_of(model, images)
    labels = batch["input_ids"].masked_fill(batch["input_ids"] == model.config.image_token_id, -100)
    return [{key: value[i] for key, value in {**batch, "labels": labels}.items()} for i in (0, 1)]


def trainer(wrapped: Any, folder: Path, steps: int = 3, **arguments: Any) -> Trainer:
    options = TrainingArguments(
        str(folder),
        max_steps=steps,
        per_device_train_batch_size=1,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        **{"save_strategy": "no", "learning_rate": 1e-2, **arguments},
    )
    return Trainer(wrapped, args=options, train_dataset=rows(wrapped) * 4)


@pytest.mark.parametrize("parts", [("language_model",), ("language_model", "vision_tower"), EVERYTHING])
def test_exactly_what_is_meant_to_move_moves(base: Path, tmp_path: Path, parts: tuple[str, ...]) -> None:
    wrapped = adapted(base, *parts)
    before = {name: parameter.detach().clone() for name, parameter in wrapped.named_parameters()}
    meant = {name for name, parameter in wrapped.named_parameters() if parameter.requires_grad}
    trainer(wrapped, tmp_path / "run").train()
    moved = {name for name, parameter in wrapped.named_parameters() if not torch.equal(parameter, before[name])}
    unseen = {"key", "k_proj.bias", "k_proj.lora", "router.modules_to_save.default.bias"}  # no influence on softmax
    assert {name for name in meant - moved if not any(word in name for word in unseen)} == set()
    assert moved <= meant
    assert {part_of(name) for name in moved} == {*WINGS, *parts}


def test_learning_rates_by_part(base: Path) -> None:
    wrapped = adapted(base)
    rates = {"projector": 1e-3, "visual_learner": 2e-3, "textual_learner": 3e-3, "router": 4e-3, "language_model": 5e-3}
    groups = parameter_groups(wrapped, Stage("tune", rates))
    grouped = {id(parameter) for group in groups for parameter in group["params"]}
    assert grouped == {id(parameter) for parameter in wrapped.parameters() if parameter.requires_grad}
    assert {group["lr"] for group in groups} == {*rates.values()}


def test_resumed_training_is_that_without_a_break(base: Path, tmp_path: Path) -> None:
    whole = adapted(base)
    trainer(whole, tmp_path / "whole", 4).train()
    trainer(adapted(base), tmp_path / "broken", 4, save_strategy="steps", save_steps=2).train()
    checkpoint = tmp_path / "broken" / "checkpoint-2"
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {path.name for path in checkpoint.iterdir()}
    resumed = adapted(base)
    trainer(resumed, tmp_path / "broken", 4).train(resume_from_checkpoint=str(checkpoint))
    assert_same_parameters(resumed, whole)
    final = tmp_path / "final"
    trainer(resumed, tmp_path / "saving").save_model(str(final))
    inputs = inputs_of(resumed)
    loaded = peft.AutoPeftModelForCausalLM.from_pretrained(final)
    assert torch.equal(loaded(**inputs).logits, resumed.eval()(**inputs).logits)


def test_resumed_by_hand(base: Path, tmp_path: Path) -> None:
    first = adapted(base)
    trainer(first, tmp_path / "run").train()
    first.save_pretrained(tmp_path / "adapter")
    model = WingsForCausalLM.from_pretrained(base)
    again = peft.PeftModel.from_pretrained(model, tmp_path / "adapter", is_trainable=True)
    assert_same_parameters(again, first)
    before = {name: p.detach().clone() for name, p in again.named_parameters() if p.requires_grad}
    assert before.keys() == {name for name, p in first.named_parameters() if p.requires_grad}
    trainer(again, tmp_path / "run").train()
    now = dict(again.named_parameters())
    moved = {part_of(name) for name, value in before.items() if not torch.equal(now[name], value)}
    assert moved == {*WINGS, "language_model"}


def gradients(wrapped: Any, images: bool = True) -> dict[str, torch.Tensor]:
    wrapped.train()
    batch = inputs_of(wrapped, images)
    wrapped(**batch, labels=batch["input_ids"]).loss.backward()
    found = {name: p.grad for name, p in wrapped.named_parameters() if p.requires_grad}
    assert all(gradient is not None for gradient in found.values()), [n for n, g in found.items() if g is None]
    return found


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("parts", [("language_model",), EVERYTHING])
def test_gradient_checkpointing(base: Path, parts: tuple[str, ...], reentrant: bool) -> None:
    plain, checkpointed = adapted(base, *parts), adapted(base, *parts)
    disturb(plain)
    disturb(checkpointed)
    enable = (
        getattr(checkpointed, "activation_checkpointing_enable", None) or checkpointed.gradient_checkpointing_enable
    )
    enable({"use_reentrant": reentrant})
    checkpointed.enable_input_require_grads()
    found = gradients(checkpointed)
    for name, expected in gradients(plain).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("parts", [("language_model",), EVERYTHING])
def test_text_alone_leaves_no_parameter_without_a_gradient(base: Path, parts: tuple[str, ...]) -> None:
    gradients(adapted(base, *parts), images=False)


def test_what_would_lose_learners_or_train_the_base_is_refused(base: Path) -> None:
    wrapped = adapted(base)
    with pytest.raises(ValueError, match="unfreeze what lies under the adapters"):
        begin_stage(wrapped, Stage("tune", {"projector": 1e-4}))
    model_of(learners=("visual",)).save_pretrained(base)
    with pytest.raises(ValueError, match="which would not save new learners"):
        adapted(base).get_base_model().add_learners("textual")


@pytest.mark.parametrize("family", ["gpt_neox", "jetmoe"])
def test_parts_where_attention_is_called_otherwise(family: str) -> None:
    assert {part_of(name) for name, _ in model_of(family).named_parameters()} == {*PARTS}


@pytest.mark.parametrize("fields", [{}, {"use_dora": True}], ids=["lora", "dora"])
def test_bfloat16(base: Path, tmp_path: Path, fields: dict[str, Any]) -> None:
    model = WingsForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    inputs = inputs_of(model)
    before = model(**inputs).logits
    wrapped = peft.get_peft_model(model, wings_lora_config(model, r=2, **fields))
    start = wrapped(**inputs).logits
    assert start.dtype == torch.bfloat16
    assert tiny.relative_error(start, before) < (0.05 if fields else 1e-6), (
        "DoRA divides by a norm and multiplies again"
    )
    found = gradients(wrapped)
    assert all(gradient.isfinite().all() for gradient in found.values())
    trainer(wrapped, tmp_path / "run", bf16=True).train()
    wrapped.save_pretrained(tmp_path / "adapter")
    loaded = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter", dtype=torch.bfloat16)
    assert_same_parameters(loaded, wrapped)


def test_small_steps_of_a_bfloat16_model_are_not_lost(base: Path, tmp_path: Path) -> None:
    moved = {}
    for precise in (False, True):
        torch.manual_seed(0)
        model = WingsForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
        wrapped = peft.get_peft_model(model, wings_lora_config(model, r=2))
        wrapped = train_in_float32(wrapped) if precise else wrapped
        before = {name: p.detach().clone() for name, p in wrapped.named_parameters()}
        trainer(wrapped, tmp_path / str(precise), bf16=True, learning_rate=1e-5).train()
        learner = [name for name in before if "visual_learner.modules_to_save" in name]
        now = dict(wrapped.named_parameters())
        moved[precise] = sum((now[name] != before[name]).float().mean().item() for name in learner) / len(learner)
    assert moved[False] < 0.2 and moved[True] > 0.95
    wrapped.save_pretrained(tmp_path / "adapter")
    loaded = peft.AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter", dtype=torch.bfloat16)
    assert loaded(**inputs_of(loaded)).logits.isfinite().all()


def assert_same_parameters(one: torch.nn.Module, other: torch.nn.Module) -> None:
    expected = dict(other.named_parameters())
    assert {name for name, p in one.named_parameters() if not torch.equal(p, expected[name])} == set()


# -- QLoRA --------------------------------------------------------------------------------------------------


def test_qlora(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    model_of(text={"hidden_size": 64, "intermediate_size": 128}).save_pretrained(tmp_path / "base")

    def load() -> WingsForCausalLM:
        return WingsForCausalLM.from_pretrained(
            tmp_path / "base", quantization_config=qlora_quantization(), dtype=torch.bfloat16
        )

    model = load()
    kinds = {name: type(module).__name__ for name, module in model.named_modules() if hasattr(module, "in_features")}
    quantised = {name for name, kind in kinds.items() if kind == "Linear4bit"}
    assert quantised == {name for name in kinds if name.startswith("model.language_model.")}
    wrapped = peft.get_peft_model(model, wings_lora_config(model, r=2))
    frozen = {name: p.detach().clone() for name, p in wrapped.named_parameters() if not p.requires_grad}
    meant = {name: p.detach().clone() for name, p in wrapped.named_parameters() if p.requires_grad}
    trainer(wrapped, tmp_path / "run", bf16=True).train()
    now = dict(wrapped.named_parameters())
    assert all(torch.equal(now[name], value) for name, value in frozen.items())
    assert {part_of(name) for name, value in meant.items() if not torch.equal(now[name], value)} == {
        *WINGS,
        "language_model",
    }
    wrapped.save_pretrained(tmp_path / "adapter")
    assert_same_parameters(peft.PeftModel.from_pretrained(load(), tmp_path / "adapter"), wrapped)
