# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`wings-hf demo`, a few steps of everything: it runs, leaves what it says, and goes on when it is run again."""

import json
from pathlib import Path

import pytest
from PIL import Image

from wings_hf.cli import main as cli
from wings_hf.demo.digits import VISUAL_TASKS
from wings_hf.demo.text_tasks import TEXT_TASKS


@pytest.mark.slow
def test_the_whole_demo(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    out = tmp_path / "demo"
    argv = ["demo", "--quick", "--out", str(out), "--seeds", "2", "--debug"]
    assert cli.main(argv) == 0
    printed = capfd.readouterr().out
    assert "sees" in printed and "remembers" in printed and "right:" in printed
    results = json.loads((out / "results.json").read_text())
    assert set(results["after"]) == {"wings", "exact", "plain"}
    for found in results["after"].values():
        assert set(found["sight"]["tasks"]) == set(VISUAL_TASKS)
        assert set(found["text"]["tasks"]) == set(TEXT_TASKS)
        assert len(found["sight"]["seeds"]) == 2
    assert results["after"]["exact"]["text"]["tasks"] == results["before"]["text"]["tasks"]
    with Image.open(out / "demo.png") as picture:
        assert picture.width > 1000
    assert (out / "model" / "chat_template.jinja").exists()

    written = (out / "seed-1" / "wings" / "tune" / "model" / "model.safetensors").stat().st_mtime_ns
    (out / "demo.png").unlink()
    assert cli.main(argv) == 0
    assert (out / "demo.png").exists()
    assert (out / "seed-1" / "wings" / "tune" / "model" / "model.safetensors").stat().st_mtime_ns == written
