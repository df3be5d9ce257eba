# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
The same weights under the canonical, causal semantics: a starting point for further training.

What computes stays: the learners' query, rotary embedding and scope, the router. What changes is what a learner sees:
keys of its own modality up to the row itself, at their own positions (docs/released_checkpoint.md).
"""

import shutil
from pathlib import Path

from tqdm import tqdm

from wings_hf.configuration.configuration_wings import WingsConfig
from wings_hf.conversion import folder_files
from wings_hf.conversion.checkpoint import INDEX, PICKLES, read_checkpoint
from wings_hf.conversion.convert import read_released_model
from wings_hf.conversion.locate import find_folder
from wings_hf.conversion.plan import UNUSED
from wings_hf.conversion.tensor_files import Move
from wings_hf.conversion.writing import RECORD, Record, write_files, write_index

# Of the conversion, not of the model.
LEFT_OUT = {UNUSED, RECORD, INDEX, folder_files.RELEASED_CONFIG, "config.json"}


def causalize(source: str, destination: str | Path | None = None, restart: bool = False) -> Path:
    """
    Writes the model in `source` with `semantics="paper"`, its weights bit for bit.

    Args:
        source: folder or Hub name of a model with `semantics="released"`, as `wings-hf convert` makes it.
        destination: folder to write; by default `source` with "-causal" behind its name.
        restart: delete what an earlier run wrote there.

    Returns:
        the folder written.

    Raises:
        ValueError: for a source that is no such model, or a destination that holds something else.
        OSError: where what was written cannot be read back the same.
    """
    folder = find_folder(source)
    target = Path(destination) if destination is not None else _beside(source)
    config = read_released_model(folder)
    checkpoint = read_checkpoint(folder)
    files: dict[str, list[Move]] = {}
    for name, tensor in checkpoint.tensors.items():
        files.setdefault(tensor.file.name, []).append(Move(tensor, name))
    settings = {"to": "causal", "source": checkpoint.identity(), "files": list(files)}
    record = Record.begin(target, folder, settings, restart)
    with tqdm(total=2 * checkpoint.nbytes, unit="B", unit_scale=True, desc="copying", disable=None) as bar:
        write_files(target, files, record, bar.update)
    for path in folder.iterdir():
        is_state = path.suffix == ".safetensors" or any(path.match(pattern) for pattern in PICKLES)
        if path.is_file() and not is_state and path.suffix != ".py" and path.name not in LEFT_OUT:
            shutil.copyfile(path, target / path.name)
    folder_files.save_config(_causal(config), config.dtype, target)
    write_index(target, files)
    record.save(complete=True)
    return target


def _beside(source: str) -> Path:
    path = Path(source).expanduser()
    return path.resolve().with_name(f"{path.resolve().name}-causal") if path.exists() else Path(f"{path.name}-causal")


def _causal(config: WingsConfig) -> WingsConfig:
    values = config.to_dict()
    values.pop("auto_map", None)
    return WingsConfig.from_dict({**values, "semantics": "paper"})
