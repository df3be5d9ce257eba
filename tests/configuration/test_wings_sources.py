# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Where parts came from is saved as a name on the Hub, and never as a path."""

import json
import os

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, SiglipVisionConfig, SiglipVisionModel

from wings_hf import WingsConfig, WingsForCausalLM
from wings_hf.configuration.wings_sources import public_name

TEXT = LlamaConfig(
    vocab_size=30,
    hidden_size=32,
    num_hidden_layers=1,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=8,
)
VISION = SiglipVisionConfig(
    image_size=8, patch_size=4, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8
)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("Qwen/Qwen2.5-0.5B-Instruct", "Qwen/Qwen2.5-0.5B-Instruct"),
        ("gpt2", "gpt2"),
        ("/home/ann/.cache/huggingface/hub/models--google--siglip-base/snapshots/0a1b", "google/siglip-base"),
        ("/home/ann/hub/models--gpt2/snapshots/0a1b", "gpt2"),
        ("/home/ann/secret-project/llm", ""),
        ("/home/ann", ""),
        ("./llm", ""),
        ("../llm", ""),
        ("~/llm", ""),
        ("C:\\Users\\ann\\llm", ""),
        ("a/b/c", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_only_names_of_the_hub_are_public(source, name):
    assert public_name(source) == name


def test_a_folder_that_looks_like_a_name_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert public_name("owner/llm") == "owner/llm"
    (tmp_path / "owner" / "llm").mkdir(parents=True)
    assert public_name("owner/llm") == ""


def test_saved_configuration_keeps_names_and_leaks_no_path(tmp_path):
    config = WingsConfig(text_config=TEXT, vision_config=VISION, learner_rank=2)
    config.text_config._name_or_path = "owner/llm"
    config.vision_config._name_or_path = "/home/ann/towers/siglip"
    config.save_pretrained(tmp_path)
    assert "/home/ann" not in (tmp_path / "config.json").read_text()
    again = WingsConfig.from_pretrained(tmp_path)
    assert (again.text_config._name_or_path, again.vision_config._name_or_path) == ("owner/llm", "")
    again.save_pretrained(tmp_path / "second")
    assert json.loads((tmp_path / "second" / "config.json").read_text())["text_config"]["_name_or_path"] == "owner/llm"


def test_backbones_from_folders_leave_no_trace_of_them(tmp_path, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.chdir(tmp_path)
    LlamaForCausalLM(TEXT).save_pretrained("owner/llm")  # a relative folder that reads like a name on the Hub
    SiglipVisionModel(VISION).save_pretrained(tmp_path / "eyes")
    model = WingsForCausalLM.from_backbones("owner/llm", str(tmp_path / "eyes"), learner_rank=2)
    os.chdir(tmp_path / "eyes")  # from where the folder cannot be seen any more
    model.save_pretrained(tmp_path / "saved")
    saved = (tmp_path / "saved" / "config.json").read_text()
    assert "owner" not in saved and "eyes" not in saved and str(tmp_path) not in saved
