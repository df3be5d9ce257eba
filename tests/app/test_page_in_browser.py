# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The page in a real headless Chromium: what users type, press and see; and what axe-core says about it."""

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import app_parts
import pytest

gr = pytest.importorskip("gradio", reason="needs gradio: pip install 'wings_hf[app]'")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]

from wings_hf.app.controller import Controller  # noqa: E402
from wings_hf.app.launch import launch  # noqa: E402
from wings_hf.app.page import build_page  # noqa: E402

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
SECONDS = 60_000  # the longest wait of one step, in milliseconds


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, Controller]]:
    engine = app_parts.engine()
    end = engine.model.generation_config.eos_token_id
    settings = app_parts.settings(
        image_bytes=200_000, image_pixels=250_000, message_characters=3000, message_images=2, max_new_tokens=6
    )
    controller = Controller(engine, settings)
    page = build_page(controller)
    address = launch(page, settings, "127.0.0.1")
    yield address, controller
    page.close()
    engine.model.generation_config.eos_token_id = end


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(served: tuple[str, Controller], browser: Any) -> Iterator[Any]:
    """Opens the page at a size; at the end nothing may have been asked of another machine, nor have failed."""
    contexts, foreign, problems = [], [], []

    def open_at(size: dict[str, int] = DESKTOP, **options: Any) -> Any:
        context = browser.new_context(viewport=size, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(SECONDS)
        page.on("request", lambda request: foreign.append(request.url) if not _is_local(request.url) else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(served[0])
        page.wait_for_selector("#wf-box textarea")
        page.wait_for_function("document.querySelector('#wf-box textarea').hasAttribute('aria-label')")
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert foreign == [] and problems == []


def _is_local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1", "http://localhost", "data:", "blob:"))


@pytest.fixture
def slow_model(served: tuple[str, Controller]) -> Iterator[None]:
    """Answers that take long unless they are stopped."""
    controller = served[1]
    before, end = controller.settings, controller.engine.model.generation_config.eos_token_id
    controller.settings = app_parts.endless(controller.engine, tokens=400)
    hook = controller.engine.model.register_forward_hook(lambda *args: time.sleep(0.1))
    yield
    hook.remove()
    controller.settings = before
    controller.engine.model.generation_config.eos_token_id = end


def send(page: Any, text: str, *files: str) -> None:
    if files:
        page.set_input_files("#wf-box input[type=file]", list(files))
        page.wait_for_function(f"document.querySelectorAll('#wf-box .thumbnail-item').length == {len(files)}")
    page.fill("#wf-box textarea", text)
    page.press("#wf-box textarea", "Enter")


def wait_for_status(page: Any, text: str) -> None:
    page.wait_for_function("text => document.querySelector('#wf-status').innerText.includes(text)", arg=text)


def answers(page: Any) -> list[str]:
    return [each.inner_text().strip() for each in page.query_selector_all("#wf-chat [data-testid=bot]")]


def ask(page: Any, text: str, *files: str) -> str:
    """The answer to a message, once it is whole."""
    count = len(answers(page))
    send(page, text, *files)
    page.wait_for_function(f"document.querySelectorAll('#wf-chat [data-testid=bot]').length == {count + 1}")
    page.wait_for_selector("#wf-retry:not([disabled])")
    return answers(page)[-1]


def last_turn(served: tuple[str, Controller]) -> Any:
    return list(served[1].sessions.values())[-1].conversation.turns[-1]


def test_several_turns_with_and_without_pictures(open_page: Any, served: Any, tmp_path: Path) -> None:
    page = open_page()
    files = [app_parts.picture(tmp_path, shade) for shade in (20, 200)]
    first = ask(page, "Read <image> and <image> <b>.", *files)
    turn = last_turn(served)
    assert first.startswith(turn.answer.strip()) and len(turn.question.pictures) == 2
    assert "Read [picture 1] and [picture 2] <b>." in page.inner_text("#wf-chat")
    assert page.locator("#wf-chat [data-testid=user] img").count() == 2
    assert page.input_value("#wf-box textarea") == "" and page.locator("#wf-box .thumbnail-item").count() == 0
    second = ask(page, "Read a b.")
    assert second.startswith(last_turn(served).answer.strip()) and last_turn(served).question.pictures == ()
    assert page.locator(".wf-token").count() == 1 + len(last_turn(served).explanation.tokens)


def test_text_alone(open_page: Any, served: Any) -> None:
    page = open_page()
    ask(page, "Read a b.")
    panel = page.inner_text("#wf-panel")
    assert "No picture is in sight" in panel and page.locator("#wf-panel canvas").count() == 0


def test_the_answer_is_streamed_and_stop_ends_it(open_page: Any, served: Any, slow_model: None) -> None:
    page = open_page()
    assert page.is_disabled("#wf-stop")
    send(page, "Read a b.")
    page.wait_for_selector("#wf-stop:not([disabled])")
    page.wait_for_function("document.querySelector('#wf-chat [data-testid=bot]')?.innerText.trim().length > 8")
    shown = answers(page)[0]
    page.fill("#wf-box textarea", "typed meanwhile")
    page.click("#wf-stop")
    wait_for_status(page, "Stopped")
    (stopped,) = answers(page)
    assert stopped.startswith(shown[:5]) and "stopped" in stopped
    assert last_turn(served).ended == "stopped" and len(last_turn(served).answer) < 300
    assert page.input_value("#wf-box textarea") == "typed meanwhile"
    assert page.is_disabled("#wf-stop") and page.is_enabled("#wf-retry")
    page.fill("#wf-box textarea", "Read c.")
    page.press("#wf-box textarea", "Enter")
    page.wait_for_function("document.querySelectorAll('#wf-chat [data-testid=bot]').length == 2")
    page.click("#wf-stop")
    wait_for_status(page, "Stopped")
    assert len(answers(page)) == 2


def test_a_broken_and_a_large_picture_are_told_and_nothing_is_lost(open_page: Any, served: Any, tmp_path: Path) -> None:
    page = open_page()
    ask(page, "Read a b.")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no picture")
    send(page, "What is this?", str(tmp_path / "broken.png"))
    wait_for_status(page, "broken.png")
    status = page.inner_text("#wf-status")
    assert "did not work" in status and "Traceback" not in page.content() and len(answers(page)) == 1
    assert page.input_value("#wf-box textarea") == "What is this?"
    page.click("#wf-box .delete-button")
    send(page, "What is this?", app_parts.picture(tmp_path, 7, side=600))
    wait_for_status(page, "600x600 pixels")
    page.click("#wf-box .delete-button")
    answer = ask(page, "Read c.")
    assert answer and len(answers(page)) == 2


def test_too_long_a_conversation_is_told(open_page: Any) -> None:
    page = open_page()
    send(page, "Read a b. " * 250)
    wait_for_status(page, "too long")
    assert page.input_value("#wf-box textarea").startswith("Read a b.") and answers(page) == []
    assert ask(page, "Read a.")


def test_wings_off_and_on_again(open_page: Any, served: Any, tmp_path: Path) -> None:
    page = open_page()
    ask(page, "Read", app_parts.picture(tmp_path, 20))
    on = last_turn(served)
    assert "router gave the visual learner" in page.inner_text("#wf-panel")
    page.uncheck("#wf-wings input")
    page.click("#wf-retry")
    wait_for_status(page, "Reading")
    page.wait_for_selector("#wf-retry:not([disabled])")
    off = last_turn(served)
    assert not off.use_wings and off.answer != on.answer
    assert "without wings" in answers(page)[0] and "wings were off" in page.inner_text("#wf-panel")
    assert page.locator("#wf-panel canvas").count() == 1


def test_undo_and_clear(open_page: Any, tmp_path: Path) -> None:
    page = open_page()
    ask(page, "Read a b.")
    ask(page, "Read", app_parts.picture(tmp_path, 20))
    page.click("#wf-undo")
    wait_for_status(page, "taken back")
    assert page.input_value("#wf-box textarea") == "Read" and page.locator("#wf-box .thumbnail-item").count() == 1
    assert len(answers(page)) == 1
    page.click("#wf-clear")
    wait_for_status(page, "A new conversation")
    assert answers(page) == [] and page.is_disabled("#wf-clear")


def test_an_example_is_asked(open_page: Any, served: Any) -> None:
    page = open_page()
    page.click("#wf-chat button.example >> nth=0")
    page.wait_for_selector("#wf-retry:not([disabled])")
    assert last_turn(served).question.text.startswith("Which shapes") and len(last_turn(served).question.pictures) == 1


def test_the_panel_by_keyboard(open_page: Any, served: Any, tmp_path: Path) -> None:
    page = open_page()
    ask(page, "Read", app_parts.picture(tmp_path, 20))
    name = "document.querySelector('#wf-panel canvas').getAttribute('aria-label')"
    page.wait_for_function(f"{name}.includes('the whole answer')")
    assert page.evaluate("document.querySelector('#wf-panel canvas').width") == 2
    page.focus("#wf-panel [role=radio]")
    page.keyboard.press("ArrowRight")
    chosen = page.locator("#wf-panel [aria-checked=true]")
    assert chosen.count() == 1 and chosen.get_attribute("data-token") == "0"
    assert "the whole answer" not in page.evaluate(name) and "% of the attention" in page.evaluate(name)
    assert page.evaluate("document.activeElement.dataset.token") == "0"
    share = float(last_turn(served).explanation.attention[0][0].sum())
    caption = page.inner_text("#wf-panel figcaption")
    assert abs(float(re.fullmatch(r"Picture 1: ([\d.]+)% of the attention", caption)[1]) / 100 - share) < 0.0006
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    assert page.locator("#wf-panel [aria-checked=true]").get_attribute("data-token") == "-1"


def test_two_users_have_their_own_conversations(open_page: Any) -> None:
    first, second = open_page(), open_page(PHONE)
    send(first, "Read a b.")
    send(second, "Reverse a b c.")
    for page, own, others in ((first, "Read a b.", "Reverse"), (second, "Reverse a b c.", "Read a b.")):
        page.wait_for_selector("#wf-retry:not([disabled])")
        assert own in page.inner_text("#wf-chat") and others not in page.inner_text("#wf-chat")
        assert len(answers(page)) == 1


def test_a_closed_tab_ends_its_answer(open_page: Any, served: Any, slow_model: None) -> None:
    page = open_page()
    send(page, "Read a b.")
    page.wait_for_selector("#wf-stop:not([disabled])")
    name, session = list(served[1].sessions.items())[-1]
    page.close()
    deadline = time.monotonic() + 60
    while (name in served[1].sessions or session.busy.locked()) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert name not in served[1].sessions and not session.busy.locked()


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_wrong(open_page: Any, tmp_path: Path, size: dict[str, int], scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    page = open_page(size, color_scheme=scheme)
    found = violations(axe, page)
    page.set_input_files("#wf-box input[type=file]", app_parts.picture(tmp_path, 20))
    page.wait_for_selector("#wf-box .thumbnail-item")
    found += violations(axe, page)
    page.fill("#wf-box textarea", "Read <image>.")
    page.press("#wf-box textarea", "Enter")
    page.wait_for_selector("#wf-retry:not([disabled])")
    found += violations(axe, page)
    send(page, "<image>?")
    wait_for_status(page, "did not work")
    page.wait_for_timeout(1500)  # Gradio fades a part that waits for an answer, and back
    assert found + violations(axe, page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def violations(axe: Any, page: Any) -> list[tuple[str, str]]:
    results = axe.Axe().run(page).response["violations"]
    return [(rule["id"], node["html"][:160]) for rule in results for node in rule["nodes"]]


def test_the_tab_key_goes_through_the_page_in_order(open_page: Any, tmp_path: Path) -> None:
    page = open_page()
    ask(page, "Read", app_parts.picture(tmp_path, 20))
    page.focus("#wf-box textarea")
    order = []
    for _ in range(10):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.closest('[id^=wf-]')?.id ?? ''"))
    ids = [name for index, name in enumerate(order) if name and name not in order[:index]]
    assert ids[:6] == ["wf-box", "wf-retry", "wf-undo", "wf-clear", "wf-wings", "wf-panel"]
