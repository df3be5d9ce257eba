# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Chat templates: the language model's own one, extended for images and for generation masks.

The result is a plain Jinja template that is saved with the processor and needs no code of this package. It is
the model's template, unchanged, between two additions:

- Before it, each message whose content is a list of items is rewritten into what the template takes: the texts
  and image placeholders, concatenated in order, as one string (`"string"`) or as one text item (`"list"`).
  A template that knows images itself (`"native"`) gets its messages as they are.
- Around it, where it has no `{% generation %}` markers: it is rendered twice, once with two private characters
  around what the assistant said. If taking these away gives the plain text back, the marks are where the
  markers belong; else (templates that cut or reorder what the assistant said) nothing is marked, and asking for
  a mask raises in `apply_chat_template`. A mark covers the content and the end-of-turn token after it; what the
  template writes before the content by itself (a header, an empty reasoning block) is not marked.
"""

import re
from typing import Any, Literal

from transformers.utils.chat_template_utils import render_jinja_template

Mode = Literal["string", "list", "native"]

GENERATION_MARKER = re.compile(r"{%[-+]?\s*generation\s*[-+]?%}")

# Private-use characters, other than those transformers uses to mark control tokens (U+F0000, U+F0001).
START, END = "\U000f57a0", "\U000f57a1"
_START, _END = f"'{START}'", f"'{END}'"  # as Jinja literals

# What the probes say; unlikely in any template, and without characters that a template might escape.
_PROBES = ("wingsprobeone", "wingsprobetwo", "wingsprobethree", "wingsprobefour")

DEFAULT_CHAT_TEMPLATE = """\
{#- Default of wings_hf for a language model without a chat template. -#}
{%- macro flat(content) -%}
  {%- if content is string -%}
    {{- content -}}
  {%- elif content is sequence -%}
    {%- for item in content -%}
      {%- if item is string -%}{{- item -}}
      {%- elif item['type'] == 'text' -%}{{- item['text'] -}}
      {%- elif item['type'] in ['image', 'image_url'] -%}{{- <<image_token>> -}}
      {%- else -%}{{- raise_exception('content items of this type are not supported: ' ~ item['type']) -}}
      {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
{%- for message in messages -%}
  {%- if message['role'] == 'system' -%}
    {{- flat(message['content']) ~ '\\n' -}}
  {%- elif message['role'] == 'assistant' -%}
    {{- 'ASSISTANT: ' -}}
    {%- generation -%}
      {{- flat(message['content']) ~ (eos_token if eos_token is defined and eos_token else '') -}}
    {%- endgeneration -%}
    {{- '\\n' -}}
  {%- else -%}
    {{- message['role'] | upper ~ ': ' ~ flat(message['content']) ~ '\\n' -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'ASSISTANT:' -}}{%- endif -%}
"""

# `wings.messages` is what the template reads; `wings.marked` the same with marks in the assistant's messages.
_PRELUDE = """\
{#- Added by wings_hf: lists of texts and images become what the template below takes. -#}
{%- set wings = namespace(messages=[], marked=[], spans=0, ok=true, text='', items=[], mark=false) -%}
{%- for message in messages -%}
  {%- set wings.mark = message['role'] in ['assistant', 'model'] -%}
  {%- set content = message['content'] -%}
  {%- set is_list = content is defined and content is sequence and content is not string -%}
  {%- if wings.mark and (content is not defined or content is none or message['tool_calls'] or
      message['function_call'] or message['reasoning_content'] or message['reasoning'] or message['thinking']) -%}
    {%- set wings.ok = false -%}
  {%- endif -%}
<<rewrite>>
{%- endfor -%}
"""

_MARK = """{%- set core = plain.strip() -%}
      {%- set wings.text = plain[:plain|length - plain.lstrip()|length]
          ~ <<start>> ~ core ~ <<end>> ~ (plain[plain.rstrip()|length:] if core else '') -%}
      {%- set wings.spans = wings.spans + 1 -%}"""

_REWRITE_FLAT = """\
  {%- if content is string or is_list -%}
    {%- set wings.text = content if content is string else '' -%}
    {%- for item in (content if is_list else []) -%}
      {%- if item is string -%}
        {%- set wings.text = wings.text ~ item -%}
      {%- elif item['type'] == 'text' -%}
        {%- set wings.text = wings.text ~ item['text'] -%}
      {%- elif item['type'] in ['image', 'image_url'] -%}
        {%- set wings.text = wings.text ~ <<image_token>> -%}
      {%- else -%}
        {{- raise_exception('content items of this type are not supported: ' ~ item['type']) -}}
      {%- endif -%}
    {%- endfor -%}
    {%- set plain = wings.text -%}
    {%- set wings.messages = wings.messages + [dict(message, content=<<plain>>)] -%}
    {%- if wings.mark -%}
      <<mark>>
    {%- endif -%}
    {%- set wings.marked = wings.marked + [dict(message, content=<<marked>>)] -%}
  {%- else -%}
    {%- set wings.messages = wings.messages + [message] -%}
    {%- set wings.marked = wings.marked + [message] -%}
  {%- endif -%}"""

_REWRITE_NATIVE = """\
  {%- set listed = [{'type': 'text', 'text': content}] if content is string and <<list_only>> else content -%}
  {%- set changed = dict(message, content=listed) if content is defined else message -%}
  {%- set wings.messages = wings.messages + [changed] -%}
  {%- if not wings.mark or content is not defined or content is none -%}
    {%- set wings.marked = wings.marked + [changed] -%}
  {%- elif listed is string -%}
    {%- set plain = listed -%}
      <<mark>>
    {%- set wings.marked = wings.marked + [dict(message, content=wings.text)] -%}
  {%- else -%}
    {%- set wings.items = [] -%}
    {%- for item in listed -%}
      {%- if item is mapping and item['type'] == 'text' -%}
        {%- set plain = item['text'] -%}
      <<mark>>
        {%- set wings.items = wings.items + [dict(item, text=wings.text)] -%}
      {%- else -%}
        {%- set wings.items = wings.items + [item] -%}
      {%- endif -%}
    {%- endfor -%}
    {%- set wings.marked = wings.marked + [dict(message, content=wings.items)] -%}
  {%- endif -%}"""

# For a template with markers of its own: it stays at the top level, where the markers can be followed.
_TOP_LEVEL_END = "{%- set messages = wings.messages %}\n"

_MACRO_START = """\
{#- The language model's own template: -#}
{%- macro wings_language_model(messages) %}
"""

_MACRO_END = """\
{{ '' }}{% endmacro -%}
{#- Added by wings_hf: generation markers, where they can be placed without changing the text. -#}
{%- set plain = wings_language_model(wings.messages) -%}
{%- set pieces = [] -%}
{%- if wings.ok and wings.spans -%}
  {%- set marked = wings_language_model(wings.marked) -%}
  {%- set pieces = marked.split(<<start>>) -%}
  {%- set wings.ok = pieces|length == wings.spans + 1
      and marked.replace(<<start>>, '').replace(<<end>>, '') == plain -%}
  {%- for piece in pieces -%}
    {%- if piece.count(<<end>>) != (0 if loop.first else 1) -%}{%- set wings.ok = false -%}{%- endif -%}
  {%- endfor -%}
{%- endif -%}
{%- if pieces and wings.ok -%}
  {{- pieces[0] -}}
  {%- for piece in pieces[1:] -%}
    {%- set said = piece.split(<<end>>)[0] -%}
    {%- set rest = piece.split(<<end>>)[1] -%}
    {%- set gap = rest|length - rest.lstrip()|length -%}
    {%- set ends = <<closing>> and rest.lstrip().startswith(<<closing>>) -%}
    {%- set length = gap + <<closing>>|length if ends else 0 -%}
    {%- generation -%}{{- said ~ rest[:length] -}}{%- endgeneration -%}
    {{- rest[length:] -}}
  {%- endfor -%}
{%- else -%}
  {{- plain -}}
{%- endif -%}
"""


def has_generation_markers(template: str) -> bool:
    """Whether the template marks what the assistant said with `{% generation %}`."""
    return GENERATION_MARKER.search(template) is not None


def chat_template_for(tokenizer: Any, image_token: str) -> str | dict[str, str]:
    """The tokenizer's chat template (or each of several, by name), extended for images and generation masks.

    A default where the tokenizer has none.
    """
    own = getattr(tokenizer, "chat_template", None)
    if not own:
        return fill(DEFAULT_CHAT_TEMPLATE, image_token=jinja_string(image_token))
    if isinstance(own, dict):
        return {name: extend_chat_template(text, tokenizer, image_token) for name, text in own.items()}
    return extend_chat_template(own, tokenizer, image_token)


def extend_chat_template(template: str, tokenizer: Any, image_token: str) -> str:
    """One template, extended as the module's docstring says; unchanged where it needs nothing."""
    variables = dict(tokenizer.special_tokens_map)
    mode, list_only = _mode(template, variables, image_token)
    marked = has_generation_markers(template)
    if mode == "native" and marked and not list_only:
        return template
    prelude = _prelude(mode, list_only, image_token)
    if marked:
        return prelude + _TOP_LEVEL_END + template
    closing = _closing(template, variables, mode, list_only, tuple(tokenizer.get_added_vocab()))
    ending = fill(_MACRO_END, start=_START, end=_END, closing=jinja_string(closing.strip()))
    body = template[:-1] if template.endswith("\n") else template  # Jinja drops one newline at the end of a file
    return prelude + _MACRO_START + body + ending


def _prelude(mode: Mode, list_only: bool, image_token: str) -> str:
    mark = fill(_MARK, start=_START, end=_END)
    if mode == "native":
        return fill(_PRELUDE, rewrite=fill(_REWRITE_NATIVE, mark=mark, list_only="true" if list_only else "false"))
    content = "[{'type': 'text', 'text': %s}]" if mode == "list" else "%s"
    rewrite = fill(
        _REWRITE_FLAT,
        mark=mark,
        image_token=jinja_string(image_token),
        plain=content % "plain",
        marked=content % "wings.text",
    )
    return fill(_PRELUDE, rewrite=rewrite)


def fill(fragment: str, **values: str) -> str:
    """`fragment` with each `<<name>>` replaced."""
    for name, value in values.items():
        fragment = fragment.replace(f"<<{name}>>", value)
    return fragment


def jinja_string(text: str) -> str:
    """`text` as a Jinja string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"


def _render(template: str, messages: list[dict], variables: dict[str, Any]) -> str | None:
    """The rendered conversation; None where the template raises."""
    try:
        rendered: Any = render_jinja_template(conversations=[messages], chat_template=template, **variables)
    except Exception:  # a template may raise anything on a conversation that it was not written for
        return None
    return rendered[0][0]


def _mode(template: str, variables: dict[str, Any], image_token: str) -> tuple[Mode, bool]:
    """What the template takes as content, found by trying, and whether it takes lists only."""
    probe = _PROBES[0]

    def renders(content: Any, expected: str) -> bool:
        text = _render(template, [{"role": "user", "content": content}], variables)
        return text is not None and re.search(expected, text) is not None

    strings = renders(probe, probe)
    item = {"type": "text", "text": probe}
    token = re.escape(image_token)
    if renders([{"type": "image"}, item], f"{token}(?:(?!{token}).)*{probe}") and renders([item], probe):
        return "native", not strings
    if not strings and renders([item], probe):
        return "list", True
    return "string", False


def _closing(
    template: str, variables: dict[str, Any], mode: Mode, list_only: bool, special_tokens: tuple[str, ...]
) -> str:
    """What the template writes to end what the assistant said; "" if nothing is known to.

    It follows the assistant's words both in the middle and at the end of a conversation, up to the tokenizer's end
    token, else to the first special token (the next may begin another turn), else as far as both agree.
    """
    as_items = mode == "list" or list_only
    conversation = [
        {"role": role, "content": [{"type": "text", "text": text}] if as_items else text}
        for role, text in zip(("user", "assistant", "user", "assistant"), _PROBES, strict=True)
    ]
    text = _render(template, conversation, variables) or ""
    if any(text.count(probe) != 1 for probe in _PROBES):
        return ""
    shared = _common_start(text.split(_PROBES[1])[1], text.split(_PROBES[3])[1])
    found = [
        (token != variables.get("eos_token"), position, -len(token), position + len(token))
        for token in special_tokens
        if not token.isspace() and (position := shared.find(token)) >= 0
    ]
    return shared[: min(found)[-1]] if found else shared.rstrip()


def _common_start(left: str, right: str) -> str:
    length = min(len(left), len(right))
    return left[: next((i for i in range(length) if left[i] != right[i]), length)]
