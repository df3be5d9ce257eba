# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
The documentation holds: its code runs, and what it names exists.

The ```python blocks of a page run one after the other, as one program, in a folder where the names that the pages
use (`path/to/llm`, `photo.png`, ...) are tiny stand-ins. A block that cannot run says ```python no-run, and why in an
HTML comment right before it.
"""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from processor_parts import CHATML, build_tokenizer, picture
from transformers import (
    AutoImageProcessor,
    Qwen2Config,
    Qwen2ForCausalLM,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

from wings_hf import WingsForCausalLM, WingsProcessor
from wings_hf.cli.main import main

ROOT = Path(__file__).parents[1]
CODE = ("src", "tests", "scripts", "benchmarks", "examples", "experiments")  # whose files pages may name
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python(?P<flags>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
SIZE = 16
SMALL = {"hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4}

pages = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory) -> Path:
    """A folder with a language model, a vision model, a Wings model made of them, and pictures."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("documentation")
    tokenizer = build_tokenizer(chat_template=CHATML)
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    text = Qwen2ForCausalLM(Qwen2Config(**SMALL, vocab_size=len(tokenizer) + 8, num_key_value_heads=2, **ids))
    text.save_pretrained(folder / "path/to/llm")
    tokenizer.save_pretrained(folder / "path/to/llm")
    tower = {**SMALL, "image_size": SIZE, "patch_size": 4}
    SiglipModel(SiglipConfig(text_config={**SMALL, "vocab_size": 99}, vision_config=tower)).save_pretrained(
        folder / "path/to/siglip"
    )
    SiglipImageProcessorPil(size={"height": SIZE, "width": SIZE}).save_pretrained(folder / "path/to/siglip")
    model = WingsForCausalLM.from_backbones(
        folder / "path/to/llm", folder / "path/to/siglip", tokenizer=tokenizer, learner_rank=4
    )
    images = AutoImageProcessor.from_pretrained(folder / "path/to/siglip")
    model.save_pretrained(folder / "path/to/wings")
    WingsProcessor.from_model_config(model.config, images, tokenizer).save_pretrained(folder / "path/to/wings")
    shutil.copytree(folder / "path/to/wings", folder / "wings-demo/model")
    (folder / "wings-demo/digits/test").mkdir(parents=True)
    for number, name in enumerate(("photo.png", "other.png", "wings-demo/digits/test/1587-7.png")):
        picture(number).save(folder / name)
    return folder


@pytest.mark.skipif(
    "torchvision" in getattr(AutoImageProcessor, "_backends", ()),
    reason="AutoImageProcessor of this version of transformers needs torchvision",
)
@pages
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # asked for by peft
def test_code_runs(page, stand_ins, tmp_path, monkeypatch):
    if "import peft" in page.read_text():
        pytest.importorskip("peft")
    folder = shutil.copytree(stand_ins, tmp_path / "work")
    monkeypatch.chdir(folder)
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    text = page.read_text()
    namespace: dict = {"__name__": "documentation"}
    for block in BLOCK.finditer(text):
        line = text[: block.start("code")].count("\n")  # so that errors name the line of the page
        code = compile("\n" * line + block["code"], str(page), "exec")
        if block["flags"].strip() != "no-run":
            exec(code, namespace)


@pages
def test_blocks_that_do_not_run_say_why(page):
    text = page.read_text()
    for block in BLOCK.finditer(text):
        flags = block["flags"].strip()
        assert flags in ("", "no-run"), flags
        has_reason = text[: block.start()].rstrip().endswith("-->")
        assert not flags or has_reason or page.name == "README.md", block["code"]


@pages
def test_links_and_names_of_files_lead_somewhere(page):
    text = page.read_text()
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", text):
        assert (page.parent / target).exists(), target
    files = {path.name for folder in CODE for path in (ROOT / folder).rglob("*.py")}
    for name in re.findall(r"`([\w/]+\.py)(?:::\w+)?`", text):
        assert Path(name).name in files, name
        assert "/" not in name or (ROOT / name).exists(), name
    for path, test in re.findall(r"`([\w/]+\.py)::(\w+)`", text):
        assert f"def {test}(" in (ROOT / path).read_text(), f"{path}::{test}"


@pytest.mark.slow
def test_guide_to_own_images(stand_ins, tmp_path, monkeypatch, capsys):
    """Its data, its recipe and its commands, one after the other, as a reader would."""
    page = (ROOT / "docs" / "guides" / "your_own_data.md").read_text()
    folder = shutil.copytree(stand_ins, tmp_path / "work")
    monkeypatch.chdir(folder)
    (folder / "mine.yaml").write_text(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1])
    for block in BLOCK.finditer(page):
        exec(block["code"], {})
    lines = re.findall(r"^wings-hf (.+)$", page, re.MULTILINE)
    assert [line.split()[0] for line in lines] == ["data", "train", "chat", "train"]
    for line in lines:
        short = ["--max-new-tokens", "3", "--prompt", "What?"] if line.startswith("chat") else []
        assert main([*shlex.split(line), *short]) == 0, capsys.readouterr().err
    assert WingsForCausalLM.from_pretrained("my-images/tune").config.learners == ("visual", "textual")
