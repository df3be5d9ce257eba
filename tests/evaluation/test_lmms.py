# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The adapter for lmms-eval: found by its entry point, its prompts and numbers are those of the scorer."""

from pathlib import Path

import pytest
import scored_models

pytest.importorskip("lmms_eval", reason="lmms-eval is not installed (it has an environment of its own: see docs)")

from lmms_eval.api.instance import Instance
from lmms_eval.models.registry_v2 import ModelRegistryV2

from wings_hf.evaluation.lmms import WingsChat, WingsSimple
from wings_hf.evaluation.scorer import Prompt, Scorer

IMAGES = scored_models.pictures(2)
DOCUMENTS = [{"images": IMAGES[:1], "answer": "a cat"}, {"images": IMAGES, "answer": "a dog"}]


def visuals(document):
    return document["images"]


def request(kind: str, *arguments) -> Instance:
    metadata = {"task": "tiny", "doc_id": 0, "repeats": 1}
    return Instance(request_type=kind, arguments=arguments, idx=0, metadata=metadata)


@pytest.fixture(scope="module")
def simple() -> WingsSimple:
    lm = WingsSimple(*scored_models.wings(), batch_size=2)
    lm.task_dict["tiny"] = {"test": DOCUMENTS}
    return lm


def expected_prompt(lm: WingsSimple, content: list[dict]):
    return lm.scorer.chat([{"role": "user", "content": content}])


def image(number: int) -> dict:
    return {"type": "image", "image": IMAGES[number]}


def words(text: str) -> dict:
    return {"type": "text", "text": text}


def test_loglikelihoods(simple: WingsSimple) -> None:
    place = (visuals, 1, "tiny", "test")
    requests = [
        request("loglikelihood", "What?", " a dog", *place),
        request("loglikelihood", "Look <image> and <image>?", lambda document: document["answer"], *place),
        request("loglikelihood", "Say", "a cat"),
    ]
    found = simple.loglikelihood(requests)
    scorer = Scorer(simple.scorer.model, simple.scorer.processor)
    prompts = [
        expected_prompt(simple, [image(0), image(1), words("What?")]),
        expected_prompt(simple, [words("Look "), image(0), words(" and "), image(1), words("?")]),
        expected_prompt(simple, [words("Say")]),
    ]
    expected = scorer.loglikelihoods(list(zip(prompts, ["a dog", "a dog", "a cat"], strict=True)))
    assert [value for value, _ in found] == pytest.approx([value for value, _ in expected], abs=1e-4)


def test_likelihoods_are_of_the_whole_conversation() -> None:
    """A template that writes "ASSISTANT: A" and prompts with "ASSISTANT:"."""
    model, processor = scored_models.wings()
    processor.chat_template = scored_models.SPACED
    lm = WingsSimple(model, processor)
    ((found, _),) = lm.loglikelihood([request("loglikelihood", "Say", " a cat")])
    ((expected, _),) = lm.scorer.loglikelihoods([(Prompt("USER: Say ASSISTANT: "), "a cat")])
    ((glued, _),) = lm.scorer.loglikelihoods([(Prompt("USER: Say ASSISTANT:"), "a cat")])
    assert found == pytest.approx(expected, abs=1e-5) and abs(found - glued) > 1e-3


def test_answers(simple: WingsSimple) -> None:
    settings = {"max_new_tokens": 4, "temperature": 0, "image_aspect_ratio": "original", "until": ["\n"]}
    requests = [
        request("generate_until", "What?", {**settings, "max_new_tokens": tokens}, visuals, number, "tiny", "test")
        for number, tokens in ((0, 4), (1, 1), (1, 4))
    ]
    first, short, second = simple.generate_until(requests)
    assert second.startswith(short) and len(short) < len(second)
    prompt = expected_prompt(simple, [image(0), words("What?")])
    assert first == simple.scorer.answers([prompt], max_new_tokens=4, stop=["\n"])[0]


def test_messages() -> None:
    lm = WingsChat(*scored_models.wings(), system_prompt="Be short.")
    lm.task_dict["tiny"] = {"test": DOCUMENTS}

    def messages(document):
        parts = [{"type": "text", "text": "Is "}, {"type": "image", "url": document["images"][0]}]
        return [{"role": "user", "content": [*parts, {"type": "text", "text": " a cat?"}]}]

    asked = request("generate_until", "", messages, {"max_new_tokens": 3}, 0, "tiny", "test")
    prompt = lm.prompt_of(asked)
    assert prompt.images == IMAGES[:1] and "Be short." in prompt.text
    assert prompt.text.index("Is ") < prompt.text.index("<image>") < prompt.text.index(" a cat?")
    assert lm.generate_until([asked]) == lm.scorer.answers([prompt], max_new_tokens=3)
    lm.task_dict["tiny"]["test"] = [{"images": ["film.mp4"]}]
    film = lambda document: [{"role": "user", "content": [{"type": "video", "url": "film.mp4"}]}]  # noqa: E731
    with pytest.raises(ValueError, match="takes images"):
        lm.generate_until([request("generate_until", "", film, {}, 0, "tiny", "test")])


def test_marks_without_images_are_words(simple: WingsSimple) -> None:
    asked = request("generate_until", "A <image> and an <image>?", {}, visuals, 0, "tiny", "test")
    prompt = simple.prompt_of(asked)
    assert prompt.images == IMAGES[:1] and "and an image?" in prompt.text


def test_cleaning_up_keeps_the_model(simple: WingsSimple) -> None:
    simple.clean()
    assert simple.scorer.model is not None


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="'wrong'"):
        WingsSimple(*scored_models.wings(), wrong=1)


def test_found_by_the_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "wings_hf_test-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wings-hf-test\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lmms_eval.models]\nwings = wings_hf.evaluation.lmms:manifests\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = ModelRegistryV2()
    registry.load_entrypoint_manifests()
    assert registry.get_model_class("wings") is WingsChat
    assert registry.get_model_class("wings", force_simple=True) is WingsSimple


def test_from_a_folder(tmp_path: Path) -> None:
    folder = scored_models.saved("wings", tmp_path / "w")
    lm = WingsChat.create_from_arg_string(f"pretrained={folder},dtype=float32", {"batch_size": "2", "device": "cpu"})
    assert lm.scorer.batch_size == 2 and lm.scorer.image_token == "<image>"
