# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A task of lmms-eval, made here, through its own evaluation: with messages and without, scored and unscored."""

import pytest
import scored_models

pytest.importorskip("lmms_eval", reason="lmms-eval is not installed (it has an environment of its own: see docs)")

from wings_hf.evaluation.image_runs import ImageRunner
from wings_hf.evaluation.sets import ImageSet
from wings_hf.evaluation.settings import Settings

FUNCTIONS = """
from PIL import Image

def visual(doc):
    return [Image.open(doc["path"]).convert("RGB")]

def text(doc, lmms_eval_specific_kwargs=None):
    return doc["question"]

def messages(doc, lmms_eval_specific_kwargs=None):
    image = {"type": "image", "url": visual(doc)[0]}
    return [{"role": "user", "content": [image, {"type": "text", "text": doc["question"]}]}]

def results(doc, answers):
    right = float(answers[0].strip() == doc["answer"])
    return {"tiny_acc": {"pred": answers[0].strip() or "?", "answer": doc["answer"]}, "tiny_score": right}

def forbidden(values):
    raise RuntimeError("aggregations are not ours to run")
"""
TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_visual: !function tiny_functions.visual
doc_to_text: !function tiny_functions.text
doc_to_target: answer
{messages}
process_results: !function tiny_functions.results
generation_kwargs: {{max_new_tokens: 3, temperature: 0, do_sample: false}}
metric_list:
  - metric: tiny_acc
    aggregation: !function tiny_functions.forbidden
    higher_is_better: true
  - metric: tiny_score
    aggregation: !function tiny_functions.forbidden
    higher_is_better: true
"""


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> ImageRunner:
    folder = tmp_path_factory.mktemp("tasks")
    lines = []
    for number, picture in enumerate(scored_models.pictures(3)):
        picture.save(folder / f"{number}.png")
        lines.append(f'{{"path": "{folder}/{number}.png", "question": "What is {number}?", "answer": "B"}}\n')
    (folder / "data.jsonl").write_text("".join(lines))
    (folder / "tiny_functions.py").write_text(FUNCTIONS)
    for name, messages in (("tiny_simple", ""), ("tiny_chat", "doc_to_messages: !function tiny_functions.messages")):
        (folder / f"{name}.yaml").write_text(TASK.format(name=name, data=folder / "data.jsonl", messages=messages))
    return ImageRunner(*scored_models.wings(), Settings(device="cpu", limit=2), folder)


@pytest.mark.parametrize("task", ["tiny_simple", "tiny_chat"])
def test_scores_are_ours_and_prompts_the_tasks(runner: ImageRunner, task: str) -> None:
    record, samples = runner.run(ImageSet("tiny", task, "tiny_acc"))
    assert record["n"] == 2 == len(samples) and record["kind"] == "image"
    images = scored_models.pictures(2)
    asked = [
        {"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": f"What is {number}?"}]}
        for number, image in enumerate(images)
    ]
    scorer = runner.simple.scorer
    answers = scorer.answers([scorer.chat([message]) for message in asked], max_new_tokens=3)
    assert [sample["filtered"].strip() for sample in samples] == [answer.strip() for answer in answers]
    assert [sample["score"] for sample in samples] == [float(answer.strip() == "B") for answer in answers]
    assert record["score"] == sum(sample["score"] for sample in samples) / 2


def test_rules_and_sets_without_answers(runner: ImageRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(runner.simple), "generate_until", lambda self, requests: ["B. a cat", "A"])
    record, samples = runner.run(ImageSet("tiny", "tiny_simple", rule="letter"))
    assert [sample["score"] for sample in samples] == [1.0, 0.0] and record["metric"] == "letter"
    record, samples = runner.run(ImageSet("tiny", "tiny_simple", has_answers=False))
    assert record["score"] is None and [sample["score"] for sample in samples] == [None, None]
    assert [sample["filtered"] for sample in samples] == ["B. a cat", "A"]


def test_what_is_not_there(runner: ImageRunner) -> None:
    with pytest.raises(ValueError, match="no task 'unheard_of'"):
        runner.run(ImageSet("x", "unheard_of", "acc"))
    with pytest.raises(ValueError, match="gave no metric other"):
        runner.run(ImageSet("x", "tiny_simple", "other"))
