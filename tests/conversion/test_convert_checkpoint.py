# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`convert_to_wings` and `convert_to_released` on checkpoints made here: nothing is lost, changed or guessed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from released_checkpoints import (
    HIDDEN,
    TOWER_PREFIX,
    assert_identical,
    buffers,
    pooling_head,
    read_tensors,
    released_config,
    released_tensors,
    siglip_config,
    write_released,
)
from transformers import (
    AutoModelForCausalLM,
    CLIPVisionConfig,
    Dinov2Config,
    LlamaConfig,
    Qwen2Config,
    SiglipVisionModel,
)

from wings_hf import WingsConfig, WingsForCausalLM
from wings_hf.conversion.convert import convert_to_released, convert_to_wings


def llama3_rope() -> dict[str, Any]:
    return {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0} | {
        "original_max_position_embeddings": 64
    }


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "qwen2": ({}, {}),
    "qwen2, stage 1": ({"stage": 1}, {"stage": 1}),
    "llama, scaled rotary embedding": ({"family": "llama"}, {"family": "llama", "rope_scaling": llama3_rope()}),
    "bfloat16": ({"dtype": torch.bfloat16}, {}),
    "tied head": ({"tied": True}, {"tie_word_embeddings": True}),
    "learners in some layers": ({"layers": 3, "winged": (0, 2)}, {"layers": 3}),
    "siglip": ({"tower": "siglip"}, {}),
    "siglip, all layers": ({"tower": "siglip", "tower_layers": 3}, {}),
    "clip, stage 1, bfloat16": ({"tower": "clip", "stage": 1, "dtype": torch.bfloat16}, {"stage": 1}),
}


@pytest.fixture
def tower_configs(tmp_path: Path) -> dict[str, str]:
    """Folders with the towers' configurations."""
    siglip_config().save_pretrained(tmp_path / "towers/siglip")
    fields = {name: value for name, value in siglip_config().to_dict().items() if name in CLIPVisionConfig().to_dict()}
    CLIPVisionConfig(**{**fields, "model_type": "clip_vision_model"}).save_pretrained(tmp_path / "towers/clip")
    return {kind: str(tmp_path / "towers" / kind) for kind in ("siglip", "clip")}


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize(("made", "said"), CASES.values(), ids=CASES.keys())
def test_there_and_back(made, said, shards, tower_configs, tmp_path):
    tower = made.get("tower")
    tensors = {**released_tensors(**made), **buffers(tower is not None)}
    if tower == "siglip":
        tensors |= pooling_head()
    source = write_released(tmp_path / "released", tensors, released_config(**said), shards)
    options = {"vision_config": tower_configs[tower]} if tower else {}
    size = 30_000 if shards > 1 else "5GB"
    report = convert_to_wings(str(source), tmp_path / "wings", max_shard_size=size, **options)
    assert (len(report.files) > 2) == (shards > 1)
    model, loading = AutoModelForCausalLM.from_pretrained(tmp_path / "wings", output_loading_info=True)
    assert not any(loading.values()), loading
    assert model.config.semantics == "released" and model.dtype == made.get("dtype", torch.float32)
    assert model.model.language_model.layers[0].self_attn.visual_learner.q_a.equal(
        tensors["model.layers.0.attn_pool.q_proj.0.weight"].T
    )
    ids = torch.tensor([[1, 2, 3]])
    assert model(input_ids=ids).logits.isfinite().all()
    convert_to_released(str(tmp_path / "wings"), tmp_path / "back")
    assert_identical(tensors, read_tensors(tmp_path / "back"))
    assert (tmp_path / "back/config.json").read_bytes() == (source / "config.json").read_bytes()


def test_a_model_trained_on_goes_back_without_the_record(tmp_path):
    """What `save_pretrained` writes has neither record nor released configuration, and converts again."""
    source = write_released(tmp_path / "released", released_tensors(), released_config())
    convert_to_wings(str(source), tmp_path / "wings")
    WingsForCausalLM.from_pretrained(tmp_path / "wings").save_pretrained(tmp_path / "trained")
    code = {path.name: path.read_bytes() for path in (tmp_path / "trained").glob("*.py")}
    assert "modeling_wings.py" in code
    assert code == {path.name: path.read_bytes() for path in (tmp_path / "wings").glob("*.py")}
    convert_to_released(str(tmp_path / "trained"), tmp_path / "back")
    assert_identical(read_tensors(source), read_tensors(tmp_path / "back"))
    convert_to_wings(str(tmp_path / "back"), tmp_path / "again")
    assert _config(tmp_path / "again") == _config(tmp_path / "wings")


def test_a_model_with_more_tokens_goes_back_with_a_configuration_that_says_so(tmp_path):
    """Saved over the converted folder, where the released configuration still is."""
    source = write_released(tmp_path / "released", released_tensors(), released_config())
    convert_to_wings(str(source), tmp_path / "wings")
    model = WingsForCausalLM.from_pretrained(tmp_path / "wings")
    model.resize_token_embeddings(320)
    model.save_pretrained(tmp_path / "wings")
    convert_to_released(str(tmp_path / "wings"), tmp_path / "back")
    convert_to_wings(str(tmp_path / "back"), tmp_path / "again")
    assert WingsConfig.from_pretrained(tmp_path / "again").text_config.vocab_size == 320


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"projector_hidden_act": "relu"}, "projector_hidden_act='relu'.*expected 'gelu'"),
        ({"projector_bias": False}, "projector_bias=False.*expected True"),
        ({"learners": ()}, "learner_layers=None.*at least one layer"),
        ({"learner_layers": []}, r"learner_layers=\[\].*at least one layer"),
        ({"vision_config": siglip_config(), "vision_feature_layer": -3}, "vision_feature_layer=-3.*expected -1 or -2"),
        ({"vision_config": siglip_config(), "vision_feature_layer": [-2, -1]}, r"vision_feature_layer=\[-2, -1\]"),
        ({"vision_config": Dinov2Config(hidden_size=24, num_attention_heads=2)}, "vision_config='dinov2'.*SigLIP"),
    ],
    ids=str,
)
def test_what_the_released_code_cannot_describe_does_not_go_back(options, message, tmp_path):
    text = Qwen2Config(vocab_size=310, hidden_size=32, num_attention_heads=4, num_key_value_heads=2)
    sizes = {} if "vision_config" in options else {"vision_feature_size": 24}
    WingsConfig(text_config=text, semantics="released", **sizes, **options).save_pretrained(tmp_path / "wings")
    with pytest.raises(ValueError, match=message):
        convert_to_released(str(tmp_path / "wings"), tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_derived_configuration_holds_the_tower(tmp_path, tower_configs):
    source = write_released(tmp_path / "released", released_tensors(tower="siglip"), released_config())
    convert_to_wings(str(source), tmp_path / "wings", vision_config=tower_configs["siglip"])
    (tmp_path / "wings/released_config.json").unlink()
    convert_to_released(str(tmp_path / "wings"), tmp_path / "back")
    convert_to_wings(str(tmp_path / "back"), tmp_path / "again")
    assert _config(tmp_path / "again") == _config(tmp_path / "wings")


def _config(folder: Path) -> dict[str, Any]:
    values = json.loads((folder / "config.json").read_text())
    values["text_config"].pop("dtype", None)
    return values


@pytest.mark.parametrize("tower_layers", [2, 3], ids=["the last layer gone", "all layers"])
def test_tower_features_are_those_before_the_last_layer(tower_layers, tower_configs, tmp_path):
    tensors = released_tensors(tower="siglip", tower_layers=3)
    whole = SiglipVisionModel(siglip_config()).eval()
    whole.load_state_dict(
        {n.removeprefix(TOWER_PREFIX): t for n, t in tensors.items() if n.startswith(TOWER_PREFIX)}, strict=False
    )
    kept = {n: t for n, t in tensors.items() if tower_layers == 3 or f"{TOWER_PREFIX}encoder.layers.2." not in n}
    source = write_released(tmp_path / "released", kept, released_config())
    convert_to_wings(str(source), tmp_path / "wings", vision_config=tower_configs["siglip"])
    model = WingsForCausalLM.from_pretrained(tmp_path / "wings").eval()
    pixels = torch.randn(2, 3, 12, 12)
    with torch.no_grad():
        features = model.get_image_features(pixels, return_dict=True).last_hidden_state
        expected = whole(pixels, output_hidden_states=True).hidden_states[-2]
    torch.testing.assert_close(features, expected)


def test_configuration_is_that_of_shapes_and_files(tmp_path):
    source = write_released(tmp_path / "released", released_tensors(layers=3, winged=(0, 2)), released_config(layers=3))
    convert_to_wings(str(source), tmp_path / "wings")
    config = WingsConfig.from_pretrained(tmp_path / "wings")
    assert config.learners == ("visual", "textual") and config.learner_layers == [0, 2]
    assert (config.learner_rank, config.router_positions, config.system_prompt_length) == (6, 96, 5)
    assert (config.image_token_id, config.vision_feature_size, config.image_seq_length) == (310, 24, 9)
    text = config.text_config
    assert (text.model_type, text.rope_parameters["rope_theta"], text.rms_norm_eps) == ("qwen2", 20000.0, 1e-6)
    assert text.use_cache and config.use_cache


@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_without_a_configuration_the_base_models_say_the_rest(family, tower_configs, tmp_path):
    values = {k: v for k, v in released_config().items() if k in Qwen2Config().to_dict() and k != "model_type"}
    base = {"qwen2": Qwen2Config, "llama": LlamaConfig}[family](**values)
    base.save_pretrained(tmp_path / "base")
    source = write_released(tmp_path / "released", released_tensors(family, tower="siglip"), None, shards=2)
    for number, option in enumerate((tmp_path / "base", tmp_path / "base/config.json")):
        target = tmp_path / f"wings{number}"
        convert_to_wings(str(source), target, text_config=str(option), vision_config=tower_configs["siglip"])
        config = WingsConfig.from_pretrained(target)
        assert config.text_config.model_type == family and config.text_config.use_cache
        assert config.system_prompt_length == {"qwen2": 14, "llama": 17}[family]
        assert config.vision_config.num_hidden_layers == 2 and config.vision_feature_layer == -1
    convert_to_released(str(target), tmp_path / "back")
    assert_identical(read_tensors(source), read_tensors(tmp_path / "back"))


def test_mixed_dtypes_stay_and_are_loaded_in_the_widest(tmp_path):
    tensors = released_tensors(dtype=torch.bfloat16)
    tensors["model.norm.weight"] = torch.rand(HIDDEN)
    source = write_released(tmp_path / "released", tensors, released_config())
    convert_to_wings(str(source), tmp_path / "wings")
    written = read_tensors(tmp_path / "wings")
    assert written["lm_head.weight"].dtype == torch.bfloat16
    model: Any = WingsForCausalLM.from_pretrained(tmp_path / "wings")
    assert model.dtype == torch.float32
    assert model.model.language_model.norm.weight.equal(tensors["model.norm.weight"])


def test_tensors_without_a_place_are_kept_aside_and_listed(tower_configs, tmp_path):
    extra = {**pooling_head(), **buffers(tower=True)}
    source = write_released(tmp_path / "released", {**released_tensors(tower="siglip"), **extra}, released_config())
    report = convert_to_wings(str(source), tmp_path / "wings", vision_config=tower_configs["siglip"])
    aside = {name: tensor for name, tensor in read_tensors(tmp_path / "wings").items() if name in extra}
    assert_identical(extra, aside)
    summary = report.summary()
    for name in extra:
        assert name.replace("layers.0", "layers.*") in summary
    record = json.loads((tmp_path / "wings/conversion.json").read_text())
    assert record["complete"] and set(record["files"]["unused.safetensors"]) == set(extra)
    entry = record["files"]["model.safetensors"]["model.language_model.layers.0.self_attn.router.weight"]
    assert entry["shape"] == [96, 2] and entry["dtype"] == "F32" and len(entry["sha256"]) == 64
    assert entry["source"] == "model.layers.0.reweight_module.linear.weight" and entry["transposed"]


def test_a_tied_head_may_be_there_as_a_copy_only(tmp_path):
    tensors = released_tensors()
    said = released_config(tie_word_embeddings=True)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    source = write_released(tmp_path / "released", tensors, said)
    convert_to_wings(str(source), tmp_path / "wings")
    convert_to_released(str(tmp_path / "wings"), tmp_path / "back")
    assert_identical(tensors, read_tensors(tmp_path / "back"))
    tensors["lm_head.weight"][0, 0] += 1
    other = write_released(tmp_path / "other", tensors, said)
    with pytest.raises(ValueError, match=r"tie_word_embeddings=True.*differ"):
        convert_to_wings(str(other), tmp_path / "never")


def test_unknown_tensors_are_kept_when_asked(tmp_path):
    tensors = {**released_tensors(), "model.image_newline": torch.rand(4)}
    source = write_released(tmp_path / "released", tensors, released_config())
    with pytest.raises(ValueError, match=r"unexpected: model\.image_newline\n.*--keep-unknown"):
        convert_to_wings(str(source), tmp_path / "wings")
    assert not (tmp_path / "wings").exists()
    report = convert_to_wings(str(source), tmp_path / "wings", keep_unknown=True)
    assert "model.image_newline: unknown" in report.summary()
    convert_to_released(str(tmp_path / "wings"), tmp_path / "back")
    assert_identical(tensors, read_tensors(tmp_path / "back"))


def test_every_missing_and_unexpected_tensor_is_named(tmp_path):
    tensors = released_tensors()
    gone = ["model.layers.1.attn_t_pool.v_proj.1.weight", "model.layers.0.self_attn.k_proj.bias", "model.norm.weight"]
    for name in gone:
        del tensors[name]
    strange = {f"model.layers.0.{name}.weight": torch.rand(2) for name in ("attn_pool.q_proj.2", "self_attn.q_norm")}
    source = write_released(tmp_path / "released", {**tensors, **strange}, released_config())
    with pytest.raises(ValueError) as error:
        convert_to_wings(str(source), tmp_path / "wings", keep_unknown=False)
    assert all(f"missing: {name}" in str(error.value) for name in gone)
    assert all(f"unexpected: {name}" in str(error.value) for name in strange)
    assert not (tmp_path / "wings").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 299}, "vocab_size=299.*says 310"),
        ({"hidden_size": 64}, "hidden_size=64.*says 32"),
        ({"num_hidden_layers": 3}, "num_hidden_layers=3.*says 2"),
        ({"intermediate_size": 41}, "intermediate_size=41.*says 40"),
        ({"num_key_value_heads": 4}, "num_key_value_heads.*=32.*says 16"),
        ({"lora_dim": 8}, "lora_dim=8.*says 6"),
        ({"has_router": False}, "has_router=False.*reweight_module"),
        ({"router_max_len": 4096}, "router_max_len=4096.*says 96"),
        ({"mm_hidden_size": 25}, "mm_hidden_size=25.*says 24"),
        ({"mm_projector_type": "linear"}, "mm_projector_type='linear'"),
        ({"model_type": "wings_phi"}, "'wings_phi'.*qwen2, llama"),
    ],
)
def test_a_configuration_that_disagrees_is_an_error(changes, message, tmp_path):
    source = write_released(tmp_path / "released", released_tensors(), released_config(**changes))
    with pytest.raises(ValueError, match=message):
        convert_to_wings(str(source), tmp_path / "wings")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 28}, "hidden_size=28.*says 24"),
        ({"patch_size": 3}, "patch_size=3.*says 4"),
        ({"image_size": 16}, "positions=16.*says 9"),
        ({"num_hidden_layers": 5}, "num_hidden_layers=5.*says 2"),
        ({"intermediate_size": 5}, "intermediate_size=5.*says 28"),
    ],
)
def test_a_tower_that_disagrees_is_an_error(changes, message, tmp_path):
    source = write_released(tmp_path / "released", released_tensors(tower="siglip"), released_config())
    config = siglip_config()
    for name, value in changes.items():
        setattr(config, name, value)
    config.save_pretrained(tmp_path / "tower")
    with pytest.raises(ValueError, match=message):
        convert_to_wings(str(source), tmp_path / "wings", vision_config=str(tmp_path / "tower"))


def test_wrong_shapes_are_an_error(tmp_path):
    tensors = {**released_tensors(), "model.layers.1.attn_pool.k_proj.0.weight": torch.rand(5, HIDDEN)}
    source = write_released(tmp_path / "released", tensors, released_config())
    with pytest.raises(ValueError, match=r"layers\.1\.attn_pool\.k_proj\.0\.weight has the shape \(5, 32\).*\(6, 32\)"):
        convert_to_wings(str(source), tmp_path / "wings")


def test_what_shapes_cannot_tell_is_asked_for(tmp_path):
    source = write_released(tmp_path / "bare", released_tensors(tower="siglip"))
    with pytest.raises(ValueError, match=r"--text-config Qwen/Qwen1\.5-7B-Chat"):
        convert_to_wings(str(source), tmp_path / "wings")
    source = write_released(tmp_path / "released", released_tensors(tower="siglip"), released_config())
    with pytest.raises(ValueError, match=r"--vision-config google/siglip-so400m-patch14-384"):
        convert_to_wings(str(source), tmp_path / "wings")
    without = write_released(tmp_path / "without", released_tensors(), released_config())
    with pytest.raises(ValueError, match="holds no vision tower"):
        convert_to_wings(str(without), tmp_path / "wings", vision_config="google/siglip-so400m-patch14-384")


def test_sources_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="There is no folder"):
        convert_to_wings(str(tmp_path / "gone"), tmp_path / "wings")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="holds no checkpoint"):
        convert_to_wings(str(empty), tmp_path / "wings")
    (empty / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ValueError, match=r"pickle files \(pytorch_model\.bin\)"):
        convert_to_wings(str(empty), tmp_path / "wings")
    plain = write_released(tmp_path / "plain", {"model.embed_tokens.weight": torch.rand(3, 2)}, released_config())
    with pytest.raises(ValueError, match=r"holds no model\.layers\.\*\.attn_pool"):
        convert_to_wings(str(plain), tmp_path / "wings")
    wings = write_released(tmp_path / "source", released_tensors(), released_config())
    convert_to_wings(str(wings), tmp_path / "wings")
    with pytest.raises(ValueError, match="converted already"):
        convert_to_wings(str(tmp_path / "wings"), tmp_path / "again")


def test_a_missing_shard_is_named(tmp_path):
    source = write_released(tmp_path / "released", released_tensors(), released_config(), shards=3)
    (source / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(ValueError, match=r"lacks 1 of 3 files of its index: model-00002"):
        convert_to_wings(str(source), tmp_path / "wings")


def test_only_released_semantics_go_back(tmp_path):
    source = write_released(tmp_path / "released", released_tensors(), released_config())
    convert_to_wings(str(source), tmp_path / "wings")
    config = WingsConfig.from_pretrained(tmp_path / "wings")
    config.semantics = "paper"
    config.save_pretrained(tmp_path / "wings")
    with pytest.raises(ValueError, match="semantics='paper'"):
        convert_to_released(str(tmp_path / "wings"), tmp_path / "back")
    with pytest.raises(ValueError, match="no Wings model"):
        convert_to_released(str(source), tmp_path / "back")
