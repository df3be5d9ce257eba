# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Model folders made to run code: nothing runs that was not asked for, and with trust only what is in the folder.

Each attempt would leave a file behind. Loading is done in other processes, with and without wings_hf installed.
"""

import ast
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    CLIPImageProcessorPil,
    LlamaConfig,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
)

from wings_hf import WingsConfig, WingsForCausalLM, WingsProcessor

ROOT = Path(__file__).parents[2]
EVIL = """
import pathlib
pathlib.Path({mark!r}).write_text("ran")
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel, PreTrainedTokenizerFast, SiglipVisionModel
class Config(LlamaConfig):
    model_type = "evil"
class Model(LlamaForCausalLM): pass
class Tokenizer(PreTrainedTokenizerFast): pass
class Processor: pass
def generate(*args, **kwargs): pass
"""
PRELUDE = """
import sys, traceback
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor
from transformers import AutoTokenizer, GenerationConfig
folder, trusts = sys.argv[1], sys.argv[2] == "trusts"
loaded = 0
for auto in (AutoConfig, AutoModelForCausalLM, AutoModel, AutoModelForImageTextToText, AutoTokenizer, AutoProcessor):
    try:
        made = auto.from_pretrained(folder, trust_remote_code=trusts)
        loaded += 1
        if auto is AutoModelForCausalLM:
            import torch
            made.generate(torch.tensor([[5, 6]]), max_new_tokens=1)
        if auto is AutoProcessor:
            made.apply_chat_template([{"role": "user", "content": "Hi"}])
    except Exception as error:
        print(auto.__name__, type(error).__name__, str(error)[:300])
print("loaded", loaded)
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A small model with its processor and code, as published."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={character: i for i, character in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", pad_token="<pad>")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = WingsConfig(
        text_config=LlamaConfig(vocab_size=300, **sizes),
        vision_config=SiglipVisionConfig(image_size=8, patch_size=4, **sizes),
        learner_rank=2,
        router_positions=64,
        image_token_id=len(tokenizer),
    )
    folder = tmp_path_factory.mktemp("published") / "model"
    side = {"height": 8, "width": 8}
    WingsForCausalLM(config).save_pretrained(folder)
    images = CLIPImageProcessorPil(size=side, crop_size=side)
    WingsProcessor.from_model_config(config, images, tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(published: Path, tmp_path: Path) -> Path:
    """A copy, with a module beside it that leaves `mark` behind when it is imported."""
    copy = shutil.copytree(published, tmp_path / "model")
    other = tmp_path / "other"
    other.mkdir()
    for place in (copy, other):
        (place / "evil.py").write_text(EVIL.format(mark=str(tmp_path / "mark")))
    return copy


def load(folder: Path, trusts: bool, installed: bool) -> str:
    """What a fresh Python says that loads everything in `folder`."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_MODULES_CACHE": str(folder.parent / "modules"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    packages = [path for path in sys.path if path.endswith("site-packages")] + (
        [str(ROOT / "src")] if installed else []
    )
    start = f"import sys; sys.path += {packages!r}\n" + ("import wings_hf\n" if installed else "")
    done = subprocess.run(
        [sys.executable, "-S", "-c", start + textwrap.dedent(PRELUDE), str(folder), "trusts" if trusts else "no"],
        env=environment,
        cwd=folder.parent,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def edit(path: Path, **changes) -> None:
    values = json.loads(path.read_text()) if path.exists() else {}
    for name, value in changes.items():
        part = values
        *outer, last = name.split("__in__")[::-1] if "__in__" in name else (name,)
        for key in outer:
            part = part[key]
        part[last] = value
    path.write_text(json.dumps(values))


MAPPED = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model", "AutoModelForCausalLM": "evil.Model"}


def nested(folder: Path, where: str) -> None:
    """Code of another folder named in a backbone's configuration, with and without the type of a known family."""
    part = {"text_config": "auto_map__in__text_config", "vision_config": "auto_map__in__vision_config"}[where]
    elsewhere = {name: f"{folder.parent / 'other'}--{code}" for name, code in MAPPED.items()}
    edit(
        folder / "config.json",
        **{part: elsewhere, part.replace("auto_map", "_name_or_path"): str(folder.parent / "other")},
    )


ATTACKS = {
    "code for the language model": lambda folder: nested(folder, "text_config"),
    "code for the tower": lambda folder: nested(folder, "vision_config"),
    "a language model of unknown type": lambda folder: edit(
        folder / "config.json", model_type__in__text_config="evil", auto_map__in__text_config=MAPPED
    ),
    "code for the tokenizer": lambda folder: edit(
        folder / "tokenizer_config.json",
        tokenizer_class="Tokenizer",
        auto_map={"AutoTokenizer": ["evil.Tokenizer", None]},
    ),
    "a path as tokenizer class": lambda folder: edit(folder / "tokenizer_config.json", tokenizer_class="evil.Tokens"),
    "a generate function": lambda folder: edit(folder / "generation_config.json", custom_generate=str(folder.parent)),
    "a generate folder": lambda folder: (
        (folder / "custom_generate").mkdir(),
        shutil.copy(folder / "evil.py", folder / "custom_generate" / "generate.py"),
        edit(folder / "generation_config.json", custom_generate="."),
    ),
    "a chat template that leaves its sandbox": lambda folder: (folder / "chat_template.jinja").write_text(
        "{% for c in ''.__class__.__mro__[1].__subclasses__() %}{% if c.__name__ == 'Popen' %}"
        "{{ c(['touch', '" + str(folder.parent / "mark") + "']) }}{% endif %}{% endfor %}"
        "{{ lipsum.__globals__['os'].system('touch " + str(folder.parent / "mark") + "') }}"
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("installed", [True, False], ids=["installed", "not installed"])
def test_nothing_runs_without_trust(folder, attack, installed):
    ATTACKS[attack](folder)
    said = load(folder, trusts=False, installed=installed)
    assert not (folder.parent / "mark").exists(), said
    if not installed:
        assert "contains custom code" in said


@pytest.mark.slow
@pytest.mark.parametrize("attack", ["code for the language model", "code for the tower"])
def test_trust_in_a_folder_is_not_trust_in_what_its_backbones_name(folder, attack):
    (folder / "evil.py").unlink()
    ATTACKS[attack](folder)
    said = load(folder, trusts=True, installed=False)
    assert not (folder.parent / "mark").exists(), said
    assert "loaded 6" in said, said


# -- without other processes -----------------------------------------------------------------------------------


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.write_text, (self.mark, "ran")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "pytorch_model.bin.index.json"])
def test_weights_that_are_no_safetensors_are_refused(published, tmp_path, name):
    folder = shutil.copytree(published, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    if name.endswith(".json"):
        edit(folder / name, metadata={}, weight_map={"lm_head.weight": "pytorch_model-1.bin"})
        name = "pytorch_model-1.bin"
    (folder / name).write_bytes(pickle.dumps({"lm_head.weight": Bomb(tmp_path / "mark")}))
    for load_it in (WingsForCausalLM.from_pretrained, AutoModelForCausalLM.from_pretrained):
        with pytest.raises(ValueError, match=f"holds weights as {name}.* expected model.safetensors"):
            load_it(folder)
    with pytest.raises(ValueError, match="holds weights as"):
        WingsForCausalLM.from_backbones(str(folder), None)
    with pytest.raises(ValueError, match="safetensors files only"):
        WingsForCausalLM.from_pretrained(folder, use_safetensors=False)
    assert not (tmp_path / "mark").exists()


def test_an_index_cannot_name_weights_outside_of_its_folder(published, tmp_path):
    folder = shutil.copytree(published, tmp_path / "model")
    (folder / "model.safetensors").rename(tmp_path / "outside.safetensors")
    names = ["lm_head.weight"]
    edit(
        folder / "model.safetensors.index.json", metadata={}, weight_map=dict.fromkeys(names, "../outside.safetensors")
    )
    with pytest.raises(ValueError, match=r"names '../outside.safetensors': expected safetensors files of the same"):
        WingsForCausalLM.from_pretrained(folder)


@pytest.mark.parametrize("part", ["text_config", "vision_config"])
def test_a_backbone_of_an_unknown_type_is_an_error(published, part):
    values = json.loads((published / "config.json").read_text())
    values[part] |= {"model_type": "evil", "auto_map": MAPPED}
    with pytest.raises(ValueError, match=f"{part}.*evil.*expected a model type that transformers knows"):
        WingsConfig(**values)


def test_nothing_in_the_package_unpickles_or_runs_text():
    """But for the sandbox of programs that models write."""
    calls = re.compile(
        r"\btorch\.load\(|\bpickle\.loads?\(|^\s*import (pickle|dill|joblib)|\byaml\.load\(|(?<![.\w])(eval|exec)\("
    )
    found = {
        f"{path.name}: {line.strip()}"
        for path in (ROOT / "src" / "wings_hf").rglob("*.py")
        for line in path.read_text().splitlines()
        if calls.search(line) and not path.name.startswith("sandbox") and "`" not in line and "def eval(" not in line
    }
    assert found == set()


def test_every_model_that_is_read_by_name_is_read_from_safetensors():
    """Language models and image-text models of others, too, which no class of ours loads."""
    loads = [
        (f"{path.name}:{node.lineno}", ast.unparse(node))
        for path in sorted((ROOT / "src").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and re.match(r"AutoModel\w*\.from_pretrained$", ast.unparse(node.func))
    ]
    assert len(loads) > 6
    unpickles = [where for where, call in loads if "use_safetensors=True" not in call and "**" not in call]
    assert not unpickles


def test_saved_tensors_hold_no_code(published):
    from safetensors import safe_open

    with safe_open(published / "model.safetensors", "pt") as file:
        assert all(isinstance(file.get_tensor(name), torch.Tensor) for name in file.keys())  # noqa: SIM118
