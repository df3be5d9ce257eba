# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""How a model was trained, in a file beside it: for its model card, and for whoever wants to do it again.

It may be published with the model, so it has names and numbers, and no path of a machine.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import torch
import transformers

from wings_hf.configuration.wings_sources import public_name
from wings_hf.data.sources import Source
from wings_hf.training.recipes import Recipe
from wings_hf.training.stages import Stage
from wings_hf.version import __version__

RECORD = "wings_training.json"
KEPT: tuple[str, ...] = (
    "learners",
    "learning_rates",
    "epochs",
    "max_steps",
    "max_length",
    "learn",
    "text_share",
    "packing",
)
KEPT += ("optimizer", "schedule", "warmup", "weight_decay", "max_grad_norm")


def write_record(
    folder: Path, recipe: Recipe, stage: Stage, trainer: Any, records: int | None, start: Path | None
) -> None:
    """
    Writes `wings_training.json` into the folder of a stage's model: this stage, after those of the model it began with.

    Args:
        trainer: the `Trainer` that has run.
        records: how many it learned from; None for a stream.
        start: folder of the model that the stage began with; None for the backbones.
    """
    earlier = read_record(start) if start is not None else None
    content = {
        "format": 1,
        "recipe": recipe.name,
        "text_model": public_name(recipe.text_model),
        "vision_model": public_name(recipe.vision_model),
        "precision": recipe.precision,
        "seed": recipe.seed,
        "stages": [*(earlier or {}).get("stages", []), _stage(recipe, stage, trainer, records)],
        "complete": start is None or earlier is not None,
        "versions": {
            "wings_hf": __version__,
            "transformers": transformers.__version__,
            "torch": str(torch.__version__),
        },
    }
    if earlier:
        content |= {name: earlier[name] for name in ("text_model", "vision_model") if earlier.get(name)}
    (folder / RECORD).write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_record(folder: Path) -> dict[str, Any] | None:
    """What `write_record` wrote; None where there is none.

    Raises:
        ValueError: the file cannot be read.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no valid JSON ({error}): delete it, or train again.") from error
    if not isinstance(content, dict) or not isinstance(content.get("stages"), list):
        raise ValueError(f"{path} is no record of training: expected an object with stages.")
    return content


def _stage(recipe: Recipe, stage: Stage, trainer: Any, records: int | None) -> dict[str, Any]:
    arguments = trainer.args
    samples = arguments.train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    loss = losses[-1] if losses and math.isfinite(losses[-1]) else None
    values = {name: getattr(stage, name) for name in KEPT}
    values["learners"] = list(stage.learners)
    values["learning_rates"] = dict(stage.learning_rates)
    return {
        "name": stage.name,
        "steps": trainer.state.global_step,
        "batch": samples,
        "devices": arguments.world_size,
        "records": records,
        "data": _data(stage.data or recipe.data),
        "last_loss": loss,
        **values,
    }


def _data(sources: Sequence[Any]) -> list[dict[str, Any]]:
    """Data sets of the Hub by name; of files the last part of their path."""
    found = []
    for source in map(Source.of, sources):
        name = {"dataset": source.dataset} if source.dataset else {"file": PurePath(str(source.path)).name}
        more = {"subset": source.subset, "revision": source.revision, "limit": source.limit, "weight": source.weight}
        found.append({**name, **{key: value for key, value in more.items() if value is not None}})
    return found
