# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Scores of choices by the package `evaluate`, with a metric that lies on this machine."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from wings_hf.evaluation.metrics import confirm

SAMPLES = [
    {"continuations": [" cat", " a very long dog"], "outputs": [[-5.0, False], [-6.0, False]], "target": 1},
    {"continuations": [" cat", " dog"], "outputs": [[-1.0, True], [-6.0, False]], "target": 0},
]
SCRIPT = """
import datasets
import evaluate

class Accuracy(evaluate.Metric):
    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("int32"), "references": datasets.Value("int32")})
        return evaluate.MetricInfo(description="", citation="", features=features)

    def _compute(self, predictions, references):
        return {"accuracy": sum(p == r for p, r in zip(predictions, references)) / len(references)}
"""


def counted(predictions, references):
    return {"accuracy": sum(p == r for p, r in zip(predictions, references, strict=True)) / len(references)}


def test_choices_by_likelihood_and_per_character(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = SimpleNamespace(load=lambda name: SimpleNamespace(compute=counted))
    monkeypatch.setitem(sys.modules, "evaluate", loaded)
    assert confirm("acc", SAMPLES) == {"accuracy": 0.5, "evaluate": "accuracy"}
    assert confirm("acc_norm", SAMPLES) == {"accuracy": 1.0, "evaluate": "accuracy"}
    assert confirm("exact_match", SAMPLES) is None
    assert confirm("acc", [{"context": "q", "outputs": ["a"], "target": "a"}]) is None


def test_a_metric_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name):
        raise ConnectionError("no network")

    monkeypatch.setitem(sys.modules, "evaluate", SimpleNamespace(load=fail))
    with pytest.raises(ValueError, match="no network"):
        confirm("acc", SAMPLES)


def test_the_package_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate = pytest.importorskip("evaluate", reason="evaluate is not installed (extra 'eval')")
    folder = tmp_path / "accuracy"
    folder.mkdir()
    (folder / "accuracy.py").write_text(SCRIPT)
    monkeypatch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True, raising=False)
    assert confirm("acc", SAMPLES, str(folder))["accuracy"] == 0.5
