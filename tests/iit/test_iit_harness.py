# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The benchmark as a task of lm-evaluation-harness: the same conversations, the same answers as by our own scoring."""

from pathlib import Path
from typing import Any

import iit_parts
import numpy as np
import pytest
import scored_models

lm_eval = pytest.importorskip("lm_eval", exc_type=ImportError)

from lm_eval.tasks import TaskManager  # noqa: E402

from wings_hf.evaluation.harness import WingsLM  # noqa: E402
from wings_hf.evaluation.lm_eval_cli import TASKS  # noqa: E402
from wings_hf.iit.benchmark import Benchmark, build  # noqa: E402
from wings_hf.iit.build import BuildOptions  # noqa: E402
from wings_hf.iit.scoring import score  # noqa: E402


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    folder = tmp_path_factory.mktemp("harness")
    images = iit_parts.image_items(folder / "discs", 12)
    return build(iit_parts.text_items(24), images, folder / "iit", BuildOptions(per_setting=4))


def evaluate(benchmark: Benchmark, model: Any, processor: Any, only: Any = None, **settings: Any) -> Any:
    metadata = {"benchmark": str(benchmark.folder), "settings": only}
    manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata=metadata)
    reader = WingsLM(model, processor=processor, device="cpu", max_length=2000)
    return lm_eval.simple_evaluate(reader, tasks=["iit"], task_manager=manager, bootstrap_iters=0, **settings)


@pytest.mark.parametrize("template", [None, scored_models.SPACED])
def test_the_harness_scores_as_we_do(benchmark: Benchmark, template: str | None) -> None:
    model, processor = iit_parts.wings()
    processor.chat_template = template or processor.chat_template
    ours = score(benchmark, model, processor)
    found = evaluate(benchmark, model, processor, apply_chat_template=True, log_samples=True)
    scores = found["results"]["iit"]
    for setting in benchmark.settings:
        assert scores[f"acc_{setting},none"] == pytest.approx(np.mean(ours.right(setting)))
    likely = {sample.conversation: np.array(sample.loglikelihoods) for sample in ours.samples if sample.is_last}
    for sample in found["samples"]["iit"]:
        theirs = np.array([value for (value, _), *_ in sample["resps"]])
        expected = likely[sample["doc"]["id"]]
        np.testing.assert_allclose(theirs - theirs[0], expected - expected[0], atol=1e-4)


def test_without_a_chat_template_turns_stand_below_each_other(benchmark: Benchmark) -> None:
    model, tokenizer = iit_parts.language_model()
    found = evaluate(benchmark, model, tokenizer, ["TT"], log_samples=True)
    assert len(found["samples"]["iit"]) == 4
    assert 0 <= found["results"]["iit"]["acc,none"] <= 1
    chat = benchmark.of("TT")[0]
    prompt = found["samples"]["iit"][0]["arguments"][0][0]
    first, last = chat.turns
    answered = first.replies()[first.answer]
    assert prompt == f"{first.text()}\nAnswer: {answered}\n\n{last.text()}\nAnswer:"


def test_the_folder_must_be_named(benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = TaskManager(include_path=str(TASKS), include_defaults=False)
    with pytest.raises(ValueError, match="needs the folder of a benchmark"):
        manager.load(["iit"])
    monkeypatch.setenv("WINGS_IIT", str(Path(benchmark.folder)))
    manager.load(["iit"])
