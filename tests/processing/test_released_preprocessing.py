# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Images and prompts as the authors' published code prepares them.

What that code made of 4 images and 10 prompts is compared where it lies beside the project
(`../shared/reference/preprocess`); the other tests expect what was worked out by hand.
"""

import json
import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from processor_parts import CHATML, PATCH, SIZE, TOKENS, build_processor, build_tokenizer, picture
from safetensors.numpy import load_file
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers
from transformers import CLIPImageProcessorPil, PreTrainedTokenizerFast, SiglipImageProcessorPil

from wings_hf import WingsProcessor
from wings_hf.data.collator import ConversationCollator
from wings_hf.data.records import to_messages
from wings_hf.processing.wings_released_prompts import (
    RELEASED_CHAT_TEMPLATES,
    released_messages,
    released_processor,
    released_question,
)
from wings_hf.processing.wings_square_padding import pad_to_square

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "preprocess"
IMAGES = ("wide", "tall", "square", "rgb_odd")
GREY = [127, 127, 127]
IGNORED, REFERENCE_IMAGE_ID = -100, -200
FAMILIES = {"qwen": "qwen2", "llama_as_shell_passes": "llama"}

reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason=f"the published code's results are not at {REFERENCE}")


@cache
def prompts() -> dict[str, Any]:
    return json.loads((REFERENCE / "prompts.json").read_text())


@cache
def tensors() -> dict[str, np.ndarray]:
    return load_file(REFERENCE / "images.safetensors")


def toy_tokenizer(vocabulary: dict[str, int]) -> PreTrainedTokenizerFast:
    """Each `<|..|>` is one token, and so is each other character."""
    unknown = next(iter(vocabulary))
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    control = [AddedToken(token, special=True, normalized=False) for token in vocabulary if token.startswith("<|")]
    backend.add_special_tokens(control)
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token=unknown, pad_token=unknown)


def vocabulary_of(texts: str) -> dict[str, int]:
    tokens = ["<|endoftext|>", *re.findall(r"<\|\w+\|>|(?s:.)", texts)]
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}


def model_config(family: str, image_token_id: int) -> Any:
    return SimpleNamespace(
        text_config=SimpleNamespace(model_type=family),
        image_token_id=image_token_id,
        image_token_geometry=lambda: {"patch_size": PATCH, "num_prefix_tokens": 0, "rounding": "floor"},
    )


def square_images(size: int = SIZE, **kwargs: Any) -> Any:
    return SiglipImageProcessorPil(size={"height": size, "width": size}, **kwargs)


def untouched() -> Any:
    """An image processor that only makes an array."""
    return SiglipImageProcessorPil(do_resize=False, do_rescale=False, do_normalize=False)


def toy_processor(family: str, vocabulary: dict[str, int]) -> WingsProcessor:
    tokenizer = toy_tokenizer(vocabulary)
    return released_processor(model_config(family, len(tokenizer)), square_images(), tokenizer)


@cache
def processor_for(family: str) -> WingsProcessor:
    """One whose vocabulary has all that the tests by hand say."""
    return toy_processor(family, vocabulary_of(RELEASED_CHAT_TEMPLATES[family] + "Look: Hi! 123"))


def encode(processor: WingsProcessor, messages: list[dict[str, Any]], **kwargs: Any) -> tuple[list[int], list[int]]:
    """Ids and labels, the run of tokens of each image as one id of -200."""
    images = [picture() for message in messages for item in message["content"] if item["type"] == "image"]
    row = processor.apply_chat_template(
        messages,
        images=images or None,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
        **kwargs,
    )
    ids, labels = [], []
    for token, said in zip(row["input_ids"][0], row["assistant_masks"][0], strict=True):
        ids.append(REFERENCE_IMAGE_ID if token == processor.image_token_id else token)
        labels.append(token if said else IGNORED)
    while REFERENCE_IMAGE_ID in ids and (start := ids.index(REFERENCE_IMAGE_ID)) + TOKENS <= len(ids):
        assert ids[start : start + TOKENS] == [REFERENCE_IMAGE_ID] * TOKENS
        assert labels[start : start + TOKENS] == [IGNORED] * TOKENS
        ids[start : start + TOKENS], labels[start : start + TOKENS] = [None], [IGNORED]
    return [REFERENCE_IMAGE_ID if token is None else token for token in ids], labels


# -- against the published code -------------------------------------------------------------------------------


@reference
@pytest.mark.parametrize("name", IMAGES)
def test_padded_images_are_the_published_ones(name):
    raw, expected = tensors()[f"{name}.raw_uint8_hwc"], tensors()[f"{name}.padded_uint8_hwc"]
    padded = pad_to_square(Image.fromarray(raw), GREY, None)
    assert np.array_equal(np.asarray(padded), expected)
    processor = build_processor(image_processor=untouched(), pad_to_square=GREY)
    pixels = processor(images=raw)["pixel_values"]
    assert np.array_equal(np.asarray(pixels[0]), expected.transpose(2, 0, 1))


@reference
@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize(
    "size, colour, entry, stride",
    [(54, GREY, "54_pad", 1), (54, None, "54_nopad", 1), (384, GREY, "384_pad_stride8", 8)],
)
def test_pixel_values_are_the_published_ones(name, size, colour, entry, stride):
    processor = build_processor(image_processor=square_images(size), pad_to_square=colour)
    (pixels,) = processor(images=tensors()[f"{name}.raw_uint8_hwc"], return_tensors="np")["pixel_values"]
    assert pixels.shape == (3, size, size) and pixels.dtype == np.float32
    assert np.abs(pixels[:, ::stride, ::stride] - tensors()[f"{name}.pixel_values_{entry}"]).max() <= 1e-6
    if size == 384:  # of which the file has every eighth pixel only
        whole = torch.from_numpy(np.asarray(pixels)).double()
        expected = prompts()["image_stats"][f"{name}.pixel_values_384_pad"]
        found = {statistic: getattr(whole, statistic)().item() for statistic in ("mean", "std", "min", "max")}
        assert found == pytest.approx({key: expected[key] for key in found}, abs=1e-6)


def published_cases() -> list[tuple[str, int]]:
    """(slots, index) of each prompt, where they are at hand."""
    if not REFERENCE.is_dir():
        return []
    cases = [(index, case) for index, case in enumerate(prompts()["cases"]) if "prompt" in case]
    return [(case["slots"], index) for index, case in cases]


@reference
@pytest.mark.parametrize("slots, index", published_cases())
def test_prompts_ids_and_labels_are_the_published_ones(slots, index):
    cases = prompts()["cases"]
    case = cases[index]
    vocabulary = next(other["toy_vocab"] for other in cases if other["slots"] == slots and "toy_vocab" in other)
    processor = toy_processor(FAMILIES[slots], vocabulary)
    asks = "query" in case
    messages = released_messages(case["conversations"] if not asks else [{"from": "human", "value": case["query"]}])
    assert processor.apply_chat_template(messages, add_generation_prompt=asks) == case["prompt"]
    ids, labels = encode(processor, messages, add_generation_prompt=asks)
    assert ids == case["input_ids"]
    assert labels == case.get("labels", [IGNORED] * len(ids))


@reference
def test_every_prompt_was_compared():
    assert len(published_cases()) == len([case for case in prompts()["cases"] if "toy_vocab" not in case]) > 0
    assert set(FAMILIES) == set(prompts()["slots"]) == {slots for slots, _ in published_cases()}
    compared = {f"{name}.{entry}" for name in IMAGES for entry in ("raw_uint8_hwc", "padded_uint8_hwc")}
    entries = ("54_pad", "54_nopad", "384_pad_stride8")
    assert compared | {f"{name}.pixel_values_{entry}" for name in IMAGES for entry in entries} == set(tensors())


@reference
def test_questions_are_the_published_ones():
    for case in prompts()["replace_image_token"]:
        assert released_question(case["instruction"], extra_marks="as_released") == case["out"]


# -- prompts --------------------------------------------------------------------------------------------------

HELPFUL = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
CHAT = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "1"},
    {"role": "user", "content": "2"},
    {"role": "assistant", "content": "3"},
]


def test_a_prompt_by_hand():
    processor = processor_for("qwen2")
    turns = [f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>" for message in CHAT]
    assert processor.apply_chat_template(CHAT) == HELPFUL + "\n".join(turns)
    asked = processor.apply_chat_template(CHAT[:3], add_generation_prompt=True)
    assert asked == HELPFUL + "\n".join(turns[:3]) + "\n<|im_start|>assistant\n"
    begun = processor.apply_chat_template(CHAT, continue_final_message=True)
    assert begun == HELPFUL + "\n".join(turns)[: -len("<|im_end|>")]
    brief = [{"role": "system", "content": "Short."}, *CHAT[:1]]
    assert processor.apply_chat_template(brief) == "<|im_start|>system\nShort.<|im_end|>\n" + turns[0]


def test_a_prompt_for_llama_has_the_headers_that_the_published_script_passes():
    prompt = processor_for("llama").apply_chat_template(CHAT[:1], add_generation_prompt=True)
    assert prompt == (
        r"<|start_header_id|>user<|end_header_id|>\n\nYou are a helpful assistant.<|eot_id|>"
        "\n"
        r"<|start_header_id|>system<|end_header_id|>\n\nHi<|eot_id|>"
        "\n"
        r"<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


@pytest.mark.parametrize("family, end", [("qwen2", "<|im_end|>"), ("llama", "<|eot_id|>")])
def test_labels_by_hand(family, end):
    """The loss is on the words, the end of the turn, and the newline where another turn follows."""
    processor = processor_for(family)
    vocabulary = processor.tokenizer.get_vocab()
    listed = [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in CHAT]
    _, labels = encode(processor, listed)
    said = [label for label in labels if label != IGNORED]
    assert said == [vocabulary[token] for token in ("1", end, "\n", "3", end)]


@pytest.mark.parametrize(
    "items, expected",
    [
        (["<", "Hi"], "<image>\nHi"),
        (["<", " Hi"], "<image> Hi"),
        (["<", "\nHi"], "<image>\nHi"),
        (["<", "", "Hi"], "<image>Hi"),
        (["Hi", "<"], "Hi\n<image>"),
        (["Hi\n", "<"], "Hi\n<image>"),
        (["Hi", "", "<"], "Hi<image>"),
        (["Hi", "<", "Look"], "Hi\n<image>\nLook"),
        (["<", "<", "Hi"], "<image><image>\nHi"),
        (["Hi", "Look"], "HiLook"),
    ],
)
@pytest.mark.parametrize("family", RELEASED_CHAT_TEMPLATES)
def test_a_newline_stands_between_an_image_and_its_text(items, expected, family):
    content = [{"type": "image"} if item == "<" else {"type": "text", "text": item} for item in items]
    prompt = processor_for(family).apply_chat_template([{"role": "user", "content": content}])
    written = processor_for(family).apply_chat_template([{"role": "user", "content": expected}])
    assert prompt == written and expected in prompt


@pytest.mark.parametrize(
    "message, problem",
    [
        ({"role": "tool", "content": "1"}, "roles are system, user and assistant, not tool"),
        ({"role": "assistant", "tool_calls": []}, "a message needs content"),
    ],
)
def test_messages_that_the_published_code_has_no_prompt_for_raise(message, problem):
    with pytest.raises(Exception, match=problem):
        processor_for("qwen2").apply_chat_template([*CHAT[:1], message])


def test_the_whole_processor_is_saved(tmp_path):
    for family in RELEASED_CHAT_TEMPLATES:
        processor = processor_for(family)
        processor.save_pretrained(tmp_path / family)
        loaded = WingsProcessor.from_pretrained(tmp_path / family)
        assert loaded.to_dict() == processor.to_dict()
        assert (loaded.pad_to_square, loaded.adds_special_tokens) == (GREY, False)
        assert (tmp_path / family / "chat_template.jinja").read_text() == RELEASED_CHAT_TEMPLATES[family]
        messages = released_messages([{"from": "human", "value": "Look: <image>"}, {"from": "gpt", "value": "Hi!"}])
        assert encode(loaded, messages) == encode(processor, messages)


def test_the_tokenizers_own_first_token_is_left_out():
    tokenizer = build_tokenizer(chat_template=CHATML, adds_bos=True)
    processor = released_processor(model_config("qwen2", len(tokenizer)), square_images(), tokenizer)
    assert tokenizer("Hi")["input_ids"][0] == tokenizer.bos_token_id
    chat = processor.apply_chat_template(CHAT, tokenize=True, return_dict=True)
    assert tokenizer.bos_token_id not in chat["input_ids"][0] + processor(text="Hi")["input_ids"][0]
    assert processor(text="Hi", add_special_tokens=True)["input_ids"][0][0] == tokenizer.bos_token_id
    length = len(chat["input_ids"][0])
    fits = {"tokenize": True, "return_dict": True, "max_length": length, "overlong": "raise"}
    assert processor.apply_chat_template(CHAT, **fits)["input_ids"] == chat["input_ids"]
    with pytest.raises(ValueError, match=f"takes {length} tokens"):
        processor.apply_chat_template(CHAT, **{**fits, "max_length": length - 1})


def test_the_models_own_image_token_and_mean_colour_are_used():
    tokenizer = build_tokenizer(("<|im_start|>", "<|im_end|>", "<reserved>"))
    images = CLIPImageProcessorPil(size={"height": SIZE, "width": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    config = model_config("qwen2", tokenizer.convert_tokens_to_ids("<reserved>"))
    processor = released_processor(config, images, tokenizer)
    assert processor.pad_to_square == [122, 116, 104]
    messages = released_messages([{"from": "human", "value": "<image>\nHi"}])
    assert "<reserved>\nHi" in processor.apply_chat_template(messages)
    row = processor.apply_chat_template(messages, images=[picture()], tokenize=True, return_dict=True)
    assert row["input_ids"][0].count(config.image_token_id) == TOKENS


def test_what_the_prompts_cannot_be_made_with_raises():
    tokenizer = build_tokenizer()
    with pytest.raises(ValueError, match=r"qwen2 and llama only, not for 'gpt2'"):
        released_processor(model_config("gpt2", len(tokenizer)), square_images(), tokenizer)
    with pytest.raises(ValueError, match=r"no <\|end_header_id\|>, <\|eot_id\|>, <\|start_header_id\|>, which"):
        released_processor(model_config("llama", len(tokenizer)), square_images(), tokenizer)
    with pytest.raises(ValueError, match="has no image_mean"):
        released_processor(model_config("qwen2", len(tokenizer)), SimpleNamespace(), tokenizer)


def test_batches_for_training():
    """Rows with and without an image, padded; labels on the answers only."""
    processor = processor_for("qwen2")
    records = [
        [
            {"role": "user", "content": [{"type": "image", "image": picture()}, {"type": "text", "text": "Hi"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "2"}]},
        ],
        CHAT,
    ]
    batch = ConversationCollator(processor)(records)
    assert batch["pixel_values"].shape == (1, 3, SIZE, SIZE)
    words = [processor.tokenizer.convert_ids_to_tokens(row[row != IGNORED].tolist()) for row in batch["labels"]]
    assert words == [["2", "<|im_end|>"], ["1", "<|im_end|>", "\n", "3", "<|im_end|>"]]


# -- training records and questions ---------------------------------------------------------------------------


def place(*values: str, speakers: str = "hg", **kwargs: Any) -> list[str]:
    """The texts that messages of these turns come to, the image as `<image>`."""
    names = {"h": "human", "g": "gpt", "s": "system"}
    turns = [
        {"from": names[speaker], "value": value} for speaker, value in zip(speakers * len(values), values, strict=False)
    ]
    messages = released_messages(turns, **kwargs)
    written = [
        "".join("<image>" if item["type"] == "image" else item["text"] for item in m["content"]) for m in messages
    ]
    prompt = processor_for("qwen2").apply_chat_template(messages)
    for text in written:
        assert f"\n{text}<|im_end|>" in prompt  # the template adds nothing to them
    return written


@pytest.mark.parametrize(
    "values, expected",
    [
        (["<image>\nHi", "1"], ["<image>\nHi", "1"]),
        (["Hi\n<image>", "1"], ["Hi\n<image>", "1"]),
        (["<image>Hi", "1"], ["<image>Hi", "1"]),
        (["Hi<image>Hi", "1"], ["Hi<image>Hi", "1"]),
        ([" <image>\n Hi \n", " 1 "], ["<image>\n Hi", "1"]),
        (["Hi", "1", "Look: <image>", "2"], ["Hi", "1", "Look: <image>", "2"]),
        (["Hi", "1", "2", "3"], ["Hi", "1", "2", "3"]),
        ([" Hi ", "1"], ["Hi", "1"]),
    ],
)
def test_the_image_goes_where_its_mark_is(values, expected):
    assert place(*values) == expected


def test_an_image_without_a_mark_goes_before_the_last_human_turn():
    assert place("Hi", "1", "2", "3", has_image=True) == ["Hi", "1", "<image>\n2", "3"]
    assert place("Hi", "1", " 2 ", has_image=True) == ["Hi", "1", "<image>\n 2 "]
    assert place("Hi", speakers="h", has_image=True) == ["<image>\nHi"]


def test_further_marks_raise_or_go_as_released():
    for values, expected in (
        (["<image>Hi<image>", "1"], ["<image>Hi", "1"]),
        (["<image>\nHi", "1", "<image> 2"], ["<image>\nHi", "1", "2"]),
        (["Hi", "1<image>", "<image> 2"], ["Hi", "1", "<image> 2"]),
    ):
        with pytest.raises(ValueError, match=r"Got 2 <image> marks, where one in a human turn can be used"):
            place(*values)
        assert place(*values, extra_marks="as_released") == expected
    with pytest.raises(ValueError, match=r"Got 1 <image> marks, where none can be used"):
        place("<image>\nHi", has_image=False)
    assert place("<image>\nHi", has_image=False, extra_marks="as_released") == ["Hi"]
    with pytest.raises(ValueError, match=r"<image 1> would be taken for text"):
        place("<image 1>\nHi")
    assert place("<image 1>\nHi", extra_marks="as_released") == ["<image 1>\nHi"]


@pytest.mark.parametrize("value", ["<image>\nHi", "Hi\n<image>", "Hi: <image> 2", "Hi"])
def test_records_read_for_training_come_to_the_same_prompts(value):
    conversations = [{"from": "human", "value": value}, {"from": "gpt", "value": "1"}]
    record = {"conversations": conversations, "image": ["photo.png"]}
    read = to_messages(record, Path("folder"))
    processor = processor_for("qwen2")
    expected = processor.apply_chat_template(released_messages(conversations, has_image=True))
    assert processor.apply_chat_template(read) == expected


@pytest.mark.parametrize(
    "turns, options, problem",
    [
        ([{"from": "user", "value": "Hi"}], {}, "Turn 0: expected .*system, human, gpt"),
        ([{"from": "human", "value": None}], {}, "Turn 0: expected"),
        ([{"from": "gpt", "value": "<image>"}], {}, "no human turn to put it into"),
        ([{"from": "human", "value": "Hi"}], {"extra_marks": "drop"}, "extra_marks must be"),
    ],
)
def test_turns_of_another_form_raise(turns, options, problem):
    with pytest.raises(ValueError, match=problem):
        released_messages(turns, **options)


@pytest.mark.parametrize(
    "question, expected",
    [("Hi", "<image>\nHi"), ("<image 1>\nHi", "<image>\nHi"), ("Hi <image 3> 2", "Hi <image> 2")],
)
def test_questions_with_one_mark(question, expected):
    assert released_question(question) == released_question(question, extra_marks="as_released") == expected


@pytest.mark.parametrize(
    "question, expected",
    [
        ("<image 1> <image 1>", "<image> "),
        ("<image 2> and <image 1>", " and <image>"),
        ("<image> Hi", "<image>\n<image> Hi"),
        ("<image> <image 1>", "<image> "),
        ("<image 5> Hi", "<image>\n<image 5> Hi"),
    ],
)
def test_questions_with_other_marks_raise_or_change_as_released(question, expected):
    with pytest.raises(ValueError, match="or no mark is expected, got"):
        released_question(question)
    assert released_question(question, extra_marks="as_released") == expected


def test_the_choice_about_marks_is_checked():
    with pytest.raises(ValueError, match="extra_marks must be 'raise' or 'as_released'"):
        released_question("Hi", extra_marks="remove")  # type: ignore[arg-type]
