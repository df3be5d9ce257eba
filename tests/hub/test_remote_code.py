# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Saved folders load where wings_hf is not installed, offline, to the same function and the same bytes."""

import errno
import filecmp
import json
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from hub_parts import build_parts, finish, fresh_python
from PIL import Image
from transformers import Trainer, TrainingArguments
from transformers.dynamic_module_utils import get_imports

from wings_hf import WingsForCausalLM, WingsProcessor
from wings_hf.hub import wings_remote_code


@pytest.fixture(scope="module")
def parts() -> tuple[WingsForCausalLM, WingsProcessor]:
    return build_parts()


@pytest.fixture(scope="module")
def saved(parts, tmp_path_factory) -> Path:
    """A folder with model, processor, and inputs with their logits."""
    model, processor = parts
    folder = tmp_path_factory.mktemp("saved") / "model"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    inputs = processor(text=["a <image> b"], images=[Image.new("RGB", (20, 12), (10, 200, 30))], return_tensors="pt")
    torch.save({"inputs": dict(inputs), "logits": model(**inputs).logits.detach()}, folder.parent / "expected.pt")
    return folder


def test_saved_folder_holds_its_code_and_says_so(saved):
    auto_map = json.loads((saved / "config.json").read_text())["auto_map"]
    assert set(auto_map) == {"AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForImageTextToText"}
    assert json.loads((saved / "processor_config.json").read_text())["auto_map"]["AutoProcessor"]
    for file in saved.glob("*.py"):
        lines = file.read_text().splitlines()
        assert not [line for line in lines if line.split()[:1] in (["from"], ["import"]) and "wings_hf" in line]


def test_loading_needs_no_package_that_transformers_does_not(saved):
    """transformers refuses to load code that imports, anywhere but under a guard, a package that is not installed."""
    needed = {name for file in saved.glob("*.py") for name in get_imports(file)}
    others = needed - sys.stdlib_module_names
    assert others == {"torch", "transformers", "huggingface_hub", "numpy", "PIL"}


def test_loads_to_the_same_function_and_saves_the_same_bytes(saved, tmp_path):
    code = """
        expected = torch.load(folder + "/../expected.pt")
        model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
        inputs = processor(text=["a <image> b"], images=[picture], return_tensors="pt")
        assert set(inputs) == set(expected["inputs"])
        assert all(torch.equal(inputs[name], expected["inputs"][name]) for name in inputs)
        assert torch.equal(model(**inputs).logits, expected["logits"])
        for auto, name in {
            AutoModelForImageTextToText: "WingsForCausalLM", AutoModel: "WingsModel", AutoConfig: "WingsConfig"
        }.items():
            assert type(auto.from_pretrained(folder, trust_remote_code=True)).__name__ == name
        model.save_pretrained(sys.argv[2]); processor.save_pretrained(sys.argv[2])
        again = AutoModelForCausalLM.from_pretrained(sys.argv[2], trust_remote_code=True)
        assert torch.equal(again(**inputs).logits, expected["logits"])
    """
    second = tmp_path / "second"
    finish(fresh_python(code, saved, second, modules=tmp_path / "modules"))
    names = {file.name for file in saved.iterdir()}
    assert names == {file.name for file in second.iterdir()}
    kept = [name for name in names if name.endswith((".py", ".safetensors", ".jinja"))]
    assert filecmp.cmpfiles(saved, second, kept, shallow=False)[0] == kept


def test_quantised(saved, tmp_path):
    pytest.importorskip("bitsandbytes")
    code = """
        settings = {"quant_method": "bitsandbytes", "load_in_8bit": True}
        model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, quantization_config=settings)
        layers = {name for name, module in model.named_modules() if type(module).__name__ == "Linear8bitLt"}
        assert layers and all(name.startswith("model.language_model.layers.") for name in layers)
        inputs = torch.load(folder + "/../expected.pt")["inputs"]
        logits = model.eval()(**inputs).logits
        model.save_pretrained(sys.argv[2])
        again = AutoModelForCausalLM.from_pretrained(sys.argv[2], trust_remote_code=True)
        assert torch.equal(again(**inputs).logits, logits)
    """
    finish(fresh_python(code, saved, tmp_path / "second", modules=tmp_path / "modules"))


def test_concurrent_first_loads(saved, tmp_path):
    code = """
        model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
        expected = torch.load(folder + "/../expected.pt")
        assert torch.equal(model(**expected["inputs"]).logits, expected["logits"])
    """
    for process in [fresh_python(code, saved, modules=tmp_path / "modules") for _ in range(4)]:
        finish(process)


def test_trainer_checkpoint_loads_the_same_way(parts, tmp_path):
    model, processor = parts
    row = processor(text="a <image> b", images=[Image.new("RGB", (8, 8))])
    row = {name: torch.as_tensor(value[0]) for name, value in row.items()}
    row["labels"] = row["input_ids"].masked_fill(row["mm_token_type_ids"] == 1, -100)
    arguments = TrainingArguments(
        tmp_path / "run", max_steps=1, per_device_train_batch_size=1, save_steps=1, report_to=[], use_cpu=True
    )
    trainer = Trainer(model, arguments, train_dataset=[row] * 2, processing_class=processor)
    trainer.train()
    checkpoint = tmp_path / "run" / "checkpoint-1"
    torch.save(model.eval()(**{k: v[None] for k, v in row.items()}).logits.detach(), tmp_path / "logits.pt")
    torch.save({k: v[None] for k, v in row.items()}, tmp_path / "row.pt")
    code = """
        model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
        logits = model(**torch.load(sys.argv[2] + "/row.pt")).logits
        assert torch.equal(logits, torch.load(sys.argv[2] + "/logits.pt"))
    """
    finish(fresh_python(code, checkpoint, tmp_path, modules=tmp_path / "modules"))


def test_a_full_disk_leaves_no_part_of_a_file(tmp_path, monkeypatch):
    def full(descriptor_file, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "module.py"
    path.write_bytes(b"old")
    monkeypatch.setattr(tempfile._TemporaryFileWrapper, "write", full, raising=False)
    with pytest.raises(OSError, match="No space left"):
        wings_remote_code._write_whole(path, b"new")
    assert [file.name for file in tmp_path.iterdir()] == ["module.py"] and path.read_bytes() == b"old"
