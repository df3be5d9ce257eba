# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Fields of dataclasses that say what they mean in their metadata ("help") say it in the reference, too."""

import dataclasses
from typing import Any

from sphinx.application import Sphinx


def add_fields(app: Sphinx, kind: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    if kind != "class" or not dataclasses.is_dataclass(thing):
        return
    helped = [field for field in dataclasses.fields(thing) if "help" in field.metadata]
    if helped:
        lines += ["", "Args:", *(f"    {field.name}: {field.metadata['help']}." for field in helped)]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", add_fields, priority=400)  # before napoleon reads the docstring
    return {"parallel_read_safe": True, "parallel_write_safe": True}
