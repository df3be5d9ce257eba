# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Loading and building take the memory of the weights once, as loading the backbone by itself does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, SiglipVisionConfig, SiglipVisionModel

from wings_hf import WingsForCausalLM

# A first, tiny load brings in what is imported late; then the peak is set back to what is in use.
SCRIPT = """
import json, sys
from pathlib import Path
from transformers import LlamaForCausalLM
from transformers.utils import logging
from wings_hf import WingsForCausalLM

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024

def load(kind, folder):
    if kind == "backbone":
        return LlamaForCausalLM.from_pretrained(folder / "backbone")
    if kind == "wings":
        return WingsForCausalLM.from_pretrained(folder / "wings")
    return WingsForCausalLM.from_backbones(str(folder / "backbone"), str(folder / "tower"), learner_rank=4)

logging.disable_progress_bar()
kind, small, large = sys.argv[1:]
load(kind, Path(small))
Path("/proc/self/clear_refs").write_text("5")
before = peak()
model = load(kind, Path(large))
for parameter in model.parameters():  # a mapped file is read when its pages are used
    parameter.view(-1)[::256].sum()
print(json.dumps({"growth": peak() - before}))
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not Path("/proc/self/clear_refs").exists(), reason="the peak is read from /proc, as Linux has it"
    ),
]


def write(folder: Path, width: int, layers: int) -> int:
    """Backbone, tower and model in several files each; returns the size of the model in bytes."""
    config = LlamaConfig(
        vocab_size=1000,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
    )
    backbone = LlamaForCausalLM(config)
    backbone.save_pretrained(folder / "backbone", max_shard_size="60MB")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    tower = SiglipVisionModel(SiglipVisionConfig(**sizes, image_size=16, patch_size=4))
    tower.save_pretrained(folder / "tower")
    model = WingsForCausalLM.from_backbones(backbone, tower, learner_rank=4)
    model.save_pretrained(folder / "wings", max_shard_size="60MB")
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path, int]:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("memory")
    write(folder / "small", width=32, layers=1)
    size = write(folder / "large", width=512, layers=20)
    assert size > 300e6 and len([*(folder / "large" / "wings").glob("*.safetensors")]) > 3
    return folder / "small", folder / "large", size


def growth(kind: str, small: Path, large: Path) -> int:
    done = subprocess.run([sys.executable, "-c", SCRIPT, kind, str(small), str(large)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])["growth"]


@pytest.mark.parametrize("kind", ["wings", "from_backbones"])
def test_no_second_copy_of_the_weights(kind, folders):
    small, large, size = folders
    grown, plain = growth(kind, small, large), growth("backbone", small, large)
    ratios = f"{grown / size:.3f}, for the backbone {plain / size:.3f}"
    print(f"{kind}: growth of the peak as a ratio to the weights' {size / 1e6:.0f} MB: {ratios}")
    assert grown < 1.1 * size  # the largest file has a fifth of it
    assert grown < plain + 0.1 * size
