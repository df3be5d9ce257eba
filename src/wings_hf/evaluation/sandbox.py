# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Programs that a model wrote, run apart: a process of its own, with limits, no environment, a folder to itself.

The tests run in a second process, limited alike, which asks the program's one for what its functions give back and
compares that by itself: a program has neither the tests nor the verdict in reach, and passes by right answers alone.

Time, memory and sizes of files are limited everywhere on Linux. Where the system allows it, the process has no network
(`unshare`, seccomp), no second process, no signals (seccomp) and writes to no file outside its folder (Landlock);
`Outcome.isolation` says which of these held, for both. This keeps mistakes in. It is no wall against a program made to
break out: against that, run all of it in a container.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHILD = Path(__file__).with_name("sandbox_child.py")
START_SECONDS = 10.0  # for the interpreter itself, on a busy machine


@dataclass(frozen=True)
class Outcome:
    """
    Args:
        passed: every test ran and held.
        reason: "passed", "failed AssertionError", "timeout", "stopped" (it ended before the tests did).
        isolation: what was shut off beyond the limits: "network", "files", "processes".
    """

    passed: bool
    reason: str
    isolation: dict[str, bool] = field(default_factory=dict)


def run_tests(
    code: str,
    tests: Sequence[str],
    setup: str = "",
    seconds: int = 5,
    memory: int = 512 * 2**20,
    file_size: int = 2**20,
) -> Outcome:
    """Run `setup`, `code` and then `tests`, with the standard library alone.

    Args:
        seconds: of computing; and of the clock, after the interpreter has started.
        memory: bytes of address space.
        file_size: bytes a file may have.

    Raises:
        ValueError: this system has no limits for processes (it is not Linux).
    """
    if sys.platform != "linux":
        raise ValueError(
            f"programs of a model are run on Linux alone, where they can be limited: this is {sys.platform}."
        )
    limits = {"seconds": seconds, "memory": memory, "file_size": file_size}
    jobs: dict[str, dict[str, Any]] = {
        "program": {"code": code, "setup": setup},
        "judge": {"tests": list(tests), "setup": setup},
    }
    folder = Path(tempfile.mkdtemp(prefix="wings-sandbox-"))
    try:
        return _verdict(_spoken({role: job | limits for role, job in jobs.items()}, folder, seconds + START_SECONDS))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def isolation() -> dict[str, bool]:
    """What this system lets a program be shut off from, beyond the limits: see `Outcome.isolation`."""
    return run_tests("", []).isolation


def _spoken(jobs: dict[str, dict[str, Any]], folder: Path, seconds: float) -> bytes | None:
    """What the judge said through its pipe; None after a timeout."""
    asked, answered, verdict = os.pipe(), os.pipe(), os.pipe()
    ends = {"program": (asked[0], answered[1]), "judge": (asked[1], answered[0], verdict[1])}
    processes = []
    try:
        for role, pipes in ends.items():
            processes.append(_start(role, jobs[role], folder, pipes))
        for end in (*ends["program"], *ends["judge"]):
            os.close(end)
        processes[-1].wait(seconds)
        os.set_blocking(verdict[0], False)
        with contextlib.suppress(BlockingIOError):
            return os.read(verdict[0], 4096)
        return b""
    except subprocess.TimeoutExpired:
        return None
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        os.close(verdict[0])


def _start(role: str, job: dict[str, Any], folder: Path, pipes: Sequence[int]) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-I", "-S", "-B", str(CHILD), role, *map(str, pipes)]
    with tempfile.TemporaryFile() as asked:  # without a name: the other process cannot open it
        asked.write(json.dumps(job).encode())
        asked.seek(0)
        return subprocess.Popen(
            command,
            cwd=folder,
            env={},
            stdin=asked,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=pipes,
            start_new_session=True,
        )


def _verdict(spoken: bytes | None) -> Outcome:
    if spoken is None:
        return Outcome(False, "timeout")
    head, _, said = spoken.decode("utf-8", "replace").partition("\n")
    try:
        isolation = json.loads(head)
    except json.JSONDecodeError:
        raise RuntimeError(f"the sandbox did not start: {head or 'it said nothing'!r}.") from None
    return Outcome(said == "passed", said or "stopped", isolation)
