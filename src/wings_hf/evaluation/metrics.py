# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Scores of choices, computed once more by the package `evaluate`.

`evaluate` loads the code of a metric by name from the Hub, so nothing of it works without network (but a metric saved
before, or the path of one). The harnesses' metrics are therefore the scores; this one confirms them where it was asked.
"""

from collections.abc import Mapping, Sequence
from typing import Any

PREDICTED_BY = {"acc": lambda values, texts: values, "acc_norm": lambda values, texts: _per_character(values, texts)}


def confirm(metric: str, samples: Sequence[Mapping[str, Any]], name: str = "accuracy") -> dict[str, Any] | None:
    """The metric `name` of `evaluate` over the choices that samples were scored on; None where there are no choices.

    Args:
        metric: "acc" (the likeliest choice) or "acc_norm" (per character of the choice).
        name: a metric of `evaluate`, or the path of one.

    Raises:
        ValueError: `evaluate` cannot load it.
    """
    chosen = [sample for sample in samples if "continuations" in sample and isinstance(sample["target"], int)]
    if metric not in PREDICTED_BY or len(chosen) != len(samples) or not chosen:
        return None
    predictions = [_choice(metric, sample) for sample in chosen]
    references = [sample["target"] for sample in chosen]
    return {**_load(name).compute(predictions=predictions, references=references), "evaluate": name}


def _load(name: str) -> Any:
    import evaluate

    try:
        return evaluate.load(name)
    except Exception as error:  # it raises whatever a failed download or a foreign script does
        raise ValueError(f"`evaluate` cannot load the metric {name!r}: {error}. It is loaded from the Hub.") from error


def _choice(metric: str, sample: Mapping[str, Any]) -> int:
    values = [output[0] for output in sample["outputs"]]
    scored = PREDICTED_BY[metric](values, sample["continuations"])
    return max(range(len(scored)), key=scored.__getitem__)


def _per_character(values: Sequence[float], texts: Sequence[str]) -> list[float]:
    return [value / max(len(text.removeprefix(" ")), 1) for value, text in zip(values, texts, strict=True)]
