# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
The conversion, both ways.

A tensor is read, hashed and written in pieces: the memory taken is that of a piece of 16 MiB, or of the largest learner
matrix and its transpose, whatever the size of the checkpoint.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from wings_hf.configuration.configuration_wings import WingsConfig
from wings_hf.conversion import folder_files
from wings_hf.conversion.base_configs import read_released_config
from wings_hf.conversion.checkpoint import Checkpoint, read_checkpoint
from wings_hf.conversion.infer_config import Given, dtype_of, infer_config
from wings_hf.conversion.locate import find_folder
from wings_hf.conversion.plan import UNUSED, Plan, into_files, parse_size, plan_to_released, plan_to_wings
from wings_hf.conversion.shapes import read_shapes
from wings_hf.conversion.tensor_files import Move, read_header
from wings_hf.conversion.writing import RECORD, Record, write_files, write_index
from wings_hf.modeling.modeling_wings import WingsForCausalLM

DEFAULT_SHARD_SIZE = "5GB"


@dataclass
class Report:
    """
    What a conversion did.

    Args:
        folder: the destination.
        plan: which tensor went where.
        files: names of the files written, or found finished.
        intact: those of them that were finished already.
        notes: sentences about the rest.
    """

    folder: Path
    plan: Plan
    files: list[str]
    intact: list[str]
    notes: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """The report as text, every tensor without a place named."""
        count, size = len(self.plan.moves) + len(self.plan.aside), self.plan.nbytes / 1e9
        lines = [
            f"{self.folder}: {count} tensors, {size:.3g} GB in {len(self.files)} files; each read back and equal to "
            "its source (SHA-256).",
            "  missing: none. unexpected: none." if not self._kept_unknown() else "  missing: none.",
        ]
        if self.intact:
            lines.append(f"  {len(self.intact)} files were there from an earlier run, and intact.")
        if self.plan.aside:
            lines.append(f"  {len(self.plan.aside)} tensors have no place in the model and are in {UNUSED}:")
            lines += [f"    {line}" for line in _by_kind(self.plan.reasons)]
        return "\n".join(lines + [f"  {note}" for note in self.notes])

    def _kept_unknown(self) -> bool:
        return any(reason.startswith("unknown") for reason in self.plan.reasons.values())


def _by_kind(reasons: dict[str, str]) -> list[str]:
    """A line for each kind of tensor, layers taken together: `model.layers.*.attn_t_pool... (32): reason`."""
    counts = Counter((re.sub(r"(?<=layers\.)\d+", "*", name), reason) for name, reason in reasons.items())
    return [f"{name}{f' ({count})' if count > 1 else ''}: {reason}" for (name, reason), count in sorted(counts.items())]


def convert_to_wings(
    source: str,
    destination: str | Path,
    *,
    text_config: str | None = None,
    vision_config: str | None = None,
    tokenizer: str | None = None,
    system_prompt_length: int | None = None,
    learner_rope_dtype: str = "float32",
    max_shard_size: str | int = DEFAULT_SHARD_SIZE,
    keep_unknown: bool = False,
    restart: bool = False,
) -> Report:
    """
    Makes a folder that transformers loads of a checkpoint under the released names.

    An interrupted conversion goes on where it stopped when it is asked for again.

    Args:
        source: folder or Hub name of the checkpoint.
        destination: folder to write.
        text_config: folder, `config.json` or Hub name of the language model; needed where no configuration is
            beside the checkpoint.
        vision_config: likewise, of the vision tower; needed where the checkpoint holds one.
        tokenizer: folder or Hub name; by default the one beside the checkpoint or the text configuration, if any.
        system_prompt_length: see `WingsConfig`; that of the released scripts by default.
        learner_rope_dtype: see `WingsConfig`.
        max_shard_size: bytes of a file at most, such as "5GB"; one larger tensor gets its own file.
        keep_unknown: keep tensors that nothing is known about aside.
        restart: delete what an earlier conversion wrote there.

    Raises:
        ValueError: for a checkpoint, configurations or a destination that do not fit; nothing is written then.
        OSError: where what was written cannot be read back the same.
    """
    folder, target = find_folder(source), Path(destination)
    given = Given(read_released_config(folder), text_config, vision_config, system_prompt_length, learner_rope_dtype)
    checkpoint = read_checkpoint(folder)
    shapes = read_shapes(checkpoint.tensors)
    words = folder_files.load_tokenizer(tokenizer, text_config, folder)
    config = infer_config(shapes, given, folder_files.image_token_id_for(words))
    processor, note = folder_files.make_processor(config, words, vision_config, asked=tokenizer is not None)
    plan = plan_to_wings(
        checkpoint.tensors, expected_tensors(config), shapes.stage, bool(config.tie_word_embeddings), keep_unknown
    )
    plan.check()
    files = into_files(plan.moves, parse_size(max_shard_size))
    everything = {**files, **({UNUSED: plan.aside} if plan.aside else {})}
    settings = {"to": "wings", "max_shard_size": parse_size(max_shard_size), "config": _settings_of(config)}
    record = Record.begin(target, folder, {**settings, **_origin(checkpoint, everything)}, restart)
    intact = _write(target, plan, everything, record)
    if processor is not None:
        processor.save_pretrained(target)
    folder_files.save_generation_config(config.text_config, [str(folder), text_config], target)
    folder_files.keep_released_config(folder, target)
    write_index(target, files)
    dtypes = {move.source.dtype for move in plan.moves}
    folder_files.save_config(config, dtype_of(dtypes), target)
    record.save(complete=True)
    return Report(target, plan, list(everything), intact, [*_describe(config, dtypes), note])


def expected_tensors(config: WingsConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the model's tensors, without making them."""
    with torch.device("meta"):
        model = WingsForCausalLM(config)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _settings_of(config: WingsConfig) -> dict[str, Any]:
    values = config.to_dict()
    values.pop("transformers_version", None)
    return values


def _origin(checkpoint: Checkpoint, files: dict[str, list[Move]]) -> dict[str, Any]:
    return {"source": checkpoint.identity(), "files": list(files)}


def _write(target: Path, plan: Plan, files: dict[str, list[Move]], record: Record) -> list[str]:
    """Writes the files with a progress bar; returns the names of those that were there already."""
    with tqdm(total=2 * plan.nbytes, unit="B", unit_scale=True, desc="writing and verifying", disable=None) as bar:
        return write_files(target, files, record, bar.update)


def _describe(config: WingsConfig, dtypes: set[str]) -> list[str]:
    """Sentences about the model."""
    learners = f"{' and '.join(config.learners)} learners of rank {config.learner_rank}"
    notes = [
        f"dtype {dtype_of(dtypes)}" + (f", the widest of {', '.join(sorted(dtypes))}" if len(dtypes) > 1 else ""),
        f"semantics='released'; {learners} in {len(config.winged_layers)} layers",
    ]
    if config.vision_config is None:
        return [*notes, f"no vision tower: the model takes features of width {config.vision_feature_size}"]
    tower: Any = config.vision_config
    which = f"hidden state {config.vision_feature_layer} of its {tower.num_hidden_layers} layers"
    return [*notes, f"vision tower {tower.model_type}, of which {which} is used"]


def convert_to_released(
    source: str,
    destination: str | Path,
    *,
    max_shard_size: str | int = DEFAULT_SHARD_SIZE,
    restart: bool = False,
) -> Report:
    """
    Writes a model with `semantics="released"` under the released names again, bit for bit.

    Arguments and errors as in `convert_to_wings`; an error too for a model that the released code cannot describe.
    """
    folder, target = find_folder(source), Path(destination)
    config = read_released_model(folder)
    folder_files.check_released_form(config)
    checkpoint = read_checkpoint(folder)
    aside = read_header(folder / UNUSED) if (folder / UNUSED).is_file() else {}
    plan = plan_to_released(checkpoint.tensors, aside)
    plan.check()
    files = into_files(plan.moves, parse_size(max_shard_size))
    settings = {"to": "released", "max_shard_size": parse_size(max_shard_size)}
    record = Record.begin(target, folder, {**settings, **_origin(checkpoint, files)}, restart)
    intact = _write(target, plan, files, record)
    note = folder_files.save_released_config(config, folder, target)
    write_index(target, files)
    record.save(complete=True)
    return Report(target, plan, list(files), intact, [note])


def read_released_model(folder: Path) -> WingsConfig:
    """
    The configuration of the model in `folder`, whose semantics are the released ones.

    Raises:
        ValueError: for a folder with something else, or an unfinished conversion.
    """
    record = folder / RECORD
    if record.is_file() and not json.loads(record.read_text()).get("complete"):
        raise ValueError(f"The conversion in {folder} is not finished: run it again first.")
    path = folder / "config.json"
    if not path.is_file() or json.loads(path.read_text()).get("model_type") != "wings":
        raise ValueError(f"{folder} holds no Wings model of this package: expected a config.json that says so.")
    config = WingsConfig.from_pretrained(folder)
    if config.semantics != "released":
        raise ValueError(
            f"{folder} has semantics={config.semantics!r}: under the released names its weights would compute "
            "something else. Expected semantics='released'."
        )
    return config


__all__ = ["Report", "convert_to_released", "convert_to_wings", "read_released_model"]
