# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
The side panel: what router and attention did for an answer, as HTML that needs no server to be explored.

It is whole without JavaScript; `assets/panel.js` lays the attention over the pictures and lets one choose a token.
"""

import base64
import html
import io
import json

import numpy as np
from PIL import Image

from wings_hf.app.explain import Explanation

MOST_MAP_BYTES = 2_000_000  # of all tokens' maps together; beyond it the page gets their mean alone
PNG_SIDE = 64  # pictures up to this size keep every pixel
VISUAL_COLOUR, TEXTUAL_COLOUR, NEUTRAL = (245, 158, 11), (96, 165, 250), (255, 255, 255)

NOTHING_YET = "When an answer is there, this shows which learner the router favoured for each of its tokens, and which "
NOTHING_YET += "parts of the pictures the model attended to."
ROUTER_NOTE = "0% is the textual learner alone, 100% the visual one, 50% both alike."


def render_panel(explanation: Explanation | None, answering: bool = False) -> str:
    """The panel's HTML for an answer's explanation; a word on what will be there where there is none."""
    if answering:
        return _section('<p class="wf-quiet">The answer is being written ...</p>')
    if explanation is None:
        return _section(f'<p class="wf-quiet">{NOTHING_YET}</p>')
    if not explanation.tokens:
        return _section('<p class="wf-quiet">The answer is empty: there is nothing to show.</p>')
    return _section(_summary(explanation) + _tokens(explanation) + _pictures(explanation), _data(explanation))


def _section(content: str, data: str = "") -> str:
    return (
        f'<section class="wf-panel" aria-label="Inside the answer"{data}><h2>Inside the answer</h2>{content}</section>'
    )


def _summary(explanation: Explanation) -> str:
    share = explanation.visual_share()
    where = f"over {_count(explanation.layers, 'layer')} and {_count(len(explanation.tokens), 'token')}"
    if not explanation.use_wings:
        router = "The wings were off: the language model answered alone, and no router chose."
    elif share is not None:
        router = f"The router gave the visual learner {share.mean():.0%} of the weight, {where}."
    elif "textual" in explanation.weights and not explanation.seen:
        router = "No picture is in sight, so the textual learner alone was at work, and the router had no choice."
    else:
        router = "This model has no two learners for a router to choose between here."
    attention = ""
    if explanation.attention:
        total = sum(float(each.sum(axis=(1, 2)).mean()) for each in explanation.attention)
        attention = f" {total:.0%} of the attention went to the pictures."
    return f"<p>{router}{attention}</p>"


def _tokens(explanation: Explanation) -> str:
    share = explanation.visual_share()
    choose = ": choose one to see its attention" if explanation.attention else ""
    buttons = [_button(-1, "whole answer", "the whole answer", None, checked=True)] if explanation.attention else []
    for index, token in enumerate(explanation.tokens):
        part = None if share is None else float(share[index])
        shown = token.strip() or {"": "·", "\n": "↵"}.get(token.strip(" "), "␣")
        name = f"“{token.strip() or 'space'}”" + ("" if part is None else f", visual learner {part:.0%}")
        buttons.append(_button(index, shown, name, part))
    legend = ""
    if share is not None:
        legend = (
            '<div class="wf-legend" aria-hidden="true"><span>textual learner</span><span class="wf-bar"></span>'
            f'<span>visual learner</span></div><p class="wf-quiet">{ROUTER_NOTE}</p>'
        )
    title = "Learner favoured for each token" if share is not None else "Tokens of the answer"
    role = f'role="radiogroup" aria-label="Tokens of the answer{choose}"'
    return f'<h3>{title}</h3><div class="wf-tokens" {role}>{"".join(buttons)}</div>{legend}'


def _button(index: int, shown: str, name: str, share: float | None, checked: bool = False) -> str:
    style, number = "", ""
    if share is not None:
        style = f' style="background:rgb({",".join(map(str, colour(share)))})"'
        number = f'<span class="wf-share" aria-hidden="true">{share:.0%}</span>'
    kind = "wf-token" if share is not None else "wf-token wf-plain"
    return (
        f'<button type="button" role="radio" class="{kind}" data-token="{index}" aria-checked="{str(checked).lower()}" '
        f'tabindex="{0 if checked else -1}" aria-label="{_escape(name)}"{style}>'
        f'<span aria-hidden="true">{_escape(shown)}</span>{number}</button>'
    )


def colour(share: float) -> tuple[int, int, int]:
    """From the textual learner's colour at 0 over white at a half to the visual one's at 1."""
    end = VISUAL_COLOUR if share >= 0.5 else TEXTUAL_COLOUR
    amount = abs(share - 0.5) * 2
    red, green, blue = (round(a + (b - a) * amount) for a, b in zip(NEUTRAL, end, strict=True))
    return red, green, blue


def _pictures(explanation: Explanation) -> str:
    if not explanation.seen:
        return ""
    if len(explanation.attention) != len(explanation.seen):
        return '<p class="wf-quiet">It is not known how the image tokens lie in the pictures, so none is overlaid.</p>'
    figures = [_figure(number, pixels) for number, pixels in enumerate(explanation.seen, start=1)]
    note = "As the model was given them. Bright parts were attended to most, mean over all layers and heads."
    return (
        f'<h3>Attention over the pictures</h3><p class="wf-quiet">{note}</p>'
        f'<div class="wf-pictures">{"".join(figures)}</div>'
    )


def _figure(number: int, pixels: np.ndarray) -> str:
    alone = f"Picture {number} as the model was given it"
    kind = "wf-frame wf-pixels" if max(pixels.shape[:2]) <= PNG_SIDE else "wf-frame"
    return (
        f'<figure><div class="{kind}"><img src="{_encoded(pixels)}" alt="{alone}"><canvas role="img" '
        f'aria-label="Attention over picture {number}"></canvas></div>'
        f"<figcaption>Picture {number}</figcaption></figure>"
    )


def _encoded(pixels: np.ndarray) -> str:
    """A data URL of the picture."""
    kind = "png" if max(pixels.shape[:2]) <= PNG_SIDE else "jpeg"
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind.upper(), **({} if kind == "png" else {"quality": 85}))
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def _data(explanation: Explanation) -> str:
    """The maps for panel.js: for each picture bytes of (1 + tokens, height, width), the mean first."""
    if not explanation.attention or len(explanation.attention) != len(explanation.seen):
        return ""
    maps = [np.concatenate([each.mean(0, keepdims=True), each]) for each in explanation.attention]
    if sum(each.size for each in maps) > MOST_MAP_BYTES:
        maps = [each[:1] for each in maps]
    peaks = np.maximum(np.max([each.max(axis=(1, 2)) for each in maps], axis=0), 1e-12)  # the same for all pictures
    packed = [
        {
            "height": each.shape[1],
            "width": each.shape[2],
            "shares": [round(float(share), 4) for share in each.sum(axis=(1, 2))],
            "bytes": base64.b64encode((each / peaks[:, None, None] * 255).round().astype(np.uint8).tobytes()).decode(),
        }
        for each in maps
    ]
    names = ["the whole answer", *(token.strip() or "space" for token in explanation.tokens)]
    return f' data-maps="{_escape(json.dumps({"pictures": packed, "tokens": names}))}"'


def _escape(text: str) -> str:
    """For text and attributes, also of a template that takes `{{...}}`, `${...}` and backticks for its own."""
    escaped = html.escape(text)
    for sign in "{}$`":
        escaped = escaped.replace(sign, f"&#{ord(sign)};")
    return escaped


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def render_status(text: str, kind: str) -> str:
    """One sentence on what goes on."""
    if not text:
        return ""
    prefix = "<strong>That did not work.</strong> " if kind == "error" else ""
    return f'<p class="wf-status wf-{_escape(kind)}">{prefix}{_escape(text)}</p>'
