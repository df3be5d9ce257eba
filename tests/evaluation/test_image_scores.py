# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Scores of questions about images, by rules and by what lmms-eval's tasks log."""

import pytest

from wings_hf.evaluation.image_scores import read_letter, read_yes_no, score_of
from wings_hf.evaluation.sets import IMAGE_SETS


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        (" (C) a cat", "C"),
        ("D. a dog", "D"),
        ("The answer is B", "B"),
        ("The answer is (b).", "B"),
        ("I think that option C fits, as A does not", "C"),
        ("正确答案是A", "A"),
        ("A cat", "A"),
        ("none", None),
        ("", None),
        ("I'd say a Dog", None),
        ("B\nBecause A is a cat", "B"),
        ("A dog stands there. The answer is C.", "C"),
        ("A dog stands there: D", "D"),
        ("The correct answer is a cat", None),
        ("option a, I think", "A"),
    ],
)
def test_letters(answer: str, letter: str | None) -> None:
    assert read_letter(answer) == letter


@pytest.mark.parametrize(
    ("answer", "found"), [("Yes.", "1"), ("no", "0"), ("It is not; no", "0"), ("Nothing", None), ("Yes, no", "1")]
)
def test_yes_and_no(answer: str, found: str | None) -> None:
    assert read_yes_no(answer) == found


def test_rules() -> None:
    assert score_of("", "letter", {"doc": {"answer": "B"}, "filtered_resps": [["B. cat"]]}) == 1.0
    assert score_of("", "letter", {"doc": {"answer": "A"}, "filtered_resps": ["B"]}) == 0.0
    assert score_of("", "yes_no", {"doc": {"gt_answer": "0"}, "filtered_resps": "No."}) == 1.0


@pytest.mark.parametrize(
    ("value", "score"),
    [
        (1, 1.0),
        (0.0, 0.0),
        ({"question_id": "1", "category": "color", "score": 1.0}, 1.0),
        ({"pred": "a", "answer": "A", "question_id": 1}, 1.0),
        ({"pred": "b", "answer": "A", "question_id": 1}, 0.0),
    ],
)
def test_logged_values(value, score: float) -> None:
    assert score_of("other|seed_image", "", {"seed_image": value}) == score
    assert score_of("other", "", {"seed_image": value}) is None


def test_unknown_values_are_refused() -> None:
    with pytest.raises(ValueError, match="no score can be read"):
        score_of("x", "", {"x": "text"})


def of_task(name: str, document: dict, answer: str) -> float | None:
    """The score of an answer as lmms-eval's own task and our rules give it together."""
    chosen = next(each for each in IMAGE_SETS if each.name == name)
    module, function = PROCESSORS[name]
    processed = getattr(pytest.importorskip(module), function)(document, [answer])
    return score_of(chosen.metric, chosen.rule, {**processed, "doc": document, "filtered_resps": [answer]})


PROCESSORS = {
    "mmmu_val": ("lmms_eval.tasks.mmmu.utils", "mmmu_process_results"),
    "mme": ("lmms_eval.tasks.mme.utils", "mme_process_results"),
    "seedbench": ("lmms_eval.tasks.seedbench.utils", "seed_process_result"),
    "scienceqa": ("lmms_eval.tasks.scienceqa.utils", "sqa_process_results"),
    "mmbench_en": ("lmms_eval.tasks.mmbench.en_utils", "mmbench_process_results"),
    "mmbench_cn": ("lmms_eval.tasks.mmbench.cn_utils", "mmbench_process_results"),
    "hallusionbench": ("lmms_eval.tasks.hallusion_bench.evaluate_hb", "hb_process_results"),
}
MMBENCH = {"index": 1, "question": "q", "answer": "C", "hint": "", "source": "", "split": "", "category": "x"}
MMBENCH |= {"L2-category": "y", "A": "a", "B": "b", "C": "c", "D": "d"}
DOCUMENTS = {
    "mmmu_val": (
        {"id": "validation_Art_1", "question_type": "multiple-choice", "options": "['cat', 'dog']", "answer": "B"},
        "B",
        "A",
    ),
    "mme": ({"question_id": "1", "category": "color", "answer": "Yes"}, "Yes", "no"),
    "seedbench": ({"answer": "A", "data_type": "image", "question_id": "1"}, "A", "B"),
    "scienceqa": ({"choices": ["x", "y"], "answer": 1}, "B", "A"),
    "mmbench_en": (MMBENCH, "C", "A. a"),
    "mmbench_cn": (MMBENCH, "C. c", "B"),
    "hallusionbench": ({"gt_answer": "1", "category": "VD"}, "Yes, it is", "No"),
}


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_lmms_evals_own_tasks(name: str) -> None:
    pytest.importorskip("lmms_eval", reason="lmms-eval is not installed (it has an environment of its own: see docs)")
    document, right, wrong = DOCUMENTS[name]
    assert of_task(name, document, right) == 1.0
    assert of_task(name, document, wrong) == 0.0


def test_open_questions_of_mmmu() -> None:
    pytest.importorskip("lmms_eval", reason="lmms-eval is not installed (it has an environment of its own: see docs)")
    document = {"id": "validation_Math_1", "question_type": "open", "options": "[]", "answer": "12"}
    assert of_task("mmmu_val", document, "The answer is 12.") == 1.0
    assert of_task("mmmu_val", document, "13") == 0.0
