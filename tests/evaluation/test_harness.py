# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The adapter for lm-evaluation-harness: its numbers, alone, in batches, with images, and by name."""

import os
import subprocess
import sys
from pathlib import Path

import demo_parts
import pytest
import scored_models
import torch

pytest.importorskip("lm_eval", reason="lm-eval is not installed (extra 'eval')")

from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.models.huggingface import HFLM

from wings_hf.evaluation.harness import WingsLM, generation_arguments, register
from wings_hf.evaluation.lm_eval_cli import TASKS, main
from wings_hf.evaluation.scorer import Prompt, Scorer

SOURCE = Path(__file__).parents[2] / "src"


def likelihood_request(context: str, continuation: str, *images) -> Instance:
    extra = ({"visual": list(images)},) if images else ()
    return Instance("loglikelihood", {}, (context, continuation, *extra), 0)


def answer_request(context: str, *images, **settings) -> Instance:
    extra = ({"visual": list(images)},) if images else ()
    return Instance("generate_until", {}, (context, {"until": ["\n"], "max_gen_toks": 4, **settings}, *extra), 0)


@pytest.fixture(scope="module")
def wings() -> WingsLM:
    return WingsLM(*scored_models.wings())


def test_text_is_scored_as_the_harness_scores_it(wings: WingsLM) -> None:
    requests = [likelihood_request("What is a", text) for text in (" cat", " dog and a cat", " 1")]
    theirs = HFLM(wings.model, tokenizer=wings.tokenizer, backend="causal")
    assert wings.loglikelihood(requests, True) == theirs.loglikelihood(requests, True)
    answers = [answer_request("What is"), answer_request("Add 1 and 2")]
    assert wings.generate_until(answers, True) == theirs.generate_until(answers, True)


def test_text_agrees_with_the_logits(wings: WingsLM) -> None:
    ((found, greedy),) = wings.loglikelihood([likelihood_request("What is a", " dog and")], True)
    whole = wings.tokenizer("What is a dog and", return_tensors="pt")["input_ids"]
    start = len(wings.tokenizer("What is a")["input_ids"])
    with torch.no_grad():
        chances = wings.model(whole).logits[0].double().softmax(-1)
    by_hand = sum(chances[place - 1, whole[0, place]].log() for place in range(start, whole.shape[1]))
    assert found == pytest.approx(float(by_hand), abs=1e-4)
    assert greedy == (chances[start - 1 : -1].argmax(-1) == whole[0, start:]).all()


def test_images_and_texts_in_one_list_keep_their_order(wings: WingsLM) -> None:
    first, second = scored_models.pictures(2)
    requests = [
        likelihood_request("<image> What is it?", " a cat", first),
        likelihood_request("What is it?", " a cat"),
        likelihood_request("<image> <image> What is it?", " a cat", first, second),
        likelihood_request("What is it?", " a dog"),
    ]
    found = wings.loglikelihood(requests, True)
    scorer = Scorer(wings.model, wings.processor)
    expected = scorer.loglikelihoods([(Prompt("<image> <image> What is it?", [first, second]), " a cat")])
    assert found[2] == expected[0]
    assert [wings.loglikelihood([request], True)[0][0] for request in requests] == pytest.approx([v for v, _ in found])
    assert len({value for value, _ in found}) == 4


def test_answers_with_images_and_other_settings(wings: WingsLM) -> None:
    (image,) = scored_models.pictures(1)
    requests = [
        answer_request("<image> What is it?", image),
        answer_request("What is it?"),
        answer_request("<image> What is it?", image, max_gen_toks=1),
    ]
    first, _, short = wings.generate_until(requests, True)
    assert first.startswith(short) and len(short) < len(first)
    with pytest.raises(ValueError, match="of texts"):
        wings.loglikelihood_rolling([Instance("loglikelihood_rolling", {}, ("a", "", {"visual": [image]}), 0)])


def test_generation_settings() -> None:
    settings = {"until": "x", "max_gen_toks": 3, "temperature": 0.0, "top_p": 0.9}
    assert generation_arguments(settings, 9) == {"max_new_tokens": 3, "stop": ["x"], "do_sample": False}
    assert generation_arguments({"do_sample": True, "temperature": 0.5}, 9) == {
        "max_new_tokens": 9,
        "stop": [],
        "do_sample": True,
        "temperature": 0.5,
    }


def test_chat_templates_place_images_and_leave_text_alone(wings: WingsLM) -> None:
    history = [{"role": "user", "content": "Look <image> here"}]
    text = wings.apply_chat_template(history)
    assert text.count("<image>") == 1 and text.index("Look") < text.index("<image>") < text.index("here")
    plain = [{"role": "user", "content": "What is it?"}]
    template = demo_parts.tokenizer().chat_template
    base = (
        demo_parts.tokenizer().apply_chat_template(plain, tokenize=False, add_generation_prompt=True)
        if template
        else ""
    )
    assert not template or wings.apply_chat_template(plain) == base


@pytest.mark.parametrize("name", ["llava", "gemma3"])
def test_other_image_text_models(name: str) -> None:
    lm = WingsLM(*scored_models.MODELS[name]())
    (image,) = scored_models.pictures(1)
    ((value, _),) = lm.loglikelihood([likelihood_request("<image> What is it?", " a cat", image)], True)
    assert lm.MULTIMODAL and value < 0


def test_by_name_from_folders(tmp_path: Path) -> None:
    register()
    image_model = get_model("wings").create_from_arg_string(
        f"pretrained={scored_models.saved('wings', tmp_path / 'w')}"
    )
    assert type(image_model) is WingsLM and image_model.MULTIMODAL
    text_model = get_model("wings").create_from_arg_string(
        f"pretrained={scored_models.saved_text_model(tmp_path / 't')}", {"batch_size": 2}
    )
    assert not text_model.MULTIMODAL and text_model.batch_size == 2
    requests = [likelihood_request("What is a", " cat")]
    theirs = HFLM(str(tmp_path / "t"), device="cpu").loglikelihood(requests, True)
    assert text_model.loglikelihood(requests, True) == theirs


@pytest.mark.parametrize("given", [["--include_path", "mine"], ["--include_path=mine"], []])
def test_our_task_files_go_in_where_no_others_are_named(given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr("lm_eval.__main__.cli_evaluate", lambda: seen.extend(sys.argv))
    monkeypatch.setattr(sys, "argv", ["wings-lm-eval", "--tasks", "a", *given])
    main()
    assert seen[3:] == (given or ["--include_path", str(TASKS)])


def test_the_harness_command_line_knows_the_name(tmp_path: Path) -> None:
    folder = scored_models.saved("wings", tmp_path / "w")
    data = tmp_path / "data.jsonl"
    data.write_text('{"q": "What is a", "choices": ["cat", "dog and"], "a": 0}\n')
    (tmp_path / "tiny.yaml").write_text(
        f"task: tiny_own\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {data}}}}}\ntest_split: test\n"
        "output_type: multiple_choice\ndoc_to_text: '{{q}}'\ndoc_to_choice: choices\ndoc_to_target: a\n"
        "metric_list: [{metric: acc}]\nnum_fewshot: 0\n"
    )
    arguments = ["--model", "wings", "--model_args", f"pretrained={folder}", "--device", "cpu", "--tasks", "tiny_own"]
    done = subprocess.run(
        [sys.executable, "-m", "wings_hf.evaluation.lm_eval_cli", *arguments, "--include_path", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "HF_HOME": str(tmp_path / "hf")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "tiny_own" in done.stdout and "acc" in done.stdout
