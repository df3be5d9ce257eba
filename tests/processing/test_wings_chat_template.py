# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The language model's chat template, extended: the same text as before, images in place, masks where due."""

import pytest
from chat_templates import INDENTED, LINES, MARKED, NATIVE, SPECIAL, TAKES_LISTS_ONLY, TEMPLATES, THINKING
from jinja2.exceptions import TemplateError
from processor_parts import build_tokenizer
from transformers.utils.chat_template_utils import render_jinja_template

from wings_hf.processing.wings_chat_template import (
    END,
    START,
    chat_template_for,
    extend_chat_template,
    has_generation_markers,
    jinja_string,
)

TOKENIZER = build_tokenizer(SPECIAL)
CHAT = [
    {"role": "user", "content": " what's in \\n 'it'? "},
    {"role": "assistant", "content": ' a cat,\nand <b>"1"</b> \n'},
    {"role": "user", "content": "who"},
    {"role": "assistant", "content": "me"},
]


def render(template, messages, **variables):
    variables = {**TOKENIZER.special_tokens_map, **variables}
    return render_jinja_template(conversations=[messages], chat_template=template, **variables)[0][0]


def spans(template, messages, **variables):
    variables = {**TOKENIZER.special_tokens_map, "return_assistant_tokens_mask": True, **variables}
    texts, found = render_jinja_template(conversations=[messages], chat_template=template, **variables)
    return [texts[0][start:end] for start, end in found[0]]


def as_items(messages):
    return [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in messages]


@pytest.mark.parametrize("add_generation_prompt", [False, True])
@pytest.mark.parametrize("turns", [1, 2, 3, 4])
@pytest.mark.parametrize("name", TEMPLATES)
def test_texts_render_as_before(name, turns, add_generation_prompt):
    template = TEMPLATES[name][0]
    extended = extend_chat_template(template, TOKENIZER, "<image>")
    chat = CHAT[:turns]
    variables = {"add_generation_prompt": add_generation_prompt}
    expected = render(template, as_items(chat) if name in TAKES_LISTS_ONLY else chat, **variables)
    assert render(extended, chat, **variables) == expected
    assert render(extended, as_items(chat), **variables) == expected
    mixed = [chat[0], *as_items(chat[1:])]
    assert render(extended, mixed, **variables) == expected


@pytest.mark.parametrize("name", TEMPLATES)
def test_images_are_in_place(name):
    extended = extend_chat_template(TEMPLATES[name][0], TOKENIZER, "<image>")
    content = [{"type": "image"}, {"type": "text", "text": "aa"}, {"type": "image"}, {"type": "text", "text": "bb"}]
    chat = [{"role": "user", "content": content}]
    plain = [{"role": "user", "content": "<image>aa<image>bb"}]
    assert render(extended, chat) == render(extended, plain)
    assert render(extended, chat).count("<image>aa<image>bb") == 1


@pytest.mark.parametrize("name", TEMPLATES)
def test_masks_hold_what_the_assistant_said_and_the_end_of_turn(name):
    template, closing = TEMPLATES[name]
    extended = extend_chat_template(template, TOKENIZER, "<image>")
    assert has_generation_markers(extended)
    for messages in (CHAT, as_items(CHAT)):
        first, last = spans(extended, messages, add_generation_prompt=True)
        assert last == "me" + closing
        assert first.strip().startswith('a cat,\nand <b>"1"</b>')
        assert first.endswith(closing)
        assert first.replace(closing, "").strip() == CHAT[1]["content"].strip()
        assert first.count("a cat") == 1


def test_marks_leave_no_trace():
    for template, _ in TEMPLATES.values():
        text = render(extend_chat_template(template, TOKENIZER, "<image>"), CHAT)
        assert START not in text
        assert END not in text


@pytest.mark.parametrize("name", ["chatml", "indented", "native"])
def test_nothing_is_marked_where_it_would_change_the_text(name):
    extended = extend_chat_template(TEMPLATES[name][0], TOKENIZER, "<image>")
    forged = [{"role": "user", "content": f"{START}a{END}"}, {"role": "assistant", "content": "b"}]
    expected = TEMPLATES[name][0]
    assert render(extended, forged) == render(expected, forged)
    assert spans(extended, forged) == []


def test_nothing_is_marked_where_the_template_looks_into_the_answer():
    template = TEMPLATES["chatml"][0] + "{{ messages[-1]['content'] | length }}"
    extended = extend_chat_template(template, TOKENIZER, "<image>")
    assert render(extended, CHAT) == render(template, CHAT)
    assert spans(extended, CHAT) == []


def test_an_answer_that_the_template_cuts_is_not_marked():
    extended = extend_chat_template(THINKING, TOKENIZER, "<image>")
    chat = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "<think>hm</think>yes"},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "<think>hm</think>no"},
    ]
    assert render(extended, chat) == render(THINKING, chat)
    assert spans(extended, chat) == []
    assert spans(extended, chat[:2]) == ["<think>hm</think>yes<|im_end|>"]


@pytest.mark.parametrize(
    "extra", [{"tool_calls": [{"name": "f"}]}, {"reasoning_content": "hm"}, {"thinking": "hm"}, {"content": None}]
)
def test_what_is_said_outside_the_content_is_not_marked(extra):
    extended = extend_chat_template(INDENTED, TOKENIZER, "<image>")
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", **extra}]
    if extra == {"content": None}:
        chat[1]["tool_calls"] = []
    assert spans(extended, chat) == []
    assert render(extended, chat) == render(INDENTED, chat)


def test_several_texts_of_one_answer_are_all_marked():
    content = [{"type": "text", "text": "one "}, {"type": "image"}, {"type": "text", "text": " two"}]
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": content}]
    extended = extend_chat_template(NATIVE, TOKENIZER, "<image>")
    assert spans(extended, chat) == ["one", "two<|im_end|>"]
    flat = extend_chat_template(TEMPLATES["chatml"][0], TOKENIZER, "<image>")
    assert spans(flat, chat) == ["one <image> two<|im_end|>"]


def test_an_empty_answer_marks_its_end_only():
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": ""}]
    assert spans(extend_chat_template(TEMPLATES["chatml"][0], TOKENIZER, "<image>"), chat) == ["<|im_end|>"]


def test_templates_that_need_nothing_stay_as_they_are():
    own = NATIVE.replace("{{ '<image>' if", "{% generation %}{{ '<image>' if").replace(
        "c['text'] }}", "c['text'] }}{% endgeneration %}"
    )
    assert extend_chat_template(own, TOKENIZER, "<image>") == own
    for template, _ in TEMPLATES.values():
        extended = extend_chat_template(template, TOKENIZER, "<image>")
        if "native_lists" not in template:
            twice = extend_chat_template(extended, TOKENIZER, "<image>")
            assert render(twice, CHAT, add_generation_prompt=True) == render(extended, CHAT, add_generation_prompt=True)


def test_a_models_own_markers_are_kept():
    extended = extend_chat_template(MARKED, TOKENIZER, "<image>")
    assert extended.endswith(MARKED)
    assert spans(extended, as_items(CHAT)) == [CHAT[1]["content"] + "<|im_end|>", "me<|im_end|>"]


@pytest.mark.parametrize("start", ["\n", "\n\n  ", "  ", "a"])
@pytest.mark.parametrize("template", [MARKED, LINES], ids=["marked", "lines"])
def test_white_space_around_a_template_is_kept(start, template):
    template = start + template + start
    extended = extend_chat_template(template, TOKENIZER, "<image>")
    assert render(extended, CHAT) == render(template, CHAT)


def test_tools_documents_and_variables_still_reach_the_template():
    template = "{{ tools | tojson }}{{ documents | tojson }}{{ style }}" + INDENTED
    extended = extend_chat_template(template, TOKENIZER, "<image>")
    variables = {"tools": [{"name": "t"}], "documents": [{"title": "d", "text": "x"}], "style": "s", "date": "2 May"}
    assert render(extended, CHAT, **variables) == render(template, CHAT, **variables)
    calls = [*CHAT[:1], {"role": "assistant", "tool_calls": [{"name": "t", "arguments": {"a": 1}}]}]
    assert render(extended, calls) == render(template, calls)


def test_unknown_items_raise():
    for name in ("chatml", "lists_only"):
        extended = extend_chat_template(TEMPLATES[name][0], TOKENIZER, "<image>")
        with pytest.raises(TemplateError, match="not supported: video"):
            render(extended, [{"role": "user", "content": [{"type": "video"}]}])


def test_errors_of_the_template_are_kept():
    extended = extend_chat_template(TEMPLATES["alternating"][0], TOKENIZER, "<image>")
    with pytest.raises(TemplateError, match="roles must alternate"):
        render(extended, [CHAT[0], CHAT[0]])


def test_odd_image_tokens_are_escaped():
    token = "it's\\<img>\"\n"
    extended = extend_chat_template(LINES, TOKENIZER, token)
    assert token in render(extended, [{"role": "user", "content": [{"type": "image"}]}])
    assert jinja_string("a'b\\c\nd") == "'a\\'b\\\\c\\nd'"


def test_a_template_for_each_name():
    tokenizer = build_tokenizer(SPECIAL, chat_template={"default": TEMPLATES["chatml"][0], "plain": LINES})
    templates = chat_template_for(tokenizer, "<image>")
    assert set(templates) == {"default", "plain"}
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "a"}]}]
    assert "<|im_start|>user\n<image>a" in render(templates["default"], chat)
    assert "user: <image>a" in render(templates["plain"], chat)


def test_the_default_template():
    template = chat_template_for(build_tokenizer(), "<img>")
    system = {"role": "system", "content": "be kind"}
    chat = [
        system,
        {
            "role": "user",
            "content": [{"type": "text", "text": "see "}, {"type": "image"}, {"type": "text", "text": "?"}],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "yes"}]},
        {"role": "user", "content": "sure?"},
    ]
    expected = "be kind\nUSER: see <img>?\nASSISTANT: yes</s>\nUSER: sure?\nASSISTANT:"
    assert render(template, chat, add_generation_prompt=True) == expected
    assert spans(template, chat) == ["yes</s>"]
    with pytest.raises(TemplateError, match="not supported: audio"):
        render(template, [{"role": "user", "content": [{"type": "audio"}]}])
