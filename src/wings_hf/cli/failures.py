# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Failures of a command, said in one paragraph."""

import errno
import os
import select
import shutil
import sys
import textwrap
import traceback
from collections.abc import Iterator

WIDTH = 110
OFFLINE = "HF_HUB_OFFLINE forbids to fetch it"


def as_paragraph(error: Exception) -> str:
    """The failure in one wrapped paragraph; with its type where the message alone is no sentence."""
    message = (_network(error) or _disk(error) or str(error)).strip() or "no message"
    kind = "" if isinstance(error, (ValueError, OSError)) or message != str(error) else f"{type(error).__name__}: "
    text = f"{kind}{message} (--debug shows where it was raised)"
    width = max(min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns), 40)
    wrapped = (  # between words only: paths and options can be copied
        textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False) for line in text.splitlines()
    )
    return "\n".join(wrapped)


def _network(error: Exception) -> str | None:
    """What to say where something of the Hub is neither in the cache nor to be had."""
    if type(error).__module__.startswith("wings_hf.") or "HF_HUB_OFFLINE" in str(error):
        return None  # it says so itself
    for each in _chain(error):
        if type(each).__name__ == "OfflineModeIsEnabled":
            off = OFFLINE if "offline mode is enabled" in str(each) else str(each)
            return f"{_first_sentence(error)} It is not in the cache, and {off}."
        if "TransportError" in [kind.__name__ for kind in type(each).__mro__]:  # of httpx, or of its fork httpx2
            return (
                f"The connection to the Hub broke{_while(error)}: {str(each).rstrip('.')}. Try the same command again."
            )
        status = getattr(getattr(each, "response", None), "status_code", 0)
        if status == 429 or status >= 500:
            return f"The Hub failed{_while(error)} (HTTP {status}): try the same command again later."
    if str(error).startswith("We couldn't connect") and os.environ.get("HF_HUB_OFFLINE"):
        return f"{_first_sentence(error)} It is not in the cache, and {OFFLINE}."
    return None


def _first_sentence(error: Exception) -> str:
    """What was wanted, where the error says that; transformers' own text is about connections only."""
    said = str(error).partition("\n")[0]
    vague = ("We couldn't connect", "Cannot reach", "offline", "cannot be reached")
    if not any(part in said for part in vague):
        return said
    wanted = _wanted(error)
    return f"There is no folder {wanted}." if wanted else "Something that is not on this machine is needed."


def _while(error: Exception) -> str:
    wanted = _wanted(error)
    return f" while {wanted} was fetched" if wanted else ""


def _wanted(error: Exception) -> str | None:
    """What was asked of the Hub; its client and transformers have it in variables, but not in what they raise."""
    for each in _chain(error):
        for frame, _ in traceback.walk_tb(each.__traceback__):
            for variable in ("path_or_repo_id", "repo_id"):
                if isinstance(name := frame.f_locals.get(variable), str):
                    return name
    return None


REASONS = {
    errno.ENOTDIR: "a file stands where a folder is expected",
    errno.EEXIST: "a file stands where a folder is expected",
    errno.EISDIR: "a folder stands where a file is expected",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EFBIG: "the file is larger than this system allows",
}


def _disk(error: Exception) -> str | None:
    """What to say where nothing can be written, also where a library hides the reason in its text."""
    for each in _chain(error):
        code, said = getattr(each, "errno", None), str(each)
        path = getattr(each, "filename", None)
        where = f" ({path})" if path else ""
        if code in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in said:
            return f"The disk is full{where}: what was being written is not complete."
        if code == errno.EROFS or "Read-only file system" in said:
            return f"This place is read-only{where}: name another --output, or another cache with HF_HOME."
    if isinstance(error, OSError) and str(error).startswith("[Errno"):
        said = REASONS.get(error.errno or 0) or (error.strerror or str(error)).lower()
        return f"{error.filename}: {said}." if error.filename else f"{said[:1].upper()}{said[1:]}."
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those it was raised from or during."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def reader_has_gone(error: Exception) -> bool:
    """
    Whether the error is that who read our output has left, as `head` does. The rest of it then goes nowhere, so that
    Python does not stumble over it at exit.
    """
    if not isinstance(error, BrokenPipeError) or not hasattr(select, "poll"):
        return False
    output = sys.__stdout__.fileno() if sys.__stdout__ is not None else -1
    poll = select.poll()
    poll.register(output, 0)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return True
