# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
The choice between Triton kernels and plain torch; the kernels themselves in Triton's interpreter.

The interpreter changes Triton for a whole process, which compiling models uses too, so its tests (triton_checks/) run
in processes of their own. On a machine with a GPU `python -m pytest tests/modeling/triton_checks/check_*.py` runs
them on it, without the interpreter.
"""

import importlib.metadata
import importlib.util
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from packaging.version import Version
from transformers.dynamic_module_utils import get_imports

from wings_hf.modeling import wings_triton
from wings_hf.modeling.wings_triton import Measurement, choose_kernels, kernels_for, set_kernels

FOLDER = Path(__file__).parent / "triton_checks"
HAS_TRITON = importlib.util.find_spec("triton") is not None
INTERPRETS = HAS_TRITON and (
    Version(importlib.metadata.version("triton")) >= Version("3.7") or Version(np.__version__) < Version("2.4")
)
HOPPER = {
    "kernel": "latent_decode",
    "device_type": "cuda",
    "dtype": torch.bfloat16,
    "head_size": 128,
    "triton_available": True,
    "capability": (9, 0),
    "requested": "auto",
}


@pytest.mark.skipif(not HAS_TRITON, reason="triton is not installed")
@pytest.mark.skipif(HAS_TRITON and not INTERPRETS, reason="Triton's interpreter before 3.7 needs numpy before 2.4")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(path.stem, marks=[pytest.mark.slow] if path.stem == "check_model" else [])
        for path in sorted(FOLDER.glob("check_*.py"))
    ],
)
def test_in_the_interpreter(name):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(FOLDER / f"{name}.py")]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


OBSTACLES = [
    ({"triton_available": False}, "the package triton is not installed"),
    ({"dtype": torch.float64}, "torch.float64 is not among torch.bfloat16"),
    ({"head_size": 512}, "the head size 512 is above 256"),
    ({"device_type": "cpu", "capability": None}, "the device is cpu, not cuda"),
    ({"capability": (7, 5)}, r"compute capability \(7, 5\), below \(8, 0\)"),
]


@pytest.mark.parametrize("change, reason", OBSTACLES)
def test_what_triton_cannot_run_is_left_to_torch_or_raises(change, reason):
    kind, why = choose_kernels(**HOPPER | change)
    assert kind == "torch" and re.search(reason, why)
    with pytest.raises((ValueError, ImportError), match=f"Triton kernels were asked for, but .*{reason}"):
        choose_kernels(**HOPPER | change | {"requested": "triton"})
    assert choose_kernels(**HOPPER | change | {"requested": "torch"}).kind == "torch"


def test_auto_needs_a_measurement_on_this_kind_of_device(monkeypatch):
    assert choose_kernels(**HOPPER) == ("torch", "latent_decode was not measured on compute capability (9, 0)")
    assert choose_kernels(**HOPPER | {"requested": "triton"}).kind == "triton"
    measured = {("latent_decode", (9, 0)): Measurement(True, "it took half the time")}
    monkeypatch.setattr(wings_triton, "MEASURED", measured)
    assert choose_kernels(**HOPPER) == ("triton", "it took half the time")
    assert choose_kernels(**HOPPER | {"dtype": torch.float32}).kind == "torch"
    assert choose_kernels(**HOPPER | {"capability": (8, 0)}).kind == "torch"
    measured["latent_decode", (9, 0)] = Measurement(False, "it took twice the time")
    assert choose_kernels(**HOPPER) == ("torch", "it took twice the time")


def test_the_setting_holds_for_the_process_and_the_log_says_why(caplog, monkeypatch):
    monkeypatch.setattr(wings_triton, "_requested", "auto")
    monkeypatch.setattr(wings_triton, "triton", None)
    states = torch.zeros(1)
    with caplog.at_level(logging.INFO, logger=wings_triton.logger.name):
        assert kernels_for("low_rank_residual", states, 128) == "torch"
        assert not caplog.messages, "on a CPU there is nothing to choose"
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
        for _ in range(2):
            assert wings_triton._kernels_for("low_rank_residual", "cuda", 0, states.dtype, 128) == "torch"
    assert caplog.messages == ["low_rank_residual: torch, since the package triton is not installed."]
    set_kernels("triton")
    with pytest.raises(ImportError, match="not installed: expected kernels 'auto' or 'torch'"):
        kernels_for("low_rank_residual", states, 128)
    set_kernels("torch")
    assert kernels_for("low_rank_residual", states, 128) == "torch"
    with pytest.raises(ValueError, match="'cuda': expected one of 'auto', 'torch', 'triton'"):
        set_kernels("cuda")


def test_the_choice_is_a_constant_of_a_compiled_graph(monkeypatch):
    monkeypatch.setattr(wings_triton, "_requested", "torch")

    @torch.compile(fullgraph=True, backend="eager")
    def function(states):
        return states + 1 if kernels_for("latent_decode", states, 64) == "torch" else states

    assert function(torch.zeros(2)).tolist() == [1, 1]


MODULES = sorted(Path(wings_triton.__file__).parent.glob("wings_triton*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_remote_code_does_not_ask_for_triton(path):
    """In the eyes of transformers' check, which raises where an import is missing."""
    assert set(get_imports(path)) <= {"re", "collections", "typing", "torch", "transformers", "wings_hf"}


def test_modules_can_be_imported_without_triton():
    code = "import sys; sys.modules['triton'] = None"
    code += "".join(f"; import wings_hf.modeling.{path.stem}" for path in MODULES)
    environment = {**os.environ, "PYTHONPATH": str(Path(wings_triton.__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
