# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A model's programs: right ones pass, wrong ones fail, hostile ones end."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from wings_hf.evaluation.sandbox import run_tests
from wings_hf.evaluation.sandbox_child import REFUSED_CALLS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="programs of a model are run on Linux alone")


def test_right_and_wrong() -> None:
    code = "import math, heapq\ndef f(x):\n    return math.floor(x) + 1"
    assert run_tests(code, ["assert f(1) == 2", "assert f(2.5) == 3"]).passed
    outcome = run_tests(code, ["assert f(1) == 2", "assert f(2) == 4"])
    assert (outcome.passed, outcome.reason) == (False, "failed AssertionError")
    assert run_tests("def f(:", ["assert True"]).reason == "failed SyntaxError"
    assert run_tests("def f(): return k", ["assert f() == 1"], setup="k = 1").passed


@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.exit(0)",
        "import os; os._exit(0)",
        "raise SystemExit",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "import os\nfor fd in range(3, 30):\n    try: os.write(fd, b'passed')\n    except OSError: pass\nos._exit(0)",
        "import sys\nsys.setrecursionlimit(10**9)\ndef g(): g()\ng()",
    ],
)
def test_leaving_early_is_no_success(code: str) -> None:
    outcome = run_tests(code, ["assert False"])
    assert not outcome.passed and outcome.reason != "passed"


def test_an_endless_loop_ends() -> None:
    outcome = run_tests("while True: pass", ["assert True"], seconds=1)
    assert not outcome.passed and outcome.reason in ("stopped", "timeout")


def test_sleeping_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wings_hf.evaluation.sandbox.START_SECONDS", 1.0)
    assert run_tests("import time; time.sleep(1000)", ["assert True"], seconds=1).reason == "timeout"


def test_memory_is_limited() -> None:
    outcome = run_tests("x = bytearray(2**30)", ["assert True"])
    assert outcome.reason == "failed MemoryError"
    assert run_tests("x = bytearray(2**25)", ["assert True"]).passed


def test_no_second_process_and_no_thread() -> None:
    outcome = run_tests("import os\npid = os.fork()\nif pid == 0: os._exit(0)", ["assert True"])
    if not outcome.isolation.get("processes"):
        pytest.skip("no filter of system calls here, and root's processes are not counted")
    assert outcome.reason in ("failed BlockingIOError", "failed PermissionError")
    threads = "import threading\nthreading.Thread(target=print).start()"
    assert run_tests(threads, ["assert True"]).reason == "failed RuntimeError"


def test_files_stay_small_and_in_their_folder(tmp_path: Path) -> None:
    assert run_tests("open('a', 'w').write('x' * 1000)", ["assert open('a').read(1) == 'x'"]).passed
    assert not run_tests("open('a', 'w').write('x' * 2**22)", ["assert True"]).passed
    target = tmp_path / "outside"
    outcome = run_tests(f"open({str(target)!r}, 'w').write('x')", ["assert True"])
    if not outcome.isolation["files"] and os.geteuid() != 0:
        pytest.skip("this system has no Landlock")
    assert not outcome.passed and not target.exists()
    kept = tmp_path / "kept"
    kept.write_text("x")
    assert not run_tests(f"import os; os.remove({str(kept)!r})", ["assert True"]).passed and kept.exists()


@pytest.mark.parametrize("call", ["truncate({}, 0)", "chmod({}, 0)", "chown({}, 1, 1)", "utime({}, (0, 0))"])
def test_files_outside_keep_what_landlock_does_not_guard(tmp_path: Path, call: str) -> None:
    kept = tmp_path / "kept"
    kept.write_text("x")
    before = kept.stat()
    outcome = run_tests(f"import os; os.{call.format(repr(str(kept)))}", ["assert True"])
    if not outcome.isolation["processes"] or (outcome.passed and platform.machine() not in REFUSED_CALLS):
        pytest.skip("no filter of system calls here")
    assert outcome.reason == "failed PermissionError" and kept.stat() == before


def test_the_environment_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "word")
    assert run_tests("import os, sys", ["assert 'SECRET' not in os.environ", "assert not sys.stdin.read()"]).passed


def test_no_network() -> None:
    lines = ["import socket", "s = socket.socket()", "s.bind(('127.0.0.1', 0))", "s.listen()"]
    outcome = run_tests("\n".join([*lines, "socket.create_connection(s.getsockname(), 2)"]), ["assert True"])
    if not outcome.isolation["network"]:
        pytest.skip("this system gives no network of its own")
    assert outcome.reason in ("failed OSError", "failed PermissionError")


def test_other_processes_are_out_of_reach() -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        outcome = run_tests(f"import os, signal\nos.kill({sleeper.pid}, signal.SIGKILL)", ["assert True"])
        if outcome.passed:
            pytest.skip("no filter of system calls here")
        assert outcome.reason == "failed PermissionError" and sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()
