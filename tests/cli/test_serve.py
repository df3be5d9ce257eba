# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`wings-hf serve`: what it refuses before it serves, and a whole process of it (the server itself: tests/serving)."""

import os
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import demo_parts
import pytest

from wings_hf.cli import main as cli
from wings_hf.cli.serve import _address

needs_extra = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("fastapi", "uvicorn", "openai", "starlette")),
    reason="needs pip install 'wings_hf[serve]'",
)


def said(capsys: pytest.CaptureFixture) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_the_extra_is_named(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.utils.import_utils.is_serve_available", lambda: False)
    assert cli.main(["serve", str(tmp_path)]) == 1
    assert "pip install 'wings_hf[serve]'" in said(capsys)


@needs_extra
def test_refused_before_it_listens(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["serve", str(tmp_path / "gone"), "--port", "0"]) == 1
    assert "There is no folder" in said(capsys)
    assert cli.main(["serve", str(tmp_path), "--port", "0", "--max-images", "0"]) == 1
    assert "images=0: expected at least 1" in said(capsys)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert cli.main(["serve", str(tmp_path), "--port", str(taken.getsockname()[1])]) == 1
    assert "Address already in use" in said(capsys)
    assert cli.main(["serve", str(tmp_path), "--port", "99999"]) == 1
    assert "--port 99999" in said(capsys)


@needs_extra
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_the_address_it_names_is_one(host: str) -> None:
    import httpx

    named = httpx.URL(_address(host, 8123))
    assert (named.host, named.port, named.path) == (host, 8123, "/v1")


@pytest.mark.slow
@needs_extra
def test_a_whole_process(tmp_path: Path) -> None:
    """It says where it listens, answers, and ends at Ctrl-C with what it was doing."""
    import openai

    demo_parts.model().save_pretrained(tmp_path / "model")
    demo_parts.processor().save_pretrained(tmp_path / "model")
    command = [
        sys.executable,
        "-m",
        "wings_hf_command",
        "serve",
        str(tmp_path / "model"),
        "--port",
        "0",
        "--name",
        "me",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "WINGS_HF_API_KEY": "key"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stderr is not None
            line = next(line for line in process.stderr if "answers on" in line)
            address = line.split("answers on ")[1].split()[0]
            with openai.OpenAI(base_url=address, api_key="key", max_retries=0, timeout=60) as client:
                assert [model.id for model in client.models.list()] == ["me"]
                messages = [{"role": "user", "content": "Hi"}]
                stream = client.chat.completions.create(model="me", messages=messages, max_tokens=400, stream=True)
                next(iter(stream))
                started = time.monotonic()
                process.send_signal(signal.SIGINT)
                assert process.wait(30) == 130
                assert time.monotonic() - started < 30
        finally:
            process.kill()
