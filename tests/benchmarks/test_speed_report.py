# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Tables follow from recorded numbers, pages are filled between their marks, and a stopped run goes on."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import report
import run
from speed.cases import Case, Preset, Target, quick

ROOT = Path(__file__).parents[2]
SHAPE = quick().shape


def record(case: Case, wings: float = 1.2, megabytes: float = 13.0) -> dict:
    """A record with made-up numbers."""
    return {
        "case": vars(case),
        "seconds": {"plain": [1.0, 2.0, 1.0], "wings": [wings, 2 * wings, 3 * wings], "eager": [60.0, 120.0, 60.0]},
        "limit": [1.1, 1.1, 1.2],
        "ceilings": {"product": 1e9},
        "operations": {"plain": 5e8, "wings": 6e8},
        "peak_bytes": {"plain": 10e6, "wings": megabytes * 1e6, "eager": 90e6},
        "kernels": {"plain": 7, "wings": 9},
        "tokens": case.tokens,
        "missing": {},
        "code": "abc",
    }


@pytest.fixture
def results() -> dict:
    preset = quick()
    sizes = {32: 10.0, 64: 14.0, 128: 22.0}
    cases = {case.name: record(case, megabytes=sizes[case.length]) for case in preset.all_cases(targets_only=True)}
    unavailable = Case("train", 64, backend="cudnn")
    cases[unavailable.name] = {"case": vars(unavailable), "not_available": "RuntimeError: no CUDA", "code": "abc"}
    caches = {
        "cache bench plain": {"main_bytes_per_token": 512.0, "wings_bytes_per_token": 1024.0, "code": "abc"},
        "cache bench latent": {"not_available": "no such field", "code": "abc"},
    }
    environment = run.environment("cpu", "quick", SHAPE)
    return {"environment": environment, "cases": cases, "caches": caches}


def test_targets_are_judged(results):
    rows = {line.split("|")[1].strip(): line for line in report.target_table(results).splitlines()}
    assert "| at most 1.35 | 1.20 (1.20 to 3.60) | 1.10 | met |" in rows["training step"]
    assert "| 2.20 | - | **missed** |" in rows["peak memory of a step"]
    assert "| 2.00 | - | met |" in rows["growth of that memory when the length doubles (linear: 2)"]
    assert "| 50.00 (16.67 to 50.00) | - | met |" in rows["generation of 4 tokens, eager / wings"]


def test_a_target_without_its_case_says_so(results):
    del results["cases"]["train 128"]
    results["cases"]["train 32"] = results["cases"]["train 64 cudnn"]
    table = report.target_table(results)
    assert table.count("not measured") == 2 and table.count("no CUDA") == 1


def test_all_rows_are_in_the_full_report(results):
    text = report.full_report(results)
    assert "| train 128 | 1.20 (1.20 to 3.60) | 1.10 | 1000 / 2400 |" in text
    assert "50% / 25%" in text  # 5e8 and 6e8 operations in 1 and 2.4 s at 1e9 per second
    assert "| train 64 cudnn | not available: RuntimeError: no CUDA |" in text
    assert "| bench plain | 0.5 | 1.0 | 2.00 |" in text and "| bench latent | not available" in text


def test_region_is_filled_again_and_again(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.START}\n{report.END}\nafter\n")
    for content in ("one", "two"):
        report.fill_region(page, content)
        assert page.read_text() == f"before\n{report.START}\n{content}\n{report.END}\nafter\n"
    page.write_text(report.END + report.START)
    with pytest.raises(ValueError, match=r"page\.md: expected one <!-- speed:start -->"):
        report.fill_region(page, "three")


def test_picture_and_pages_from_the_command_line(results, tmp_path, monkeypatch):
    page, numbers, picture = tmp_path / "page.md", tmp_path / "numbers.json", tmp_path / "images" / "speed.png"
    page.write_text(f"{report.START}{report.END}")
    numbers.write_text(json.dumps(results))
    command = ["report.py", str(numbers), "--readme", str(page), "--picture", str(picture)]
    monkeypatch.setattr(sys, "argv", command)
    report.main()
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert "(images/speed.png)" in page.read_text() and report.target_table(results) in page.read_text()
    lines = report.training_steps(results)
    assert lines["wings"][-1] == (128, 2.4, 22.0) and lines["limit"][0] == (32, 1.1, None)


@pytest.mark.parametrize(("page", "made"), [("README.md", report.short_report), ("docs/speed.md", report.full_report)])
def test_pages_show_the_recorded_results(page, made):
    recorded = [json.loads(path.read_text()) for path in sorted(report.RECORDED.glob("*.json"))]
    text = (ROOT / page).read_text()
    if report.START not in text:
        assert not recorded, f"{page} has no place for the results"
        return
    picture = ROOT / "docs" / "images" / "speed.png"
    expected = report.content(recorded, made, ROOT / page, picture)
    assert text.split(report.START)[1].split(report.END)[0].strip() == expected


@pytest.fixture
def session(tmp_path, monkeypatch):
    """A run of two cases whose measurements are made up; returns the run and the names of what was measured."""
    cases = Case("train", 32), Case("train", 64)
    preset = Preset(SHAPE, cases, (Target("", cases[0], "time", 2.0),), caches=("bench",))
    names, path = [], tmp_path / "numbers.json"

    def measured(shape, case, *_):
        names.append(case.name)
        if case.length == 64 and len(names) == 2:
            raise KeyboardInterrupt
        return record(case)

    monkeypatch.setattr(run, "measure_case", measured)
    monkeypatch.setattr(run, "measure_cache", lambda *_: {"main_bytes_per_token": 1.0, "wings_bytes_per_token": 2.0})
    monkeypatch.setattr(run, "code_version", lambda: "abc")
    settings = {"device": "cpu", "rounds": 3, "seconds": 1.0, "targets": False, "restart": False}

    def start(**changed):
        names.clear()
        environment = run.environment("cpu", "quick", SHAPE) | changed.pop("environment", {})
        arguments = argparse.Namespace(**{**settings, "wants": lambda name: True, **changed})
        run.measure(preset, run.Results(path, environment), arguments)
        return list(names)

    start.path, start.names = path, names
    return start


def test_a_stopped_run_goes_on(session, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        session()
    assert list(json.loads(session.path.read_text())["cases"]) == ["train 32"]
    assert session() == ["train 64"]
    assert session() == []
    assert session(wants=lambda name: name == "train 32", restart=True) == ["train 32"]
    assert set(json.loads(session.path.read_text())["caches"]) == {"cache bench plain", "cache bench latent"}
    monkeypatch.setattr(run, "code_version", lambda: "def")
    assert session(targets=True) == ["train 32"]


def test_numbers_of_another_machine_are_not_mixed_in(session):
    session(targets=True)
    with pytest.raises(SystemExit, match=r"threads=\d+ \(now 99\)"):
        session(environment={"threads": 99})


def test_what_cannot_run_is_recorded_with_its_reason():
    found = run.run_case(SHAPE, Case("train", 32, backend="cudnn"), "cpu", 3, 1.0)
    assert found["not_available"] == "RuntimeError: cuDNN attention needs CUDA"


@pytest.mark.slow
def test_quick_run(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "run.py"), "--quick", "--output", str(tmp_path / "quick.json")]
    settings = {"capture_output": True, "text": True, "cwd": tmp_path}
    settings["env"] = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "quick.json").read_text())
    assert set(found["cases"]) == {case.name for case in quick().all_cases()}
    assert "| training step | at most 1.35 |" in done.stdout
    assert (tmp_path / "quick.png").exists()
    again = subprocess.run(command, **settings)
    measured = [record for record in found["cases"].values() if "seconds" in record]
    assert again.stdout.count("there already") == len(measured) + len(found["caches"])
