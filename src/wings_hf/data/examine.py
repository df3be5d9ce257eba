# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Examining records one by one, here or in several processes: is each usable, and what is in it."""

import hashlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver
from typing import Any, NamedTuple

from wings_hf.data.errors import DataError, Problem
from wings_hf.data.images import ImageFacts, image_of, look_at
from wings_hf.data.readers import Reader
from wings_hf.data.records import Record, text_of, to_messages
from wings_hf.processing.wings_image_sources import DEFAULT_MAX_IMAGE_PIXELS

CHUNK = 64  # records that a process examines at a time
SECONDS_TO_END = 5
STEPS_AHEAD = 4  # chunks in the queue for each process


@dataclass(frozen=True)
class Examination:
    """What is looked at.

    Args:
        open_images: read the headers of images.
        decode: decode their pixels too.
        max_pixels: of an image, at most.
        refuse_web: an image behind a web address is a problem (nothing is fetched).
        text_only: an image at all is a problem.
        count_tokens: tokens of a record.
    """

    open_images: bool = True
    decode: bool = False
    max_pixels: int | None = DEFAULT_MAX_IMAGE_PIXELS
    refuse_web: bool = False
    text_only: bool = False
    count_tokens: Callable[[Record], int] | None = None


class Facts(NamedTuple):
    """What a usable record holds. `digest` is the same for records with the same texts and images."""

    turns: int
    images: list[ImageFacts | None]
    characters: int
    tokens: int | None
    digest: bytes


Finding = Facts | Problem


def make_record(reader: Reader, index: int) -> Record:
    """The record at `index`.

    Raises:
        DataError: it cannot be used; the message says which and why.
    """
    try:
        return Record(to_messages(reader[index], reader.folder), reader.describe(index))
    except DataError as error:
        raise DataError(f"{reader.describe(index)}: {error}", error.kind) from error


def examine(reader: Reader, index: int, how: Examination) -> Finding:
    """What is in the record at `index`, or why it cannot be used."""
    try:
        return facts_of(Record(to_messages(reader[index], reader.folder), ""), how)
    except DataError as error:
        return Problem(reader.describe(index), str(error), error.kind)


def facts_of(record: Record, how: Examination) -> Facts:
    """What is in the record.

    Raises:
        DataError: it cannot be used.
    """
    sources = [image_of(item) for item in record.images]
    if sources and how.text_only:
        raise DataError(f"{len(sources)} images in a source that was said to be text only", "not text only")
    looked: list[ImageFacts | None] = [None] * len(sources)
    if how.open_images:
        looked = [look_at(source, how.max_pixels, how.decode) for source in sources]
        if how.refuse_web and None in looked:
            raise DataError(f"image {sources[looked.index(None)]} is a web address: nothing is fetched", "web address")
    tokens = None
    if how.count_tokens is not None:
        try:
            tokens = how.count_tokens(record)
        except ValueError as error:
            raise DataError(f"cannot be encoded: {error}", "cannot be encoded") from error
    turns = sum(message["role"] == "assistant" for message in record.messages)
    characters = sum(len(text_of(message)) for message in record.messages)
    return Facts(turns, looked, characters, tokens, _digest(record))


def _digest(record: Record) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for message in record.messages:
        digest.update(f"\0{message['role']}".encode())
        for item in message["content"]:
            content = item["text"] if item["type"] == "text" else image_of(item)
            if hasattr(content, "tobytes"):
                content = content.tobytes()
            digest.update(b"\1" + (content if isinstance(content, bytes) else str(content).encode(errors="replace")))
    return digest.digest()


# -- many -------------------------------------------------------------------------------------------------


class Task(NamedTuple):
    """Records `start` to `stop` of the reader of that number."""

    reader: int
    start: int
    stop: int


Examined = tuple[Task, list[Finding]]


def examine_all(readers: Sequence[Reader], how: Sequence[Examination], workers: int = 0) -> Iterator[Examined]:
    """Findings on all records of all readers; chunk by chunk, in no order where there are several processes.

    A record that brings its process down (a decoder that crashes, memory) is reported as a problem like others.

    Args:
        how: for each reader.
        workers: processes; 0 examines here.
    """
    tasks = [
        Task(number, start, min(start + CHUNK, len(reader)))
        for number, reader in enumerate(readers)
        for start in range(0, len(reader), CHUNK)
    ]
    if workers <= 0:
        for task in tasks:
            yield task, _examine_task(readers, how, task)
        return
    while tasks:
        tasks = yield from _in_processes(readers, how, tasks, workers)


def _examine_task(readers: Sequence[Reader], how: Sequence[Examination], task: Task) -> list[Finding]:
    reader, options = readers[task.reader], how[task.reader]
    return [examine(reader, index, options) for index in range(task.start, task.stop)]


def _in_processes(
    readers: Sequence[Reader], how: Sequence[Examination], tasks: list[Task], workers: int
) -> Generator[Examined, None, list[Task]]:
    """Yields findings; returns the tasks that are left after a process died, cut up to find the record it died of."""
    pool = ProcessPoolExecutor(min(workers, len(tasks)), _context(), _begin_process, (readers, how))
    waiting: dict[Future, Task] = {}
    queue = list(reversed(tasks))
    try:
        with _interrupts_later():  # else a process that is just being made would be left behind
            waiting[pool.submit(_run_task, queue[-1])] = queue[-1]
            queue.pop()
        while queue or waiting:
            while queue and len(waiting) < workers * STEPS_AHEAD:
                waiting[pool.submit(_run_task, queue[-1])] = queue[-1]
                queue.pop()
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                findings = future.result()
                yield waiting.pop(future), findings
    except BrokenProcessPool:
        suspects = list(waiting.values())
        left = [piece for task in suspects for piece in _pieces(task)] + queue[::-1]
        if len(suspects) == 1 and suspects[0].stop - suspects[0].start == 1:
            (guilty,) = suspects
            left = left[1:]
            yield guilty, [_death(readers[guilty.reader], guilty.start)]
        elif all(task.stop - task.start == 1 for task in suspects):
            for task in suspects:
                left.remove(task)
                yield task, [_examine_alone(readers, how, task)]
        return left
    except BaseException:  # Ctrl-C: the processes stop too, and nothing waits for them
        _end_processes(pool)
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return []


def _context() -> Any:
    """Processes that share nothing with this one's threads; where it can be, they come from one that is ready."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "wings_hf.data.lengths"])
    with _interrupts_later(signal.SIG_IGN):  # which the process that is ready inherits: Ctrl-C is for this one
        forkserver.ensure_running()
    return context


@contextmanager
def _interrupts_later(handler: Any = None) -> Iterator[None]:
    """No Ctrl-C in here: it comes after it; or never, where `handler` is to ignore it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, handler or (lambda number, frame: came.append(number)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def _pieces(task: Task) -> list[Task]:
    return [Task(task.reader, index, index + 1) for index in range(task.start, task.stop)]


def _examine_alone(readers: Sequence[Reader], how: Sequence[Examination], task: Task) -> Finding:
    """The finding on one record, from a process of its own."""
    alone = [readers[task.reader]], [how[task.reader]]
    with ProcessPoolExecutor(1, _context(), _begin_process, alone) as pool:
        try:
            return pool.submit(_run_task, task._replace(reader=0)).result()[0]
        except BrokenProcessPool:
            return _death(readers[task.reader], task.start)


def _death(reader: Reader, index: int) -> Problem:
    return Problem(
        reader.describe(index), "the process that read it died: out of memory, or a decoder crashed", "crash"
    )


def _end_processes(pool: ProcessPoolExecutor) -> None:
    processes = list((getattr(pool, "_processes", None) or {}).values())
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(SECONDS_TO_END)


_shared: dict[str, Any] = {}  # in a process of the pool: what it works on


def _begin_process(readers: Sequence[Reader], how: Sequence[Examination]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _shared.update(readers=readers, how=how)


def _run_task(task: Task) -> list[Finding]:
    return _examine_task(_shared["readers"], _shared["how"], task)
