# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Versions, devices and settings of this installation: what a report of a bug needs.

No secret is among it: of tokens and keys it says whether they are set.
"""

import argparse
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from wings_hf.cli.output import add_json, result
from wings_hf.version import __version__

HELP = "show versions, devices and settings, for a report of a bug"
EXAMPLE = "examples:\n  wings-hf env\n  wings-hf env --json > env.json"
LIGHT = True

PACKAGES: tuple[str, ...] = ("torch", "transformers", "huggingface_hub", "tokenizers", "safetensors", "numpy", "pillow")
PACKAGES += ("accelerate", "peft", "triton", "bitsandbytes", "torchao", "torchvision", "datasets", "lm_eval", "gradio")
PACKAGES += ("openai", "uvicorn", "shtab")
VARIABLES = ("HF_HOME", "HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_HUB_CACHE", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
SECRETS = ("HF_TOKEN", "WINGS_HF_API_KEY")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    facts = {**versions(), **_devices(), **_settings()}
    width = max(map(len, facts))
    result(args, facts, "\n".join(f"{name:<{width}}  {_shown(value)}" for name, value in facts.items()))
    return 0


def versions() -> dict[str, Any]:
    """Versions of the package, of Python and of what it works with; None for what is not installed."""
    facts: dict[str, Any] = {"wings_hf": __version__, "python": platform.python_version(), "system": _system()}
    for name in PACKAGES:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            facts[name] = None
    return facts


def _system() -> str:
    return f"{platform.platform(terse=True)} {platform.machine()}"


def _devices() -> dict[str, Any]:
    """What torch computes on; why not, where torch cannot be imported."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return {"torch cannot be imported": str(error)}
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return {"accelerator": str(found) if found else None, "cuda devices": names, "threads": torch.get_num_threads()}


def _settings() -> dict[str, Any]:
    facts: dict[str, Any] = {name: os.environ.get(name) for name in VARIABLES}
    facts |= {name: "set" if os.environ.get(name) else None for name in SECRETS}
    home = os.environ.get("HF_HOME") or Path("~/.cache/huggingface").expanduser()
    cache = Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")
    writable = os.access(next(folder for folder in (cache, *cache.parents) if folder.exists()), os.W_OK)
    return {**facts, "hub cache": f"{cache}{'' if writable else ' (read-only)'}", "executable": sys.executable}


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "-"
    return "-" if value is None else str(value)
