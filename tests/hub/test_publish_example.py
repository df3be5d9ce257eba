# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`examples/publish_to_the_hub.py`, and the table of licences in docs/publishing.md."""

import os
import re
from pathlib import Path

from hub_parts import TOKEN, with_hub

from wings_hf.hub.licences import LICENCES

ROOT = Path(__file__).parents[2]


def test_the_example_publishes_and_loads_back(hub, folder, tmp_path):
    example = ROOT / "examples" / "publish_to_the_hub.py"
    path = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    done = with_hub(example, folder, "ann/wings", "--private", endpoint=hub.url, home=tmp_path / "home", **path)
    assert done.returncode == 0, done.stderr
    repo = hub.repos["ann/wings"]
    assert repo.private and repo.files()["README.md"] == (folder / "README.md").read_bytes()
    assert "loaded back: wings, learners visual, textual" in done.stdout and TOKEN not in done.stdout + done.stderr


def test_the_page_has_the_table_of_licences():
    page = (ROOT / "docs" / "publishing.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| ([a-z -]+) \| ([a-z0-9., +-]+) \|", page, re.MULTILINE))
    written = {licence: kind for kind, names in rows.items() for licence in names.split(", ")}
    assert written == LICENCES
    assert list(written) == list(LICENCES)
