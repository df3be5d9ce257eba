# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Chat templates in the ways language models write them; none is a copy of a released one."""

from processor_parts import CHATML

HEADERS = (  # trims, and puts the start token into the first message
    "{% set all = messages %}{% for m in all %}"
    "{% set text = '<|head|>' + m['role'] + '<|/head|>\n\n' + m['content'] | trim + '<|eot|>' %}"
    "{% if loop.index0 == 0 %}{% set text = bos_token + text %}{% endif %}{{ text }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|head|>assistant<|/head|>\n\n' }}{% endif %}"
)

ALTERNATING = (  # refuses system messages and two users in a row; renames the assistant
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{{ '<turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' + m['content'] | trim + '</turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<turn>model\n' }}{% endif %}"
)

INST = (  # the system message goes into the first user message
    "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set system = messages[0]['content'] %}"
    "{% else %}{% set rest = messages %}{% set system = false %}{% endif %}{% for m in rest %}"
    "{% if loop.index0 == 0 and system %}{% set text = '<<SYS>>' + system + '<</SYS>>' + m['content'] %}"
    "{% else %}{% set text = m['content'] %}{% endif %}"
    "{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + text.strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + text.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)

INDENTED = """{{- bos_token }}
{%- if not date is defined %}
    {%- set date = "1 May" %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = "" %}
{%- endif %}
{%- macro head(role) %}{{ '<|head|>' + role + '<|/head|>' }}{% endmacro %}
{{- head('system') + date + system + '<|eot|>' }}
{%- for message in messages %}
    {%- if message.tool_calls is defined %}
        {{- head('assistant') + (message.tool_calls | tojson) + '<|eot|>' }}
    {%- else %}
        {{- head(message.role) + message.content | trim + '<|eot|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- head('assistant') }}
{%- endif %}
"""

LINES = (  # relies on how blocks at the beginning of a line are trimmed
    "\n   {% for m in messages %}\n  {{ m['role'] }}: {{ m['content'] }}\n  {% endfor %}\n"
    "{% if add_generation_prompt %}\nassistant:\n{% endif %}\n   "
)

LISTS_ONLY = (
    "{% for m in messages %}{{ m['role'] + ':' }}{% for c in m['content'] %}{{ c['text'] }}{% endfor %}</s>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)

NATIVE = (  # knows images, and takes strings too
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['content'] is string %}{{ m['content'] }}"
    "{% else %}{% for c in m['content'] %}{{ '<image>' if c['type'] == 'image' else c['text'] }}{% endfor %}{% endif %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

NATIVE_LISTS = (  # knows images, and silently drops strings
    "{% for m in messages %}{{ m['role'] + ':' }}{% for c in m['content'] %}{% if c['type'] == 'image' %}"
    "{{ '<image>' }}{% elif c['type'] == 'text' %}{{ c['text'] }}{% endif %}{% endfor %}</s>{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)

MARKED = (  # has generation markers of its own
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}{% generation %}"
    "{{ m['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}{% else %}{{ m['content'] + '<|im_end|>\n' }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

ROLE_TOKENS = (  # nothing ends a turn but the next role
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)

THINKING = (  # cuts the reasoning out of all answers but the last
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{{ m['content'].split('</think>')[-1] if not loop.last else m['content'] }}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

OTHER_IMAGES = (  # writes a placeholder that is not ours
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['content'] is string %}{{ m['content'] }}"
    "{% else %}{% for c in m['content'] %}{{ '[IMG]' if c['type'] == 'image' else c['text'] }}{% endfor %}{% endif %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

MACROS = """{%- macro framed() -%}{{ caller('c') }}{%- endmacro -%}
{%- set style = 'S' %}
{%- macro repeat(x, depth) -%}
  {%- if depth > 0 %}{{- x + style + repeat(x, depth - 1) }}{% else %}{{- later }}{% endif -%}
{%- endmacro -%}
{%- set later = 'L' %}
{%- macro head(role) -%}{{- repeat('<' ~ role ~ '>', 2) ~ (flavour if flavour is defined else '') -}}{%- endmacro -%}
{%- set ns = namespace(found=false, index=messages|length) %}
{%- for message in messages[::-1] %}
  {%- if not ns.found and message.role == "user" %}
    {%- set ns.found = true %}{%- set ns.index = messages|length - loop.index %}
  {%- endif %}
{%- endfor %}
{%- for message in messages %}
  {%- if loop.index0 == 9 %}{% break %}{% endif %}
  {{- head(message.role) ~ ('after' if loop.index0 > ns.index else '') ~ message.content ~ '<|eot|>' }}
  {%- call(x) framed() %}{{ x }}{% endcall %}
{%- endfor %}
{%- if add_generation_prompt %}{{- 'assistant' }}{% endif %}"""  # macros in macros, namespaces, loop controls

TWO_ENDS = (  # two special tokens end a turn, and the next begins at once
    "{% for m in messages %}{{ '<|head|>' + m['role'] + '<|/head|>' + m['content'] + '<|eot|></s>' }}{% endfor %}"
    "{{ '<|head|>assistant<|/head|>' }}"
)

NO_GAP = (  # begins the answer whether asked to or not, right after the end of the turn before
    "{% for m in messages %}{{ '<|head|>' + m['role'] + '<|/head|>' + m['content'] + '<|eot|>' }}{% endfor %}"
    "{{ '<|head|>assistant<|/head|>' }}"
)

SPECIAL = (
    "<|im_start|>",
    "<|im_end|>",
    "<|head|>",
    "<|/head|>",
    "<|eot|>",
    "<turn>",
    "</turn>",
    "<|user|>",
    "<|assistant|>",
    "[INST]",
)

# name -> (template, what it writes after the assistant's words, up to the special token)
TEMPLATES = {
    "chatml": (CHATML, "<|im_end|>"),
    "headers": (HEADERS, "<|eot|>"),
    "alternating": (ALTERNATING, "</turn>"),
    "inst": (INST, " </s>"),
    "indented": (INDENTED, "<|eot|>"),
    "lines": (LINES, ""),
    "lists_only": (LISTS_ONLY, "</s>"),
    "native": (NATIVE, "<|im_end|>"),
    "native_lists": (NATIVE_LISTS, "</s>"),
    "marked": (MARKED, "<|im_end|>"),
    "role_tokens": (ROLE_TOKENS, ""),
    "thinking": (THINKING, "<|im_end|>"),
    "macros": (MACROS, "<|eot|>"),
    "two_ends": (TWO_ENDS, "<|eot|></s>"),
    "no_gap": (NO_GAP, "<|eot|>"),
    "other_images": (OTHER_IMAGES, "<|im_end|>"),
}
TAKES_LISTS_ONLY = ("lists_only", "native_lists")
