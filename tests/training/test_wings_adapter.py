# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Wings saved by themselves and attached again: the same logits bit for bit, and to the same language model only."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForCausalLM

from wings_hf import WingsForCausalLM
from wings_hf.training.wings_adapter import load_wings_adapter, save_wings_adapter

WEIGHTS = "wings_adapter.safetensors"


def backbones(folder: Path, family: str = "qwen2", tower: str = "clip", dtype: Any = torch.float32) -> tuple[str, str]:
    """Paths of a language model and a vision model."""
    text = AutoModelForCausalLM.from_config(tiny.tiny_text_config(family))
    vision = AutoModel.from_config(tiny.tiny_vision_config(tower))
    for name, model in (("llm", text), ("tower", vision)):
        model.to(dtype).save_pretrained(folder / name)
    return str(folder / "llm"), str(folder / "tower")


def trained(text: Any, vision: Any, **options: Any) -> WingsForCausalLM:
    """Wings that matter to the logits, on backbones as they are."""
    model = WingsForCausalLM.from_backbones(text, vision, learner_rank=4, router_positions=64, **options)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "_learner." in name or ".router." in name or "projector" in name:
                parameter.normal_()
    return model


def inputs_of(model: WingsForCausalLM) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 90, (2, 12), generator=generator)
    ids[:, 2:11] = model.config.image_token_id
    return {"input_ids": ids, "pixel_values": torch.randn(2, 3, 12, 12, generator=generator)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["qwen2", "llama", "gemma3_text", "gpt_neox", "cohere"])
def test_attached_again_it_is_the_same_model(tmp_path: Path, family: str, dtype: torch.dtype) -> None:
    text, vision = backbones(tmp_path, family, dtype=dtype)
    model = trained(text, vision)
    inputs = inputs_of(model)
    logits = model(**inputs).logits
    save_wings_adapter(model, tmp_path / "named", text_model=text, vision_model=vision)
    save_wings_adapter(model, tmp_path / "whole")
    attached = [
        load_wings_adapter(None, tmp_path / "named"),
        load_wings_adapter(text, tmp_path / "named", vision),
        load_wings_adapter(text, tmp_path / "whole"),
        load_wings_adapter(AutoModelForCausalLM.from_pretrained(text), tmp_path / "whole"),
    ]
    for again in attached:
        assert again.dtype == dtype and torch.equal(again(**inputs).logits, logits)
    wider = AutoModelForCausalLM.from_pretrained(text, dtype=torch.float32)
    assert load_wings_adapter(wider, tmp_path / "whole").dtype == torch.float32, "the same weights, held in float32"
    assert attached[0].config.to_dict().keys() == model.config.to_dict().keys()
    assert not any(parameter.requires_grad for parameter in attached[2].model.vision_tower.parameters())


@pytest.mark.parametrize(
    "options",
    [
        {"learners": ("visual",)},
        {"learners": ()},
        {"router": "modality", "learner_scope": "visual_context"},
        {"learner_layers": [1], "router": "uniform", "learner_query": "post_attention"},
        {"router": "mass"},
    ],
)
def test_other_wings(tmp_path: Path, options: dict[str, Any]) -> None:
    text, vision = backbones(tmp_path)
    model = trained(text, vision, **options)
    save_wings_adapter(model, tmp_path / "wings")
    again = load_wings_adapter(text, tmp_path / "wings")
    inputs = inputs_of(model)
    assert torch.equal(again(**inputs).logits, model(**inputs).logits)
    assert all(getattr(again.config, name) == getattr(model.config, name) for name in ("learners", "router"))


def test_without_a_vision_tower(tmp_path: Path) -> None:
    text, _ = backbones(tmp_path)
    model = trained(text, None, vision_feature_size=5)
    save_wings_adapter(model, tmp_path / "wings")
    again = load_wings_adapter(text, tmp_path / "wings")
    inputs = {"input_ids": inputs_of(model)["input_ids"], "pixel_values": torch.randn(2, 9, 5)}
    assert again.model.vision_tower is None
    assert torch.equal(again(**inputs).logits, model(**inputs).logits)


def test_the_folder_holds_what_was_added_and_no_more(tmp_path: Path) -> None:
    text, vision = backbones(tmp_path)
    model = trained(text, vision)
    folder = save_wings_adapter(model, tmp_path / "wings", text_model=text, vision_model=vision)
    weights = load_file(folder / WEIGHTS)
    added = {
        name: parameter
        for name, parameter in model.named_parameters()
        if "_learner." in name or ".router." in name or "projector" in name
    }
    assert weights.keys() == added.keys() and all(torch.equal(weights[name], added[name]) for name in added)
    values = sum(parameter.numel() for parameter in added.values())
    assert (folder / WEIGHTS).stat().st_size < 4 * values + 150 * len(added)
    assert sorted(path.name for path in folder.iterdir()) == ["generation_config.json", "wings_adapter.json", WEIGHTS]
    record = json.loads((folder / "wings_adapter.json").read_text())
    assert record["text_model"]["name"] == text and record["vision_model"]["name"] == vision


def test_another_language_model_is_refused(tmp_path: Path) -> None:
    text, vision = backbones(tmp_path)
    model = trained(text, vision)
    folder = save_wings_adapter(model, tmp_path / "wings", text_model=text)
    tuned = AutoModelForCausalLM.from_pretrained(text)
    with torch.no_grad():
        tuned.model.layers[1].mlp.up_proj.weight[3, 5] += 1e-3
    tuned.save_pretrained(tmp_path / "tuned")
    named = rf"{folder}, and {tmp_path / 'tuned'} \({text}\) differ in the values of their weights"
    with pytest.raises(ValueError, match=named):
        load_wings_adapter(str(tmp_path / "tuned"), folder)
    attached = load_wings_adapter(str(tmp_path / "tuned"), folder, check=False)
    inputs = inputs_of(model)
    assert 0 < tiny.relative_error(attached(**inputs).logits, model(**inputs).logits) < 0.1
    for change in ({"num_hidden_layers": 3}, {"hidden_size": 48}, {"rope_parameters": {"rope_theta": 5.0}}):
        other = AutoModelForCausalLM.from_config(tiny.tiny_text_config("qwen2", **change))
        with pytest.raises(ValueError, match=rf"their configurations \(.*{next(iter(change))} "):
            load_wings_adapter(other, folder)
    with pytest.raises(ValueError, match=r"the model, and .*tuned.* differ in the values"):
        save_wings_adapter(model, tmp_path / "not written", text_model=str(tmp_path / "tuned"))
    assert not (tmp_path / "not written").exists()


def test_another_vision_model_is_refused(tmp_path: Path) -> None:
    text, vision = backbones(tmp_path)
    model = trained(text, vision)
    folder = save_wings_adapter(model, tmp_path / "wings", vision_model=vision)
    other = AutoModel.from_config(tiny.tiny_vision_config("clip"))
    with pytest.raises(ValueError, match=r"Not the same vision model: .* differ in the values of their weights"):
        load_wings_adapter(text, folder, other)
    with torch.no_grad():  # a tower that was trained is not the one that the name holds
        model.model.vision_tower.get_parameter(next(iter(model.model.vision_tower.state_dict()))).add_(1.0)
    with pytest.raises(ValueError, match="Not the same vision model"):
        save_wings_adapter(model, tmp_path / "other", vision_model=vision)
    save_wings_adapter(model, tmp_path / "other")
    inputs = inputs_of(model)
    assert torch.equal(load_wings_adapter(text, tmp_path / "other")(**inputs).logits, model(**inputs).logits)
    with pytest.raises(ValueError, match="has a vision tower of its own"):
        load_wings_adapter(text, tmp_path / "other", vision)


def test_what_cannot_be_saved_or_loaded(tmp_path: Path) -> None:
    text, vision = backbones(tmp_path)
    with pytest.raises(ValueError, match=r"holds no wings: expected wings_adapter.json"):
        load_wings_adapter(text, text)
    folder = save_wings_adapter(trained(AutoModelForCausalLM.from_pretrained(text), vision), tmp_path / "wings")
    record = json.loads((folder / "wings_adapter.json").read_text())
    (folder / "wings_adapter.json").write_text(json.dumps({**record, "format": 2}))
    with pytest.raises(ValueError, match="has format 2, expected 1"):
        load_wings_adapter(text, folder)
    (folder / "wings_adapter.json").write_text(
        json.dumps(record | {"text_model": {**record["text_model"], "name": None}})
    )
    with pytest.raises(ValueError, match="does not name its language model"):
        load_wings_adapter(None, folder)
    (folder / "wings_adapter.json").write_text(json.dumps({**record, "wings": {**record["wings"], "learner_rank": 8}}))
    with pytest.raises(ValueError, match="does not fit its own configuration"):
        load_wings_adapter(text, folder)


def test_a_name_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, vision = backbones(tmp_path)
    model = trained(text, vision)
    folder = save_wings_adapter(model, tmp_path / "wings")
    asked = []
    monkeypatch.setattr(
        "wings_hf.training.wings_adapter.snapshot_download", lambda name, **_: asked.append(name) or str(folder)
    )
    inputs = inputs_of(model)
    assert torch.equal(load_wings_adapter(text, "someone/wings")(**inputs).logits, model(**inputs).logits)
    assert asked == ["someone/wings"]


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # asked for by peft
def test_adapters_of_peft_are_merged_first(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model = trained(*backbones(tmp_path))
    wrapped = peft.get_peft_model(model, peft.LoraConfig(target_modules=["linear_1"], r=2))
    for given in (wrapped, model):
        with pytest.raises(ValueError, match="merge them first"):
            save_wings_adapter(given, tmp_path / "wings")
