# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The page in Gradio 6: a chat on the left, what router and attention did on the right, one column on phones."""

import os
import re
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import gradio as gr

from wings_hf.app.controller import Controller, Session, View
from wings_hf.app.conversation import Question, Turn
from wings_hf.app.examples import Example, drawn_examples, read_examples
from wings_hf.app.panel import render_panel, render_status
from wings_hf.app.placing import PLACE
from wings_hf.app.visitors import visitor_of

ASSETS = files("wings_hf.app") / "assets"
INTRODUCTION = "Talk about pictures, or about anything else. Answers come from **{model}** and may be wrong."
PICTURES_GO = " Pictures go before your text, or where you write `<image>`."
EMPTY = "Try one of these, or write a message of your own."
HOUR = 3600
CODE = re.compile(r"(```.*?(?:```|$)|`[^`\n]+`)", re.DOTALL)
BUTTONS = ("stop", "retry", "undo", "clear")
LIVE_REGION = "element.setAttribute('role', 'status'); element.setAttribute('aria-live', 'polite');"

Updates = tuple[Any, ...]


def build_page(controller: Controller) -> gr.Blocks:
    """
    The page for one model; `launch` shows it.

    Args:
        controller: what its buttons do.
    """
    settings = controller.settings
    examples = load_examples(controller)
    title = settings.title or "Wings"
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(HOUR, 24 * HOUR), fill_width=False) as page:
        introduction = INTRODUCTION.format(model="/".join(settings.model.rstrip("/").split("/")[-2:]))
        gr.Markdown(f"# {title}\n{introduction}{PICTURES_GO if _sees(controller) else ''}", elem_classes="wf-title")
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=320):
                chat = _chat(examples)
                box = _box(controller)
                status = gr.HTML("", js_on_load=LIVE_REGION, elem_id="wf-status")
                with gr.Row(elem_id="wf-actions"):
                    stop = gr.Button("Stop", variant="stop", interactive=False, elem_id="wf-stop", min_width=80)
                    retry = gr.Button("Retry", interactive=False, elem_id="wf-retry", min_width=80)
                    undo = gr.Button("Undo", interactive=False, elem_id="wf-undo", min_width=80)
                    clear = gr.Button("Clear", interactive=False, elem_id="wf-clear", min_width=80)
                wings = gr.Checkbox(
                    value=True,
                    label="Wings on",
                    info="Off: the language model answers alone. Retry then shows the difference.",
                    visible=bool(controller.engine.model.config.learners),
                    elem_id="wf-wings",
                )
            with gr.Column(scale=2, min_width=320):
                script = (ASSETS / "panel.js").read_text(encoding="utf-8")
                panel = gr.HTML(render_panel(None), js_on_load=script, elem_id="wf-panel", visible=settings.explain)
        inputs: tuple[Any, ...] = (box, wings)
        for component in inputs:
            component.async_move_resource_to_block_cache = only_uploaded(component.async_move_resource_to_block_cache)
        outputs = [chat, box, status, panel, stop, retry, undo, clear]
        page_events = Events(controller, examples)
        waits = {"outputs": outputs, "concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private"}
        waits |= {"show_progress": "minimal", "show_progress_on": status}  # the place in the queue
        at_once = {"outputs": outputs, "queue": False, "api_visibility": "private", "show_progress": "hidden"}
        box.submit(page_events.ask, [box, wings], **waits)
        chat.example_select(page_events.ask_example, [wings], **waits)
        retry.click(page_events.retry, [wings], **waits)
        stop.click(page_events.stop, queue=False, api_visibility="private", show_progress="hidden")
        undo.click(page_events.undo, **at_once)
        clear.click(page_events.clear, **at_once)
        chat.clear(page_events.clear, **at_once)
        page.unload(page_events.forget)
    page.queue(max_size=settings.queue, api_open=False)  # open, it lets clients pass the queue by
    return page


def load_examples(controller: Controller) -> list[Example]:
    """The examples that the settings name, else some that are drawn."""
    if controller.settings.examples:
        return read_examples(Path(controller.settings.examples))
    return drawn_examples(Path(tempfile.mkdtemp(prefix="wings-examples-")), controller.engine.sees)


def _chat(examples: Sequence[Example]) -> gr.Chatbot:
    return gr.Chatbot(
        label="Conversation",
        show_label=False,  # it would lie over the first message
        elem_id="wf-chat",
        height="50vh",
        placeholder=EMPTY,
        buttons=["copy", "copy_all"],
        allow_tags=False,
        allow_file_downloads=False,
        group_consecutive_messages=False,
        layout="bubble",
        examples=[
            {
                "text": example.text,
                "display_text": numbered(example.text),
                "files": list(example.images),
                **({"icon": example.images[0]} if example.images else {}),
            }
            for example in examples
        ],
    )


def _box(controller: Controller) -> gr.MultimodalTextbox:
    sees = _sees(controller)
    return gr.MultimodalTextbox(
        label="Your message",
        show_label=False,
        placeholder="Write a message",
        sources=["upload"] if sees else [],
        file_types=["image"],
        file_count="multiple",
        max_plain_text_length=controller.settings.message_characters + 1,
        elem_id="wf-box",
    )


def only_uploaded(move: Callable[[Any], Awaitable[str | None]]) -> Callable[[Any], Awaitable[str | None]]:
    """What brings a browser's files to Gradio's folder, without web addresses, which Gradio's own would download."""

    async def moved(source: Any) -> str | None:
        if "://" in str(source):
            raise gr.Error(
                "A picture has to be uploaded: nothing is fetched from web addresses.", print_exception=False
            )
        return await move(source)

    return moved


def _sees(controller: Controller) -> bool:
    return controller.engine.sees and controller.settings.message_images > 0


class Events:
    """From the page's events to the controller, and from its views to updates of the page."""

    def __init__(self, controller: Controller, examples: Sequence[Example]) -> None:
        self.controller, self.examples = controller, examples

    def ask(self, message: dict[str, Any] | None, wings: bool, request: gr.Request) -> Iterator[Updates]:
        message = message or {}
        text, uploaded = message.get("text") or "", message.get("files") or []
        yield from updates(self.controller.ask(self._session(request), text, uploaded, wings))

    def ask_example(self, wings: bool, chosen: gr.SelectData, request: gr.Request) -> Iterator[Updates]:
        # By its number: what else the event holds comes from the browser, and could name any file.
        index = chosen.index if isinstance(chosen.index, int) else -1
        if not 0 <= index < len(self.examples):
            raise gr.Error("There is no such example.")
        example = self.examples[index]
        yield from updates(self.controller.ask(self._session(request), example.text, example.images, wings))

    def retry(self, wings: bool, request: gr.Request) -> Iterator[Updates]:
        yield from updates(self.controller.retry(self._session(request), wings))

    def stop(self, request: gr.Request) -> None:
        self.controller.stop(self._known(request))

    def undo(self, request: gr.Request) -> Updates:
        return next(updates(iter([self.controller.undo(self._known(request))])))

    def clear(self, request: gr.Request) -> Updates:
        return next(updates(iter([self.controller.clear(self._known(request))])))

    def forget(self, request: gr.Request) -> None:
        self.controller.forget(str(request.session_hash))

    def _session(self, request: gr.Request) -> Session:
        return self.controller.session(str(request.session_hash), visitor_of(request))

    def _known(self, request: gr.Request) -> Session:
        """For buttons that cost no place in the queue, and so must cost no place among the conversations."""
        return self.controller.known(str(request.session_hash))


def updates(views: Iterator[View]) -> Iterator[Updates]:
    """For each view, updates of: chat, box, status, panel, stop, retry, undo, clear. Nothing is sent twice."""
    before: View | None = None
    for view in views:
        first = before is None
        told = before is not None and (before.status, before.kind) == (view.status, view.kind)
        same_panel = before is not None and before.answering == view.answering
        same_buttons = before is not None and before.answering == view.answering
        yield (
            show_chat(view),
            gr.skip() if view.box is None else show_box(view.box),
            gr.skip() if told else render_status(view.status, view.kind),
            gr.skip() if same_panel and not first else render_panel(view.explanation, view.answering),
            *([gr.skip()] * len(BUTTONS) if same_buttons else show_buttons(view)),
        )
        before = view


def show_chat(view: View) -> list[dict[str, Any]]:
    """The conversation as messages of `gr.Chatbot`."""
    messages = [message for turn in view.turns for message in _messages(turn)]
    if view.pending is not None:
        question, answer = view.pending
        messages.append(_user_message(question))
        messages.append({"role": "assistant", "content": literally(answer) or "..."})
    return messages


def _messages(turn: Turn) -> list[dict[str, Any]]:
    notes = {"stopped": "stopped", "cut": "cut at the longest length", "whole": ""}[turn.ended]
    notes = ", ".join(note for note in (notes, "" if turn.use_wings else "without wings") if note)
    content = literally(turn.answer) or "(an empty answer)"
    return [
        _user_message(turn.question),
        {"role": "assistant", "content": f"{content}\n\n*({notes})*" if notes else content},
    ]


def _user_message(question: Question) -> dict[str, Any]:
    shown = [
        {"path": picture.path, "alt_text": picture.name} if os.path.exists(picture.path) else f"[{picture.name}]"
        for picture in question.pictures
    ]
    return {"role": "user", "content": [*shown, *([literally(numbered(question.text))] if question.text else [])]}


def numbered(text: str) -> str:
    """The text with "[picture 1]" and so on in the pictures' places."""
    for number in range(1, text.count(PLACE) + 1):
        text = text.replace(PLACE, f"[picture {number}]", 1)
    return text


def literally(text: str) -> str:
    """Markdown in which tags are shown as they are written, outside of code, which shows them anyway."""
    parts = CODE.split(text)
    return "".join(part if index % 2 else part.replace("<", "&lt;") for index, part in enumerate(parts))


def show_box(question: Question) -> dict[str, Any]:
    """What the message box holds."""
    return {"text": question.text, "files": [each.path for each in question.pictures if os.path.exists(each.path)]}


def show_buttons(view: View) -> list[Any]:
    """Buttons that can be pressed now: stop while an answer is written, the others when there is one."""
    idle = bool(view.turns) and not view.answering
    return [gr.Button(interactive=view.answering), *(gr.Button(interactive=idle) for _ in BUTTONS[1:])]
