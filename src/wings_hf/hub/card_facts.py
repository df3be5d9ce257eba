# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What a model folder says of itself, without loading the model."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelCard, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError
from safetensors import safe_open

from wings_hf.configuration.wings_sources import public_name
from wings_hf.hub.contents import read_config
from wings_hf.training.record import read_record

# Where a parameter belongs, by what its name contains; the rest is the language model.
GROUPS = {
    "visual_learner": "visual learners",
    "textual_learner": "textual learners",
    "router": "routers",
    "multi_modal_projector": "projector",
    "vision_tower": "vision tower",
}


@dataclass(frozen=True)
class Backbone:
    """
    Args:
        role: "language model" or "vision tower".
        name: on the Hub; "" where it is not recorded.
        family: `model_type` of its configuration.
        licence: identifier on the Hub; None where it is not known.
    """

    role: str
    name: str
    family: str
    licence: str | None = None

    def __str__(self) -> str:
        return f"[{self.name}](https://huggingface.co/{self.name})" if "/" in self.name else self.name or "not recorded"


@dataclass(frozen=True)
class Facts:
    """
    Args:
        config: `config.json`.
        backbones: language model, vision tower.
        parameters: part -> how many.
        training: what `wings-hf train` recorded; None where it did not.
        code: files of code that go with the model.
    """

    config: dict[str, Any]
    backbones: tuple[Backbone, ...]
    parameters: dict[str, int]
    training: dict[str, Any] | None
    code: tuple[str, ...]
    datasets: tuple[str, ...] = field(default=())


def facts_of(folder: Path, names: Mapping[str, str | None], licences: Mapping[str, str | None], look_up: bool) -> Facts:
    """
    Args:
        folder: of a saved model.
        names: "text" and "vision" -> name of the backbone on the Hub, where it is to be another than the recorded one.
        licences: the same for their licences.
        look_up: ask the Hub for licences that are neither given nor in the cache.
    """
    config = read_config(folder)
    training = read_record(folder)
    backbones = []
    for key, role in (("text", "language model"), ("vision", "vision tower")):
        part = config.get(f"{key}_config") or {}
        recorded = public_name(part.get("_name_or_path")) or (training or {}).get(f"{key}_model", "")
        name = names.get(key) or recorded
        if part:
            licence = licences.get(key) or licence_of(name, look_up)
            backbones.append(Backbone(role, name, part.get("model_type", "unknown"), licence))
    weights = sorted(folder.glob("*.safetensors"))
    code = tuple(sorted(path.name for path in folder.glob("*.py")))
    datasets = [
        each["dataset"] for stage in (training or {}).get("stages", []) for each in stage["data"] if "dataset" in each
    ]
    return Facts(config, tuple(backbones), count_parameters(weights), training, code, tuple(dict.fromkeys(datasets)))


def count_parameters(weights: list[Path]) -> dict[str, int]:
    """Parameters by part, from the headers of the files alone."""
    counts: Counter[str] = Counter()
    for path in weights:
        with safe_open(path, framework="np") as tensors:
            for name in tensors.keys():  # noqa: SIM118  (no mapping)
                size = 1
                for length in tensors.get_slice(name).get_shape():
                    size *= length
                group = next((group for word, group in GROUPS.items() if f".{word}." in f".{name}."), "language model")
                counts[group] += size
    return dict(counts)


def licence_of(name: str, look_up: bool = False) -> str | None:
    """The licence that a model's card on the Hub names: from the cache, or where `look_up` allows it from the Hub."""
    if not name:
        return None
    cached = try_to_load_from_cache(name, "README.md")
    if isinstance(cached, str):
        found = ModelCard.load(cached, ignore_metadata_errors=True).data.license
        return str(found) if found else None
    if not look_up:
        return None
    try:
        data = HfApi(library_name="wings_hf").model_info(name).card_data
    except HfHubHTTPError:
        return None
    found = getattr(data, "license", None)
    return str(found) if found else None
