# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
ZeroGPU: a Space has a GPU only while a function decorated with `spaces.GPU` runs, in a process forked for it.

What it is given and what it yields are sent between processes; what it keeps is lost. So no cache is kept from turn to
turn, and an answer is stopped by closing the generator.
"""

import threading
from collections.abc import Callable, Iterator
from typing import Any

from wings_hf.app.engine import Answer, Engine, Request
from wings_hf.app.kept_cache import KeptCache


def run_on_zero_gpu(
    engine: Engine, decorate: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Callable[[Request, KeptCache | None, threading.Event], Iterator[str | Answer]]:
    """
    A runner for the controller that computes each answer on ZeroGPU.

    Args:
        decorate: `spaces.GPU(duration=...)`.
    """

    def answer(request: Request) -> Iterator[str | Answer]:
        yield from engine.stream(request)

    on_gpu = decorate(answer)

    def run(request: Request, kept: KeptCache | None, stop: threading.Event) -> Iterator[str | Answer]:
        pieces = on_gpu(request)
        for piece in pieces:
            yield piece
            if stop.is_set():
                pieces.close()
                return

    return run
