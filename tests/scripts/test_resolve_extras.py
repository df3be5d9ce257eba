# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`scripts/resolve_extras.py` names what does not resolve. A small program stands in for uv, which asks an index."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("resolve_extras", ROOT / "scripts" / "resolve_extras.py")
resolve_extras = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(resolve_extras)

# Refuses the extra eval, and whatever is asked for with Python 3.12.
UV = """#!{python}
import sys
if "--extra=eval" in sys.argv and "3.11.99" in sys.argv:
    sys.exit("because eval and eval, we conclude")
if "3.12.99" in sys.argv and "--constraint" in sys.argv:
    sys.exit("no version for this Python")
print("torch==2.13.0\\ntransformers==5.23.0\\nnumpy==2.4.6")
"""


@pytest.fixture
def uv(tmp_path: Path) -> str:
    program = tmp_path / "uv"
    program.write_text(UV.format(python=sys.executable))
    program.chmod(0o755)
    return str(program)


def test_extras_that_fail_are_named(uv: str, capfd: pytest.CaptureFixture) -> None:
    assert resolve_extras.main(["--uv", uv, "--python", "3.11", "--constraint", ""]) == 1
    said = capfd.readouterr()
    assert said.err.splitlines() == ["  eval: because eval and eval, we conclude"]
    count = len(resolve_extras.read_extras())
    assert said.out == f"Python 3.11, the newest versions: {count - 1} of {count} extras, one by one\n"


def test_what_resolves_together_is_asked_for_once(uv: str, capfd: pytest.CaptureFixture) -> None:
    oldest = ["--constraint", "", "--constraint", "constraints-oldest.txt"]
    assert resolve_extras.main(["--uv", uv, "--python", "3.13", *oldest]) == 0
    newest, limited = capfd.readouterr().out.splitlines()
    count = len(resolve_extras.read_extras())
    assert newest.endswith(f"{count} extras, 3 packages, torch==2.13.0, transformers==5.23.0")
    assert limited.endswith("(left out: quant, all)") and f"{count - 2} extras" in limited


def test_a_python_without_versions_fails(uv: str, capfd: pytest.CaptureFixture) -> None:
    assert resolve_extras.main(["--uv", uv, "--python", "3.12", "--constraint", "constraints.txt"]) == 1
    assert capfd.readouterr().err.count("no version for this Python") == len(resolve_extras.read_extras())


def test_what_is_left_out_and_what_is_asked_for_are_there() -> None:
    extras = resolve_extras.read_extras()
    assert {extra for _, extra in resolve_extras.KNOWN} <= set(extras) and len(extras) == len(set(extras)) > 10
    supported = set(resolve_extras.PYTHONS)
    assert {f"Python :: {version}" in (ROOT / "setup.cfg").read_text() for version in supported} == {True}
