# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Hostile texts, chats, images and templates: inputs for the model in which everything matches, or ValueError."""

import functools

import numpy as np
import pytest
import torch
from fuzz_parts import LARGE_INTS, REFUSED, SCALARS, TEXTS, VALUES, altered, result_or
from hypothesis import given
from hypothesis import strategies as st
from processor_parts import CHATML, TOKENS, build_processor, build_tokenizer, encoded, picture

PICTURE = picture(1, 30, 20)
IMAGES = st.one_of(
    st.sampled_from([PICTURE, np.asarray(PICTURE), torch.zeros(3, 5, 6), encoded(PICTURE), encoded(PICTURE)[:40]]),
    st.builds(lambda shape: np.zeros(shape, np.uint8), st.lists(st.integers(0, 5), max_size=4)),
    SCALARS,
)
WORDS = st.lists(
    st.one_of(
        st.text(max_size=6), st.sampled_from(["<image>", "<im", "age>", "</s>", "<pad>", "\U000f0000", "\ud800"])
    ),
    max_size=6,
).map("".join)
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]},
    {"role": "assistant", "content": "A slope."},
    {
        "role": "user",
        "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}, "and this?"],
    },
]
STATEMENTS = st.sampled_from(
    [
        "{% for message in messages %}",
        "{% endfor %}",
        "{{ message['content'] }}",
        "{{ messages[0].role.x.y }}",
        "{{ 1/0 }}",
        "{% generation %}",
        "{% endgeneration %}",
        "{{ raise_exception('no') }}",
        "{% if",
        "%}",
        "<image>",
        "{{ '<image>' }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages|tojson }}",
        "{% include '/etc/passwd' %}",
        "{{ self.__init__.__globals__ }}",
        "{{ lipsum.__globals__ }}",
        "{{ messages + 1 }}",
        "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
        "\ud800",
    ]
)


@functools.cache
def processor():
    made = build_processor(build_tokenizer(chat_template=CHATML))
    made.max_image_pixels = 1 << 20
    return made


def assert_whole(outputs) -> None:
    """As many image tokens as images take, where the types say, and nothing past the vocabulary."""
    ids, types = outputs["input_ids"], outputs["mm_token_type_ids"]
    pixels = outputs.get("pixel_values", [])
    rows = [np.asarray(row) for row in ids]
    images = [row == processor().image_token_id for row in rows]
    assert sum(int(row.sum()) for row in images) == TOKENS * len(pixels)
    assert all(np.array_equal(row, np.asarray(kind) == 1) for row, kind in zip(images, types, strict=True))
    assert all(row.size == 0 or (row.min() >= 0 and row.max() < len(processor().tokenizer)) for row in rows)


@given(
    text=st.one_of(WORDS, st.lists(WORDS, max_size=3), SCALARS),
    images=st.one_of(IMAGES, st.lists(IMAGES, max_size=3), st.lists(st.lists(IMAGES, max_size=2), max_size=3)),
    arguments=st.fixed_dictionaries(
        {},
        optional={
            "max_length": st.one_of(st.integers(-2, 40), LARGE_INTS, TEXTS),
            "truncation": st.sampled_from([True, False, "longest_first", "sideways"]),
            "padding": st.sampled_from([True, "max_length", "sideways"]),
            "animated": st.sampled_from(["first_frame", "all", 3]),
            "max_image_pixels": st.one_of(st.integers(-1, 1000), TEXTS),
            "size": st.one_of(
                st.dictionaries(st.sampled_from(["height", "width", "shortest_edge"]), st.integers(-1, 64)), TEXTS
            ),
        },
    ),
)
def test_texts_and_images(text, images, arguments):
    with result_or(*REFUSED):
        outputs = processor()(text=text, images=images, **arguments)
        if "input_ids" in outputs and "size" not in arguments:
            assert_whole(outputs)


@pytest.mark.filterwarnings("ignore")
@given(
    chat=st.one_of(altered(CHAT), st.lists(altered(CHAT), max_size=2), VALUES),
    images=st.lists(IMAGES, max_size=2),
    masks=st.booleans(),
    max_length=st.integers(1, 120),
    overlong=st.sampled_from([None, "raise", "drop_turns"]),
)
def test_chats(chat, images, masks, max_length, overlong):
    with result_or(ValueError):
        outputs = processor().apply_chat_template(
            chat, images=images, tokenize=True, return_dict=True, return_assistant_tokens_mask=masks,
            max_length=max_length, overlong=overlong,
        )  # fmt: skip
        assert_whole(outputs)
        if overlong:
            assert all(len(row) <= max_length for row in outputs["input_ids"])


@pytest.mark.filterwarnings("ignore")
@given(template=st.lists(st.one_of(STATEMENTS, TEXTS), max_size=6).map("".join), masks=st.booleans())
def test_templates(template, masks):
    chat = [{"role": "user", "content": "<image>Hi"}, {"role": "assistant", "content": "Yes"}]
    with result_or(ValueError):
        how = {"tokenize": True, "return_dict": True, "return_assistant_tokens_mask": masks}
        made = processor().apply_chat_template(chat, chat_template=template, images=[PICTURE], **how)
        assert_whole(made)
        assert "root:" not in processor().tokenizer.decode(made["input_ids"][0])
    with result_or(ValueError):
        build_processor(build_tokenizer(chat_template=template)).apply_chat_template(chat)
