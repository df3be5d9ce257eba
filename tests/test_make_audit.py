# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`make audit` fails where something is known against a dependency, and not where nobody could be asked."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("said", "code", "fails"),
    [
        ("Found 1 known vulnerability in 1 package\nproxy.py 2.0 PYSEC-1", 1, True),  # named like a cause of no answer
        ("ConnectionError: timed out", 1, False),
        ("error: unknown option", 2, True),
        ("No known vulnerabilities found", 0, False),
    ],
)
def test_audit_fails_for_what_is_found(tmp_path: Path, said: str, code: int, fails: bool) -> None:
    (tmp_path / "bin").mkdir()
    auditor = tmp_path / "bin/pip-audit"
    auditor.write_text(f"#!/bin/sh\necho '{said}'\nexit {code}\n")
    auditor.chmod(0o755)
    (tmp_path / ".pip-audit").touch()  # it is installed
    command = ["make", "--silent", "-o", str(tmp_path / ".pip-audit"), "audit", f"TOOLS={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    assert said in done.stdout and ("NOTHING was checked" in done.stdout) == (code == 1 and not fails)
