# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Prompts and images as the code that the paper's authors published prepares them (docs/processor.md).

A prompt is, turn by turn, a role's header, the message and an end-of-turn token, with a newline between turns. A
system turn that is missing says "You are a helpful assistant.". The loss is on what the assistant says, the
end-of-turn token and the newline after it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from wings_hf.configuration.wings_image_tokens import IMAGE_TOKEN
from wings_hf.processing.processing_wings import WingsProcessor
from wings_hf.processing.wings_chat_template import fill, jinja_string

DEFAULT_SYSTEM_PROMPT = "You are a helpful assistant."
# The headers for Llama are what the published training script passes: a backslash and an n where newlines were
# meant, and the headers of the system's and the user's turns exchanged.
SLOTS = {
    "qwen2": {
        "system": "<|im_start|>system\n",
        "user": "<|im_start|>user\n",
        "assistant": "<|im_start|>assistant\n",
        "end": "<|im_end|>",
    },
    "llama": {
        "system": "<|start_header_id|>user<|end_header_id|>\\n\\n",
        "user": "<|start_header_id|>system<|end_header_id|>\\n\\n",
        "assistant": "<|start_header_id|>assistant<|end_header_id|>\\n\\n",
        "end": "<|eot_id|>",
    },
}
SPEAKERS = {"system": "system", "human": "user", "gpt": "assistant"}
NUMBERED_MARK = re.compile(r"<image \d+>")
NUMBERED_MARKS = ("<image 1>", "<image 2>", "<image 3>", "<image 4>")

ExtraMarks = Literal["raise", "as_released"]

_TEMPLATE = """\
{#- Prompts of the code that the authors of Wings published. An image and a text beside it in a list of items are
    separated by a newline, unless the text has white space there or is empty. -#}
{%- macro said(content) -%}
  {%- if content is string -%}
    {{- content -}}
  {%- elif content is defined and content is sequence -%}
    {%- set before = namespace(image=false, word=false) -%}
    {%- for item in content -%}
      {%- if item is not string and item['type'] in ['image', 'image_url'] -%}
        {{- ('\\n' if before.word else '') ~ <<image_token>> -}}
        {%- set before.image = true -%}
        {%- set before.word = false -%}
      {%- elif item is string or item['type'] == 'text' -%}
        {%- set text = item if item is string else item['text'] -%}
        {{- ('\\n' if before.image and text and text.lstrip() == text else '') ~ text -}}
        {%- set before.image = false -%}
        {%- set before.word = text and text.rstrip() == text -%}
      {%- else -%}
        {{- raise_exception('content items of this type are not supported: ' ~ item['type']) -}}
      {%- endif -%}
    {%- endfor -%}
  {%- else -%}
    {{- raise_exception('a message needs content: a string, or a list of texts and images') -}}
  {%- endif -%}
{%- endmacro -%}
{%- if messages[0]['role'] != 'system' -%}
  {{- <<system>> ~ <<default>> ~ <<end>> ~ '\\n' -}}
{%- endif -%}
{%- for message in messages -%}
  {%- set end = <<end>> if loop.last and not add_generation_prompt else <<end>> ~ '\\n' -%}
  {%- if message['role'] == 'assistant' -%}
    {{- <<assistant>> -}}
    {%- generation -%}
      {{- said(message['content']) ~ end -}}
    {%- endgeneration -%}
  {%- elif message['role'] == 'system' -%}
    {{- <<system>> ~ said(message['content']) ~ end -}}
  {%- elif message['role'] == 'user' -%}
    {{- <<user>> ~ said(message['content']) ~ end -}}
  {%- else -%}
    {{- raise_exception('roles are system, user and assistant, not ' ~ message['role']) -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- <<assistant>> -}}{%- endif -%}
"""


def released_chat_template(family: str, image_token: str = IMAGE_TOKEN) -> str:
    """The chat template of the published code for language models of type `family`, with generation markers.

    Raises:
        ValueError: another family than `"qwen2"` and `"llama"`.
    """
    if family not in SLOTS:
        raise ValueError(f"The published code has prompts for {' and '.join(SLOTS)} only, not for {family!r}.")
    texts = {**SLOTS[family], "default": DEFAULT_SYSTEM_PROMPT, "image_token": image_token}
    return fill(_TEMPLATE, **{name: jinja_string(text) for name, text in texts.items()})


RELEASED_CHAT_TEMPLATES = {family: released_chat_template(family) for family in SLOTS}


def released_processor(config: Any, image_processor: Any, tokenizer: Any) -> WingsProcessor:
    """A processor that prepares what the published code would, for the model that `config` describes.

    It has the geometry of `WingsProcessor.from_model_config`, the template of `released_chat_template`, pads images
    to squares with the mean colour of `image_processor`, and adds no special tokens of the tokenizer's own.

    Raises:
        ValueError: another family of language models, a tokenizer without the tokens of its prompts, or with
            another image token than the model's.
    """
    family = config.text_config.model_type
    template = released_chat_template(family)
    control = {token for slot in SLOTS[family].values() for token in re.findall(r"<\|\w+\|>", slot)}
    if missing := sorted(control - set(tokenizer.get_vocab())):
        raise ValueError(
            f"The tokenizer has no {', '.join(missing)}, which prompts for {family} are made of: take the tokenizer "
            "of the instruction-tuned language model."
        )
    processor = WingsProcessor.from_model_config(
        config,
        image_processor,
        tokenizer,
        chat_template=template,
        pad_to_square=_mean_colour(image_processor),
        adds_special_tokens=False,
    )
    processor.chat_template = released_chat_template(family, processor.image_token)
    return processor


def _mean_colour(image_processor: Any) -> list[int]:
    """What becomes 0, or just below, when the image processor normalises it."""
    mean = getattr(image_processor, "image_mean", None)
    if mean is None:
        raise ValueError(f"{type(image_processor).__name__} has no image_mean, the colour that images are padded with.")
    return [int(level * 255) for level in mean]


def released_messages(
    conversations: Sequence[Mapping[str, Any]], has_image: bool | None = None, extra_marks: ExtraMarks = "raise"
) -> list[dict[str, Any]]:
    """Turns of a training record as chat messages, with the image where the published code puts it.

    That is where `<image>` stands in the first human turn that has it; where none has, before the last human turn.
    White space around a message goes, except in a turn that the image is put before.

    Args:
        conversations: `{"from": "system" or "human" or "gpt", "value": text}` in order.
        has_image: whether there is an image; None says so from `<image>` in the texts.
        extra_marks: `"raise"` raises for every `<image>` but that one, and for numbered ones (`<image 1>`), which
            belong to `released_question`. `"as_released"` removes the former and takes the latter for text.

    Returns:
        Messages whose content is a list of texts and at most one image item, which takes its image from `images=` of
        `apply_chat_template`.

    Raises:
        ValueError: a turn of another form, no human turn for the image, or what `extra_marks` forbids.
    """
    _check_extra_marks(extra_marks)
    roles, values = _read_turns(conversations)
    marks = sum(value.count(IMAGE_TOKEN) for value in values)
    has_image = bool(marks) if has_image is None else has_image
    place = _place(roles, values) if has_image else None
    if extra_marks == "raise":
        _check_marks(values, marks, place)
    messages = []
    for index, (role, value) in enumerate(zip(roles, values, strict=True)):
        head, mark, tail = value.partition(IMAGE_TOKEN)
        tail = tail.replace(IMAGE_TOKEN, "")
        if index != place:
            content = _items((head + tail).strip())
        elif mark:
            content = [*_items(head.lstrip(), before=True), {"type": "image"}, *_items(tail.rstrip(), after=True)]
        else:
            content = [{"type": "image"}, *_items("\n" + value)]
        messages.append({"role": role, "content": content})
    return messages


def released_question(instruction: str, extra_marks: ExtraMarks = "raise") -> str:
    """A question with `<image 1>` to `<image 4>` as the published inference script writes it, with one `<image>`.

    It stands where the lowest of these does, or in a line before the question where there is none.

    Args:
        extra_marks: `"raise"` raises where the question has further marks of any kind, which that script removes, or
            a plain `<image>`, before which it puts a second one. `"as_released"` does as that script.

    Raises:
        ValueError: what `extra_marks` forbids.
    """
    _check_extra_marks(extra_marks)
    plain, numbered = instruction.count(IMAGE_TOKEN), NUMBERED_MARK.findall(instruction)
    if extra_marks == "raise" and (plain or len(numbered) > 1 or not set(numbered) <= set(NUMBERED_MARKS)):
        raise ValueError(
            f"One of {', '.join(NUMBERED_MARKS)} or no mark is expected, got {[*[IMAGE_TOKEN] * plain, *numbered]} "
            f"in {instruction!r}: the published code uses one image. extra_marks='as_released' does as it would."
        )
    lowest = next((mark for mark in NUMBERED_MARKS if mark in instruction), None)
    if lowest is None:
        return f"{IMAGE_TOKEN}\n{instruction}"
    head, _, tail = instruction.replace(lowest, IMAGE_TOKEN).partition(IMAGE_TOKEN)
    question = head + IMAGE_TOKEN + tail.replace(IMAGE_TOKEN, "")
    for mark in NUMBERED_MARKS:
        question = question.replace(mark, "")
    return question


def _read_turns(conversations: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Roles and texts."""
    for index, turn in enumerate(conversations):
        if not isinstance(turn, Mapping) or turn.get("from") not in SPEAKERS or not isinstance(turn.get("value"), str):
            raise ValueError(
                f"Turn {index}: expected {{'from': one of {', '.join(SPEAKERS)}, 'value': text}}, got {turn!r}."
            )
    return [SPEAKERS[turn["from"]] for turn in conversations], [turn["value"] for turn in conversations]


def _place(roles: Sequence[str], values: Sequence[str]) -> int:
    """Index of the turn that gets the image."""
    human = [index for index, role in enumerate(roles) if role == "user"]
    if not human:
        raise ValueError("There is an image, but no human turn to put it into.")
    return next((index for index in human if IMAGE_TOKEN in values[index]), human[-1])


def _check_marks(values: Sequence[str], marks: int, place: int | None) -> None:
    used = place is not None and IMAGE_TOKEN in values[place]
    if marks > used:
        raise ValueError(
            f"Got {marks} {IMAGE_TOKEN} marks, where {'one in a human turn' if used else 'none'} can be used: the "
            "published code uses one image of a conversation. extra_marks='as_released' removes the others, as it does."
        )
    if numbered := [mark for value in values for mark in NUMBERED_MARK.findall(value)]:
        raise ValueError(
            f"{', '.join(numbered)} would be taken for text: write {IMAGE_TOKEN}, or use released_question first."
        )


def _check_extra_marks(extra_marks: str) -> None:
    if extra_marks not in ("raise", "as_released"):
        raise ValueError(f"extra_marks must be 'raise' or 'as_released', got {extra_marks!r}.")


def _items(text: str, before: bool = False, after: bool = False) -> list[dict[str, Any]]:
    """`text` as items, none if it is empty; `before` or `after` an image with an empty text between where they touch.

    The empty text keeps the template from writing a newline there.
    """
    items = [{"type": "text", "text": text}] if text else []
    between = {"type": "text", "text": ""}
    if before and text and not text[-1].isspace():
        return [*items, between]
    if after and text and not text[0].isspace():
        return [between, *items]
    return items
