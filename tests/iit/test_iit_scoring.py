# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Scoring: log-likelihoods against plain forward passes, and a kept cache against recomputing."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import iit_parts
import numpy as np
import pytest
import scored_models
import torch
from PIL import Image

from wings_hf.evaluation.scorer import Scorer
from wings_hf.evaluation.statistics import bootstrap_interval
from wings_hf.iit.benchmark import Benchmark, build
from wings_hf.iit.build import BuildOptions
from wings_hf.iit.conversation import PAPER_SETTINGS, Conversation
from wings_hf.iit.reader import ConversationReader
from wings_hf.iit.results import Results, table
from wings_hf.iit.scoring import ScoreOptions, score

SETTINGS = (*PAPER_SETTINGS, "VT", "VTV")


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    folder = tmp_path_factory.mktemp("scored")
    images = iit_parts.image_items(folder / "discs", 12)
    return build(iit_parts.text_items(24), images, folder / "iit", BuildOptions(settings=SETTINGS, per_setting=3))


def likelihoods(results: Results) -> np.ndarray:
    return np.concatenate([sample.loglikelihoods for sample in results.samples])


def plainly(model: Any, processor: Any, chat: Conversation, place: int, given: list[int]) -> list[float]:
    """Log-likelihoods of the letters by one plain forward pass over the processor's own chat inputs."""
    messages = chat.messages(place, given)
    for message in messages:
        for item in message["content"]:
            if item["type"] == "image":
                item["image"] = Image.open(item.pop("path"))
    inputs = processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    with torch.no_grad():
        logits = model(**inputs, use_cache=False).logits[0, -1]
    letters = [processor.tokenizer(reply)["input_ids"] for reply in chat.turns[place].replies()]
    assert all(len(letter) == 1 for letter in letters)
    return torch.log_softmax(logits, -1)[torch.tensor(letters)[:, 0]].tolist()


@pytest.mark.parametrize("cache", ["keep", "recompute"])
def test_letters_are_as_likely_as_plain_forward_passes_say(benchmark: Benchmark, cache: Any) -> None:
    model, processor = iit_parts.wings()
    results = score(benchmark, model, processor, ScoreOptions(settings=("TTV", "VT"), cache=cache))
    rows = {(sample.conversation, sample.turn): sample for sample in results.samples}
    for chat in [*benchmark.of("TTV"), *benchmark.of("VT")]:
        for place, turn in enumerate(chat.turns):
            expected = plainly(model, processor, chat, place, [turn.answer for turn in chat.turns])
            sample = rows[chat.id, place]
            np.testing.assert_allclose(sample.loglikelihoods, expected, atol=1e-5)
            assert (sample.choice, sample.answer) == (int(np.argmax(expected)), turn.answer)


@pytest.mark.parametrize(
    "options",
    [
        {"router": "position"},
        {"router": "modality"},
        {"learners": ("visual",)},
        {"learner_scope": "visual_context"},
        {"learner_cache": "latent", "learner_rope": False},
        {"family": {"model_type": "mistral", "sliding_window": 8}},
        {"family": {"model_type": "gemma2", "head_dim": 16, "sliding_window": 8}},
    ],
    ids=str,
)
def test_a_kept_cache_changes_nothing(benchmark: Benchmark, options: dict[str, Any]) -> None:
    model, processor = iit_parts.wings(**options)
    settings = {"settings": ("TTV", "VTV"), "history": "model", "limit": 2}
    for answers in ("letter", "text") if "router" in options else ("letter",):
        kept, plain = (
            score(benchmark, model, processor, ScoreOptions(cache=cache, answers=answers, **settings))
            for cache in ("keep", "recompute")
        )
        np.testing.assert_allclose(likelihoods(kept), likelihoods(plain), atol=2e-5)
        assert len({round(value, 3) for value in likelihoods(plain)}) > 20


def test_a_kept_cache_is_read_once(benchmark: Benchmark) -> None:
    model, processor = iit_parts.wings()
    seen: list[tuple[int, int]] = []
    forward = model.forward

    def watched(**inputs: Any) -> Any:
        seen.append((inputs["input_ids"].shape[1], len(inputs.get("pixel_values", ()))))
        return forward(**inputs)

    model.forward = watched
    chat = benchmark.of("VTV")[0]
    scorer = Scorer(model, processor)
    for keep in (True, False):
        seen.clear()
        reader = ConversationReader(scorer, keep)
        reader.short = True
        whole = 0
        for place, turn in enumerate(chat.turns):
            reader.read(chat.messages(place, [0, 0]), turn.replies())
            whole = scorer.encode([scorer.chat(chat.messages(place, [0, 0]))], "right")["input_ids"].shape[1]
        if keep:
            assert sum(tokens for tokens, _ in seen) == whole and [images for _, images in seen] == [1, 0, 1]
        else:
            assert seen[-1] == (whole, 2) and sum(tokens for tokens, _ in seen) > 1.5 * whole


@pytest.mark.parametrize("name", ["llava", "gemma3"])
def test_other_models_of_transformers_are_scored(benchmark: Benchmark, name: str) -> None:
    model, processor = scored_models.MODELS[name]()
    options = {"settings": ("TTV", "VTV"), "limit": 2}
    auto = score(benchmark, model, processor, ScoreOptions(**options), name)
    plain = score(benchmark, model, processor, ScoreOptions(**options, cache="recompute"))
    np.testing.assert_allclose(likelihoods(auto), likelihoods(plain), atol=2e-5)
    kept = name == "llava"  # Gemma 3 reads an image that comes after a past otherwise
    assert auto.facts["cache"]["TTV"].startswith("kept" if kept else "recomputed")
    chat = benchmark.of("TTV")[0]
    scorer = Scorer(model, processor)
    shown = scorer.chat(chat.messages(2, [turn.answer for turn in chat.turns]))
    ours = np.array(next(s for s in auto.samples if s.conversation == chat.id and s.turn == 2).loglikelihoods)
    theirs = np.array([value for value, _ in scorer.loglikelihoods([(shown, reply) for reply in chat.last.replies()])])
    np.testing.assert_allclose(ours - ours[0], theirs - theirs[0], atol=1e-4)


@pytest.mark.parametrize("cache", ["keep", "recompute"])
def test_letters_are_tokens_of_the_whole_conversation(benchmark: Benchmark, cache: Any) -> None:
    """A template that writes "ASSISTANT: A" and prompts with "ASSISTANT:": the space is of the reply."""
    model, processor = iit_parts.wings()
    processor.chat_template = scored_models.SPACED
    results = score(benchmark, model, processor, ScoreOptions(settings=("TTV",), limit=1, cache=cache))
    chat = benchmark.of("TTV")[0]
    messages = chat.messages(2, [turn.answer for turn in chat.turns])
    images = [[Image.open(item["path"]) for item in messages[-1]["content"] if item["type"] == "image"]]
    expected = []
    for letter in chat.last.replies():
        answered = [*messages, {"role": "assistant", "content": [{"type": "text", "text": letter}]}]
        text = processor.apply_chat_template(answered, tokenize=False).removesuffix("</s>")
        inputs = processor(text=[text], images=images, return_tensors="pt")
        with torch.no_grad():
            shares = model(**inputs, use_cache=False).logits[0, -2].log_softmax(-1)
        assert processor.tokenizer.decode(inputs["input_ids"][0, -1]).strip() == letter
        expected.append(float(shares[inputs["input_ids"][0, -1]]))
    found = np.array(next(sample.loglikelihoods for sample in results.samples if sample.turn == 2))
    np.testing.assert_allclose(found - found[0], np.array(expected) - expected[0], atol=1e-4)


def test_a_model_that_forgets_is_read_from_the_beginning(benchmark: Benchmark) -> None:
    model, processor = iit_parts.wings()
    some = ScoreOptions(settings=("T", "TTV"), limit=2)
    expected = score(benchmark, model, processor, replace(some, cache="recompute"))
    forward = model.forward

    def forgetful(**inputs: Any) -> Any:
        inputs["past_key_values"] = None
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        return forward(**inputs)

    model.forward = forgetful
    results = score(benchmark, model, processor, some)
    assert results.facts["cache"]["TTV"].startswith("recomputed: with a kept cache")
    np.testing.assert_allclose(likelihoods(results), likelihoods(expected), atol=1e-5)

    def refusing(**inputs: Any) -> Any:
        if inputs.get("past_key_values") is not None:
            raise NotImplementedError("no second turn")
        return forward(**inputs)

    model.forward = refusing
    results = score(benchmark, model, processor, some)
    assert results.facts["cache"]["TTV"] == "recomputed: NotImplementedError: no second turn"
    assert results.facts["cache"]["T"] == "one turn"
    np.testing.assert_allclose(likelihoods(results), likelihoods(expected), atol=1e-5)


def test_in_half_precision_rounding_hides_nothing(benchmark: Benchmark) -> None:
    some = ScoreOptions(settings=("TTV", "VT"), limit=1)
    for (model, processor), kept in ((iit_parts.wings(), True), (scored_models.llava(), False)):
        caches = score(benchmark, model.bfloat16(), processor, some).facts["cache"]
        assert caches["TTV"].startswith("kept" if kept else "recomputed: images after the first turn")
        assert caches["VT"].startswith("kept")


def test_a_text_model_is_scored_on_text(benchmark: Benchmark) -> None:
    model, tokenizer = iit_parts.language_model()
    results = score(benchmark, model, tokenizer)
    assert results.settings == ("T", "TT", "TTT") and results.facts["skipped"] == ["TTV", "TV", "V", "VT", "VTV"]
    blind = score(benchmark, model, tokenizer, ScoreOptions(blind="removed"))
    assert set(blind.settings) == set(SETTINGS)
    with pytest.raises(ValueError, match="takes no images"):
        score(benchmark, model, tokenizer, ScoreOptions(settings=("V",)))


def test_blind_scores_do_not_depend_on_images(benchmark: Benchmark, tmp_path: Path) -> None:
    model, processor = iit_parts.wings()
    sighted = score(benchmark, model, processor, ScoreOptions(settings=("V",)))
    blank = score(benchmark, model, processor, ScoreOptions(settings=("V",), blind="blank"))
    removed = score(benchmark, model, processor, ScoreOptions(settings=("V",), blind="removed"))
    assert not np.allclose(likelihoods(sighted), likelihoods(blank), atol=1e-3)
    assert not np.allclose(likelihoods(blank), likelihoods(removed), atol=1e-3)
    chat = benchmark.of("V")[0]
    grey = tmp_path / "grey.png"
    Image.new("RGB", Image.open(chat.last.images[0]).size, (128, 128, 128)).save(grey)
    turn = {**chat.to_dict()["turns"][0], "images": [str(grey)]}
    shown = Conversation.from_dict({**chat.to_dict(), "turns": [turn]})
    expected = plainly(model, processor, shown, 0, [])
    np.testing.assert_allclose(blank.samples[0].loglikelihoods, expected, atol=1e-5)


def test_history_is_gold_or_the_models_own(benchmark: Benchmark) -> None:
    model, processor = iit_parts.wings()
    gold, own = (
        score(benchmark, model, processor, ScoreOptions(settings=("TT",), history=h)) for h in ("gold", "model")
    )
    firsts, seconds = (
        [[sample.loglikelihoods for sample in results.samples if sample.turn == turn] for results in (gold, own)]
        for turn in (0, 1)
    )
    assert firsts[0] == firsts[1]
    wrong = [not right for right in gold.right("TT", 0)]
    assert any(wrong)
    for changed, one, other in zip(wrong, *seconds, strict=True):
        assert np.allclose(one, other, atol=1e-6) != changed


def test_options_are_checked() -> None:
    for wrong in ({"answers": "word"}, {"history": "none"}, {"cache": "maybe"}, {"blind": "dark"}, {"limit": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ScoreOptions(**wrong)


@pytest.mark.slow
def test_a_model_that_learns_to_see_beats_text_alone(tmp_path: Path) -> None:
    """A tiny model trained on the image questions answers them, and no longer so when images are blank."""
    benchmark = build(
        [], iit_parts.image_items(tmp_path / "discs", 60), tmp_path / "iit", BuildOptions(("V",), per_setting=18)
    )
    model, processor = iit_parts.wings()
    scorer = Scorer(model, processor)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    chats = benchmark.of("V")
    for _ in range(60):
        asked = [scorer.chat(chat.messages(0, [])) for chat in chats]
        replies = [chat.last.replies()[chat.last.answer] for chat in chats]
        pairs = zip(asked, replies, strict=True)
        inputs = scorer.encode([prompt._replace(text=prompt.text + reply) for prompt, reply in pairs], "right")
        rows, ends = torch.arange(len(chats)), inputs["attention_mask"].sum(-1) - 1
        labels = torch.full_like(inputs["input_ids"], -100)
        labels[rows, ends] = inputs["input_ids"][rows, ends]
        model(**inputs, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    sighted = score(benchmark, model, processor).last("V").accuracy
    blind = score(benchmark, model, processor, ScoreOptions(blind="blank")).last("V").accuracy
    text_alone = benchmark.facts["settings"]["V"]["baselines"]["text only"]["accuracy"]
    assert sighted > 0.9 and sighted - blind > 0.25 and sighted - text_alone > 0.5


# -- results ----------------------------------------------------------------------------------------------


def test_results_are_counted_from_samples(benchmark: Benchmark, tmp_path: Path) -> None:
    model, processor = iit_parts.wings()
    results = score(benchmark, model, processor, name="tiny")
    right = [float(sample.right) for sample in results.samples if sample.setting == "TTV" and sample.turn == 2]
    assert results.last("TTV").accuracy == round(sum(right) / 3, 4)
    assert results.last("TTV").low == round(bootstrap_interval(right)[0], 4)
    assert results.turns("TTV")[-1] == results.last("TTV") and len(results.turns("TTV")) == 3
    every = [float(sample.right) for sample in results.samples if sample.setting == "TTV"]
    assert results.every("TTV").accuracy == round(sum(every) / 9, 4)
    cost = results.cost_of_context()["TTV"]["difference"]
    assert cost == pytest.approx(results.last("TTV").accuracy - results.last("V").accuracy, abs=1e-3)
    results.save(tmp_path / "run")
    assert Results.load(tmp_path / "run") == results
    whole = json.loads((tmp_path / "run/results.json").read_text())
    assert whole["scores"]["settings"]["V"]["conversations"] == 3
    assert whole["model"]["versions"]["transformers"] and whole["options"]["history"] == "gold"
    assert whole["benchmark"]["sha256"] == benchmark.fingerprint
    lines = [json.loads(line) for line in (tmp_path / "run/samples.jsonl").read_text().splitlines()]
    assert len(lines) == len(results.samples) and {"loglikelihoods", "choice", "answer", "right"} <= set(lines[0])
    rows = table([results]).splitlines()
    assert rows[0].startswith("| Model | (T) | (T,T) | (T,T,T) | (T,T,V) | (T,V) | (V) |")
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| tiny", "| *chance*", "| *text only*"]


def test_results_of_different_benchmarks_do_not_share_a_table(benchmark: Benchmark, tmp_path: Path) -> None:
    model, processor = iit_parts.language_model()
    other = build(iit_parts.text_items(24), [], tmp_path / "iit", BuildOptions(settings=("T",), per_setting=3, seed=3))
    results = [score(one, model, processor, ScoreOptions(settings=("T",))) for one in (benchmark, other)]
    with pytest.raises(ValueError, match="different benchmarks"):
        table(results)
    with pytest.raises(ValueError, match="holds no results"):
        Results.load(tmp_path)
