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


CHEATS = {
    "a word in the caller's frame": (
        "import sys, os\nframe = sys._getframe()\nwhile frame:\n    for value in frame.f_locals.values():\n"
        "        if isinstance(value, str) and len(value) == 32:\n            for fd in range(3, 12):\n"
        "                try: os.write(fd, value.encode())\n                except OSError: pass\n"
        "            os._exit(0)\n    frame = frame.f_back\ndef f(x): return 0"
    ),
    "a verdict in all pipes": (
        "import os\nfor fd in range(3, 32):\n"
        "    for text in (b'passed', b'\\n{\"is\": [\"f\"]}\\n', b'\\npassed'):\n"
        "        try: os.write(fd, text)\n        except OSError: pass\ndef f(x): return 0"
    ),
    "equal to everything": (
        "class Same:\n    def __eq__(self, other): return True\n    def __hash__(self): return 0\n"
        "def f(x): return Same()"
    ),
    "an int that is equal to everything": (
        "class Same(int):\n    def __eq__(self, other): return True\n    def __hash__(self): return 0\n"
        "def f(x): return Same()"
    ),
    "no assertions": (
        "import builtins\nclass Never(BaseException): pass\nbuiltins.AssertionError = Never\n"
        "builtins.exec = builtins.compile = lambda *a, **k: None\ndef f(x): return 0"
    ),
    "another math": (
        "import types\nmath = types.ModuleType('math')\nmath.isclose = lambda *a: True\ndef f(x): return 0"
    ),
    "a class in the place of math": "class math:\n    isclose = lambda *a: True\ndef f(x): return 0",
    "other builtins": "all = any = bool = lambda *a: True\nabs = lambda x: 0\ndef f(x): return 0",
    "the other's memory": (
        "import os\nfor entry in os.listdir('/proc'):\n    if entry.isdecimal() and int(entry) != os.getpid():\n"
        "        for fd in range(3, 12):\n            try:\n"
        "                with open(f'/proc/{entry}/fd/{fd}', 'wb') as pipe:\n"
        "                    pipe.write(b'\\npassed')\n            except OSError: pass\ndef f(x): return 0"
    ),
}


@pytest.mark.parametrize("code", CHEATS.values(), ids=CHEATS.keys())
def test_no_program_passes_but_by_its_answers(code: str) -> None:
    for test in ("assert f(1) == 2 or math.isclose(f(1), 2)", "assert abs(f(1) - 2) < 0.1 or all([f(1) == 2])"):
        outcome = run_tests(code, [test])
        assert not outcome.passed, outcome


def test_tests_are_out_of_the_programs_sight() -> None:
    seen = (
        "import gc, os\ndef f():\n    found = [o for o in gc.get_objects() if isinstance(o, (dict, list, tuple))]\n"
        "    words = [w for o in found for w in (o.values() if isinstance(o, dict) else o) if isinstance(w, str)]\n"
        "    word = bytes.fromhex('676e75676e75').decode()\n"
        "    return [len(words) > 100, any(word in each for each in words), os.listdir('.')]"
    )
    assert run_tests(seen, ["assert f() == [True, False, []]  # gnugnu"]).passed


@pytest.mark.parametrize(
    ("code", "test"),
    [
        ("def f(x): return (x, {1, 2}, {'a': [None]}, 1.5, b'x', 2j, range(3))",
         "f('é') == ('é', {1, 2}, {'a': [None]}, 1.5, b'x', 2j, range(3))"),
        ("def f(x): return 10 ** 5000 + x", "f(1) == 10 ** 5000 + 1"),
        ("from collections import Counter, namedtuple\nP = namedtuple('P', 'x y')\n"
         "def f(x): return Counter(x), P(1, 2)",
         "f('aab') == ({'a': 2, 'b': 1}, (1, 2))"),
        ("def f(x): return (i * i for i in x)", "list(f([1, 2])) == [1, 4] and sum(f([3])) == 9"),
        ("def f(x): return map(str, x)", "sorted(f([2, 1])) == ['1', '2']"),
        ("import re\ndef f(x): return re.search('b+', x)", "f('abbc').group() == 'bb' and f('abbc') and not f('a')"),
        ("import math\ndef f(x): return x / 3", "math.isclose(f(1), 0.3333333333, rel_tol=1e-6)"),
        ("from datetime import date\ndef f(a, b): return (b - a).days", "f(date(2020, 1, 1), date(2020, 3, 1)) == 60"),
        ("from fractions import Fraction\ndef f(x): return Fraction(1, x)", "f(2) == 0.5"),
        ("class Pair:\n    def __init__(self, a, b): self.a, self.b = a, b\n"
         "def f(pairs): return max(p.b for p in pairs)",
         "f([Pair(1, 5), Pair(b=9, a=2)]) == 9"),
        ("x = [1]\ndef f(): return x", "x == f() == [1]"),
        ("def sum(a, b): return a * b", "sum(2, 5) == 10"),
        ("from datetime import datetime\ndef f(d): return d.year", "f(datetime(2020, 1, 1)) == 2020 and datetime.max"),
        ("def f(x): return float(x)", "f('inf') == float('inf') and f('nan') != f('nan')"),
    ],
)  # fmt: skip
def test_right_answers_of_all_kinds_pass(code: str, test: str) -> None:
    outcome = run_tests(code, [f"assert {test}"])
    assert outcome.passed, outcome


def test_setup_may_use_what_the_program_defines() -> None:
    code = (
        "class Node:\n    def __init__(self, data): self.data, self.left, self.right = data, None, None\n"
        "def height(node): return 0 if node is None else 1 + max(height(node.left), height(node.right))"
    )
    setup = "root = Node(1)\nroot.left = Node(2)\nroot.left.right = Node(3)"
    assert run_tests(code, ["assert height(root) == 3", "assert root.left.data == 2"], setup).passed


def test_exceptions_of_the_program_are_the_tests_to_catch() -> None:
    code = "def f(): raise ValueError\nclass Own(Exception): pass\ndef g(): raise Own"
    assert run_tests(code, ["try:\n    f()\n    assert False\nexcept ValueError:\n    pass"]).passed
    assert run_tests(code, ["assert f() is None"]).reason == "failed ValueError"
    assert run_tests(code, ["assert g() is None"]).reason == "failed Own"
    assert run_tests(code, ["assert f(lambda: 1)"]).reason == "failed TypeError"
