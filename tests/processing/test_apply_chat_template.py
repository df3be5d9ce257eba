# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Conversations to model inputs: images in messages, masks after expansion, dropping turns that do not fit."""

import base64
import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from chat_templates import CHATML, HEADERS, SPECIAL, TEMPLATES, THINKING
from PIL import Image
from processor_parts import TOKENS, build_processor, build_tokenizer, clip_images, encoded, picture

from wings_hf.processing.processing_wings import WingsProcessor

PROCESSOR = build_processor(build_tokenizer(SPECIAL, chat_template=CHATML))
FULL = {"tokenize": True, "return_dict": True}


def text(words):
    return {"type": "text", "text": words}


def shown(image=None, key="image"):
    return {"type": "image"} if image is None else {"type": "image", key: image}


def user(*content):
    return {"role": "user", "content": list(content)}


def assistant(*content):
    return {"role": "assistant", "content": list(content)}


CHAT = [
    {"role": "system", "content": "be kind"},
    user(text("look: "), shown(picture(0)), text(" and "), shown(picture(1))),
    assistant(text("two pictures")),
    user(shown(picture(2)), text("this one?")),
    assistant(text("a third")),
]
PROMPT = (
    "<|im_start|>system\nbe kind<|im_end|>\n<|im_start|>user\nlook: <image> and <image><|im_end|>\n"
    "<|im_start|>assistant\ntwo pictures<|im_end|>\n<|im_start|>user\n<image>this one?<|im_end|>\n"
    "<|im_start|>assistant\na third<|im_end|>\n"
)


def pixels(*seeds):
    return torch.stack([PROCESSOR(images=picture(i), return_tensors="pt")["pixel_values"][0] for i in seeds])


# -- prompts and inputs -------------------------------------------------------------------------------------


def test_prompts():
    assert PROCESSOR.apply_chat_template(CHAT) == PROMPT
    assert PROCESSOR.apply_chat_template([CHAT, CHAT[:2]]) == [PROMPT, PROMPT[: PROMPT.index("<|im_start|>assistant")]]
    assert PROCESSOR.apply_chat_template(CHAT[:2], add_generation_prompt=True).endswith("<|im_start|>assistant\n")
    assert PROCESSOR.apply_chat_template(CHAT, continue_final_message=True).endswith("assistant\na third")
    assert PROCESSOR.apply_chat_template(SimpleNamespace(messages=CHAT)) == PROMPT


def test_inputs_are_those_of_the_prompt():
    outputs = PROCESSOR.apply_chat_template(CHAT, return_tensors="pt", **FULL)
    expected = PROCESSOR(images=[picture(i) for i in range(3)], text=PROMPT, return_tensors="pt")
    assert set(outputs) == set(expected)
    assert all(torch.equal(outputs[name], expected[name]) for name in expected)
    ids = PROCESSOR.apply_chat_template(CHAT, tokenize=True, return_tensors="pt")
    assert torch.equal(ids, expected["input_ids"])
    assert PROCESSOR.apply_chat_template(CHAT, tokenize=True) == expected["input_ids"].tolist()


def test_a_batch_with_and_without_images():
    plain = [user(text("no picture"))]
    outputs = PROCESSOR.apply_chat_template(
        [plain, CHAT, [user(shown(picture(4)))]], return_tensors="pt", padding=True, **FULL
    )
    assert outputs["mm_token_type_ids"].sum(-1).tolist() == [0, 3 * TOKENS, TOKENS]
    assert torch.equal(outputs["pixel_values"], pixels(0, 1, 2, 4))
    only_text = PROCESSOR.apply_chat_template([plain, plain], return_tensors="pt", **FULL)
    assert set(only_text) == {"input_ids", "attention_mask", "mm_token_type_ids"}


def test_every_way_to_name_an_image(tmp_path):
    data = encoded(picture())
    path = tmp_path / "image.png"
    path.write_bytes(data)
    packed = base64.b64encode(data).decode()
    url = "data:image/png;base64," + packed
    array = np.asarray(picture())
    items = [
        shown(picture()),
        shown(array),
        shown(torch.from_numpy(array.copy()).permute(2, 0, 1)),
        shown(data),
        shown(str(path)),
        shown(str(path), "path"),
        shown(path, "path"),
        shown(str(path), "url"),
        shown(url, "url"),
        shown(packed, "base64"),
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "image_url", "image_url": url},
        {"type": "image", "image": None, "url": url},
    ]
    for item in items:
        outputs = PROCESSOR.apply_chat_template([user(item, text("what"))], return_tensors="pt", **FULL)
        assert torch.equal(outputs["pixel_values"], pixels(0)), item
    with pytest.raises(ValueError, match=r"Image 0 of sample 0: .*allow_urls=True"):
        PROCESSOR.apply_chat_template([user(shown("https://example.com/a.png", "url"))], **FULL)


def test_images_can_come_beside_the_messages():
    bare = [user(text("a"), shown(), shown(picture(1))), user(shown(), text("b"))]
    for images in ([picture(0), picture(2)], [[picture(0), picture(2)]]):
        outputs = PROCESSOR.apply_chat_template(bare, images=images, return_tensors="pt", **FULL)
        assert torch.equal(outputs["pixel_values"], pixels(0, 1, 2))
    outputs = PROCESSOR.apply_chat_template(
        bare, processor_kwargs={"images": [picture(0), picture(2)]}, return_tensors="pt", **FULL
    )
    assert torch.equal(outputs["pixel_values"], pixels(0, 1, 2))
    batch = [[user(shown())], [user(text("none"))], bare]
    for images in ([[picture(5)], [], [picture(0), picture(2)]], [picture(5), picture(0), picture(2)]):
        outputs = PROCESSOR.apply_chat_template(batch, images=images, padding=True, return_tensors="pt", **FULL)
        assert torch.equal(outputs["pixel_values"], pixels(5, 0, 1, 2))


def test_placeholders_may_be_written_into_texts():
    chat = [{"role": "user", "content": "<image>first"}, user(shown(picture(1))), user(text("last <image>"))]
    outputs = PROCESSOR.apply_chat_template(chat, images=[picture(0), picture(2)], return_tensors="pt", **FULL)
    assert torch.equal(outputs["pixel_values"], pixels(0, 1, 2))


@pytest.mark.parametrize(
    ("chat", "images", "message"),
    [
        ([user(shown())], None, "Found 1 <image> tokens in the text but no images were passed"),
        ([user(shown(picture()), text("<image>"))], None, "Sample 0 has 2 tokens and 1 images"),
        ([user(shown())], [picture(), picture()], "Sample 0 has 1 tokens and 2 images"),
        ([[user(shown())], [user(text("a"))]], [[], [picture()]], "Sample 0 has 1 tokens and 0 images"),
        ([[user(shown())]], [[], []], "2 lists of images for 1 conversations"),
        ([[user(text("a"))], [user(shown("missing.png", "path"))]], None, "Image 0 of sample 1: the file"),
    ],
)
def test_mismatches(chat, images, message):
    with pytest.raises(ValueError, match=message):
        PROCESSOR.apply_chat_template(chat, images=images, **FULL)


@pytest.mark.parametrize(
    ("chat", "message"),
    [
        ([], "Expected a list of messages"),
        ("hello", "Expected a list of messages"),
        ([[]], "Conversation 0 has no messages"),
        ([[{"role": "user", "content": "Hi"}], True], "Conversation 1: expected a list of messages, got True"),
        (["hello"], "Conversation 0, message 0: expected a dict with 'role' and 'content', got 'hello'"),
        ([{"content": "a"}], "message 0: expected a dict"),
        ([{"role": "user", "content": 5}], "content must be a string or a list, got int"),
        (
            [user(text("a")), user({"type": "video", "video": "a.mp4"})],
            "Conversation 0, message 1: expected items .*'vi",
        ),
        ([user({"type": "text"})], "expected items"),
        ([user(7)], "expected items .* got 7"),
        ([user({"type": "image", "image": picture(), "path": "a.png"})], "names its image twice, as image and path"),
        ([user(shown("@@", "base64"))], "base64"),
    ],
)
def test_malformed_messages(chat, message):
    with pytest.raises(ValueError, match=message):
        PROCESSOR.apply_chat_template(chat, **FULL)


def test_messages_are_not_changed():
    chat = copy.deepcopy(CHAT)
    chat.append(user({"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}))
    before = repr(chat)
    PROCESSOR.apply_chat_template(chat)
    assert repr(chat) == before


# -- templates ----------------------------------------------------------------------------------------------


def test_named_and_explicit_templates():
    templates = {"default": CHATML, "headers": HEADERS}
    processor = build_processor(build_tokenizer(SPECIAL, chat_template=templates))
    chat = [user(shown(), text("a"))]
    assert processor.apply_chat_template(chat).startswith("<|im_start|>user\n<image>a")
    assert "<|head|>user<|/head|>\n\n<image>a" in processor.apply_chat_template(chat, chat_template="headers")
    assert processor.apply_chat_template(chat, chat_template="{{ messages|length }}") == "1"
    processor.chat_template = {"headers": HEADERS}
    with pytest.raises(ValueError, match=r"no default chat template, only \['headers'\]"):
        processor.apply_chat_template(chat)
    processor.chat_template = None
    with pytest.raises(ValueError, match="no default chat template"):
        processor.apply_chat_template(chat)


def test_an_explicit_template_of_the_constructor_is_kept():
    assert build_processor(build_tokenizer(SPECIAL), chat_template=CHATML).chat_template == CHATML


def test_variables_and_call_arguments_are_told_apart():
    template = "{{ style }}: {{ messages[0]['content'][0]['text'] }}"
    outputs = PROCESSOR.apply_chat_template(
        [user(text("hi"))], chat_template=template, style="polite", padding="max_length", max_length=40, **FULL
    )
    assert len(outputs["input_ids"][0]) == 40
    assert PROCESSOR.decode(outputs["input_ids"][0], skip_special_tokens=True) == "polite: hi"
    again = PROCESSOR.apply_chat_template(
        [user(text("hi"))],
        chat_template=template,
        style="polite",
        processor_kwargs={"text_kwargs": {"padding": "max_length", "max_length": 40}},
        **FULL,
    )
    assert again["input_ids"] == outputs["input_ids"]


@pytest.mark.parametrize("writes_bos", [True, False])
def test_the_first_special_token_comes_once(writes_bos):
    template = "{{ bos_token }}" + CHATML if writes_bos else CHATML
    processor = build_processor(build_tokenizer(SPECIAL, chat_template=template, adds_bos=True))
    ids = processor.apply_chat_template([user(text("a"))], tokenize=True)[0]
    assert ids.count(processor.tokenizer.bos_token_id) == 1
    assert ids[0] == processor.tokenizer.bos_token_id


def test_a_loaded_processor_renders_the_same(tmp_path):
    PROCESSOR.save_pretrained(tmp_path)
    loaded = WingsProcessor.from_pretrained(tmp_path)
    assert loaded.apply_chat_template(CHAT) == PROMPT
    assert loaded.tokenizer.apply_chat_template(CHAT, tokenize=False) == PROMPT  # any loader gets the template


def test_arguments_that_exclude_each_other():
    for arguments, message in [
        ({"add_generation_prompt": True, "continue_final_message": True}, "exclude each other"),
        ({"return_assistant_tokens_mask": True}, "needs tokenize=True and return_dict=True"),
        ({"return_assistant_tokens_mask": True, "continue_final_message": True, **FULL}, "exclude each other"),
        ({"overlong": "raise"}, "needs tokenize=True"),
        ({"overlong": "cut", "max_length": 9, **FULL}, "'raise' or 'drop_turns', got 'cut'"),
        ({"overlong": "raise", **FULL}, "needs max_length="),
        ({"overlong": "raise", "max_length": 9, "truncation": True, **FULL}, "exclude each other"),
    ]:
        with pytest.raises(ValueError, match=message):
            PROCESSOR.apply_chat_template(CHAT, **arguments)


def test_users_cannot_write_control_tokens_when_sanitized():
    if not hasattr(PROCESSOR.tokenizer, "_mark_chat_inputs"):
        pytest.skip("this version of transformers does not sanitize")
    chat = [user(text("say <image> and <|im_end|>"), shown(picture()))]
    outputs = PROCESSOR.apply_chat_template(chat, sanitize_control_tokens=True, **FULL)
    ids = outputs["input_ids"][0]
    assert ids.count(PROCESSOR.image_token_id) == TOKENS
    assert ids.count(PROCESSOR.tokenizer.convert_tokens_to_ids("<|im_end|>")) == 1
    assert "say <image> and <|im_end|>" in PROCESSOR.decode(ids)


# -- masks --------------------------------------------------------------------------------------------------


def said(outputs, row=0):
    """What the mask covers, as text, span by span."""
    ids, mask = outputs["input_ids"][row], outputs["assistant_masks"][row]
    pieces, current = [], []
    for token, inside in zip([*map(int, ids), 0], [*map(int, mask), 0], strict=True):
        if inside:
            current.append(token)
        elif current:
            pieces.append(PROCESSOR.tokenizer.decode(current))
            current = []
    return pieces


@pytest.mark.parametrize("kind", [None, "pt", "np"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_masks_after_expansion_and_padding(side, kind):
    outputs = PROCESSOR.apply_chat_template(
        [CHAT, [*CHAT[:1], user(text("hi")), assistant(text("hello"))]],
        return_assistant_tokens_mask=True,
        return_tensors=kind,
        padding=True,
        padding_side=side,
        **FULL,
    )
    assert said(outputs) == ["two pictures<|im_end|>", "a third<|im_end|>"]
    assert said(outputs, 1) == ["hello<|im_end|>"]
    assert type(outputs["assistant_masks"]) is type(outputs["input_ids"])
    assert "offset_mapping" not in outputs
    assert "text_replacement_offsets" not in outputs


def test_images_of_an_answer_are_not_in_the_mask():
    chat = [user(text("draw")), assistant(text("here "), shown(picture()), text(" it is"))]
    outputs = PROCESSOR.apply_chat_template(chat, return_assistant_tokens_mask=True, return_tensors="np", **FULL)
    assert said(outputs) == ["here ", " it is<|im_end|>"]
    assert not (outputs["assistant_masks"] & outputs["mm_token_type_ids"]).any()


def test_letters_of_several_bytes_are_masked():
    chat = [user(shown(picture()), text("привет 😀")), assistant(text("日本語 😀é"))]
    outputs = PROCESSOR.apply_chat_template(chat, return_assistant_tokens_mask=True, **FULL)
    assert said(outputs) == ["日本語 😀é<|im_end|>"]


def test_masks_of_truncated_texts():
    chat = [user(shown(picture())), assistant(text("a b c d e f g"))]
    whole = PROCESSOR.apply_chat_template(chat, return_assistant_tokens_mask=True, **FULL)
    length = len(whole["input_ids"][0]) - 6
    cut = PROCESSOR.apply_chat_template(
        chat, return_assistant_tokens_mask=True, truncation=True, max_length=length, **FULL
    )
    assert cut["assistant_masks"][0] == whole["assistant_masks"][0][:length]


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name != "lists_only"])
def test_masks_of_every_template(name):
    processor = build_processor(build_tokenizer(SPECIAL, chat_template=TEMPLATES[name][0]))
    chat = [user(shown(picture()), text("q")), assistant(text("answer")), user(text("again")), assistant(text("yes"))]
    outputs = processor.apply_chat_template(chat, return_assistant_tokens_mask=True, **FULL)
    closing = TEMPLATES[name][1]
    assert [piece.strip() for piece in said(outputs)] == ["answer" + closing, "yes" + closing]


def test_a_mask_that_cannot_be_given_raises():
    with pytest.raises(ValueError, match=r"needs a chat template with {% generation %} markers"):
        PROCESSOR.apply_chat_template(CHAT, chat_template=CHATML, return_assistant_tokens_mask=True, **FULL)
    processor = build_processor(build_tokenizer(SPECIAL, chat_template=THINKING))
    chat = [user(text("q")), assistant(text("<think>hm</think>a")), user(text("q")), assistant(text("b"))]
    with pytest.raises(ValueError, match=r"Conversation 1: the chat template marks none of its 2 assistant messages"):
        processor.apply_chat_template([chat[:2], chat], return_assistant_tokens_mask=True, **FULL)
    calls = [user(text("q")), {"role": "assistant", "content": "a", "tool_calls": [{"name": "f"}]}]
    with pytest.raises(ValueError, match="tool calls or reasoning"):
        PROCESSOR.apply_chat_template(calls, return_assistant_tokens_mask=True, **FULL)


def test_a_chat_without_answers_has_an_empty_mask():
    outputs = PROCESSOR.apply_chat_template(CHAT[:2], return_assistant_tokens_mask=True, **FULL)
    assert said(outputs) == []


# -- chats that do not fit ----------------------------------------------------------------------------------


def long_chat(turns):
    chat = [{"role": "system", "content": "rules"}]
    for i in range(turns):
        chat += [user(shown(picture(i)), text(f"question {i}")), assistant(text(f"answer {i}"))]
    return chat


def lengths(chat):
    return [len(row) for row in PROCESSOR.apply_chat_template(chat, tokenize=True)]


@pytest.mark.parametrize("turns", [1, 2, 5, 8])
@pytest.mark.parametrize("kept", [1, 2, 4, 5])
def test_the_oldest_turns_are_dropped_with_their_images(turns, kept):
    chat = long_chat(turns)
    kept = min(kept, turns)
    expected = chat[:1] + chat[1 + 2 * (turns - kept) :]
    limit = lengths(expected)[0]
    for max_length in (limit, limit + 3):
        outputs = PROCESSOR.apply_chat_template(
            chat, overlong="drop_turns", max_length=max_length, return_tensors="pt", **FULL
        )
        assert outputs["input_ids"].tolist() == PROCESSOR.apply_chat_template(expected, tokenize=True)
        assert torch.equal(outputs["pixel_values"], pixels(*range(turns - kept, turns)))


def test_one_token_too_many_drops_a_whole_turn():
    chat = long_chat(3)
    limit = lengths(chat)[0] - 1
    outputs = PROCESSOR.apply_chat_template(chat, overlong="drop_turns", max_length=limit, **FULL)
    assert len(outputs["pixel_values"]) == 2
    assert outputs["input_ids"] == PROCESSOR.apply_chat_template(chat[:1] + chat[3:], tokenize=True)


def test_the_last_turn_and_the_system_messages_stay():
    chat = long_chat(3)
    chat.insert(3, {"role": "system", "content": "more rules"})
    last = [chat[0], chat[3], *chat[-2:]]
    limit = lengths(last)[0]
    outputs = PROCESSOR.apply_chat_template(chat, overlong="drop_turns", max_length=limit, **FULL)
    assert outputs["input_ids"] == PROCESSOR.apply_chat_template(last, tokenize=True)
    with pytest.raises(
        ValueError, match=f"Conversation 0: its last turn alone takes {limit} tokens with 1 images, more than max_l"
    ):
        PROCESSOR.apply_chat_template(chat, overlong="drop_turns", max_length=limit - 1, **FULL)


def test_a_turn_holds_all_until_the_next_question():
    answers = [assistant(text("let me see")), {"role": "tool", "content": "42"}, assistant(text("it is 42"))]
    chat = [assistant(text("welcome")), user(text("first question")), *answers, user(text("second")), *answers]
    limit = lengths(chat[5:])[0]
    outputs = PROCESSOR.apply_chat_template(chat, overlong="drop_turns", max_length=limit, **FULL)
    assert outputs["input_ids"] == PROCESSOR.apply_chat_template(chat[5:], tokenize=True)
    outputs = PROCESSOR.apply_chat_template(chat, overlong="drop_turns", max_length=lengths(chat[1:])[0], **FULL)
    assert outputs["input_ids"] == PROCESSOR.apply_chat_template(chat[1:], tokenize=True)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("grouped", [False, True])
def test_each_conversation_of_a_batch_is_fitted_by_itself(grouped):
    limit = lengths(long_chat(2))[0]
    arguments = {"max_length": limit, "padding": True}
    outputs = PROCESSOR.apply_chat_template(
        [long_chat(4), long_chat(1), long_chat(2)],
        overlong="drop_turns",
        return_tensors="pt",
        processor_kwargs={"text_kwargs": arguments} if grouped else arguments,
        **FULL,
    )
    assert outputs["mm_token_type_ids"].sum(-1).tolist() == [2 * TOKENS, TOKENS, 2 * TOKENS]
    assert torch.equal(outputs["pixel_values"], pixels(2, 3, 0, 0, 1))


def test_too_long_can_raise_instead():
    chat = long_chat(2)
    limit = lengths(chat)[0]
    assert PROCESSOR.apply_chat_template(chat, overlong="raise", max_length=limit, **FULL)
    with pytest.raises(ValueError, match=f"Conversation 0 takes {limit} tokens with 2 images, more than max_length"):
        PROCESSOR.apply_chat_template(chat, overlong="raise", max_length=limit - 1, **FULL)


def test_the_tokenizers_own_limit_and_grouped_arguments():
    limit = lengths(long_chat(2))[0]
    processor = build_processor(build_tokenizer(SPECIAL, chat_template=CHATML, model_max_length=limit))
    outputs = processor.apply_chat_template(long_chat(5), overlong="drop_turns", **FULL)
    assert len(outputs["input_ids"][0]) == limit
    grouped = {"text_kwargs": {"max_length": limit}}
    outputs = PROCESSOR.apply_chat_template(long_chat(5), overlong="drop_turns", processor_kwargs=grouped, **FULL)
    assert len(outputs["input_ids"][0]) == limit


def test_dropped_images_are_not_even_read():
    chat = long_chat(3)
    chat[1]["content"][0] = shown("missing.png", "path")
    limit = lengths(chat[:1] + chat[3:])[0]
    outputs = PROCESSOR.apply_chat_template(chat, overlong="drop_turns", max_length=limit, **FULL)
    assert len(outputs["pixel_values"]) == 2


def test_images_of_no_fixed_size_are_counted_by_their_own_size():
    processor = build_processor(
        build_tokenizer(SPECIAL, chat_template=CHATML), clip_images(do_center_crop=False, size={"shortest_edge": 12})
    )
    chat = [user(shown(Image.new("RGB", (12 * n, 12)))) for n in (3, 2, 1)]
    counts = [len(row) for i in range(3) for row in processor.apply_chat_template(chat[i:], tokenize=True)]
    assert counts[0] - counts[1] > counts[1] - counts[2]
    for kept in range(3):
        outputs = processor.apply_chat_template(chat, overlong="drop_turns", max_length=counts[kept], **FULL)
        assert len(outputs["pixel_values"]) == 3 - kept
        assert len(outputs["input_ids"][0]) == counts[kept]


def test_max_length_still_pads_what_fits():
    limit = lengths(long_chat(2))[0] + 5
    outputs = PROCESSOR.apply_chat_template(
        long_chat(3), overlong="drop_turns", max_length=limit, padding="max_length", **FULL
    )
    assert len(outputs["input_ids"][0]) == limit
    assert sum(outputs["attention_mask"][0]) == limit - 5


def test_masks_after_dropping():
    chat = long_chat(4)
    outputs = PROCESSOR.apply_chat_template(
        chat,
        overlong="drop_turns",
        max_length=lengths(long_chat(2))[0],
        return_assistant_tokens_mask=True,
        **FULL,
    )
    assert said(outputs) == ["answer 2<|im_end|>", "answer 3<|im_end|>"]


def test_fitting_takes_few_renderings(monkeypatch):
    calls = []
    tokenizer = type(PROCESSOR.tokenizer)
    original = tokenizer.__call__

    def counted(self, *args, **kwargs):
        calls.append(1)
        return original(self, *args, **kwargs)

    chat = [message for i in range(200) for message in (user(text(f"q {i}")), assistant(text("a")))]
    limit = lengths(chat[-2:])[0]
    monkeypatch.setattr(tokenizer, "__call__", counted)
    PROCESSOR.apply_chat_template(chat, overlong="drop_turns", max_length=limit, **FULL)
    assert len(calls) <= 12


def test_keys_without_a_value_are_as_good_as_missing():
    processor = build_processor(build_tokenizer(SPECIAL, chat_template=TEMPLATES["indented"][0]))
    chat = [user(text("q")), {"role": "assistant", "content": "a"}]
    empty = [user(text("q")), {"role": "assistant", "content": "a", "tool_calls": None}]
    assert processor.apply_chat_template(empty) == processor.apply_chat_template(chat)
