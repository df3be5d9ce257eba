# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The score of one question of an image set: 1 or 0, by what lmms-eval says of it or by a rule of ours.

lmms-eval asks a model on the web to read answers of MMBench and HallusionBench. Here the letter, or yes or no, is read
by a rule, so that a run needs no key and can be repeated.
"""

import re
from collections.abc import Mapping
from typing import Any

WORDS = r"(?i:answer|option|choice|选项|答案)(?i:\s+is|是|为)?"
SMALL = (
    r"[a-h](?=\s*(?:[).:,]|$))"  # a small letter is one only where no word goes on: "the answer is a cat" names none
)
NAMED = re.compile(WORDS + rf"\s*[:\uff1a]?\s*\(?([A-H](?![A-Za-z])|{SMALL})", re.MULTILINE)
FIRST = re.compile(r"\(?([A-H])(?:[).:,]|\s*$)", re.MULTILINE)
YES_NO = {"yes": "1", "no": "0"}


def score_of(metric: str, rule: str, sample: Mapping[str, Any]) -> float | None:
    """Score of a logged sample of lmms-eval; None where the metric does not speak of this question.

    Args:
        metric: names of metrics, separated by "|": the first that the sample has.
        rule: "letter" or "yes_no"; "" takes the metric.
    """
    if rule == "letter":
        return float(read_letter(answer_of(sample)) == str(sample["doc"]["answer"]).strip().upper())
    if rule == "yes_no":
        return float(read_yes_no(answer_of(sample)) == str(sample["doc"]["gt_answer"]).strip())
    name = next((each for each in metric.split("|") if each in sample), None)
    return None if name is None else _of_value(sample[name])


def read_letter(answer: str) -> str | None:
    """The letter an answer names: "B", "(B)", "B. a cat", "The answer is B". None where it names none."""
    text = answer.strip()
    first = FIRST.match(text)
    if first:
        return first.group(1)
    named = NAMED.findall(text)
    alone = named or re.findall(r"(?<![A-Za-z'])([A-H])(?![A-Za-z'])", text)
    return alone[-1].upper() if alone else None


def read_yes_no(answer: str) -> str | None:
    """ "1" for yes, "0" for no, by whichever word comes first; None where there is neither."""
    found = re.search(r"\b(yes|no)\b", answer.lower())
    return YES_NO[found.group(1)] if found else None


def answer_of(sample: Mapping[str, Any]) -> str:
    answer: Any = sample["filtered_resps"]
    while isinstance(answer, list | tuple):
        answer = answer[0] if answer else ""
    return str(answer)


def _of_value(value: Any) -> float:
    """A number, or one of the small records in which tasks of lmms-eval keep what they compare later."""
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, Mapping) and "score" in value:
        return float(value["score"])
    if isinstance(value, Mapping) and "parsed_pred" in value:
        return _of_mmmu(value)
    if isinstance(value, Mapping) and {"pred", "answer"} <= set(value):
        return float(str(value["pred"]).strip().lower() == str(value["answer"]).strip().lower())
    raise ValueError(f"no score can be read from {value!r}: expected a number, or a record with a score.")


def _of_mmmu(value: Mapping[str, Any]) -> float:
    from lmms_eval.tasks.mmmu.utils import eval_multi_choice, eval_open

    prediction = value["parsed_pred"]
    if value["question_type"] == "multiple-choice":
        first = prediction[0] if isinstance(prediction, list) else prediction
        return float(eval_multi_choice(value["answer"], first))
    candidates = prediction[0] if prediction and isinstance(prediction[0], list) else prediction
    return float(eval_open(value["answer"], candidates))
