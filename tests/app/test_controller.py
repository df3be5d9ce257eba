# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A conversation without the page: streaming, stop, retry, undo, failures, the switch, several users, ZeroGPU."""

import itertools
import multiprocessing
import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import app_parts
import pytest
import torch

from wings_hf.app.controller import Controller, Session, View, over
from wings_hf.app.conversation import Conversation, Question, Turn
from wings_hf.app.engine import Answer, Engine
from wings_hf.app.zero_gpu import run_on_zero_gpu


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = app_parts.engine()
    end = engine.model.generation_config.eos_token_id
    yield engine
    engine.model.generation_config.eos_token_id = end


@pytest.fixture
def controller(engine: Engine) -> Controller:
    return Controller(engine, app_parts.settings())


def say(controller: Controller, session: Session, text: str, files: tuple[str, ...] = (), wings: bool = True) -> View:
    """The last view of an answer."""
    return list(controller.ask(session, text, files, wings))[-1]


def fresh_answer(engine: Engine, messages: list[dict[str, Any]], wings: bool = True, tokens: int = 6) -> str:
    """What `generate` says to a conversation, from nothing."""
    inputs = engine.processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    ids = engine.model.generate(**inputs, max_new_tokens=tokens, do_sample=False, use_wings=wings)[0]
    return engine.tokenizer.decode(ids[inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def test_turns_with_several_pictures_answer_as_without_a_cache(controller: Controller, tmp_path: Path) -> None:
    session = controller.session("a")
    files = [app_parts.picture(tmp_path, shade) for shade in (20, 120, 220)]
    script = [("Read a b.", ()), ("Read", tuple(files[:2])), ("What is 1 plus 2?", ()), ("Is <image> a", (files[2],))]
    for text, shown in script:
        view = say(controller, session, text, shown)
        assert view.status == "The answer was cut at the longest length." or view.status == "The answer is complete."
        assert view.turns[-1].explanation is not None and not view.answering
    turns = session.conversation.turns
    for number, turn in enumerate(turns):
        session.conversation.turns = turns[:number]
        expected = fresh_answer(controller.engine, session.conversation.messages(turn.question))
        assert turn.answer == expected
    assert len({turn.answer for turn in turns}) > 1


def test_the_answer_grows_as_it_is_made(controller: Controller) -> None:
    views = list(controller.ask(controller.session("a"), "Read a b c.", ()))
    growing = [view.pending[1] for view in views if view.pending]
    assert growing[0] == "" and len(growing) > 3
    assert all(after.startswith(before) for before, after in itertools.pairwise(growing))
    assert views[-1].turns[-1].answer == growing[-1]
    assert [view.answering for view in views] == [True] * len(growing) + [False]
    assert views[0].box.text == "" and all(view.box is None for view in views[1:])


def test_a_turn_costs_only_what_is_new(controller: Controller, tmp_path: Path) -> None:
    session = controller.session("a")
    controller.settings = app_parts.settings(explain=False)
    say(controller, session, "Read", (app_parts.picture(tmp_path),))
    held = len(session.kept.ids)
    seen: list[int] = []
    hook = controller.engine.model.model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["inputs_embeds"].shape[1]), with_kwargs=True
    )
    turn = say(controller, session, "Read a b.").turns[-1]
    hook.remove()
    whole = controller.engine.encode(session.conversation.messages(turn.question)[:3])["input_ids"].shape[1]
    assert seen[0] == whole - held < whole - 5 and set(seen[1:]) <= {1}


def test_stop_ends_generation_and_the_next_turn_works(engine: Engine) -> None:
    controller = Controller(engine, app_parts.endless(engine))
    session = controller.session("a")
    steps: list[int] = []
    hook = engine.model.register_forward_hook(lambda *args: steps.append(1))
    stream = controller.ask(session, "Read a b.", ())
    for number, _ in enumerate(stream):
        if number == 5:
            controller.stop(session)
    hook.remove()
    (turn,) = session.conversation.turns
    assert turn.ended == "stopped" and len(steps) < 100
    expected = fresh_answer(engine, [{"role": "user", "content": [{"type": "text", "text": "Read a b."}]}], tokens=150)
    assert turn.answer and expected.startswith(turn.answer)
    controller.settings = app_parts.settings(explain=False)
    view = say(controller, session, "Read c.")
    assert len(view.turns) == 2 and view.turns[1].ended == "cut"
    engine.model.generation_config.eos_token_id = engine.tokenizer.eos_token_id
    messages = session.conversation.messages(view.turns[1].question)[:3]
    assert messages[1]["content"] == turn.answer


def test_an_answer_that_nobody_reads_ends(engine: Engine) -> None:
    controller = Controller(engine, app_parts.endless(engine, tokens=10_000))
    stream = controller.ask(controller.session("a"), "Read a b.", ())
    for _ in range(4):
        next(stream)
    stream.close()
    for thread in threading.enumerate():
        if thread.name == "wings answer":
            thread.join(60)
            assert not thread.is_alive()
    assert engine.lock.acquire(timeout=60)
    engine.lock.release()
    session = controller.session("a")
    assert session.conversation.turns == [] and not session.busy.locked()


def test_retry_undo_and_clear(controller: Controller, tmp_path: Path) -> None:
    session = controller.session("a")
    say(controller, session, "Read a b.")
    file = app_parts.picture(tmp_path)
    first = say(controller, session, "Read", (file,)).turns[-1]
    again = list(controller.retry(session))[-1].turns
    assert len(again) == 2 and again[-1].answer == first.answer
    undone = controller.undo(session)
    assert len(undone.turns) == 1 and undone.box.text == "Read" and undone.box.pictures[0].path == file
    assert say(controller, session, "Read", (file,)).turns[-1].answer == first.answer
    cleared = controller.clear(session)
    assert cleared.turns == () and session.kept.ids == []
    assert controller.undo(session).kind == "error" and next(controller.retry(session)).kind == "error"


def test_wings_off_is_the_language_model_alone_and_flips_in_mid_conversation(
    controller: Controller, tmp_path: Path
) -> None:
    session = controller.session("a")
    file = app_parts.picture(tmp_path)
    on = say(controller, session, "Read", (file,)).turns[-1]
    off = list(controller.retry(session, use_wings=False))[-1].turns[-1]
    assert on.use_wings and not off.use_wings and on.answer != off.answer
    question = off.question
    session.conversation.turns = []
    messages = session.conversation.messages(question)
    assert off.answer == fresh_answer(controller.engine, messages, wings=False)
    assert on.answer == fresh_answer(controller.engine, messages, wings=True)
    session.conversation.turns = [off]
    then = say(controller, session, "Read a b.", wings=True).turns[-1]
    assert then.answer == fresh_answer(controller.engine, session.conversation.messages(then.question)[:3])
    assert off.explanation.weights == {} and len(off.explanation.attention) == 1


def test_what_goes_wrong_is_told_and_the_conversation_goes_on(controller: Controller, tmp_path: Path) -> None:
    session = controller.session("a")
    say(controller, session, "Read a b.")
    (tmp_path / "broken.png").write_text("no picture")
    broken = say(controller, session, "Read", (str(tmp_path / "broken.png"),))
    assert broken.kind == "error" and "broken.png" in broken.status and broken.box is None
    assert len(broken.turns) == 1
    assert say(controller, session, "").kind == "error"
    assert len(say(controller, session, "Read c.").turns) == 2


def test_a_conversation_too_long_is_told(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    controller = Controller(engine, app_parts.settings(message_characters=10_000))
    session = controller.session("a")
    say(controller, session, "Read a b.")
    long = say(controller, session, "Read a b. " * 200)
    assert long.kind == "error" and "too long" in long.status and "the model reads 511" in long.status
    assert len(long.turns) == 1 and long.box.text.startswith("Read a b.")
    assert len(say(controller, session, "Read c.").turns) == 2
    monkeypatch.setattr(engine.model.config, "router_positions", 40)
    assert engine.longest() == 40 and engine.longest(use_wings=False) == 512


def test_an_answer_has_the_room_that_is_left(engine: Engine) -> None:
    message = [{"role": "user", "content": [{"type": "text", "text": "Read " + "a b " * 240}]}]
    request = engine.request(message, 400, 0.0, True, False)
    assert request.max_new_tokens == 512 - request.inputs["input_ids"].shape[1] < 400
    *_, answer = engine.stream(request)
    assert answer.ended in ("cut", "whole")


def test_a_failing_model_is_told_without_its_reasons(
    controller: Controller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    session = controller.session("a")
    say(controller, session, "Read a b.")

    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("secret detail")

    with monkeypatch.context() as patch:
        patch.setattr(controller.engine.model, "generate", fail)
        failed = say(controller, session, "Read c.")
        retried = list(controller.retry(session))[-1]
    assert failed.kind == "error" and "secret" not in failed.status and failed.box.text == "Read c."
    assert len(failed.turns) == len(retried.turns) == 1 and retried.box is None
    assert "secret detail" in caplog.text
    assert len(say(controller, session, "Read c.").turns) == 2


def test_users_do_not_see_each_other(engine: Engine, tmp_path: Path) -> None:
    controller = Controller(engine, app_parts.settings())
    asked = {"a": "Read a b.", "b": "Reverse a b c.", "c": "Read"}
    files = {"c": (app_parts.picture(tmp_path),)}

    def talk(name: str) -> None:
        for _ in range(2):
            say(controller, controller.session(name), asked[name], files.get(name, ()), wings=name != "b")

    threads = [threading.Thread(target=talk, args=(name,)) for name in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in asked:
        session = controller.session(name)
        assert [turn.question.text for turn in session.conversation.turns] == [asked[name]] * 2
        messages = session.conversation.messages(session.conversation.turns[-1].question)[:3]
        answer = session.conversation.turns[-1].answer
        assert answer == fresh_answer(engine, messages, wings=name != "b")


def test_sessions_are_forgotten(engine: Engine) -> None:
    controller = Controller(engine, app_parts.settings(conversations=2))
    first = controller.session("a")
    controller.session("b")
    assert controller.session("a") is first
    controller.session("c")
    assert list(controller.sessions) == ["a", "c"]
    controller.forget("a")
    assert first.stop.is_set() and list(controller.sessions) == ["c"]
    controller.forget("never seen")


def test_one_visitor_pushes_out_their_own_conversations_first(engine: Engine) -> None:
    controller = Controller(engine, app_parts.settings(conversations=4), keeps_caches=False)
    kept = [controller.session(name, visitor) for name, visitor in (("a", "1.1.1.1"), ("b", "2.2.2.2"))]
    for number in range(20):
        controller.session(f"many{number}", "3.3.3.3")
        assert [controller.session(name) for name in "ab"] == kept
    assert list(controller.sessions) == ["many18", "many19", "a", "b"]
    newcomer = controller.session("c", "4.4.4.4")
    assert list(controller.sessions.values())[-1] is newcomer and "many18" not in controller.sessions
    for number in range(20):  # buttons that wait in no queue take no place
        controller.stop(controller.known(f"made up {number}"))
        assert controller.undo(controller.known(f"made up {number}")).status == "There is nothing to undo."
    assert list(controller.sessions) == ["many19", "a", "b", "c"] and controller.known("a") is kept[0]


def test_who_was_forgotten_is_told(engine: Engine) -> None:
    controller = Controller(engine, app_parts.settings(conversations=1))
    assert "forgotten" not in say(controller, controller.session("a"), "Read a.").status
    say(controller, controller.session("b"), "Read b.")
    view = say(controller, controller.session("a"), "Read a.")
    assert view.status.startswith("The conversation before was forgotten") and len(view.turns) == 1
    assert "forgotten" not in say(controller, controller.session("a"), "Read a.").status


def test_caches_are_kept_up_to_so_many_bytes(engine: Engine, tmp_path: Path) -> None:
    controller = Controller(engine, app_parts.settings())
    first, second = controller.session("a", "1.1.1.1"), controller.session("b", "2.2.2.2")
    say(controller, first, "Read a.", (app_parts.picture(tmp_path),))
    size = first.kept.nbytes
    cache = first.kept.cache
    layers = [*cache.layers, *(layer for layer in cache.wings.layers if layer.is_initialized)]
    tensors = [each for layer in layers for each in (layer.keys, layer.values)]
    least = sum({each.data_ptr(): each.untyped_storage().nbytes() for each in tensors}.values())
    assert sum(each.nbytes for each in tensors) < least <= size <= 2 * least  # packed maps beside them
    controller.settings = app_parts.settings(cache_bytes=size + 10)
    say(controller, second, "Read b.")
    assert first.kept.nbytes == 0 and not first.kept.ids and second.kept.nbytes > 0
    assert len(first.conversation.turns) == 1, "the conversation stays"
    view = say(controller, first, "And again.")
    assert view.turns[1].answer == fresh_answer(engine, first.conversation.messages(view.turns[1].question)[:-2])
    controller.settings = app_parts.settings(cache_bytes=1)
    say(controller, second, "Read c.")
    assert first.kept.nbytes == second.kept.nbytes == 0 and len(second.conversation.turns) == 2


def test_pictures_are_kept_up_to_so_many_bytes(engine: Engine, tmp_path: Path) -> None:
    controller = Controller(engine, app_parts.settings())
    path = app_parts.picture(tmp_path)
    say(controller, controller.session("a", "1.1.1.1"), "Read", (path,))
    size = controller.session("a").conversation.picture_bytes()
    assert size == Path(path).stat().st_size
    controller.settings = app_parts.settings(picture_bytes=2 * size)
    for name in ("b", "c"):
        say(controller, controller.session(name, "2.2.2.2"), "Read", (path,))
    assert list(controller.sessions) == ["a", "c"], "the one who brought most"


def test_over() -> None:
    def session(visitor: str, weight: int, busy: bool = False) -> Any:
        made = Session(Conversation(), None, visitor)
        made.weight = weight
        if busy:
            made.busy.acquire()
        return made

    a, b, c, d = session("x", 5), session("y", 3), session("x", 1), session("z", 4, busy=True)
    every = [a, b, c, d]
    weight = lambda each: each.weight  # noqa: E731
    assert over(13, weight, every, d) == []
    assert over(12, weight, every, d) == [a] == over(8, weight, every, d)
    assert over(12, weight, every, a) == [c]
    assert over(5, weight, every, c) == [a, b]
    assert over(1, weight, every, c) == [a, b, d]
    assert over(0, weight, every, c) == [a, b, d], "the current one stays"


def test_text_that_spells_the_image_token_is_text(controller: Controller, tmp_path: Path) -> None:
    place = controller.engine.processor.image_token
    session = controller.session("a")
    session.conversation.turns = [Turn(Question("Read a."), f"In HTML: {place}, {place}.")]
    assert say(controller, session, "Read a b.").kind == "info"
    assert say(controller, session, "Read <image> b.", (app_parts.picture(tmp_path),)).kind == "info"
    inputs = controller.engine.encode([{"role": "user", "content": f"Read {place} a."}])
    assert not (inputs["input_ids"] == controller.engine.model.config.image_token_id).any()


def test_devices_are_checked_before_a_model_is_looked_for() -> None:
    with pytest.raises(ValueError, match="device='abacus': expected auto, cpu"):
        Engine.load("no/where", "abacus")


def test_one_answer_at_a_time_in_a_session(engine: Engine) -> None:
    controller = Controller(engine, app_parts.endless(engine))
    session = controller.session("a")
    stream = controller.ask(session, "Read a b.", ())
    next(stream)
    for view in (next(controller.ask(session, "Read c.", ())), controller.undo(session), controller.clear(session)):
        assert view.kind == "error" and "top" in view.status and view.answering
    controller.stop(session)
    assert len(list(stream)[-1].turns) == 1


def forked(task: Any) -> Any:
    """As `spaces.GPU` does: the generator runs in a forked process, what it is given and yields is pickled."""
    context = multiprocessing.get_context("fork")

    def work(arguments: bytes, pipe: Any) -> None:
        torch.set_num_threads(1)
        generator = task(*pickle.loads(arguments))
        for piece in generator:
            if pipe.poll():
                generator.close()
                break
            pipe.send_bytes(pickle.dumps(piece))
        pipe.send_bytes(pickle.dumps(None))

    def run(*arguments: Any) -> Iterator[Any]:
        here, there = context.Pipe()
        process = context.Process(target=work, args=(pickle.dumps(arguments), there), daemon=True)
        process.start()
        try:
            while (piece := pickle.loads(here.recv_bytes())) is not None:
                yield piece
        finally:
            here.send_bytes(b"stop")
            process.join(60)
            run.exit_codes.append(process.exitcode)

    run.exit_codes = []
    run.task = task
    return run


def test_in_a_process_of_its_own_as_on_zero_gpu(engine: Engine, tmp_path: Path) -> None:
    decorated: list[Any] = []

    def decorate(task: Any) -> Any:
        decorated.append(forked(task))
        return decorated[-1]

    run = run_on_zero_gpu(engine, decorate)
    controller = Controller(engine, app_parts.settings(), run, keeps_caches=False)
    session = controller.session("a")
    assert session.kept is None
    view = say(controller, session, "Read", (app_parts.picture(tmp_path),))
    (turn,) = view.turns
    messages = session.conversation.messages(turn.question)[:1] if not view.turns else None
    session.conversation.turns = []
    messages = session.conversation.messages(turn.question)
    assert turn.answer == fresh_answer(engine, messages) and turn.explanation.attention
    controller.settings = app_parts.endless(engine, tokens=5000)
    stream = controller.ask(session, "Read a b.", ())
    for number, _ in enumerate(stream):
        if number == 4:
            controller.stop(session)
    stopped = session.conversation.turns[-1]
    assert stopped.ended == "stopped" and stopped.answer and decorated[0].exit_codes == [0, 0]


def test_pieces_and_an_answer_come_from_the_engine(engine: Engine) -> None:
    message = [{"role": "user", "content": [{"type": "text", "text": "Read a b."}]}]
    *pieces, answer = engine.stream(engine.request(message, 6, 0.8, True, True))
    assert isinstance(answer, Answer) and pieces and all(isinstance(piece, str) for piece in pieces)
    assert answer.explanation.use_wings
