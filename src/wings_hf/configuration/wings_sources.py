# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Where a part of a model came from, as far as it may be published: its name on the Hub, never a path of a machine."""

import os
import re

# What the Hub takes for a repository: "name" or "owner/name".
_PUBLIC_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_SNAPSHOT = re.compile(r"[/\\]models--([^/\\]+)[/\\]snapshots[/\\]")


def public_name(source: str | os.PathLike | None) -> str:
    """
    The name on the Hub of what was loaded from `source`; "" for a folder of this machine, or where nothing is known.

    A folder of the Hub's cache is what it holds: `.../models--owner--name/snapshots/...` is "owner/name".
    """
    text = os.fspath(source) if source else ""
    cached = _SNAPSHOT.search(text)
    if cached:
        text = cached.group(1).replace("--", "/", 1)
    elif os.path.exists(text):
        return ""
    return text if _PUBLIC_NAME.fullmatch(text) else ""
