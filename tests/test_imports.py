# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`import wings_hf` needs what the package requires and nothing else, and touches no GPU."""

import subprocess
import sys
from pathlib import Path

OPTIONAL = ["accelerate", "bitsandbytes", "chromadb", "datasets", "evaluate", "fastapi", "gradio", "hypothesis"]
OPTIONAL += ["lm_eval", "lmms_eval", "matplotlib", "openai", "peft", "playwright", "pyarrow", "pytest", "sklearn"]
OPTIONAL += ["spaces", "starlette", "torchao", "torchvision", "triton", "trl", "uvicorn", "webdataset"]
START = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1] / "src")!r})
optional = {OPTIONAL!r}
"""
HIDING = """
class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in optional else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
import torch, wings_hf
assert wings_hf.WingsForCausalLM and wings_hf.WingsProcessor and wings_hf.WingsConfig
assert not torch.cuda.is_initialized()
"""
# What transformers' own classes import where it is installed is theirs.
COUNTING = """
import torch, transformers, transformers.models.llava.modeling_llava, transformers.models.llava.processing_llava
before = set(sys.modules)
import wings_hf
assert not (found := {name.partition(".")[0] for name in set(sys.modules) - before} & set(optional)), found
"""


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", START + code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_the_package_is_imported_where_nothing_optional_is_installed() -> None:
    run(HIDING)


def test_nothing_optional_is_imported_where_it_is_installed() -> None:
    run(COUNTING)
