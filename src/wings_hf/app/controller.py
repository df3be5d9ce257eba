# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What the page's buttons do: ask, stop, retry, undo, clear. Knows nothing of the layout."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from wings_hf.app.conversation import Conversation, Question, Turn, check_question
from wings_hf.app.engine import Answer, Engine, Request
from wings_hf.app.explain import Explanation
from wings_hf.app.kept_cache import KeptCache
from wings_hf.app.pictures import read_picture
from wings_hf.app.settings import Settings, UserError

logger = logging.getLogger(__name__)

Runner = Callable[[Request, KeptCache | None, threading.Event], Iterator[str | Answer]]


@dataclass
class Session:
    """One user's conversation, with what the model keeps of it."""

    conversation: Conversation
    kept: KeptCache | None
    stop: threading.Event = field(default_factory=threading.Event)
    busy: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class View:
    """
    What the page shows.

    Args:
        turns: all whole turns.
        pending: a question that is being answered, and the answer so far.
        box: what the message box shall hold: None for what it holds.
        status: one sentence on what goes on; "" for nothing.
        kind: whether the status tells or warns.
        answering: whether an answer is being written.
        explanation: of the last answer; None where there is none.
    """

    turns: tuple[Turn, ...]
    pending: tuple[Question, str] | None = None
    box: Question | None = None
    status: str = ""
    kind: Literal["info", "error"] = "info"
    answering: bool = False
    explanation: Explanation | None = None


class Controller:
    """
    Sessions and what they can do.

    Args:
        engine: the model.
        run: computes answers; `engine.stream` by default.
        keeps_caches: whether sessions keep the model's cache from turn to turn.
    """

    def __init__(
        self, engine: Engine, settings: Settings, run: Runner | None = None, keeps_caches: bool = True
    ) -> None:
        self.engine, self.settings = engine, settings
        self.run: Runner = engine.stream if run is None else run
        self.keeps_caches = keeps_caches
        self.sessions: OrderedDict[str, Session] = OrderedDict()
        self.lock = threading.Lock()

    # ---- sessions -------------------------------------------------------------------------------------------
    def session(self, name: str) -> Session:
        """The session of that name; the one unused longest is forgotten where there are too many."""
        with self.lock:
            if name not in self.sessions:
                kept = KeptCache(self.engine.model) if self.keeps_caches else None
                self.sessions[name] = Session(Conversation(self.settings.system), kept)
            session = self.sessions[name]
            self.sessions.move_to_end(name)
            gone = [*self.sessions][: max(0, len(self.sessions) - self.settings.conversations)]
            forgotten = [self.sessions.pop(old) for old in gone]
        for each in forgotten:
            each.stop.set()
        return session

    def forget(self, name: str) -> None:
        """End a session, and an answer that is being written for it."""
        with self.lock:
            session = self.sessions.pop(name, None)
        if session is not None:
            session.stop.set()

    # ---- what users do --------------------------------------------------------------------------------------
    def ask(self, session: Session, text: str, files: Sequence[str], use_wings: bool = True) -> Iterator[View]:
        """Answer a message with uploaded pictures. What goes wrong is told in the view, and the conversation stays."""
        try:
            pictures = tuple(read_picture(path, self.settings) for path in files)
        except UserError as error:
            yield self.view(session, status=str(error), kind="error")
            return
        yield from self._answer(session, Question(text, pictures), use_wings)

    def retry(self, session: Session, use_wings: bool = True) -> Iterator[View]:
        """Answer the last question once more, with the wings as they are set now."""
        if not session.conversation.turns:
            yield self.view(session, status="There is no answer to try again.", kind="error")
            return
        yield from self._answer(session, session.conversation.turns[-1].question, use_wings, again=True)

    def undo(self, session: Session) -> View:
        """Take the last turn back; its question goes into the message box."""
        with unless_busy(session) as free:
            if not free:
                return self.view(session, status=STOP_FIRST, kind="error", answering=True)
            if not session.conversation.turns:
                return self.view(session, status="There is nothing to undo.", kind="error")
            turn = session.conversation.turns.pop()
            return self.view(session, box=turn.question, status="The last turn is taken back.")

    def clear(self, session: Session) -> View:
        """Forget all that was said and shown."""
        with unless_busy(session) as free:
            if not free:
                return self.view(session, status=STOP_FIRST, kind="error", answering=True)
            session.conversation.turns.clear()
            if session.kept is not None:
                session.kept.forget()
            return self.view(session, status="A new conversation.")

    def stop(self, session: Session) -> None:
        """End the answer that is being written; what there is of it is kept."""
        session.stop.set()

    # ---- answering ------------------------------------------------------------------------------------------
    def _answer(self, session: Session, question: Question, use_wings: bool, again: bool = False) -> Iterator[View]:
        if not session.busy.acquire(blocking=False):
            yield self.view(session, status="An answer is being written: stop it first.", kind="error", answering=True)
            return
        turns, problem = session.conversation.turns, ""
        before = list(turns)
        del turns[len(turns) - again :]
        try:
            yield from self._stream(session, question, use_wings)
        except UserError as error:
            problem = str(error)
        except Exception:
            logger.exception("An answer failed.")
            problem = FAILED
        finally:
            if len(turns) == len(before) - again:  # it was not answered
                turns[:] = before
            session.busy.release()
        if problem:
            yield self.view(session, box=None if again else question, status=problem, kind="error")

    def _stream(self, session: Session, question: Question, use_wings: bool) -> Iterator[View]:
        """Answers, and adds the turn at the end."""
        session.stop.clear()
        request = self._request(session, question, use_wings)
        yield self.view(session, pending=(question, ""), box=Question(""), status="Reading ...", answering=True)
        text, answer = "", None
        for piece in self.run(request, session.kept, session.stop):
            if isinstance(piece, Answer):
                answer = piece
                continue
            text = piece
            yield self.view(session, pending=(question, text), status="Answering ...", answering=True)
        answer = Answer(text, "stopped") if answer is None else answer  # ended from outside
        session.conversation.turns.append(Turn(question, answer.text, answer.ended, use_wings, answer.explanation))
        yield self.view(session, status=ENDED[answer.ended])

    def _request(self, session: Session, question: Question, use_wings: bool) -> Request:
        settings = self.settings
        check_question(question, session.conversation, settings, self.engine.sees)
        messages = session.conversation.messages(question)
        return self.engine.request(messages, settings.max_new_tokens, settings.temperature, use_wings, settings.explain)

    def view(
        self,
        session: Session,
        pending: tuple[Question, str] | None = None,
        box: Question | None = None,
        status: str = "",
        kind: Literal["info", "error"] = "info",
        answering: bool = False,
    ) -> View:
        """What the page shows of a session."""
        turns = tuple(session.conversation.turns)
        explanation = turns[-1].explanation if turns and pending is None else None
        return View(turns, pending, box, status, kind, answering, explanation)


@contextmanager
def unless_busy(session: Session) -> Iterator[bool]:
    """Holds answers of the session back; False where one is being written."""
    free = session.busy.acquire(blocking=False)
    try:
        yield free
    finally:
        if free:
            session.busy.release()


STOP_FIRST = "Stop the answer first."
FAILED = "The model failed at this answer. The conversation is as it was before; please try again."
ENDED = {
    "whole": "The answer is complete.",
    "stopped": "Stopped. The answer so far is kept.",
    "cut": "The answer was cut at the longest length.",
}
