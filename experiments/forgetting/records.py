# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A record is what is kept of a run: a JSON file for each method and seed."""

import json
import platform
from pathlib import Path
from typing import Any

import torch
import transformers

from forgetting.measuring import cost, measures
from forgetting.methods.base import Method, options_of
from forgetting.training import BETAS, SCHEDULE, WARMUP, WEIGHT_DECAY, Runs
from forgetting.world import World
from wings_hf.version import __version__

Record = dict[str, Any]


def record_path(folder: Path, method: str, seed: int) -> Path:
    return folder / "records" / f"{method}-seed-{seed}.json"


def write_record(runs: Runs, folder: Path, method: Method, seed: int) -> Record:
    """Measure a trained run and keep what was found."""
    losses, model = runs.losses(method, seed), runs.trained(method, seed)
    tenth = max(1, len(losses) // 10)
    record = {
        "method": method.name,
        "title": method.title,
        "family": method.family,
        "seed": seed,
        "world": runs.world.name,
        "settings": runs.world.settings.to_dict(),
        "options": {
            "trained": {pattern: [rate.of, rate.factor] for pattern, rate in method.trained.items()},
            "fields": dict(method.fields),
            "learners": list(method.learners),
            "text_share": method.text_share,
            "penalty": method.penalty.__name__ if method.penalty else None,
            "derived_from": method.derived_from,
            "transform": options_of(method.transform),
            "install": options_of(method.install),
            "penalty_options": options_of(method.penalty),
            "sizes": getattr(model, "installed_sizes", {}),
            "config": own_fields(model.config),
        },
        "constants": constants(runs.world),
        "train_loss": {"first": sum(losses[:tenth]) / tenth, "last": sum(losses[-tenth:]) / tenth} if losses else None,
        **measures(model, runs.world),
        "cost": cost(runs, method, seed),
        "versions": versions(),
    }
    return save(record_path(folder, method.name, seed), record)


def write_base_record(runs: Runs, folder: Path) -> Record:
    """The language model before it sees, with the untrained projector."""
    torch.manual_seed(0)
    model = runs.world.untrained(learners=()).to(runs.world.device).eval()
    record = {"method": "base", "title": "before it could see", "family": "base", "seed": 0, "world": runs.world.name}
    record |= {"settings": runs.world.settings.to_dict(), "constants": constants(runs.world)}
    record |= {**measures(model, runs.world), "versions": versions()}
    return save(record_path(folder, "base", 0), record)


def constants(world: World) -> dict[str, Any]:
    """What no size, method or seed changes."""
    optimizer = {"name": "AdamW", "betas": list(BETAS), "weight_decay": WEIGHT_DECAY}
    return {**world.constants(), "optimizer": optimizer, "schedule": SCHEDULE, "warmup": WARMUP}


def own_fields(config: Any) -> dict[str, Any]:
    """The fields of `WingsConfig` itself, as they were resolved; those of the parts are the world's."""
    values = config.to_dict()
    return {
        name: values[name]
        for name in type(config).__annotations__
        if name in values and name not in ("text_config", "vision_config")
    }


def save(path: Path, record: Record) -> Record:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(record, indent=1) + "\n")
    unfinished.replace(path)
    return record


def read_records(folder: Path) -> list[Record]:
    """All records of a world, by method and seed.

    Raises:
        ValueError: there are none.
    """
    records = [json.loads(path.read_text()) for path in sorted((folder / "records").glob("*.json"))]
    if not records:
        raise ValueError(f"{folder} has no records of runs.")
    return records


def versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "wings_hf": __version__,
    }
