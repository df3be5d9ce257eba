# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`wings-hf serve`: the server of transformers loads, understands and answers for a Wings model."""

import base64
import json
import socket
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import demo_parts
import pytest
import torch
import transformers
from transformers.cli.serving.model_manager import ModelManager
from transformers.cli.serving.utils import BaseHandler, Modality
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from wings_hf import WingsForCausalLM
from wings_hf.cli import main as cli
from wings_hf.cli import serve

NEW = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    model = demo_parts.model().eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    model.save_pretrained(folder)
    demo_parts.processor().save_pretrained(folder)
    return folder


@pytest.fixture
def introduced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names that `serve` gives to transformers, for one test."""
    monkeypatch.setattr(transformers, "WingsForCausalLM", None, raising=False)
    monkeypatch.setitem(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES, "wings", "")
    serve.introduce_wings(cached_images=4)


def data_url(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def messages(image: Path | None) -> list[dict[str, Any]]:
    """As a client of OpenAI's protocol sends them."""
    if image is None:
        return [{"role": "user", "content": "What is 1 plus 2?"}]
    shown = {"type": "image_url", "image_url": {"url": data_url(image)}}
    return [{"role": "user", "content": [shown, {"type": "text", "text": "Read"}]}]


def expected(folder: Path, image: Path | None) -> str:
    """The answer of `generate` to the same message."""
    model, processor = WingsForCausalLM.from_pretrained(folder).eval(), demo_parts.processor()
    question = "What is 1 plus 2?" if image is None else "Read"
    conversation = demo_parts.chat(question, "", *([] if image is None else [image]))[:1]
    inputs = processor.apply_chat_template(
        conversation, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    made = model.generate(**inputs, max_new_tokens=NEW, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    return processor.decode(made, skip_special_tokens=True)


@pytest.mark.parametrize("with_image", [False, True])
def test_the_server_loads_and_understands(folder: Path, introduced: None, tmp_path: Path, with_image: bool) -> None:
    image = demo_parts.picture(tmp_path / "a.png") if with_image else None
    manager = ModelManager(device="cpu", force_model=str(folder))
    try:
        model, processor = manager.load_model_and_processor(f"{folder}@main")
        modality = manager.get_model_modality(model, processor=processor)
        assert modality == Modality.VLM and model.model.image_feature_cache.max_images == 4
        read = BaseHandler.get_processor_inputs_from_messages(messages(image), modality)
        inputs = processor.apply_chat_template(
            read,
            add_generation_prompt=True,
            tools=None,
            return_tensors="pt",
            return_dict=True,
            tokenize=True,
            load_audio_from_video=False,
        )
        made = model.generate(**inputs, max_new_tokens=NEW, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        assert processor.decode(made, skip_special_tokens=True) == expected(folder, image)
    finally:
        manager.shutdown()


def post(port: int, body: dict[str, Any]) -> list[str]:
    """The lines of the server's answer."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read().decode().splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("continuous_batching", [False, True])
@pytest.mark.skipif(
    any(find_spec(name) is None for name in ("fastapi", "uvicorn", "openai", "pydantic")),
    reason='needs pip install "transformers[serving]"',
)
def test_over_http(folder: Path, introduced: None, tmp_path: Path, continuous_batching: bool) -> None:
    """Text and image, whole and streamed; continuous batching is not used for models that take images."""
    from transformers.cli.serve import Serve

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Serve(
        str(folder),
        device="cpu",
        host="127.0.0.1",
        port=port,
        non_blocking=True,
        reasoning="auto",
        continuous_batching=continuous_batching,
    )
    seen = []
    try:
        for image in (None, demo_parts.picture(tmp_path / "a.png")):
            wanted = expected(folder, image)
            settings = json.dumps({"max_new_tokens": NEW, "do_sample": False})
            body = {"model": str(folder), "messages": messages(image), "generation_config": settings}
            for _ in range(2):  # the second time with known features
                (answer,) = post(port, body)
                assert json.loads(answer)["choices"][0]["message"]["content"] == wanted
            events = [line.removeprefix("data: ") for line in post(port, {**body, "stream": True}) if line]
            deltas = [json.loads(event)["choices"][0]["delta"] for event in events if event != "[DONE]"]
            streamed = "".join(delta.get("content") or "" for delta in deltas)
            assert streamed == wanted.rstrip("\ufffd")  # half a character is never streamed
            seen.append(streamed)
        assert any(seen)
    finally:
        server.kill_server()


def test_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.main(["serve", str(tmp_path / "gone")]) == 1
    assert "There is no folder" in " ".join(capsys.readouterr().err.split())
    monkeypatch.setattr("transformers.cli.serve.is_serve_available", lambda: False)
    assert cli.main(["serve", str(folder), "--port", "1"]) == 1
    assert "pip install transformers[serving]" in " ".join(capsys.readouterr().err.split())


def test_options_reach_the_server(folder: Path, monkeypatch: pytest.MonkeyPatch, introduced: None) -> None:
    given: dict[str, Any] = {}

    def fake(model: str, port: int = 8000, continuous_batching: bool = False) -> None:
        given.update(model=model, port=port, continuous_batching=continuous_batching)

    monkeypatch.setattr("transformers.cli.serve.Serve", fake)
    assert cli.main(["serve", str(folder), "--port", "8123", "--continuous-batching"]) == 0
    assert given == {"model": str(folder), "port": 8123, "continuous_batching": True}
