# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`scripts/check_gpu.py` runs where there is no GPU, and fails when something is wrong."""

import importlib.util
import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

SCRIPT = Path(__file__).parents[2] / "scripts" / "check_gpu.py"
SPEC = importlib.util.spec_from_file_location("check_gpu", SCRIPT)
check_gpu = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(check_gpu)

QUICK = ["--cpu", "--quick", "--cases", "llama position"]


@pytest.fixture(autouse=True)
def same_settings(monkeypatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "level", logging.WARNING)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", torch.backends.cudnn.allow_tf32)


def run(tmp_path, *arguments: str) -> tuple[int, dict]:
    output = tmp_path / "report.json"
    code = check_gpu.main([*QUICK, *arguments, "--output", str(output)])
    return code, json.loads(output.read_text())


def results(report: dict) -> set[tuple[str, str, str]]:
    return {(row["check"], row["backend"], row["result"]) for row in report["rows"]}


def test_what_a_cpu_can_passes_and_the_rest_is_skipped_with_a_reason(tmp_path, capsys, monkeypatch):
    monkeypatch.delitem(check_gpu.CACHES, "static, compiled")  # that takes long: see the slow test
    backends = ("sdpa", "flash_attention_2")
    code, report = run(tmp_path, "--dtypes", "bfloat16", "--backends", *backends)
    assert code == 0, capsys.readouterr().out
    left_out = {"memory"} if check_gpu.keeps_matrix_for_grouped_queries() else set()
    assert {(check, "sdpa", "ok") for check in set(check_gpu.CHECKS) - left_out} <= results(report)
    assert report["counts"] == {"ok": 6 - len(left_out), "FAILED": 0, "skipped": 10 + len(left_out)}
    skipped = [row for row in report["rows"] if row["result"] == "skipped"]
    others = [row for row in skipped if row["check"] not in left_out or row["backend"] != "sdpa"]
    assert all("needs a GPU" in row["detail"] or "need a GPU" in row["detail"] for row in others)
    assert "skipped: flash_attention_2: FlashAttention needs a GPU" in capsys.readouterr().out
    assert report["environment"]["torch"].split("+")[0] == torch.__version__.split("+")[0]


def wrong_in_training(module, query, key, value, attention_mask, **kwargs):
    """sdpa whose values get 0.9 of their gradient."""
    value = 0.9 * value + 0.1 * value.detach()
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


def wrong_with_padding(module, query, key, value, attention_mask, **kwargs):
    """sdpa that forgets the mask."""
    return sdpa_attention_forward(module, query, key, value, None, **kwargs)


@pytest.mark.parametrize("function", [wrong_in_training, wrong_with_padding])
def test_a_wrong_backend_fails(function, tmp_path, monkeypatch):
    monkeypatch.setitem(AttentionInterface._global_mapping, "wrong", function)
    monkeypatch.setitem(AttentionMaskInterface._global_mapping, "wrong", sdpa_mask)
    code, report = run(tmp_path, "--dtypes", "bfloat16", "--backends", "wrong", "--checks", "precision")
    assert code == 1
    failed = [row["variant"] for row in report["rows"] if row["result"] == "FAILED"]
    assert failed == ["padded", "packed"]


def test_without_a_gpu_and_without_cpu_nothing_is_claimed(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert check_gpu.main([]) == 2
    assert "--cpu" in capsys.readouterr().err


@pytest.mark.parametrize("code, result", [(0, "ok"), (1, "FAILED"), (2, "skipped")])
def test_kernels_are_run_by_their_own_script(code, result, tmp_path, monkeypatch):
    commands = []

    def process(command):
        commands.append(command)
        return SimpleNamespace(returncode=code)

    monkeypatch.setattr(check_gpu.subprocess, "run", process)
    output = str(tmp_path / "report.json")
    row = check_gpu.run(("kernels", "", "", "triton", ""), check_gpu.check_kernels, output)
    assert row["result"] == result
    assert Path(commands[0][1]).is_file() and commands[0][3] == str(tmp_path / "report_kernels.json")


@pytest.mark.slow  # compiles FlexAttention for minutes
@pytest.mark.filterwarnings("default::DeprecationWarning")  # transformers' and torch's own, when they compile
def test_all_that_a_cpu_can(tmp_path, capsys):
    output = tmp_path / "report.json"
    assert check_gpu.main(["--cpu", "--quick", "--output", str(output)]) == 0, capsys.readouterr().out
    report = json.loads(output.read_text())
    assert ("precision", "flex_attention", "ok") in results(report)
    assert {row["case"] for row in report["rows"]} == set(check_gpu.QUICK_CASES)
