# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What the panel shows, against router weights and attention maps measured in other ways; and its HTML."""

import base64
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import app_parts
import numpy as np
import pytest
import torch

from wings_hf.analysis.calls import AttentionCall
from wings_hf.analysis.maps import attention_maps
from wings_hf.analysis.router import router_weights
from wings_hf.app.conversation import Conversation, Question
from wings_hf.app.explain import Explanation, explain
from wings_hf.app.panel import MOST_MAP_BYTES, colour, render_panel, render_status
from wings_hf.app.pictures import read_picture


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, torch.Tensor], list[int]]:
    """Inputs with two pictures, and an answer."""
    engine, folder = app_parts.engine(), tmp_path_factory.mktemp("pictures")
    pictures = tuple(read_picture(app_parts.picture(folder, shade), app_parts.settings()) for shade in (20, 200))
    inputs = engine.encode(Conversation().messages(Question("Is <image> more than <image>?", pictures)))
    return inputs, engine.tokenizer("7 3 yes")["input_ids"]


def whole(inputs: dict[str, torch.Tensor], answer: list[int], rows: list[int]) -> dict[str, torch.Tensor]:
    """A batch with the answer, labels in those rows' next places."""
    ids = torch.cat([inputs["input_ids"], torch.tensor([answer])], dim=1)
    types = torch.cat([inputs["mm_token_type_ids"], torch.zeros(1, len(answer), dtype=torch.long)], dim=1)
    labels = torch.full_like(ids, -100)
    labels[:, [row + 1 for row in rows]] = ids[:, [row + 1 for row in rows]]
    return {"input_ids": ids, "mm_token_type_ids": types, "pixel_values": inputs["pixel_values"], "labels": labels}


def test_weights_and_attention_are_those_of_the_rows_that_choose_the_tokens(asked: Any) -> None:
    engine, (inputs, answer) = app_parts.engine(), asked
    found = explain(engine.model, engine.processor, inputs, [*answer, engine.tokenizer.eos_token_id])
    start = inputs["input_ids"].shape[1] - 1
    rows = list(range(start, start + len(answer)))
    (expected,) = router_weights(engine.model, whole(inputs, answer, rows))
    for index, name in enumerate(expected.learners):
        np.testing.assert_allclose(found.weights[name], expected.weights[:, rows, index].mean(0), atol=1e-6)
    assert "".join(found.tokens) == "7 3 yes" and found.layers == 2 and len(found.seen) == 2
    for number, row in enumerate(rows):
        maps = attention_maps(engine.model, whole(inputs, answer, [row]), rows="answer")
        for image in range(2):
            np.testing.assert_allclose(found.attention[image][number], maps[image].weights.mean(0), atol=1e-6)
    share = found.visual_share()
    np.testing.assert_allclose(share, found.weights["visual"] / 2, atol=1e-6)
    assert share.std() > 1e-4


def test_the_picture_is_what_the_model_was_given(asked: Any) -> None:
    engine, (inputs, answer) = app_parts.engine(), asked
    found = explain(engine.model, engine.processor, inputs, answer)
    pixels = inputs["pixel_values"][0].permute(1, 2, 0).numpy() * 0.5 + 0.5
    np.testing.assert_allclose(found.seen[0] / 255, pixels, atol=0.003)


def test_no_matrix_of_all_rows_and_keys_is_made(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, (inputs, answer) = app_parts.engine(), asked
    expected = explain(engine.model, engine.processor, inputs, answer)
    monkeypatch.setattr(torch, "eye", None)
    made: list[int] = []
    attend = AttentionCall.attend

    def counted(call: AttentionCall, columns: torch.Tensor) -> torch.Tensor:
        made.append(columns.shape[-1])
        assert columns.shape[-1] <= call.value.shape[-1]
        return attend(call, columns)

    monkeypatch.setattr(AttentionCall, "attend", counted)
    found = explain(engine.model, engine.processor, inputs, answer)
    assert made and np.array_equal(found.attention[0], expected.attention[0])


def test_without_pictures_and_without_wings(asked: Any) -> None:
    engine, (inputs, answer) = app_parts.engine(), asked
    text = engine.encode([{"role": "user", "content": [{"type": "text", "text": "Read a."}]}])
    found = explain(engine.model, engine.processor, text, answer)
    assert found.visual_share() is None and found.attention == found.seen == []
    np.testing.assert_allclose(found.weights["textual"], 1.0)
    off = explain(engine.model, engine.processor, inputs, answer, use_wings=False)
    assert off.weights == {} and off.visual_share() is None
    on = explain(engine.model, engine.processor, inputs, answer)
    assert np.abs(off.attention[0] - on.attention[0]).max() > 1e-4


def test_an_empty_answer(asked: Any) -> None:
    engine, (inputs, _) = app_parts.engine(), asked
    found = explain(engine.model, engine.processor, inputs, [engine.tokenizer.eos_token_id])
    assert found.tokens == [] and "answer is empty" in render_panel(found)


# ---- HTML ------------------------------------------------------------------------------------------------


class Elements(HTMLParser):
    """Start tags with their attributes, and whether all are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def made(tokens: list[str], share: list[float] | None = None, side: int = 2, **fields: Any) -> Explanation:
    count = len(tokens)
    visual = np.full(count, 1.0) if share is None else 2 * np.array(share)
    attention = np.linspace(0, 1, count * side * side, dtype=np.float32).reshape(count, side, side) / side**2
    values = {
        "tokens": tokens,
        "weights": {"visual": visual, "textual": 2 - visual},
        "attention": [attention],
        "seen": [np.zeros((4, 4, 3), np.uint8)],
        "layers": 3,
        "use_wings": True,
    }
    return Explanation(**{**values, **fields})


def test_panel_of_an_answer() -> None:
    text = render_panel(made(["a", " b", "\n"], [0.1, 0.5, 0.9]))
    parsed = Elements(text)
    assert parsed.open == []
    buttons = [attributes for tag, attributes in parsed.found if tag == "button"]
    assert [each["aria-label"] for each in buttons] == [
        "the whole answer",
        "“a”, visual learner 10%",
        "“b”, visual learner 50%",
        "“space”, visual learner 90%",
    ]
    assert [each["tabindex"] for each in buttons] == ["0", "-1", "-1", "-1"]
    assert "the visual learner 50% of the weight, over 3 layers and 3 tokens" in text
    data = json.loads(html.unescape(re.search(r'data-maps="([^"]*)"', text)[1]))
    (picture,) = data["pictures"]
    maps = np.frombuffer(base64.b64decode(picture["bytes"]), np.uint8).reshape(4, 2, 2)
    assert maps.max(axis=(1, 2)).tolist() == [255] * 4 and maps[1, 0, 0] == 0
    expected = made(["a", " b", "\n"]).attention[0]
    np.testing.assert_allclose(picture["shares"], [expected.sum((1, 2)).mean(), *expected.sum((1, 2))], atol=1e-4)
    assert len(data["tokens"]) == 4


@pytest.mark.parametrize("token", ['"><script>alert(1)</script>', "${1+1}", "{{value}}", "`", "<img src=x onerror=y>"])
def test_tokens_are_text_and_nothing_else(token: str) -> None:
    text = render_panel(made([token], [0.5]))
    parsed = Elements(text)
    assert {tag for tag, _ in parsed.found} <= {
        *("section", "h2", "h3", "p", "div", "button", "span", "figure", "img", "canvas", "figcaption")
    }
    assert not any(name.startswith("on") for _, attributes in parsed.found for name in attributes)
    assert "${" not in text and "{{" not in text and "`" not in text
    assert render_status(token, "error").count("<") == 4


def test_too_many_maps_leave_their_mean() -> None:
    count = MOST_MAP_BYTES // 30**2 + 1
    text = render_panel(made(["a"] * count, side=30))
    assert len(text) < 700 * count + 10_000
    data = json.loads(html.unescape(re.search(r'data-maps="([^"]*)"', text)[1]))
    assert len(data["pictures"][0]["shares"]) == 1


def test_panels_of_other_answers() -> None:
    assert "will be" not in render_panel(None) and "When an answer is there" in render_panel(None)
    assert "being written" in render_panel(None, answering=True)
    assert "wings were off" in render_panel(made(["a"], weights={}, use_wings=False))
    assert "No picture is in sight" in render_panel(
        made(["a"], weights={"visual": np.zeros(1), "textual": np.ones(1)}, attention=[], seen=[])
    )
    assert "not known how the image tokens lie" in render_panel(made(["a"], attention=[]))
    assert render_status("", "info") == ""


def test_colours_tell_the_learners_apart_and_dark_text_can_be_read_on_them() -> None:
    assert colour(0.5) == (255, 255, 255) and colour(0.0)[2] > colour(0.0)[0] and colour(1.0)[0] > colour(1.0)[2]

    def luminance(red: float, green: float, blue: float) -> float:
        parts = [part / 255 for part in (red, green, blue)]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    text = luminance(0x1F, 0x29, 0x37)
    for share in np.linspace(0, 1, 21):
        assert (luminance(*colour(float(share))) + 0.05) / (text + 0.05) >= 4.5


def test_the_page_does_not_need_the_file_of_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="needs gradio: pip install 'wings_hf[app]'")
    from wings_hf.app.controller import View
    from wings_hf.app.conversation import Turn
    from wings_hf.app.page import literally, show_box, show_chat

    picture = read_picture(app_parts.picture(tmp_path), app_parts.settings())
    view = View((Turn(Question("See <image>", (picture,)), "a <b> `<c>`", "cut", use_wings=False),))
    assert show_chat(view)[0]["content"][0] == {"path": picture.path, "alt_text": "90.png"}
    Path(picture.path).unlink()
    messages = show_chat(view)
    assert messages[0]["content"] == ["[90.png]", "See [picture 1]"]
    assert messages[1]["content"] == "a &lt;b> `<c>`\n\n*(cut at the longest length, without wings)*"
    assert show_box(view.turns[0].question) == {"text": "See <image>", "files": []}
    assert literally("```\n<a>\n``` <b>") == "```\n<a>\n``` &lt;b>"
