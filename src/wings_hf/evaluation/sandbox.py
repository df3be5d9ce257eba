# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Programs that a model wrote, run apart: a process of its own, with limits, no environment, a folder to itself.

Time, memory and sizes of files are limited everywhere on Linux. Where the system allows it, the process has no network
(`unshare`, seccomp), no second process, no signals (seccomp) and writes to no file outside its folder (Landlock);
`Outcome.isolation` says which of these held. This keeps mistakes in. It is no wall against a program made to break out:
against that, run all of it in a container.
"""

import contextlib
import json
import os
import secrets
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
    word = secrets.token_hex(16)
    job: dict[str, Any] = {"code": code, "tests": list(tests), "setup": setup, "word": word}
    job |= {"seconds": seconds, "memory": memory, "file_size": file_size}
    folder = Path(tempfile.mkdtemp(prefix="wings-sandbox-"))
    try:
        (folder / "work").mkdir()
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        return _verdict(_spoken(folder, seconds + START_SECONDS), word)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _spoken(folder: Path, seconds: float) -> bytes | None:
    """What the program's process said through its pipe; None after a timeout."""
    read, write = os.pipe()
    command = [sys.executable, "-I", "-S", "-B", str(CHILD), str(folder / "job.json"), str(write)]
    process = subprocess.Popen(
        command,
        cwd=folder / "work",
        env={},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(write,),
        start_new_session=True,
    )
    os.close(write)
    try:
        process.wait(seconds)
        os.set_blocking(read, False)
        with contextlib.suppress(BlockingIOError):
            return os.read(read, 4096)
        return b""
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(read)


def _verdict(spoken: bytes | None, word: str) -> Outcome:
    if spoken is None:
        return Outcome(False, "timeout")
    head, _, said = spoken.decode("utf-8", "replace").partition("\n")
    try:
        isolation = json.loads(head)
    except json.JSONDecodeError:
        raise RuntimeError(f"the sandbox did not start: {head or 'it said nothing'!r}.") from None
    if said == word:
        return Outcome(True, "passed", isolation)
    return Outcome(False, said if said.startswith("failed ") else "stopped", isolation)
