# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""One visitor cannot hold the queue, nor push the conversations of others out."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import app_parts
import pytest

from wings_hf.app.controller import Controller
from wings_hf.app.engine import Answer
from wings_hf.app.visitors import visitor, waiting_in

httpx = pytest.importorskip("httpx")
pytest.importorskip("gradio", reason="needs pip install 'wings_hf[app]'")
launch = pytest.importorskip("wings_hf.app.launch").launch
build_page = pytest.importorskip("wings_hf.app.page").build_page


@pytest.mark.parametrize(
    ("host", "forwarded", "expected"),
    [
        ("8.8.8.8", "", "8.8.8.8"),
        ("8.8.8.8", "9.9.9.9", "8.8.8.8"),  # no proxy of ours: anybody can send a header
        ("10.0.0.7", "9.9.9.9", "9.9.9.9"),
        ("10.0.0.7", "1.1.1.1, 9.9.9.9", "9.9.9.9"),  # what comes before was sent by the client
        ("10.0.0.7", "1.1.1.1, 9.9.9.9, 10.0.0.3", "9.9.9.9"),
        ("10.0.0.7", "", "10.0.0.7"),
        ("10.0.0.7", "nonsense, 192.168.0.1", "10.0.0.7"),
        ("2606:4700:1:2:3:4:5:6", "", "2606:4700:1:2::/64"),
        ("::1", "2606:4700:1:2::9", "2606:4700:1:2::/64"),
        ("::ffff:8.8.8.8", "", "8.8.8.8"),
        (None, "", ""),
        ("testclient", "9.9.9.9", ""),
    ],
)
def test_whose_a_request_is(host: str | None, forwarded: str, expected: str) -> None:
    assert visitor(host, forwarded) == expected


@pytest.fixture
def held() -> Iterator[tuple[str, Any, threading.Event]]:
    """A page whose answers wait for an event: its address, the page, the event."""
    go_on = threading.Event()

    def answer(request: Any, kept: Any, stop: Any) -> Iterator[Any]:
        assert go_on.wait(60)
        yield Answer("Done")

    settings = app_parts.settings(visitor_queue=2, queue=16, explain=False)
    page = build_page(Controller(app_parts.engine(), settings, answer, keeps_caches=False))
    address = launch(page, settings, "127.0.0.1", say=lambda text: None)
    try:
        yield address.rstrip("/"), page, go_on
    finally:
        go_on.set()
        page.close(verbose=False)


def join(address: str, session: str, who: str = "9.9.9.9") -> Any:
    """Puts a question into the queue, as the browser does."""
    config = httpx.get(f"{address}/config", timeout=60).json()
    ask = next(each for each in config["dependencies"] if [target[1] for target in each["targets"]] == ["submit"])
    body = {"data": [{"text": "Hello", "files": []}, True], "fn_index": ask["id"], "session_hash": session}
    return httpx.post(f"{address}/gradio_api/queue/join", json=body, headers={"x-forwarded-for": who}, timeout=60)


def ended(address: str, session: str) -> list[str]:
    """The messages of a session up to the end of its answer."""
    kinds = []
    with httpx.stream("GET", f"{address}/gradio_api/queue/data?session_hash={session}", timeout=60) as stream:
        for line in stream.iter_lines():
            if line.startswith("data:"):
                kinds.append(json.loads(line[5:])["msg"])
                if kinds[-1] in ("process_completed", "close_stream"):
                    return kinds
    return kinds


def test_one_visitor_waits_for_so_many_answers_and_others_come_in(held: Any) -> None:
    address, page, go_on = held
    assert [join(address, f"a{number}").status_code for number in range(2)] == [200, 200]
    refused = join(address, "a2")
    assert refused.status_code == 429 and "wait for (2) are on their way to you" in refused.json()["detail"]
    assert join(address, "a3", "2.2.2.2, 9.9.9.9").status_code == 429  # a made-up address before the true one
    assert join(address, "b0", "8.8.8.8").status_code == 200
    assert sorted(waiting_in(page)) == ["8.8.8.8", "9.9.9.9", "9.9.9.9"]
    go_on.set()
    for session in ("a0", "a1", "b0"):
        assert ended(address, session)[-1] == "process_completed"
    assert list(waiting_in(page)) == []
    assert join(address, "a2").status_code == 200
    assert ended(address, "a2")[-1] == "process_completed"


def test_the_queue_cannot_be_passed_by(held: Any) -> None:
    """Neither by Gradio's other addresses nor by asking many times at once."""
    address, page, _ = held
    config = httpx.get(f"{address}/config", timeout=60).json()
    queued = [each["id"] for each in config["dependencies"] if each["queue"] and each["inputs"]]
    assert len(queued) == 3  # a message, an example, retry
    body = {"data": [{"text": "Hello", "files": []}, True], "session_hash": "x"}
    for number in queued:
        for way in ("run", "api"):
            direct = httpx.post(f"{address}/gradio_api/{way}/predict", json={**body, "fn_index": number}, timeout=60)
            assert 400 <= direct.status_code < 500, direct.text
    codes: list[int] = []
    threads = [threading.Thread(target=lambda n=n: codes.append(join(address, f"s{n}").status_code)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(set(codes)) == [200, 429] and codes.count(200) <= 2
    other_way = httpx.post(
        f"{address}/gradio_api/call/ask", json=body, headers={"x-forwarded-for": "9.9.9.9"}, timeout=60
    )
    assert other_way.status_code == (429 if codes.count(200) == 2 else 200)
    assert 1 <= len(list(waiting_in(page))) <= 2
