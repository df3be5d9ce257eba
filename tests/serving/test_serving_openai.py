# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The server over loopback, asked by the `openai` client: answers, attacks, clients that leave."""

import base64
import contextlib
import dataclasses
import functools
import io
import ipaddress
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import demo_parts
import pytest
import torch
from PIL import Image
from web_parts import Server
from web_parts import answer as web_answer

from wings_hf.processing import wings_downloads
from wings_hf.serving.limits import Limits

uvicorn = pytest.importorskip("uvicorn", reason="needs pip install 'wings_hf[serve]'")
openai = pytest.importorskip("openai", reason="needs pip install 'wings_hf[serve]'")
pytest.importorskip("starlette", reason="needs pip install 'wings_hf[serve]'")
httpx = pytest.importorskip("httpx")
app = pytest.importorskip("wings_hf.serving.app")
chat = pytest.importorskip("wings_hf.serving.chat")

NEW = 6
NEVER_ENDS = {"3": -100}  # the token that ends an answer
TEXT = [{"role": "user", "content": "What is 1 plus 2?"}]


@functools.cache
def served() -> Any:
    model = demo_parts.model().eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    model.cache_image_features(2)
    return chat.Served(model, demo_parts.processor(), "tiny", Limits(request_bytes=2**20, requests=40))


@contextlib.contextmanager
def running(limits: Limits | None = None, **options: Any) -> Iterator[str]:
    """The address of a server in a thread."""
    model = served() if limits is None else dataclasses.replace(served(), limits=limits)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(app.build_app(model, **options), log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with running() as address:
        yield address


@pytest.fixture
def client(address: str) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


def shown(shade: int = 90, question: str = "Read") -> list[dict[str, Any]]:
    stream = io.BytesIO()
    Image.new("L", (8, 8), shade).save(stream, "PNG")
    url = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
    image = {"type": "image_url", "image_url": {"url": url}}
    return [{"role": "user", "content": [image, {"type": "text", "text": question}]}]


def several_turns() -> list[dict[str, Any]]:
    answer = {"role": "assistant", "content": "5"}
    return [*shown(30), answer, *shown(200, "And this?"), answer, *TEXT]


def expected(messages: list[dict[str, Any]], new: int = NEW) -> str:
    """The answer of `generate` to the same conversation."""
    inputs = served().processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    settings = {"max_new_tokens": new, "do_sample": False, "sequence_bias": {(3,): -100.0}}
    made = served().model.generate(**inputs, **settings)[0, inputs["input_ids"].shape[1] :]
    return served().processor.decode(made, skip_special_tokens=True)


def whole(client: Any, messages: list[dict[str, Any]], **settings: Any) -> str:
    settings = {"max_tokens": NEW, "logit_bias": NEVER_ENDS, **settings}
    return client.chat.completions.create(model="tiny", messages=messages, **settings).choices[0].message.content


def streamed(client: Any, messages: list[dict[str, Any]], **settings: Any) -> str:
    settings = {"max_tokens": NEW, "logit_bias": NEVER_ENDS, **settings}
    chunks = client.chat.completions.create(model="tiny", messages=messages, stream=True, **settings)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


@pytest.mark.parametrize("messages", [TEXT, shown(), several_turns()], ids=["text", "image", "turns"])
def test_answers_are_those_of_generate(client: Any, messages: list[dict[str, Any]]) -> None:
    wanted = expected(messages)
    assert wanted and whole(client, messages) == wanted
    assert streamed(client, messages) == wanted.rstrip("\ufffd")  # half a character is never streamed


def test_usage_reason_and_name(client: Any) -> None:
    answer = client.chat.completions.create(model="tiny", messages=TEXT, max_tokens=2, logit_bias=NEVER_ENDS)
    assert answer.model == "tiny" and answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 2 and answer.usage.prompt_tokens > 2
    assert [model.id for model in client.models.list()] == ["tiny"]


def test_settings_are_obeyed(client: Any) -> None:
    hello = [{"role": "user", "content": "Hello you"}]
    text = whole(client, hello, max_tokens=20)
    stop = text[3:6]
    assert "\ufffd" not in stop and len(text) > 12
    stopped = whole(client, hello, max_tokens=20, stop=[stop])
    assert text.startswith(stopped) and stop.strip() in stopped and len(stopped) < len(text)
    assert whole(client, TEXT, logit_bias={"50": 100}) == served().tokenizer.decode([50] * NEW)
    drawn = {whole(client, TEXT, temperature=2.0, seed=seed) for seed in range(4)}
    assert len(drawn) > 1 and drawn != {expected(TEXT)}  # a temperature is never taken for greedy decoding
    assert whole(client, TEXT, temperature=2.0, seed=1) == whole(client, TEXT, temperature=2.0, seed=1)
    assert whole(client, TEXT, temperature=1.0, extra_body={"top_k": 1}) == expected(TEXT)
    assert {whole(client, TEXT, temperature=0, top_p=0.99, seed=seed) for seed in range(4)} == {expected(TEXT)}


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a file": ({"messages": shown()}, openai.BadRequestError, "must be a data: URL"),
    "another model": ({"model": "gpt2"}, openai.NotFoundError, "this server has 'tiny'"),
    "a folder as model": ({"model": "/etc"}, openai.NotFoundError, "'/etc' does not exist"),
    "no messages": ({"messages": []}, openai.BadRequestError, "at least one message"),
    "too long an answer": ({"max_tokens": 10**9}, openai.BadRequestError, "at most 4096"),
    "more than there is room for": ({"max_tokens": 4000}, openai.BadRequestError, "room for 512"),
    "too long a prompt": (
        {"messages": [{"role": "user", "content": "a " * 3000}]},
        openai.BadRequestError,
        "room for 512",
    ),
    "a placeholder without an image": (
        {"messages": [{"role": "user", "content": "<image> What?"}]},
        openai.BadRequestError,
        "no images were passed",
    ),
    "a template": (
        {"extra_body": {"chat_template_kwargs": {"chat_template": "{{ 7 * 7 }}"}}},
        openai.BadRequestError,
        "asks for no 'chat_template'",
    ),
    "leave to fetch": (
        {"extra_body": {"chat_template_kwargs": {"allow_urls": True}}},
        openai.BadRequestError,
        "asks for no 'allow_urls'",
    ),
    "images by another way": (
        {"extra_body": {"chat_template_kwargs": {"images": ["/etc/passwd"]}}},
        openai.BadRequestError,
        "asks for no 'images'",
    ),
    "any generation": (
        {"extra_body": {"generation_config": '{"num_beams": 9999}'}},
        openai.BadRequestError,
        "generation_config",
    ),
    "tools": ({"tools": [{"type": "function"}]}, openai.BadRequestError, "no place for tools"),
    "calls of tools": (
        {"messages": [*TEXT, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]},
        openai.BadRequestError,
        "no place for tools",
    ),
    "results of tools": (
        {"messages": [*TEXT, {"role": "tool", "tool_call_id": "1", "content": "2"}]},
        openai.BadRequestError,
        "no place for tools",
    ),
    "a token that is none": ({"logit_bias": {"99999": 1}}, openai.BadRequestError, "99999"),
}
REFUSED["a file"][0]["messages"][0]["content"][0]["image_url"]["url"] = "file:///etc/passwd"


@pytest.mark.parametrize("what", REFUSED)
def test_refused_with_a_clear_text_and_the_next_is_answered(client: Any, what: str) -> None:
    (asked, kind, said), stream = REFUSED[what], len(what) % 2 == 0
    with pytest.raises(kind, match=said):
        client.chat.completions.create(**{"model": "tiny", "messages": TEXT, "stream": stream, **asked})
    assert whole(client, TEXT, max_tokens=1) == expected(TEXT, 1)


def post(address: str, data: bytes, kind: str = "application/json") -> tuple[int, dict[str, Any]]:
    answer = httpx.post(f"{address}/v1/chat/completions", content=data, headers={"Content-Type": kind}, timeout=60)
    return answer.status_code, answer.json()["error"]


@pytest.mark.parametrize(
    ("data", "kind", "status", "said"),
    [
        (b'{"messages":', "application/json", 400, "not JSON"),
        (b"[]", "application/json", 400, "a JSON object, got list"),
        (b"[" * 100_000, "application/json", 400, "not JSON"),
        (b'{"a": "\xff"}', "application/json", 400, "not JSON"),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', "application/json", 400, "surrogates"),
        (b'{"a": "' + b"x" * 2**20 + b'"}', "application/json", 413, "larger than 1048576"),
        (b'{"messages": []}', "text/plain", 415, "Content-Type"),  # what a web page of others can send
    ],
)
def test_what_is_no_request(address: str, client: Any, data: bytes, kind: str, status: int, said: str) -> None:
    got, error = post(address, data, kind)
    assert got == status and said in error["message"]
    assert whole(client, TEXT, max_tokens=1) == expected(TEXT, 1)


@pytest.mark.parametrize("path", ["/load_model", "/reset", "/v1/responses", "/v1/audio/transcriptions", "/docs"])
def test_nothing_else_of_the_library_is_served(address: str, path: str) -> None:
    """transformers' own application loads any model for any client, lists the cache, and unloads what others use."""
    for answer in (httpx.post(address + path, json={"model": "/etc"}), httpx.get(address + path)):
        assert answer.status_code == 404 and "/v1/chat/completions" in answer.json()["error"]["message"]


def test_names_of_other_hosts_are_refused(address: str) -> None:
    """So that a web page cannot reach a server on loopback under a name of its own (DNS rebinding)."""
    assert httpx.get(f"{address}/v1/models", headers={"Host": "evil.example"}).status_code == 400
    assert httpx.get(f"{address}/v1/models", headers={"Host": "localhost:1"}).status_code == 200


def test_a_failure_inside_is_no_secret_told(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError('secret "x"\n')

    monkeypatch.setattr(served().model, "generate", broken, raising=False)
    with pytest.raises(openai.InternalServerError, match="its log says why"):
        whole(client, TEXT)
    with pytest.raises(openai.APIError, match="broke off") as failed:
        streamed(client, TEXT)
    assert "secret" not in str(failed.value)
    monkeypatch.undo()
    assert whole(client, TEXT) == expected(TEXT)


def test_an_api_key_is_asked_for() -> None:
    with running(api_key="right") as address:
        for key, known in (("wrong", False), ("right", True)):
            with openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0) as client:
                if known:
                    assert whole(client, TEXT, max_tokens=1) == expected(TEXT, 1)
                else:
                    with pytest.raises(openai.AuthenticationError):
                        client.models.list()


def test_features_of_many_images_are_bounded(client: Any) -> None:
    cache = served().model.model.image_feature_cache
    sizes = []
    for shade in range(0, 250, 25):
        whole(client, shown(shade), max_tokens=1)
        sizes.append(cache.nbytes)
    assert len(cache) == 2 and max(sizes[1:]) == min(sizes[1:]) > 0


def count_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    steps, forward = [0], type(served().model).forward

    def counting(self: Any, *args: Any, **kwargs: Any) -> Any:
        steps[0] += 1
        time.sleep(0.01)
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(served().model), "forward", functools.wraps(forward)(counting))
    return steps


def settled(steps: list[int]) -> int:
    """The count when it has not moved for a while."""
    seen = -1
    while seen != steps[0]:
        seen = steps[0]
        time.sleep(0.3)
    return seen


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_stops_its_answer(client: Any, monkeypatch: pytest.MonkeyPatch, stream: bool) -> None:
    steps = count_steps(monkeypatch)
    asked = {"model": "tiny", "messages": TEXT, "max_tokens": 450, "logit_bias": NEVER_ENDS}
    if stream:
        chunks = client.chat.completions.create(**asked, stream=True)
        next(iter(chunks))
        chunks.close()
    else:
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=0.5).chat.completions.create(**asked)
    assert 0 < settled(steps) < 400
    before = steps[0]
    assert whole(client, TEXT, max_tokens=3) == expected(TEXT, 3)
    assert steps[0] - before < 20


@pytest.mark.slow
def test_clients_at_the_same_time_get_their_own_answers(client: Any) -> None:
    asked = [TEXT, *(shown(shade) for shade in (10, 90, 200)), several_turns()]
    wanted = [expected(messages) for messages in asked]

    def ask(number: int) -> bool:
        place = number % len(asked)
        if number % 3:
            return whole(client, asked[place]) == wanted[place]
        return streamed(client, asked[place]) == wanted[place].rstrip("\ufffd")

    with ThreadPoolExecutor(8) as clients:
        assert all(clients.map(ask, range(64)))


@pytest.mark.slow
def test_many_that_leave_while_they_wait_hold_nobody_up(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = count_steps(monkeypatch)
    asked = {"model": "tiny", "messages": TEXT, "max_tokens": 450, "logit_bias": NEVER_ENDS}

    def leave(number: int) -> None:
        if number % 2:
            client.chat.completions.create(**asked, stream=True).close()
            return
        with contextlib.suppress(openai.APITimeoutError):
            client.with_options(timeout=1).chat.completions.create(**asked)

    with ThreadPoolExecutor(8) as clients:
        list(clients.map(leave, range(8)))
    assert settled(steps) < 450
    assert whole(client, TEXT) == expected(TEXT)


def test_template_variables_are_those_that_nobody_sets() -> None:
    class Told:
        chat_template = "{{ bos_token }}{% for m in messages %}{{ m }}{% endfor %}{{ tone }}{{ tools }}{{ images }}"
        tokenizer = served().tokenizer
        apply_chat_template = staticmethod(type(served().processor).apply_chat_template)

    told: Any = Told()
    assert chat.Served(served().model, told, "x", Limits()).template_variables() == {"tone", "tools"}


def test_errors_in_a_stream_are_events(address: str) -> None:
    asked = {"messages": TEXT, "max_tokens": 2, "stream": True, "logit_bias": NEVER_ENDS}
    lines = [line for line in httpx.post(f"{address}/v1/chat/completions", json=asked).text.split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines) and lines[-1] == "data: [DONE]"
    assert all(json.loads(line.removeprefix("data: ")) for line in lines[:-1])


def test_images_are_fetched_where_that_is_allowed_and_slow_ones_hold_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wings_downloads, "is_public", lambda address: address == ipaddress.ip_address("127.0.0.1"))
    image = base64.b64decode(shown()[0]["content"][0]["image_url"]["url"].partition(",")[2])

    def at(url: str) -> list[dict[str, Any]]:
        part = {"type": "image_url", "image_url": {"url": url}}
        return [{"role": "user", "content": [part, {"type": "text", "text": "Read"}]}]

    with running(Limits(allow_urls=True)) as address, ThreadPoolExecutor(12) as pool:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=60)
        with Server({"/image": web_answer(image), "/silent": [60]}) as web:
            assert whole(client, at(f"{web.address}/image")) == expected(shown())
            waiting = [pool.submit(whole, client, at(f"{web.address}/silent")) for _ in range(12)]
            while web.connections < 1 + chat.FETCHING:
                time.sleep(0.01)
            assert whole(client, shown()) == expected(shown()) and whole(client, TEXT) == expected(TEXT)
            assert not any(each.done() for each in waiting)
        for each in waiting:
            with pytest.raises(openai.BadRequestError, match="cannot be used"):
                each.result()
        client.close()
    with running(Limits()) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.BadRequestError, match="nothing is fetched"):
            whole(client, at("http://127.0.0.1:9/"))
        client.close()
