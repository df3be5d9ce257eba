# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that are whole: which one a run can go on from, and model folders that are there entirely or not at all.

A run may be killed, and a disk may be full, at any moment. `Trainer` writes a checkpoint's weights first and
`trainer_state.json` last, but each process writes its random state by itself, and what the operating system had not
written yet when power failed may lack in any file. So the files themselves are looked at.
"""

import json
import logging
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

logger = logging.getLogger(__name__)

CHECKPOINT = re.compile(r"checkpoint-(\d+)")
# Any of these: whole or in shards, of the model or of adapters, of FSDP, of DeepSpeed.
WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*", "global_step*")
OPTIMIZER = ("optimizer.pt", "optimizer.bin", "optimizer_*", "global_step*")


def newest_whole_checkpoint(folder: Path, processes: int = 1) -> Path | None:
    """
    The newest checkpoint in `folder` that training can go on from; None if there is none. Others are named in the log.

    Args:
        processes: of the run that goes on. Checkpoints with the random state of each are preferred; of another number
            of processes there are none.
    """
    found = [
        (int(match[1]), path) for path in folder.glob("checkpoint-*") if (match := CHECKPOINT.fullmatch(path.name))
    ]
    whole, with_states = [], []
    for _, path in sorted(found, reverse=True):
        missing = what_is_missing(path)
        if missing:
            logger.warning("%s was not written to its end and is left aside: %s", path, ", ".join(missing))
            continue
        whole.append(path)
        if _has_random_states(path, processes):
            with_states.append(path)
            break
    chosen = next(iter(with_states or whole), None)
    if chosen is not None:
        logger.info("Going on from %s", chosen)
    if chosen is not None and not with_states:
        logger.warning("%s is of another number of processes: the order of samples will differ.", chosen)
    return chosen


def what_is_missing(checkpoint: Path) -> list[str]:
    """What a checkpoint of `Trainer` lacks for training to go on from it: files that are missing or cut short."""
    kinds = (("weights", WEIGHTS), ("optimizer", OPTIMIZER), ("random state", ("rng_state*.pth",)))
    missing = [f"no {kind}" for kind, patterns in kinds if not any(any(checkpoint.glob(name)) for name in patterns)]
    missing += [
        f"no {name}" for name in ("trainer_state.json", *_shards(checkpoint)) if not (checkpoint / name).exists()
    ]
    missing += [f"no {path.name}/.metadata" for path in checkpoint.iterdir() if _lacks_metadata(path)]
    files = (path for path in sorted(checkpoint.rglob("*")) if path.is_file())
    return missing + [f"{path.relative_to(checkpoint)} is cut short" for path in files if not _is_whole(path)]


def save_whole(target: Path, trainer: Any, write: Callable[[Path], None]) -> None:
    """
    Let all processes `write(folder)`, where `folder` becomes `target` once all is written.

    After it, every process can read `target`. Killed within it, `target` has no `config.json`.
    """
    unfinished = target.with_name(f".{target.name}-unfinished")
    first, wait = trainer.is_world_process_zero(), trainer.accelerator.wait_for_everyone
    if first:
        shutil.rmtree(unfinished, ignore_errors=True)
    wait()
    write(unfinished)
    wait()
    if first:
        _move(unfinished, target)
    wait()


def _move(folder: Path, target: Path) -> None:
    if not target.exists():
        folder.rename(target)
        return
    for path in sorted(folder.iterdir(), key=lambda path: path.name == "config.json"):  # it comes last
        path.replace(target / path.name)
    folder.rmdir()


def _has_random_states(checkpoint: Path, processes: int) -> bool:
    names = ["rng_state.pth"] if processes == 1 else [f"rng_state_{rank}.pth" for rank in range(processes)]
    return all((checkpoint / name).exists() for name in names)


def _shards(checkpoint: Path) -> Iterator[str]:
    """The files that the index of the weights names, if there is one that can be read."""
    for index in checkpoint.glob("*.safetensors.index.json"):
        if _is_whole(index):
            yield from sorted(set(json.loads(index.read_text())["weight_map"].values()))


def _lacks_metadata(path: Path) -> bool:
    """Whether `path` is a folder of torch's distributed checkpoints that has no list of its contents, written last."""
    return path.is_dir() and any(path.glob("*.distcp")) and not (path / ".metadata").exists()


def _is_whole(path: Path) -> bool:
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt"):
                return True
        if path.suffix == ".json":
            json.loads(path.read_text())
    except (SafetensorError, ValueError, OSError):
        return False
    # What torch.save writes is a zip archive, with its table of contents at the end.
    return path.suffix not in (".pt", ".pth", ".bin") or zipfile.is_zipfile(path)
