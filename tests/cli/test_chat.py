# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`wings-hf chat`: streamed answers, images at any turn, and a cache that is kept from turn to turn."""

import io
import json
from pathlib import Path

import demo_parts
import pytest
import torch
from transformers import LlamaForCausalLM

from wings_hf.cli import chat
from wings_hf.cli import main as cli
from wings_hf.cli.chat_session import ChatSession, pick_device


@pytest.fixture(scope="module")
def model():
    model = demo_parts.model().eval()
    for parameter in model.parameters():  # so that learners act and answers depend on all that was said
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return model


@pytest.fixture
def session(model) -> ChatSession:
    session = ChatSession(model, demo_parts.processor(), out=io.StringIO())
    session.limit(6, temperature=0.0)
    return session


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    return [str(demo_parts.picture(tmp_path / f"{shade}.png", shade)) for shade in (20, 120, 220)]


def tokens_seen(session: ChatSession) -> list[int]:
    """Lengths of the inputs that the model is called with from now on."""
    seen: list[int] = []
    session.model.model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["inputs_embeds"].shape[1]), with_kwargs=True
    )
    return seen


def test_answers_are_those_without_a_cache_at_every_turn(session: ChatSession, images: list[str]) -> None:
    script = [("Read a b.", []), ("Read", images[:2]), ("What is 1 plus 2?", []), ("Read", images[2:])]
    answers = []
    for text, shown in script:
        for image in shown:
            session.show(image)
        answers.append(session.say(text))
    for turn in range(len(script)):
        prompt = session.processor.apply_chat_template(
            session.messages[: 2 * turn + 1],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        tokens = session.model.generate(**prompt, max_new_tokens=6, do_sample=False)[0, prompt["input_ids"].shape[1] :]
        assert session.tokenizer.decode(tokens, skip_special_tokens=True) == answers[turn]
    assert session.out.getvalue().split("\n")[:-1] == answers  # type: ignore[attr-defined]


def test_a_turn_costs_only_what_is_new(session: ChatSession, images: list[str]) -> None:
    session.show(images[0])
    session.say("Read")
    held = len(session.kept.ids)
    seen = tokens_seen(session)
    session.say("What is 1 plus 2?")
    rendered = session._encode(session.messages[:-1])["input_ids"].shape[1]
    assert seen[0] == rendered - held < rendered - 4  # of them four image tokens


def test_a_new_conversation_begins_where_the_first_began(session: ChatSession, images: list[str]) -> None:
    first = session.say("Read a b.")
    session.show(images[0])
    session.begin()
    assert session.say("Read a b.") == first and not session.shown


def test_a_stopped_answer_is_forgotten(session: ChatSession, monkeypatch: pytest.MonkeyPatch) -> None:
    session.say("Read a b.")
    before = list(session.messages)

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(session.model, "generate", stop)
        with pytest.raises(KeyboardInterrupt):
            session.say("What?")
    assert session.messages == before
    assert session.say("What?")


def test_images_are_checked_when_they_are_shown(session: ChatSession, tmp_path: Path) -> None:
    (tmp_path / "no.png").write_text("no image")
    with pytest.raises(ValueError, match=r"no\.png cannot be read as an image"):
        session.show(str(tmp_path / "no.png"))
    with pytest.raises(ValueError, match=r"There is no file .*gone\.png"):
        session.show(str(tmp_path / "gone.png"))
    assert session.shown == []


def test_a_language_model_converses_without_sight(images: list[str]) -> None:
    tokenizer = demo_parts.tokenizer()
    text_model = demo_parts.build_language_model(tokenizer, 32, 2)
    assert isinstance(text_model, LlamaForCausalLM)
    session = ChatSession(text_model, tokenizer, out=io.StringIO())
    session.limit(3, temperature=0.0)
    session.say("Read a b.")
    session.say("Read c d.")
    assert len(session.messages) == 4
    with pytest.raises(ValueError, match="takes no images"):
        session.show(images[0])


def test_commands_and_mistakes(
    session: ChatSession, images: list[str], capsys: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    lines = iter([f"/image {images[0]}", "Read", "", "/image gone.png", "/dance", "/new", "/quit", "never read"])
    told: list[dict] = []
    with caplog.at_level("INFO", "wings_hf"):
        chat.converse(session, lambda prompt: next(lines), told.append)
    assert "goes before your next message" in caplog.text and "forgotten" in caplog.text
    said = capsys.readouterr().err
    assert "There is no file gone.png" in said and "/dance is no command" in said
    assert session.messages == [] and next(lines) == "never read"
    answer, *wrong = told
    assert answer["message"] == "Read" and answer["images"] == images[:1] and isinstance(answer["answer"], str)
    assert [(each["message"], each["answer"]) for each in wrong] == [("/image gone.png", None), ("/dance", None)]
    assert all(each["error"] in said for each in wrong)


def test_a_stopped_answer_is_told_and_a_reader_that_has_gone_ends_it(
    session: ChatSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = iter([KeyboardInterrupt(), BrokenPipeError()])

    def say(text: str) -> str:
        raise next(errors)

    monkeypatch.setattr(session, "say", say)
    told: list[dict] = []
    with pytest.raises(BrokenPipeError):
        chat.converse(session, lambda prompt: "Read", told.append)
    assert told == [{"message": "Read", "images": [], "answer": None, "error": "stopped"}]


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("chat") / "model"
    model.save_pretrained(folder)
    demo_parts.processor().save_pretrained(folder)
    return str(folder)


def test_json_is_one_document_or_a_line_for_each_message(
    saved: str, images: list[str], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [saved, "--json", "--max-new-tokens", "4", "--device", "cpu"]
    assert cli.main(["chat", *options, "--image", images[0], "--prompt", "Read"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert (one["model"], one["message"], one["images"]) == (saved, "Read", images[:1])
    monkeypatch.setattr("sys.stdin", io.StringIO(f"/image {images[0]}\nRead\n/image gone\nAnd\u2028now?\n"))
    assert cli.main(["chat", *options]) == 0
    lines = [json.loads(each) for each in capsys.readouterr().out.split("\n")[:-1]]
    assert lines[0] == one
    assert [each["message"] for each in lines] == ["Read", "/image gone", "And\u2028now?"]
    assert "no file gone" in lines[1]["error"] and isinstance(lines[2]["answer"], str)


@pytest.mark.parametrize("option", [("--max-new-tokens", "0"), ("--temperature", "-1"), ("--temperature", "nan")])
def test_limits_that_are_none(saved: str, option: tuple[str, str], capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["chat", saved, "--prompt", "x", "--device", "cpu", *option]) == 1
    assert f"={float(option[1]):g}" in capsys.readouterr().err.replace("-1.0", "-1")


def test_files_as_people_write_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "'odd'").touch()
    written = {"a b.png": "a b.png", '"a b.png"': "a b.png", "'ü.png'": "ü.png", "~/a.png": str(tmp_path / "a.png")}
    written[f"{tmp_path}/'odd'"] = f"{tmp_path}/'odd'"
    assert {said: chat._path(said) for said in written} == written
    with pytest.raises(ValueError, match="needs a FILE"):
        chat._path("")


def test_devices_are_checked() -> None:
    assert pick_device("cpu") == torch.device("cpu") and pick_device("auto").type
    for name, said in (("nonsense", "expected auto, cpu"), ("cuda:99", "is not on this machine")):
        with pytest.raises(ValueError, match=f"device '{name}'.*{said}"):
            pick_device(name)


def test_images_stand_where_the_text_says(session: ChatSession, images: list[str]) -> None:
    for image in images[:2]:
        session.show(image)
    with pytest.raises(ValueError, match=r"has 1 <image> and 2 images: write <image> once for each"):
        session.say("Read <image>.")
    session.say("Read <image> <image>.")
    kinds = [item.get("text", item["type"]) for item in session.messages[0]["content"]]
    assert kinds == ["Read ", "image", " ", "image", "."]
