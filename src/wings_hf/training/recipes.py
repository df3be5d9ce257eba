# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Recipes: everything that `wings-hf train` needs to know, as a YAML file whose every field is documented and checked.

A recipe may build on another (`extends: wings`), and single fields may be set from outside
(`stage2.learning_rate=1e-5`). The recipes that come with the package are in `wings_hf/recipes`.
"""

import dataclasses
import importlib.resources
import inspect
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from transformers import TrainingArguments

from wings_hf.configuration.configuration_wings import WingsConfig
from wings_hf.training.schema import build, did_you_mean, help_for
from wings_hf.training.stages import PARTS, Stage

STAGE = re.compile(r"stage([1-9])")
# Fields of WingsConfig that other fields of a recipe say.
ELSEWHERE_SET = {"learners": "the stages' learners", "text_config": "text_model", "vision_config": "vision_model"}
# Fields of TrainingArguments that a recipe has under its own names.
OWN_FIELDS = {
    "output_dir": "--output",
    "learning_rate": "a stage's learning_rate",
    "num_train_epochs": "a stage's epochs",
    "per_device_train_batch_size": "a stage's per_device_batch_size",
    "gradient_accumulation_steps": "a stage's batch_size",
    "lr_scheduler_type": "a stage's schedule",
    "warmup_steps": "a stage's warmup",
    "optim": "a stage's optimizer",
    "dataloader_num_workers": "workers",
    "bf16": "precision",
    "fp16": "precision",
    **{
        name: f"a stage's {name}"
        for name in ("max_steps", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm")
    },
    **{name: name for name in ("logging_steps", "save_steps", "save_total_limit", "report_to", "seed")},
}
FOLDER = importlib.resources.files("wings_hf") / "recipes"


@dataclass(frozen=True)
class Retention:
    """How well the text survives, measured while training; see `wings_hf.training.retention`."""

    data: str | None = help_for(
        "text to measure on: .txt (paragraphs) or .jsonl with messages; none: not measured", None
    )
    every: int = help_for("optimizer steps between measurements", 200)
    samples: int = help_for("texts, at most", 64)
    max_length: int = help_for("tokens of a text, at most", 256)
    stop_at: float | None = help_for(
        "stop when the KL divergence to the starting model, nats per token, exceeds it", None
    )
    keep_best: bool = help_for("leave the checkpoint with the lowest loss on the text instead of the last one", False)

    def __post_init__(self) -> None:
        for name, low in (("every", 1), ("samples", 1), ("max_length", 2), ("stop_at", 0)):
            value = getattr(self, name)
            if value is not None and not value >= low:
                raise ValueError(f"retention.{name}={value}: expected at least {low}.")
        if self.data is None and (self.keep_best or self.stop_at is not None):
            raise ValueError("retention.data is missing: keep_best and stop_at need text to measure on.")


@dataclass(frozen=True)
class Recipe:
    """A way to give a language model sight: the parts, the data, and the stages of training in order."""

    name: str = help_for("of the recipe")
    stages: Sequence[Stage] = help_for("the stages in order; in YAML their fields are under stage1, stage2, ...")
    about: str = help_for("what it is, and where its numbers come from", "")
    text_model: str | None = help_for("causal language model: name or folder", None)
    vision_model: str | None = help_for("vision tower: name or folder", None)
    image_processor: str | None = help_for("where the image processor comes from (default: the vision model)", None)
    model: Mapping[str, Any] = help_for("fields of WingsConfig, such as learner_rank", factory=dict)
    data: Sequence[Any] = help_for("sources of records for all stages, see docs/data.md", ())
    image_folder: str | None = help_for("what relative image paths are relative to (default: the file's folder)", None)
    on_error: Literal["raise", "skip"] = help_for(
        "a record that cannot be used: stop, or leave it out and say so", "raise"
    )
    precision: Literal["fp32", "bf16", "fp16"] = help_for(
        "what computation runs in; weights that are trained are float32 in all of them", "fp32"
    )
    activation_checkpointing: bool = help_for("compute activations again in the backward pass, to save memory", False)
    workers: int = help_for("processes that prepare batches; 0: the training process itself", 0)
    logging_steps: int = help_for("optimizer steps between lines of the log", 10)
    save_steps: int = help_for("optimizer steps between checkpoints", 500)
    save_total_limit: int = help_for(
        "checkpoints kept; with 2 there is one left when the other was not written to its end", 2
    )
    report_to: str = help_for(
        "auto: TensorBoard where it is installed; none; or tensorboard, wandb, trackio, ...", "auto"
    )
    retention: Retention = help_for("measuring how well the text survives", factory=Retention)  # noqa: RUF009
    accelerator: Mapping[str, Any] = help_for("further fields of TrainingArguments: deepspeed, fsdp, ...", factory=dict)
    seed: int = help_for("of everything random", 0)

    def __post_init__(self) -> None:
        at_least = {"logging_steps": 1, "save_steps": 1, "save_total_limit": 1, "workers": 0, "seed": 0}
        for name, low in at_least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name}={getattr(self, name)}: expected at least {low}.")
        _check_model(self.model)
        _check_accelerator(self.accelerator)
        for number, stage in enumerate(self.stages, 1):
            if Path(stage.name).name != stage.name:
                raise ValueError(f"stage{number}.name={stage.name!r}: expected the name of a folder.")
            if stage.name in [other.name for other in self.stages[: number - 1]]:
                raise ValueError(f"stage{number}.name={stage.name!r} is an earlier stage's: expected another.")
        for number, (before, stage) in enumerate(itertools.pairwise(self.stages), 2):
            gone = [name for name in before.learners if name not in stage.learners]
            if gone and stage.start is None:
                raise ValueError(
                    f"stage{number}.learners leaves out {', '.join(gone)}, which stage{number - 1} has: learners are "
                    "added, never taken away."
                )


def _check_model(model: Mapping[str, Any]) -> None:
    known = [name for name in inspect.get_annotations(WingsConfig) if name not in ELSEWHERE_SET]
    for name in model:
        if name in ELSEWHERE_SET:
            raise ValueError(f"model.{name} has no effect: it is set by {ELSEWHERE_SET[name]}.")
        if name not in known:
            raise ValueError(f"model.{name}: {did_you_mean(name, known)}")


def _check_accelerator(arguments: Mapping[str, Any]) -> None:
    known = [field.name for field in dataclasses.fields(TrainingArguments) if field.init]
    for name in arguments:
        if name in OWN_FIELDS:
            raise ValueError(f"accelerator.{name}: expected {OWN_FIELDS[name]} instead, which sets it.")
        if name not in known:
            raise ValueError(f"accelerator.{name}: {did_you_mean(name, known)}")


def available() -> dict[str, str]:
    """The recipes that come with the package, each with the first sentence about it."""
    names = sorted(path.name.removesuffix(".yaml") for path in FOLDER.iterdir() if path.name.endswith(".yaml"))
    return {name: str(_values(name).get("about", "")).split(". ")[0].rstrip(".") for name in names}


def load_recipe(source: str, changes: Mapping[str, Any] | Sequence[str] = ()) -> Recipe:
    """
    The recipe in `source`.

    Args:
        source: a YAML file, or the name of a recipe of the package.
        changes: `path=value` texts, values in YAML, or a mapping of paths to values; `stage2.learning_rate` is a path,
            and `stages.max_steps` the same field of all stages.

    Raises:
        ValueError: no such recipe, or a field that is not known or of another type; with its path.
    """
    values = _values(source)
    for path, value in parse_changes(changes).items():
        _set(values, path.split("."), value)
    numbers = sorted(match[1] for name in values if (match := STAGE.fullmatch(name)))
    if numbers != [str(index) for index in range(1, len(numbers) + 1)] or not numbers:
        raise ValueError(f"{source}: expected stage1, stage2, ... in order, got {', '.join(numbers) or 'none'}.")
    stages = tuple(_stage(values.pop(f"stage{number}"), f"stage{number}") for number in numbers)
    _check_names(values)
    recipe: Recipe = build(Recipe, {**values, "stages": ()})
    return dataclasses.replace(recipe, stages=stages)


def _values(source: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a recipe file says, together with what it extends."""
    import yaml

    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise ValueError(f"There is no recipe file {source}.")
        text, name = path.read_text(), path.stem
    else:
        place = FOLDER / f"{source}.yaml"
        if not place.is_file():
            names = [entry.name.removesuffix(".yaml") for entry in FOLDER.iterdir() if entry.name.endswith(".yaml")]
            raise ValueError(f"recipe {source!r}: {did_you_mean(source, sorted(names))}")
        text, name = place.read_text(), source
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"recipe {source!r} is no YAML: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"recipe {source!r}: expected fields with values, got {values!r}.")
    values = {"name": name, **values}
    base = values.pop("extends", None)
    if base is None:
        return values
    relative = path.parent / str(base)
    found = str(relative) if path.suffix and relative.is_file() else str(base)
    if found in (*seen, source):
        raise ValueError(f"recipe {source!r} extends itself.")
    return _merge(_values(found, (*seen, source)), values)


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = _merge(merged[name], value) if both else value
    return merged


def parse_changes(changes: Mapping[str, Any] | Sequence[str]) -> dict[str, Any]:
    """Values by path from `path=value` texts, whose values are YAML."""
    import yaml

    if isinstance(changes, Mapping):
        return dict(changes)
    parsed = {}
    for change in changes:
        path, mark, value = change.partition("=")
        if not mark or not path:
            raise ValueError(f"{change!r}: expected path=value, such as stage2.learning_rate=1e-5.")
        parsed[path.strip()] = yaml.safe_load(value) if value else ""
    return parsed


def _set(values: dict[str, Any], path: Sequence[str], value: Any) -> None:
    if path[0] == "stages":
        for name in [name for name in values if STAGE.fullmatch(name)]:
            _set(values, [name, *path[1:]], value)
        return
    for depth, name in enumerate(path[:-1]):
        values = values.setdefault(name, {})
        if not isinstance(values, dict):
            raise ValueError(f"{'.'.join(path)}: {'.'.join(path[: depth + 1])} has no fields.")
    values[path[-1]] = value


def _stage(values: Any, where: str) -> Stage:
    """A stage of a recipe, where `train` and `learning_rate` may stand for `learning_rates`."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}={values!r}: expected fields with values.")
    values = dict(values)
    rates = dict(values.get("learning_rates") or {})
    common, parts = values.pop("learning_rate", None), values.pop("train", None)
    for index, part in enumerate(parts or ()):
        if part not in PARTS:
            raise ValueError(f"{where}.train[{index}]={part!r}: {did_you_mean(str(part), PARTS)}")
    if parts is not None:
        beside = sorted(set(rates) - set(parts))
        if beside:
            raise ValueError(f"{where}.learning_rates names {', '.join(beside)}, which {where}.train does not.")
        if common is None and set(parts) - set(rates):
            raise ValueError(f"{where}.learning_rate is missing: expected one for {', '.join(parts)}.")
        rates = {part: rates.get(part, common) for part in parts}
    elif common is not None:
        raise ValueError(f"{where}.learning_rate is for parts without a rate of their own: name them in {where}.train.")
    if not rates:
        raise ValueError(f"{where}.train is missing: expected a list of parts, of {', '.join(PARTS)}.")
    return build(Stage, {**values, "learning_rates": rates}, where)


def _check_names(values: Mapping[str, Any]) -> None:
    known = {field.name for field in dataclasses.fields(Recipe)} - {"stages"}
    for name in values:
        if name not in known:
            raise ValueError(f"{name}: {did_you_mean(name, [*sorted(known), 'stage1', 'stage2', 'extends'])}")


def fields() -> str:
    """Every field of a recipe, with its default and what it means."""
    lines: list[str] = []
    for title, cls in (("", Recipe), ("stage1, stage2, ...", Stage), ("retention", Retention)):
        lines += [f"\n{title}:" if title else "recipe:"]
        for field in dataclasses.fields(cls):
            if field.name == "stages":
                continue
            default = "" if field.default is dataclasses.MISSING else f" [{field.default}]"
            lines.append(f"  {field.name}{default}: {field.metadata['help']}")
    return "\n".join(lines)
