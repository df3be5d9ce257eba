# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Tiny models to publish, and a Python that cannot import the package."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import CLIPImageProcessorPil, LlamaConfig, PreTrainedTokenizerFast, SiglipVisionConfig

from wings_hf import WingsConfig, WingsForCausalLM, WingsProcessor

TOKEN = "hf_annannannannannannannann"

PRELUDE = """
import importlib.util, sys, torch
assert importlib.util.find_spec("wings_hf") is None, "the package is importable: the test would prove nothing"
from PIL import Image
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor
folder = sys.argv[1]
picture = Image.new("RGB", (20, 12), (10, 200, 30))
"""


def build_tokenizer() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>")


def build_parts() -> tuple[WingsForCausalLM, WingsProcessor]:
    """A model with random weights, and its processor."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    config = WingsConfig(
        text_config=LlamaConfig(
            vocab_size=300,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=40,
        ),
        vision_config=SiglipVisionConfig(
            image_size=8, patch_size=4, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=20
        ),
        learner_rank=4,
        router_positions=64,
        image_token_id=len(tokenizer),
    )
    model = WingsForCausalLM(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    side = {"height": 8, "width": 8}
    processor = WingsProcessor.from_model_config(config, CLIPImageProcessorPil(size=side, crop_size=side), tokenizer)
    return model, processor


def fresh_python(code: str, *arguments: object, modules: Path, **variables: str) -> subprocess.Popen:
    """Starts `code` in a Python that has no wings_hf, no network and an empty cache of remote code."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_MODULES_CACHE": str(modules), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"} | variables
    # -S leaves out the .pth line of an editable install of this package; site-packages come back by path.
    packages = [path for path in sys.path if path.endswith("site-packages")]
    code = f"import sys; sys.path += {packages!r}\n" + textwrap.dedent(PRELUDE) + textwrap.dedent(code)
    return subprocess.Popen(
        [sys.executable, "-S", "-c", code, *map(str, arguments)],
        env=environment,
        cwd=modules.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def wings_hf(*arguments: object, **options) -> subprocess.CompletedProcess:
    """Runs the command line, see `with_hub`."""
    return with_hub("-m", "wings_hf.cli.main", *arguments, **options)


def with_hub(
    *arguments: object, endpoint: str, home: Path, token: str | None = TOKEN, **variables: str
) -> subprocess.CompletedProcess:
    """Runs Python in a process of its own with a Hub at `endpoint`, without xet, which is another server."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
    environment |= {} if token is None else {"HF_TOKEN": token}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=300,
    )
