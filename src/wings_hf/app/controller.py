# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What the page's buttons do: ask, stop, retry, undo, clear. Knows nothing of the layout."""

import logging
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
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


@dataclass(eq=False)
class Session:
    """One user's conversation, with what the model keeps of it.

    Args:
        visitor: whose it is, as far as is known.
        was_forgotten: whether it begins anew because an earlier one of its name had to go.
    """

    conversation: Conversation
    kept: KeptCache | None
    visitor: str = ""
    was_forgotten: bool = False
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
        self.sessions: OrderedDict[str, Session] = OrderedDict()  # the one used last comes last
        self.forgotten: OrderedDict[str, None] = OrderedDict()
        self.lock = threading.Lock()

    # ---- sessions -------------------------------------------------------------------------------------------
    def session(self, name: str, visitor: str = "") -> Session:
        """The session of that name, a new one of `visitor` where there is none. Others go where there are too many."""
        with self.lock:
            if name not in self.sessions:
                self.sessions[name] = self._new(visitor, name in self.forgotten)
            session = self.sessions[name]
            self.sessions.move_to_end(name)
            self._forget_over(self.settings.conversations, lambda each: 1, session)
        return session

    def known(self, name: str) -> Session:
        """The session of that name; where there is none, an empty one that is not kept."""
        with self.lock:
            return self.sessions.get(name) or self._new("", False)

    def forget(self, name: str) -> None:
        """End a session, and an answer that is being written for it."""
        with self.lock:
            session = self.sessions.pop(name, None)
        if session is not None:
            session.stop.set()

    def _new(self, visitor: str, was_forgotten: bool) -> Session:
        kept = KeptCache(self.engine.model) if self.keeps_caches else None
        return Session(Conversation(self.settings.system), kept, visitor, was_forgotten)

    def _forget_over(self, limit: int, weight: Callable[[Session], int], current: Session) -> None:
        """Forgets sessions other than `current` until all weigh no more than `limit`. Called with the lock."""
        for session in over(limit, weight, self.sessions.values(), current):
            name = next(name for name, each in self.sessions.items() if each is session)
            del self.sessions[name]
            session.stop.set()
            self.forgotten[name] = None
        while len(self.forgotten) > NAMES_KEPT:
            self.forgotten.popitem(last=False)

    def _keep_within(self, current: Session) -> None:
        """After an answer: forgets what caches and pictures there are too many of."""
        with self.lock:
            self._forget_over(self.settings.picture_bytes, lambda each: each.conversation.picture_bytes(), current)
            large = over(self.settings.cache_bytes, cache_bytes, self.sessions.values(), current)
            if cache_bytes(current) > self.settings.cache_bytes:
                large.append(current)
        for each in large:
            with unless_busy(each) as free:
                if free and each.kept is not None:
                    each.kept.forget()

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
            self._keep_within(session)
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
        anew, session.was_forgotten = session.was_forgotten, False
        yield self.view(session, status=f"{BEGUN_ANEW} {ENDED[answer.ended]}" if anew else ENDED[answer.ended])

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


def over(limit: int, weight: Callable[[Session], int], sessions: Iterable[Session], current: Session) -> list[Session]:
    """
    Which sessions have to give way so that all together weigh no more than `limit`.

    Of the visitor whose sessions weigh most the one unused longest goes first, so that nobody can push out others by
    having many. Those in which an answer is being written go last, `current` never.

    Args:
        sessions: the one used last comes last.
    """
    left = [each for each in sessions if weight(each)]
    total = sum(map(weight, left))
    gone: list[Session] = []
    while total > limit:
        shares: Counter[str] = Counter()
        for each in left:
            shares[each.visitor] += weight(each)
        others = [each for each in left if each is not current]
        if not others:
            break
        chosen = max(others, key=lambda each: (not each.busy.locked(), shares[each.visitor]))  # the first of equals
        gone.append(chosen)
        left.remove(chosen)
        total -= weight(chosen)
    return gone


def cache_bytes(session: Session) -> int:
    """Memory of the model's cache of a session."""
    return 0 if session.kept is None else session.kept.nbytes


@contextmanager
def unless_busy(session: Session) -> Iterator[bool]:
    """Holds answers of the session back; False where one is being written."""
    free = session.busy.acquire(blocking=False)
    try:
        yield free
    finally:
        if free:
            session.busy.release()


NAMES_KEPT = 10_000
BEGUN_ANEW = "The conversation before was forgotten, as more people came than the page has room for: this one is new."
STOP_FIRST = "Stop the answer first."
FAILED = "The model failed at this answer. The conversation is as it was before; please try again."
ENDED = {
    "whole": "The answer is complete.",
    "stopped": "Stopped. The answer so far is kept.",
    "cut": "The answer was cut at the longest length.",
}
