# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Writes the code of a model beside its weights, for `trust_remote_code=True` where wings_hf is not installed.

Remote code is a flat folder of files that import each other relatively. In this package the files stand in folders
and import each other absolutely, always in the form "from wings_hf.FOLDER.NAME import ...", so that writing them is
copying with that one form changed. Code that was loaded as remote code is flat already: saving it again copies it
byte for byte.
"""

import os
import re
import sys
import tempfile
from functools import cache
from pathlib import Path

MODEL_AUTO_MAP = {
    "AutoConfig": "configuration_wings.WingsConfig",
    "AutoModel": "modeling_wings.WingsModel",
    "AutoModelForCausalLM": "modeling_wings.WingsForCausalLM",
    "AutoModelForImageTextToText": "modeling_wings.WingsForCausalLM",
}
PROCESSOR_AUTO_MAP = {"AutoProcessor": "processing_wings.WingsProcessor"}

_PACKAGE_IMPORT = re.compile(r"^from wings_hf(?:\.\w+)*\.(\w+) import", re.MULTILINE)
_FLAT_IMPORT = re.compile(r"^from \.(\w+) import", re.MULTILINE)


def write_code(entry: str, directory: str | os.PathLike) -> None:
    """
    Writes the module `entry` and all of ours that it imports into `directory`, as flat remote code.

    Args:
        entry: `__name__` of a module of this package, or of its copy loaded as remote code.
        directory: the folder of the model.
    """
    for name, source in flat_sources(entry).items():
        _write_whole(Path(directory) / f"{name}.py", source)


@cache
def flat_sources(entry: str) -> dict[str, bytes]:
    """
    Base name -> flat source, of `entry` and what it imports, directly or through others.

    Entry modules ask once when they are imported: what is saved later is the code that ran, whatever happens to the
    files of the installation meanwhile.
    """
    sources: dict[str, bytes] = {}
    waiting = [entry]
    while waiting:
        module = waiting.pop()
        name = module.rpartition(".")[2]
        if name not in sources:
            text = Path(sys.modules[module].__file__ or "").read_bytes()
            waiting.extend(_imports(module, text.decode()))
            sources[name] = _PACKAGE_IMPORT.sub(r"from .\1 import", text.decode()).encode()
    return sources


def _imports(module: str, source: str) -> list[str]:
    """Names of the modules of ours that `source` imports."""
    package = module.rpartition(".")[0]
    flat = [f"{package}.{name}" for name in _FLAT_IMPORT.findall(source)]
    return flat + [match.group(0).split()[1] for match in _PACKAGE_IMPORT.finditer(source)]


def _write_whole(path: Path, content: bytes) -> None:
    """Writes a file such that a reader sees the old content or the new, never a part."""
    if path.is_file() and path.read_bytes() == content:
        return
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        try:
            file.write(content)
            file.flush()
        except OSError:
            os.unlink(file.name)
            raise
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
