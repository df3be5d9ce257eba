# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Measurements for a model card: runs of `wings-hf evaluate`, and attention of `wings-hf analyze`."""

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from huggingface_hub import EvalResult

from wings_hf.analysis.laws import AttentionLaws
from wings_hf.configuration.wings_sources import public_name
from wings_hf.evaluation.records import Run
from wings_hf.evaluation.tables import interval, percent
from wings_hf.hub.card_facts import count_parameters

EVALUATION_PLOT, ATTENTION_PLOT = "images/evaluation.png", "images/attention.png"
TASKS = {"text": ("text-generation", "Text"), "image": ("image-text-to-text", "Images and text")}
# Data sets of the Hub that are these sets; others are named as they are named here.
ON_THE_HUB = {
    "mmlu": "cais/mmlu",
    "arc_e": "allenai/ai2_arc",
    "arc_c": "allenai/ai2_arc",
    "winogrande": "allenai/winogrande",
    "openbookqa": "allenai/openbookqa",
    "hellaswag": "Rowan/hellaswag",
    "gsm8k": "openai/gsm8k",
}
ACCURACIES = ("acc", "exact_match", "pass_at")
NO_PLOTS = "no plot: it needs matplotlib (pip install 'wings_hf[eval]')"


@dataclass(frozen=True)
class Measured:
    """
    Args:
        text: the part of the card.
        results: for the metadata.
        remarks: what the user should know.
    """

    text: str
    results: tuple[EvalResult, ...] = ()
    remarks: tuple[str, ...] = ()


def shown_name(name: str) -> str:
    """A model's name as it may be published: of a folder the last part of its path."""
    return public_name(name) or PurePath(name.replace("\\", "/")).name


# -- evaluation -------------------------------------------------------------------------------------------


def evaluation(folder: Path, runs: Sequence[Path]) -> Measured:
    """
    Tables of runs of `wings-hf evaluate` of this model, and a plot in `folder`.

    Raises:
        ValueError: a folder that holds no finished run, or a run of a model of another type.
    """
    texts, results, remarks = [], [], []
    for run in map(Run, runs):
        about, summary = run.about(), run.read("summary.json")
        if about["model"].get("type") != "wings":
            raise ValueError(
                f"{run.folder} is a run of a {about['model'].get('type')!r} model: expected one of this model."
            )
        other = _of_another(folder, about)
        if other:
            texts.append(f"**Of another model**: {other}.")
            remarks.append(f"{run.folder}: {other}; the card says so")
        texts.append(_run(about, summary))
        results += _results(summary)
        remarks += _limited(run.folder, about)
    drawn = _plot(folder, [run.read("summary.json") for run in map(Run, runs)], remarks)
    if drawn:
        texts.append(f"![Score of each set, of this model and of its language model]({EVALUATION_PLOT})")
    texts.append(
        "Scores are shares of right answers in per cent, with 95 % bootstrap intervals over the questions; retention "
        "is score / score of the language model on the same questions; p is of a two-sided paired test."
    )
    return Measured("\n\n".join(texts), tuple(results), tuple(remarks))


def _of_another(folder: Path, about: Mapping[str, Any]) -> str:
    """Why a run cannot be of the model in the folder; "" where nothing speaks against it."""
    measured, here = (
        about["model"].get("parameters"),
        sum(count_parameters(sorted(folder.glob("*.safetensors"))).values()),
    )
    if measured in (None, here):
        return ""
    return f"what was measured has {measured:,} parameters, this model {here:,} (quantised weights count otherwise)"


def _run(about: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    versions = {
        name: v
        for name, v in about["versions"].items()
        if v and name in ("wings_hf", "transformers", "lm_eval", "lmms_eval")
    }
    asked = {name: about["settings"].get(name) for name in ("limit", "chat", "seed", "dtype")}
    settings = ", ".join(f"{name} {value}" for name, value in asked.items() if value not in (None, False))
    base = f", against {shown_name(summary['base'])}" if "base" in summary else ""
    lines = [f"Measured with `wings-hf evaluate`{base} ({settings}; {_pairs(versions)}).", "", _table(summary)]
    means = [
        f"{kind} {percent(mean['score'])} ({interval(mean['interval'])}, {mean['sets']} sets)"
        for kind, mean in summary["means"].items()
    ]
    lines += ["", f"Means: {'; '.join(means)}."] if means else []
    kept = summary.get("retention")
    if kept and kept["mean"] is not None:
        lines.append(
            f"Text ability kept: **{percent(kept['mean'])} %** ({interval(kept['interval'])}), {kept['sets']} sets."
        )
    return "\n".join(lines)


def _table(summary: Mapping[str, Any]) -> str:
    has_base = "base" in summary
    head = ["Set", "Score", "95 % interval", "n", "Shots", "Majority"]
    head += ["Language model", "Difference", "p", "Retention"] if has_base else []
    rows = [head, ["---"] * len(head)]
    for name, found in summary["sets"].items():
        row = [name, percent(found["score"]), interval(found["interval"]), found["n"], found["shots"]]
        row.append(percent(found.get("majority")))
        rows.append([*row, *(_against(found) if has_base else [])])
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)


def _against(found: Mapping[str, Any]) -> list[str]:
    base = found.get("base")
    if base is None:
        return ["-"] * 4
    difference = f"{100 * base['difference']:+.1f} ({interval((base['low'], base['high']))})"
    return [percent(base["score"]), difference, f"{base['p']:.3f}", percent(found.get("retention"))]


def _results(summary: Mapping[str, Any]) -> list[EvalResult]:
    results = []
    for name, found in summary["sets"].items():
        if found["score"] is not None:
            metric = str(found["metric"]).partition(",")[0]
            accuracy = metric.startswith(ACCURACIES) or found["kind"] == "image"
            task, task_name = TASKS.get(found["kind"], TASKS["text"])
            results.append(
                EvalResult(
                    task_type=task,
                    task_name=task_name,
                    dataset_type=ON_THE_HUB.get(name, name),
                    dataset_name=name,
                    metric_type="accuracy" if accuracy else metric,
                    metric_name=f"{found['metric']}, {found['shots']}-shot",
                    metric_value=round((100 if accuracy else 1) * found["score"], 2),
                )
            )
    return results


def _limited(folder: Path, about: Mapping[str, Any]) -> list[str]:
    limit = about["settings"].get("limit")
    return [f"{folder} asked only the first {limit} questions of each task; the card says so"] if limit else []


def _plot(folder: Path, summaries: Sequence[Mapping[str, Any]], remarks: list[str]) -> bool:
    if importlib.util.find_spec("matplotlib") is None:
        remarks.append(NO_PLOTS)
        return False
    from wings_hf.hub.card_plots import draw_scores

    return draw_scores(folder / EVALUATION_PLOT, {k: v for each in summaries for k, v in each["sets"].items()})


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


# -- attention --------------------------------------------------------------------------------------------


def attention(folder: Path, file: Path) -> Measured:
    """
    The attention curves of a `laws.json` of `wings-hf analyze`, and their plot in `folder`.

    Raises:
        ValueError: the file cannot be read, or is another.
    """
    file = file / "laws.json" if file.is_dir() else file
    try:
        values = json.loads(file.read_text("utf-8"))
        laws = AttentionLaws.from_dict(values)
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: expected laws.json of wings-hf analyze ({error}).") from error
    settings, remarks = laws.settings, []
    defined = "" if laws.shift_is_defined else " (not defined for these curves; counted as uncorrelated)"
    lines = [
        f"Attention shift **{laws.shift:.3f}**{defined}: 1 minus the correlation, over layers, of the attention on "
        "text before an image and on text after it (Eq. 1 of [the paper](https://arxiv.org/abs/2406.03496); 0 the same "
        "course, 1 no relation, 2 the opposite).",
        f"Measured with `wings-hf analyze` on {laws.samples} samples, {laws.rows} rows ({_measured_on(settings)}).",
    ]
    if importlib.util.find_spec("matplotlib") is None:
        remarks.append(NO_PLOTS)
    else:
        from wings_hf.hub.card_plots import draw_attention

        draw_attention(folder / ATTENTION_PLOT, laws)
        lines.append(f"![Attention on text before, image and text after, layer by layer]({ATTENTION_PLOT})")
    return Measured("\n\n".join(lines), remarks=tuple(remarks))


def _measured_on(settings: Mapping[str, Any]) -> str:
    said = [f"rows: {settings.get('rows', 'not recorded')}"]
    data = [PurePath(str(each)).name for each in settings.get("data") or []]
    said += [f"data: {', '.join(data)}"] if data else ["data: not recorded"]
    said += ["interrupted early"] if settings.get("interrupted") else []
    return "; ".join(said)
