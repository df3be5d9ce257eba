# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`scripts/time_kernels.py` runs to the end whatever fails, and claims nothing where there is no GPU."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "scripts" / "time_kernels.py"
SPEC = importlib.util.spec_from_file_location("time_kernels", SCRIPT)
time_kernels = importlib.util.module_from_spec(SPEC)
sys.modules["time_kernels"] = time_kernels  # dataclasses look for it
SPEC.loader.exec_module(time_kernels)

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


@pytest.fixture
def pretended_triton(monkeypatch):
    monkeypatch.setattr(time_kernels, "triton", SimpleNamespace(__version__="0"))


def test_without_a_gpu_or_without_triton_nothing_is_claimed(capsys, monkeypatch, pretended_triton):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert time_kernels.main([]) == 2
    assert "no CUDA GPU" in capsys.readouterr().err
    monkeypatch.setattr(time_kernels, "triton", None)
    assert time_kernels.main(["--interpret"]) == 2
    assert "not installed" in capsys.readouterr().err


def run_with(monkeypatch, tmp_path, results: dict[str, str], exits: dict[str, int]) -> tuple[int, dict]:
    """Runs main with processes that leave a row each: kernel -> result of its check; rivals always fail."""

    def process(command, environment, limit):
        kernel, rows = command[command.index("--kernels") + 1], command[-1]
        assert environment["TRITON_INTERPRET"] == "1"
        row = {"kernel": kernel, "part": "check", "label": "", "result": results.get(kernel, "ok")}
        rival = {"kernel": kernel, "part": "time", "label": "sdpa, forward", "result": "FAILED"}
        with open(rows, "a") as file:
            file.write(json.dumps(row) + "\n" + json.dumps(rival) + "\n")
        return {"exit": exits.get(kernel, 0), "seconds": 0.0}

    monkeypatch.setattr(time_kernels, "in_a_process", process)
    output = tmp_path / "kernels.json"
    code = time_kernels.main(["--interpret", "--output", str(output)])
    return code, json.loads(output.read_text())


@pytest.mark.parametrize(
    "results, exits, code",
    [({}, {}, 0), ({"latent_decode": "FAILED"}, {}, 1), ({}, {"router_attention": -11}, 1)],
)
def test_a_failure_takes_no_other_results_along(results, exits, code, monkeypatch, tmp_path, pretended_triton):
    found, report = run_with(monkeypatch, tmp_path, results, exits)
    assert found == code  # a rival that fails is no failure of ours
    assert {row["kernel"] for row in report["rows"]} == set(time_kernels.CASES)


def test_what_a_measurement_raises_is_its_result(tmp_path, capsys):
    path = tmp_path / "rows"
    report = time_kernels.Report(str(path), "latent_decode")
    size = time_kernels.Sizes(8, dtype=torch.float16)
    report.row("time", "one", size, lambda: 1 / 0)
    report.row("time", "two", size, lambda: {"ms": 1.0})
    one, two = map(json.loads, path.read_text().splitlines())
    assert one["result"] == "FAILED" and one["error"] == "ZeroDivisionError: division by zero"
    assert two["result"] == "ok" and two["ms"] == 1.0 and two["dtype"] == "float16" and two["length"] == 8
    assert "division by zero" in capsys.readouterr().out


def test_a_process_that_takes_too_long_is_stopped():
    done = time_kernels.in_a_process([sys.executable, "-c", "import time; time.sleep(60)"], {}, 0.5)
    assert done["exit"] == "stopped after 0 s" and done["seconds"] < 30


# What is timed beside a kernel computes the same.
SIZE = time_kernels.Sizes(40, 64, 4, 2, 8, image=11, batch=2, dtype=torch.float32, device="cpu")


def test_columns_in_the_values():
    case = time_kernels.router_case(SIZE)
    found = case.rivals["sdpa, columns in the values"](*case.inputs).transpose(1, 2)
    output, attended = case.plain(*case.inputs)
    torch.testing.assert_close(found[..., :16], output)
    torch.testing.assert_close(found[..., 16:19], attended)


def test_modality_in_columns():
    case = time_kernels.learner_case(SIZE)
    found = case.rivals["sdpa, modality in columns"](*case.inputs)[..., :16]
    found = found.unflatten(1, (4, 2)).permute(0, 3, 2, 1, 4)
    first = int(SIZE.owner()[0].argmin()) + 1  # the first row that sees both modalities
    torch.testing.assert_close(found[:, first:], case.plain(*case.inputs)[:, first:], atol=1e-4, rtol=1e-4)


def test_low_rank_in_torch():
    case = time_kernels.low_rank_case(SIZE)
    torch.testing.assert_close(case.rivals["torch"](*case.inputs), case.plain(*case.inputs))


@pytest.mark.slow
@needs_triton
def test_in_the_interpreter(tmp_path):
    output = tmp_path / "kernels.json"
    command = [sys.executable, str(SCRIPT), "--interpret", "--output", str(output)]
    subprocess.run(command, check=True)
    rows = json.loads(output.read_text())["rows"]
    assert {(row["kernel"], row["part"]) for row in rows} == {
        (kernel, part) for kernel in time_kernels.CASES for part in time_kernels.PARTS
    }
    assert all(row["result"] == "ok" for row in rows)


@pytest.mark.slow
@needs_triton
def test_kernels_compile_for_gpus_that_are_not_there(tmp_path):
    output = tmp_path / "kernels.json"
    subprocess.run([sys.executable, str(SCRIPT), "--compile", "90", "80", "--output", str(output)], check=True)
    rows = json.loads(output.read_text())["rows"]
    kernels = [row for row in rows if row["label"] != "all"]
    assert {row["capability"] for row in kernels} == {90, 80}
    assert {row["label"] for row in kernels} == {
        "forward_kernel", "queries_grad_kernel", "keys_grad_kernel", "_low_rank_kernel", "_share_kernel",
        "_join_kernel",
    }  # fmt: skip
    assert all(row["registers"] > 0 and row["shared"] <= 163 * 1024 for row in kernels)
