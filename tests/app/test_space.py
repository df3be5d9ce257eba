# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`examples/space`: metadata that a Space takes, and an app that a CPU, a GPU and ZeroGPU run. `wings-hf app`."""

import asyncio
import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import app_parts
import pytest
import torch
from huggingface_hub import SpaceHardware, metadata_load

from wings_hf.app.engine import Engine
from wings_hf.app.settings import Settings
from wings_hf.cli import main as cli

SPACE = Path(__file__).parents[2] / "examples/space"
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


@pytest.fixture
def saved(tmp_path: Path) -> str:
    engine = app_parts.engine()
    engine.model.save_pretrained(tmp_path / "model")
    engine.processor.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture
def space(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """app.py as a module, without the package `spaces`."""
    pytest.importorskip("gradio", reason="needs gradio: pip install 'wings_hf[app]'")
    monkeypatch.setitem(sys.modules, "spaces", None)
    specification = importlib.util.spec_from_file_location("space_app", SPACE / "app.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_metadata() -> None:
    found = metadata_load(SPACE / "README.md")
    assert found["sdk"] == "gradio" and (SPACE / found["app_file"]).is_file()
    assert found["license"] == "apache-2.0" and found["title"] and len(found["short_description"]) <= 60
    assert {found["colorFrom"], found["colorTo"]} <= COLOURS
    assert found["suggested_hardware"] in [hardware.value for hardware in SpaceHardware]
    assert found["sdk_version"].split(".")[0] == "6"


def test_the_app_touches_no_gpu_and_asks_for_a_model(space: ModuleType) -> None:
    assert not torch.cuda.is_initialized() and space.spaces is None
    with pytest.raises(ValueError, match="WINGS_MODEL"):
        space.build(Settings())


def test_the_page_of_a_model_without_zero_gpu(space: ModuleType, saved: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(**options: Any) -> None:
        raise AssertionError("decorated")

    made: list[Any] = []
    monkeypatch.setattr(space, "build_page", lambda controller: made.append(controller) or controller)
    monkeypatch.setattr(space, "spaces", SimpleNamespace(GPU=never))  # installed, but this is no ZeroGPU
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    controller = space.build(Settings(model=saved, device="cpu"))
    assert controller.keeps_caches and controller.run == controller.engine.stream
    assert list(controller.ask(controller.session("a"), "Read a.", ()))[-1].kind == "info"


def test_the_page_on_zero_gpu(space: ModuleType, saved: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decorated, devices = [], []
    load = Engine.load

    def gpu(duration: int) -> Any:
        return lambda task: decorated.append(duration) or task

    def load_on_cpu(name: str, device: str, revision: str) -> Engine:
        devices.append(device)
        return load(name, "cpu", revision)

    monkeypatch.setattr(space, "spaces", SimpleNamespace(GPU=gpu))
    monkeypatch.setattr(space, "build_page", lambda controller: controller)
    monkeypatch.setattr(space.Engine, "load", load_on_cpu)
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    controller = space.build(Settings(model=saved, gpu_seconds=30))
    assert devices == ["cuda"] and decorated == [30] and not controller.keeps_caches
    assert list(controller.ask(controller.session("a"), "Read a.", ()))[-1].kind == "info"


def test_the_command(saved: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("gradio", reason="needs gradio: pip install 'wings_hf[app]'")
    import gradio as gr

    from wings_hf.app import launch

    launched: list[dict[str, Any]] = []

    def record(page: Any, **options: Any) -> tuple[None, str, None]:
        launched.append({**options, "analytics": page.analytics_enabled})
        return None, "http://somewhere", None

    monkeypatch.setattr(gr.Blocks, "launch", record)
    monkeypatch.setattr(launch, "serve_until_interrupted", lambda page: None)
    monkeypatch.setenv("WINGS_QUEUE", "3")
    assert cli.main(["app", saved, "--port", "7999", "--device", "cpu"]) == 0
    (options,) = launched
    assert (options["server_name"], options["server_port"]) == ("127.0.0.1", 7999)
    assert options["share"] is False and options["analytics"] is False
    assert options["run_history"] is False and options["enable_monitoring"] is False
    assert "http://somewhere" in " ".join(capsys.readouterr().err.split())


def test_the_commands_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "gradio", None)
        assert cli.main(["app", str(tmp_path)]) == 1
    assert "pip install 'wings_hf[app]'" in " ".join(capsys.readouterr().err.split())
    pytest.importorskip("gradio", reason="needs gradio: pip install 'wings_hf[app]'")
    assert cli.main(["app", str(tmp_path / "gone")]) == 1
    assert "There is no folder" in " ".join(capsys.readouterr().err.split())
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=9, **sizes)).save_pretrained(tmp_path / "llama")
    assert cli.main(["app", str(tmp_path / "llama"), "--device", "cpu"]) == 1
    assert "is a 'llama' model: expected a Wings model" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("place", ["message", "switch"])
def test_browsers_cannot_have_the_server_fetch_addresses(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gradio = pytest.importorskip("gradio", reason="needs gradio: pip install 'wings_hf[app]'")
    from gradio import processing_utils

    from wings_hf.app.controller import Controller
    from wings_hf.app.page import build_page

    fetched: list[str] = []

    async def fetch(url: str, cache_dir: str) -> str:
        fetched.append(url)
        return f"{cache_dir}/a.png"

    monkeypatch.setattr(processing_utils, "async_ssrf_protected_download", fetch)
    page = build_page(Controller(app_parts.engine(), app_parts.settings()))
    ask = next(event for event in page.fns.values() if event.name == "ask")
    file = {"path": "https://example.com/a.png", "url": None, "meta": {"_type": "gradio.FileData"}}
    sent = [{"text": "", "files": [file]}, True] if place == "message" else [{"text": "", "files": []}, file]
    with pytest.raises(gradio.Error, match="nothing is fetched"):
        asyncio.run(page.preprocess_data(ask, sent, None))
    assert fetched == []
