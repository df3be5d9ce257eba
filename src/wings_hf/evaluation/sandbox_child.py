# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""One of the sandbox's two processes: gives up what it does not need, then runs the program or its tests
(`sandbox_roles.py`). Imports nothing of this package.

Called with the role and the numbers of its pipes; the job comes in on the standard input. "program" talks to "judge"
through two pipes, and begins by saying what isolation it has; "judge" says the isolation of both and its verdict on a
third, which the program has not.
"""

import ctypes
import importlib.util
import json
import os
import platform
import resource
import sys

NEW_NETWORK, NEW_USER = 0x40000000, 0x10000000  # flags of unshare(2)
NO_NEW_PRIVILEGES, SECCOMP, FILTER, DUMPABLE = 38, 22, 2, 4  # of prctl(2)
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446  # system calls, the same on every architecture
LANDLOCK_WRITES = 0b1_1111_1111_0010  # write, remove, make (files, folders, sockets, ...): all but execute and read

# Berkeley packet filter, as seccomp(2) takes it
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050001  # refused calls fail with EPERM
ARCHITECTURE_OFFSET, CALL_OFFSET = 4, 0
X32 = 0x40000000
IO_URING = (425, 426, 427)  # does what is asked of it without a system call that could be refused
# Second processes and threads, signals, tracing, sockets, mounts, and what Landlock lets by (it may change any file of
# the user: truncate, modes, owners, times, attributes). The architecture's code and its numbers of
# clone, clone3, fork, vfork, kill, tkill, tgkill, pidfd_send_signal, ptrace, process_vm_writev, socket, socketpair,
# mount; truncate, chmod, fchmod, fchmodat, fchmodat2, chown, fchown, lchown, fchownat, utime, utimes, futimesat,
# utimensat, (f, l)setxattr, (f, l)removexattr.
X86_64 = (56, 435, 57, 58, 62, 200, 234, 424, 101, 311, 41, 53, 165)
X86_64_FILES = (76, 90, 91, 268, 452, 92, 93, 94, 260, 132, 235, 261, 280, 188, 189, 190, 197, 198, 199)
AARCH64 = (220, 435, 129, 130, 131, 424, 117, 271, 198, 199, 40)
AARCH64_FILES = (45, 52, 53, 452, 54, 55, 88, 5, 6, 7, 14, 15, 16)
REFUSED_CALLS = {
    "x86_64": (0xC000003E, (*X86_64, *X86_64_FILES, *IO_URING)),
    "aarch64": (0xC00000B7, (*AARCH64, *AARCH64_FILES, *IO_URING)),
}


class Rules(ctypes.Structure):
    _fields_ = [("handled", ctypes.c_uint64)]


class Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32)]


class Step(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("value", ctypes.c_uint32)]


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint16), ("steps", ctypes.POINTER(Step))]


def without_network(libc: ctypes.CDLL) -> bool:
    """An empty network of its own, where the system lets us."""
    flags = NEW_NETWORK if os.geteuid() == 0 else NEW_NETWORK | NEW_USER
    return libc.unshare(flags) == 0


def writing_only_to(folder: str, libc: ctypes.CDLL) -> bool:
    """No file outside `folder` can be written, made or removed (Landlock)."""
    rules = Rules(LANDLOCK_WRITES)
    ruleset = libc.syscall(LANDLOCK_CREATE, ctypes.byref(rules), ctypes.sizeof(rules), 0)
    if ruleset < 0:
        return False
    opened = os.open(folder, os.O_PATH)
    beneath = Beneath(LANDLOCK_WRITES, opened)
    allowed = libc.syscall(LANDLOCK_ADD, ruleset, 1, ctypes.byref(beneath), 0) == 0
    return allowed and libc.syscall(LANDLOCK_RESTRICT, ruleset, 0) == 0


def without_calls(libc: ctypes.CDLL) -> bool:
    """No second process, thread, signal, socket or change of a file that is not open for writing (seccomp)."""
    if platform.machine() not in REFUSED_CALLS:
        return False
    architecture, refused = REFUSED_CALLS[platform.machine()]
    tests = [(EQUAL, number) for number in refused] + [(AT_LEAST, X32)]
    steps = [Step(LOAD, 0, 0, ARCHITECTURE_OFFSET), Step(EQUAL, 1, 0, architecture), Step(RETURN, 0, 0, REFUSE)]
    steps.append(Step(LOAD, 0, 0, CALL_OFFSET))
    steps += [Step(code, len(tests) - place, 0, number) for place, (code, number) in enumerate(tests)]
    steps += [Step(RETURN, 0, 0, ALLOW), Step(RETURN, 0, 0, REFUSE)]
    array = (Step * len(steps))(*steps)
    return libc.prctl(SECCOMP, FILTER, ctypes.byref(Program(len(steps), array)), 0, 0) == 0


def limit(job: dict) -> None:
    """What the program may use. (The number of processes is not limited for root: `without_calls` does that.)"""
    for kind, value in (
        (resource.RLIMIT_CPU, job["seconds"]),
        (resource.RLIMIT_AS, job["memory"]),
        (resource.RLIMIT_FSIZE, job["file_size"]),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(kind, (value, value))


def shut_off(job: dict) -> dict:
    """Gives up what neither role needs; says what of it the system allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    own_network = without_network(libc)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    libc.prctl(DUMPABLE, 0, 0, 0, 0)  # the other process sees neither memory nor pipes of this one
    files = writing_only_to(os.getcwd(), libc)
    limit(job)
    calls = without_calls(libc)
    return {"network": own_network or calls, "files": files, "processes": calls or os.geteuid() != 0}


def load_roles():
    """The module beside this file: in isolated mode its folder is not on the path."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sandbox_roles.py")
    specification = importlib.util.spec_from_file_location("sandbox_roles", path)
    assert specification is not None and specification.loader is not None
    roles = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(roles)
    return roles


def main() -> None:
    role, pipes = sys.argv[1], [int(number) for number in sys.argv[2:]]
    job = json.load(sys.stdin)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    roles = load_roles()
    sys.set_int_max_str_digits(0)  # numbers are sent as decimals
    isolation = shut_off(job)
    if role == "program":
        ours, answers = os.fdopen(pipes[0], "rb"), os.fdopen(pipes[1], "wb")
        answers.write(json.dumps(isolation).encode() + b"\n")
        answers.flush()
        roles.Program(ours, answers).serve(job)
    else:
        requests, heard, verdict = os.fdopen(pipes[0], "wb"), os.fdopen(pipes[1], "rb"), pipes[2]
        theirs = json.loads(heard.readline() or b"{}")
        both = {name: isolation[name] and theirs.get(name, False) for name in isolation}
        os.write(verdict, json.dumps(both).encode() + b"\n")
        os.write(verdict, roles.Judge(requests, heard).verdict(job).encode())
    os._exit(0)


if __name__ == "__main__":
    main()
