# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Log-likelihoods are those summed by hand from logits, whatever shares the batch; answers are those of `generate`."""

import math

import pytest
import scored_models
import torch

from wings_hf.evaluation.scorer import Prompt, Scorer, before_any, likelihood, longest

by_model = pytest.mark.parametrize("name", sorted(scored_models.MODELS))


def requests():
    first, second = scored_models.pictures(2)
    return [
        (Prompt("<image> What is it?", [first]), " a cat"),
        (Prompt("<image> What is it?", [second]), " a cat"),
        (Prompt("See <image> and <image> What is shown? ", [first, second]), "a dog and a cat"),
        (Prompt("What is a dog?"), " a"),
    ]


def by_hand(model, processor, prompt: Prompt, continuation: str, mark: str) -> float:
    """One sample, one token at a time, with exponentials and logarithms of Python."""
    text = prompt.text.rstrip(" ").replace("<image>", mark)
    rest = prompt.text[len(prompt.text.rstrip(" ")) :] + continuation
    images = {"images": [list(prompt.images)]} if prompt.images else {}
    whole = processor(text=[text + rest], return_tensors="pt", **images)
    context = processor(text=[text], return_tensors="pt", **images)
    ids = whole["input_ids"][0].tolist()
    start = context["input_ids"].shape[1]
    assert ids[:start] == context["input_ids"][0].tolist() and len(ids) > start
    with torch.no_grad():
        logits = model(**whole).logits[0].tolist()
    total = 0.0
    for place in range(start, len(ids)):
        row = logits[place - 1]
        total += row[ids[place]] - math.log(sum(math.exp(value) for value in row))
    return total


@by_model
def test_loglikelihood_is_the_sum_by_hand(name: str) -> None:
    model, processor = scored_models.MODELS[name]()
    scorer = Scorer(model, processor)
    for prompt, continuation in requests():
        ((found, _),) = scorer.loglikelihoods([(prompt, continuation)])
        mark = {"gemma3": "<boi>"}.get(name, "<image>")
        assert found == pytest.approx(by_hand(model, processor, prompt, continuation, mark), abs=1e-4)


@by_model
def test_a_batch_gives_what_single_requests_give(name: str) -> None:
    model, processor = scored_models.MODELS[name]()
    single = Scorer(model, processor).loglikelihoods(requests())
    counted = []
    together = Scorer(model, processor, batch_size=3).loglikelihoods(requests(), counted.append)
    assert [value for value, _ in together] == pytest.approx([value for value, _ in single], abs=1e-4)
    assert sum(counted) == 4
    assert single[0][0] != pytest.approx(single[1][0], abs=1e-4)  # another image, another likelihood


@by_model
def test_answers_are_those_of_generate(name: str) -> None:
    model, processor = scored_models.MODELS[name]()
    prompts = [prompt for prompt, _ in requests()]
    single = Scorer(model, processor).answers(prompts, max_new_tokens=5)
    assert Scorer(model, processor, batch_size=2).answers(prompts, max_new_tokens=5) == single
    scorer = Scorer(model, processor)
    (prompt,) = prompts[:1]
    ((_, greedy),) = scorer.loglikelihoods([(prompt, single[0])]) if single[0] else ((0, True),)
    inputs = scorer.encode([prompt], "left")
    tokens = model.generate(**inputs, max_new_tokens=5, do_sample=False)[:, inputs["input_ids"].shape[1] :]
    assert single[0] == processor.tokenizer.decode(tokens[0], skip_special_tokens=True)
    assert greedy or scorer.tokenizer(single[0])["input_ids"] != tokens[0].tolist()


def test_greedy_flag() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]])
    value, greedy = likelihood(logits, torch.tensor([1, 0]))
    first = 2 - math.log(1 + math.e**2 + math.e)
    assert greedy and value == pytest.approx(first + 3 - math.log(math.e**3 + 2))
    assert likelihood(logits, torch.tensor([1, 1]))[1] is False
    with pytest.raises(ValueError, match="no tokens"):
        likelihood(logits[:0], torch.tensor([], dtype=torch.long))


def test_images_without_a_mark_come_first() -> None:
    model, processor = scored_models.wings()
    scorer = Scorer(model, processor)
    image = scored_models.pictures(1)
    marked, bare = Prompt("<image>\nWhat?", image), Prompt("What?", image)
    assert scorer.loglikelihoods([(marked, " a")]) == scorer.loglikelihoods([(bare, " a")])


def test_chat_prompts_carry_their_images() -> None:
    model, processor = scored_models.wings()
    scorer = Scorer(model, processor)
    (image,) = scored_models.pictures(1)
    message = {"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": "What?"}]}
    prompt = scorer.chat([message])
    assert prompt.images == [image] and prompt.text.count("<image>") == 1
    expected = processor.apply_chat_template([message], add_generation_prompt=True, tokenize=True, return_dict=True)
    assert scorer.encode([prompt], "right")["input_ids"].tolist() == torch.as_tensor(expected["input_ids"]).tolist()


def test_what_cannot_be_scored() -> None:
    model, processor = scored_models.wings()
    image = scored_models.pictures(1)
    with pytest.raises(ValueError, match="2 places for images, and 1"):
        Scorer(model, processor).loglikelihoods([(Prompt("<image> <image>", image), " a")])
    with pytest.raises(ValueError, match="takes none"):
        Scorer(model, processor.tokenizer).loglikelihoods([(Prompt("What?", image), " a")])
    with pytest.raises(ValueError, match="the model reads 8"):
        Scorer(model, processor, max_length=8).loglikelihoods([(Prompt("<image> What is it?", image), " a")])
    with pytest.raises(ValueError, match="pixels"):
        Scorer(model, processor, max_image_pixels=100).loglikelihoods([(Prompt("<image>", image), " a")])


def test_small_parts() -> None:
    assert before_any("one. two; three", [";", ".", ""]) == "one"
    assert before_any("one", [";"]) == "one"
    model, _ = scored_models.wings()
    assert longest(model.config) == model.config.get_text_config().max_position_embeddings


@pytest.mark.parametrize("name", ["llava", "wings"])
def test_replies_are_tokens_of_the_whole_conversation(name: str) -> None:
    """A template that writes "ASSISTANT: A" and prompts with "ASSISTANT:"."""
    model, processor = scored_models.MODELS[name]()
    processor.chat_template = scored_models.SPACED
    scorer = Scorer(model, processor)
    for content in ("Which?", [{"type": "text", "text": "Which?"}]):
        prompt, replies = scorer.replying([{"role": "user", "content": content}], ["a cat", " a dog "])
        assert prompt.text == "USER: Which? ASSISTANT: " and replies[0] == "a cat"
        whole = processor.apply_chat_template(
            [{"role": "user", "content": content}, {"role": "assistant", "content": "a cat"}], tokenize=False
        )
        assert whole == f"{prompt.text}a cat</s>"
    ids = processor(text=[whole.removesuffix("</s>")], return_tensors="pt")["input_ids"]
    before = len(processor.tokenizer("USER: Which? ASSISTANT:")["input_ids"])
    with torch.no_grad():
        shares = model(input_ids=ids).logits[0, before - 1 : -1].log_softmax(-1)
    expected = float(shares.gather(-1, ids[0, before:, None]).sum())
    ((found, _),) = scorer.loglikelihoods([(prompt, replies[0])])
    assert found == pytest.approx(expected, abs=1e-4)
    ((glued, _),) = scorer.loglikelihoods([(scorer.chat([{"role": "user", "content": "Which?"}]), "a cat")])
    assert abs(glued - found) > 1e-2


def test_a_template_that_writes_other_words_is_refused() -> None:
    model, processor = scored_models.MODELS["wings"]()
    processor.chat_template = scored_models.SPACED.replace("join }}</s>", "join | lower }}</s>")
    with pytest.raises(ValueError, match="template"):
        Scorer(model, processor).replying([{"role": "user", "content": [{"type": "text", "text": "Which?"}]}], ["A"])


def test_prompts_with_and_without_bos_do_not_share_a_batch() -> None:
    """LLaVA's tokenizer adds a BOS token; a template may have written it."""
    model, processor = scored_models.MODELS["llava"]()
    requests = [(Prompt(text), " a cat") for text in ("What is it?", "<s>What is it?", "Say", "<s>See", "No")]
    single = [Scorer(model, processor).loglikelihoods([request])[0][0] for request in requests]
    together = Scorer(model, processor, batch_size=5).loglikelihoods(requests)
    assert [value for value, _ in together] == pytest.approx(single, abs=1e-4)
    assert single[0] == pytest.approx(single[1], abs=1e-4)
    with pytest.raises(ValueError, match="some prompts begin with <s>"):
        Scorer(model, processor).encode([prompt for prompt, _ in requests], "right")
