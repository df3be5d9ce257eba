# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What of a model folder is published, and what keeps it from being published.

Files are sent because they are known to be a part of a model, or named by the user; everything else stays where it is,
with a reason. Nothing is changed, and nothing is loaded but the headers of weights.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

PARTS = {
    "configuration": ("config.json", "generation_config.json", "quantization_config.json", "wings_training.json"),
    "weights": ("*.safetensors", "*.safetensors.index.json"),
    "processor": (
        *("processor_config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"),
        *("special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "*.model"),
        *("*.tiktoken", "chat_template.jinja", "chat_template.json", "additional_chat_templates/*.jinja"),
    ),
    "code": ("*.py",),
    "card": ("README.md", "LICENSE*", "LICENCE*", "NOTICE*", "COPYING*", "USE_POLICY*", "images/*.png", "images/*.jpg"),
}
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".h5", ".msgpack")
# Left by a Trainer beside the model, and no part of it.
TRAINING: tuple[str, ...] = (
    "training_args.bin",
    "optimizer*",
    "scheduler.pt",
    "scaler.pt",
    "rng_state*",
    "trainer_state.json",
)
TRAINING += ("all_results.json", "train_results.json", "eval_results.json", "*.distcp")
FOLDERS = {
    "checkpoint-*": "a checkpoint of training",
    "*-checkpoints": "checkpoints of training",
    "global_step*": "a checkpoint of training",
    "runs": "logs of training",
    "wandb": "logs of training",
    "__pycache__": "compiled code",
}
TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{20,}\b|\bapi_org_[A-Za-z0-9]{20,}\b")
# Paths that tell of a machine: in somebody's home, or on a Windows drive.
LOCAL_PATH = re.compile(
    r"(?<![\w:/.])(?:/(?:home|Users|root|mnt|scratch)/[^\s\"'`<>]+|[A-Za-z]:\\\\?[\w.-][^\s\"'`<>]*)"
)
SOURCE_PATH = re.compile(r"\"_?name_or_path\": *\"(?:[/~.]|[A-Za-z]:)[^\"]*\"")
FLAT_IMPORT = re.compile(r"^from \.(\w+) import", re.MULTILINE)


@dataclass(frozen=True)
class File:
    """A file to be sent: its path in the repository, its part of the model, bytes."""

    name: str
    part: str
    size: int
    path: Path


@dataclass(frozen=True)
class Contents:
    """What is sent, and what is left out, name -> reason."""

    folder: Path
    sent: tuple[File, ...]
    left_out: dict[str, str]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.sent)

    def table(self) -> str:
        """Every file with its size, and what is left out with its reason."""
        width = max((len(file.name) for file in self.sent), default=0)
        lines = [f"  {file.name:{width}}  {readable(file.size):>10}  {file.part}" for file in self.sent]
        lines.append(f"{len(self.sent)} files, {readable(self.size)}")
        if self.left_out:
            lines += ["left out:", *(f"  {name}: {reason}" for name, reason in self.left_out.items())]
        return "\n".join(lines)


def readable(size: float) -> str:
    """Bytes in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def examine(folder: Path, include: Sequence[str] = ()) -> Contents:
    """
    What of a model folder is to be published.

    Args:
        folder: what `save_pretrained` of a model and of its processor wrote.
        include: further files in it, as names or patterns relative to it.

    Raises:
        ValueError: the folder is no whole Wings model with processor and code, its weights are pickles or cut short,
            a link leads out of it, or a file names a token or a path of this machine. The message says what to do.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder: expected one that holds a saved model.")
    config = read_config(folder)
    sent: dict[str, File] = {}
    left_out: dict[str, str] = {}
    for name, path, reason in _walk(folder.resolve()):
        part = reason or _part(name, include)
        if part.startswith("!"):
            left_out[name] = part[1:]
        else:
            sent[name] = File(name, part, path.stat().st_size, path)
    _check_included(include, sent, left_out)
    _leave_out_idle(sent, left_out, config)
    _check_weights(sent)
    _check_processor(folder, sent)
    for file in sent.values():
        _check_text(file)
    order = {part: number for number, part in enumerate((*PARTS, "included"))}
    files = sorted(sent.values(), key=lambda file: (order[file.part], file.name))
    return Contents(folder, tuple(files), dict(sorted(left_out.items())))


# -- files ------------------------------------------------------------------------------------------------


def _walk(root: Path, below: str = "") -> Iterator[tuple[str, Path, str]]:
    """Name, path and "!reason to leave it out" (or "") of everything in the folder; folders that stay are not entered.

    Raises:
        ValueError: a link leads out of the folder.
    """
    for path in sorted((root / below).iterdir()):
        name = path.relative_to(root).as_posix()
        hidden = path.name.startswith(".")
        if not hidden and path.is_symlink() and not path.resolve().is_relative_to(root):
            raise ValueError(
                f"{name} is a link that leads out of {root}: nothing outside the folder is sent. Put the file itself "
                "there (cp -rL copies a folder with what its links point to)."
            )
        folder = path.is_dir()
        kept_out = next((why for pattern, why in FOLDERS.items() if folder and fnmatchcase(path.name, pattern)), "")
        if folder and path.is_symlink() and not hidden:
            kept_out = "a link to another folder of the model"  # perhaps to one above it, without an end
        if hidden or kept_out:
            yield f"{name}/" if folder else name, path, f"!{kept_out or 'hidden'}"
        elif folder:
            yield from _walk(root, name)
        elif path.is_file():
            yield name, path, ""
        else:
            yield name, path, "!no regular file"


def _part(name: str, include: Sequence[str]) -> str:
    """The part of a model that a file is; "!reason" where it is none.

    Raises:
        ValueError: weights as a pickle.
    """
    base = name.rpartition("/")[2]
    if any(fnmatchcase(base, pattern) for pattern in TRAINING):
        return "!state of training"
    if name.lower().endswith(PICKLES):
        raise ValueError(
            f"{name} may hold a pickle, which runs code when it is loaded: only safetensors are published. Save the "
            "model again with save_pretrained, or take the file out of the folder."
        )
    for part, patterns in PARTS.items():
        if any(fnmatchcase(name, pattern) and name.count("/") == pattern.count("/") for pattern in patterns):
            return part
    if any(fnmatchcase(name, pattern) for pattern in include):
        return "included"
    return "!no part of a model (--include sends it)"


def _check_included(include: Sequence[str], sent: dict[str, File], left_out: dict[str, str]) -> None:
    for pattern in include:
        if not any(fnmatchcase(name, pattern) for name in sent):
            reason = next(
                (why for name, why in left_out.items() if fnmatchcase(name.rstrip("/"), pattern)), "not there"
            )
            raise ValueError(f"include {pattern!r}: {reason}; expected files of the folder, relative to it.")


def _leave_out_idle(sent: dict[str, File], left_out: dict[str, str], config: dict[str, Any]) -> None:
    """Leaves out code that nothing imports, and weights that the index does not name.

    Raises:
        ValueError: code or weights that are named are not there.
    """
    code = _imported_code(sent, config)
    shards = _shards(sent)
    for name, file in list(sent.items()):
        if file.part == "code" and name not in code:
            left_out[name] = "code that the model does not import (--include sends it)"
        elif name.endswith(".safetensors") and shards and name not in shards:
            left_out[name] = "weights that model.safetensors.index.json does not name"
    for name in left_out.keys() & sent.keys():
        del sent[name]


def _imported_code(sent: dict[str, File], config: dict[str, Any]) -> set[str]:
    """Files of code that `auto_map` names, and what they import."""
    auto_map = dict(config.get("auto_map") or {})
    if "processor_config.json" in sent:
        auto_map |= _json(sent["processor_config.json"].path).get("auto_map") or {}
    if "AutoModelForCausalLM" not in auto_map:
        raise ValueError(
            "config.json names no code (auto_map): expected a model that was saved with save_pretrained of wings_hf."
        )
    waiting = {str(target).partition(".")[0] for target in auto_map.values()}
    found: set[str] = set()
    while waiting:
        module = waiting.pop()
        name = f"{module}.py"
        if name not in sent:
            raise ValueError(
                f"{name} is missing: without it nobody can load the model. Save the model and its processor again."
            )
        found.add(name)
        waiting |= {
            each for each in FLAT_IMPORT.findall(sent[name].path.read_text("utf-8")) if f"{each}.py" not in found
        }
    return found


def _shards(sent: dict[str, File]) -> set[str]:
    """Files that the index of the weights names; none without an index."""
    if "model.safetensors.index.json" not in sent:
        return set()
    shards = set(_json(sent["model.safetensors.index.json"].path).get("weight_map", {}).values())
    missing = sorted(shards - sent.keys())
    if missing:
        raise ValueError(f"{missing[0]} is missing: model.safetensors.index.json names it. Save the model again.")
    return shards


# -- checks -----------------------------------------------------------------------------------------------


def read_config(folder: Path) -> dict[str, Any]:
    """
    `config.json` of a Wings model.

    Raises:
        ValueError: there is none, or that of another model.
    """
    if not (folder / "config.json").is_file():
        adapter = (folder / "adapter_config.json").is_file()
        what = "an adapter, which peft's own push_to_hub publishes" if adapter else "no saved model"
        raise ValueError(f"{folder} holds {what}: expected a folder with config.json, as save_pretrained writes it.")
    config = _json(folder / "config.json")
    if config.get("model_type") != "wings":
        raise ValueError(f"{folder}/config.json is of a {config.get('model_type')!r} model: expected 'wings'.")
    return config


def _check_weights(sent: dict[str, File]) -> None:
    weights = [file for file in sent.values() if file.name.endswith(".safetensors")]
    if not weights:
        raise ValueError("there are no weights: expected model.safetensors, or shards with their index.")
    for file in weights:
        try:
            with safe_open(file.path, framework="np"):
                pass
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{file.name} is no whole safetensors file ({error}): save the model again.") from error


def _check_processor(folder: Path, sent: dict[str, File]) -> None:
    for name in ("processor_config.json", "tokenizer_config.json"):
        if name not in sent:
            raise ValueError(f"{name} is missing: save the processor too (processor.save_pretrained({str(folder)!r})).")


def _check_text(file: File) -> None:
    """
    Raises:
        ValueError: a token, or a path of a machine, in a file that is text.
    """
    if file.part in ("weights", "code") or not file.name.endswith((".json", ".md", ".txt", ".jinja", ".yaml", ".yml")):
        return
    if file.name in ("tokenizer.json", "vocab.json", "vocab.txt", "merges.txt"):
        return  # words of a vocabulary say nothing of this machine
    text = file.path.read_text("utf-8", errors="replace")
    if TOKEN.search(text):
        raise ValueError(f"{file.name} holds what looks like an access token of the Hub: take it out, and revoke it.")
    found = SOURCE_PATH.search(text) or LOCAL_PATH.search(text)
    if found:
        line = text.count("\n", 0, found.start()) + 1
        raise ValueError(
            f"{file.name}, line {line}, names a path of a machine ({found.group(0)[:80]}): take it out before it is "
            "public. (A line with _name_or_path has no effect and can be deleted; models saved now name no path.)"
        )


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}).") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(values).__name__}.")
    return values
