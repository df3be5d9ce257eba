# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Runs what is asked for and not yet done, some at a time, each in a process of its own."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

from tqdm.auto import tqdm

from forgetting.methods import METHODS
from forgetting.records import Record, record_path, write_base_record, write_record
from forgetting.settings import SIZES
from forgetting.training import Runs
from forgetting.worlds import build_world


@dataclass(frozen=True)
class Place:
    """Where everything of one world in one size is: `folder`/SIZE-WORLD, with the files the world is made of."""

    folder: Path
    size: str
    world: str
    sources: tuple[Path, ...] = ()

    @property
    def results(self) -> Path:
        return self.folder / f"{self.size}-{self.world}"

    def runs(self) -> Runs:
        world = build_world(self.world, self.results / "parts", SIZES[self.size], self.sources)
        world.check_folder()
        world.fit_parts()
        return Runs(world, self.results)


@dataclass(frozen=True)
class Job:
    """Something to do in a process, after others: `action` of this module with `arguments`."""

    action: str
    arguments: tuple[Any, ...]
    after: tuple["Job", ...] = field(default=(), compare=False)


def plan(place: Place, methods: Sequence[str], seeds: Iterable[int]) -> list[Job]:
    """Jobs that are not done, seed by seed, so that early results have all methods."""
    runs = place.runs()
    jobs: dict[tuple[Any, ...], Job] = {}

    def add(action: str, *arguments: Any, after: Iterable[Job | None] = (), key: str | None = None) -> Job:
        """A job, or the one that is planned already; `key` stands for the method where several share a job."""
        job = Job(action, arguments, tuple(filter(None, after)))
        return jobs.setdefault((action, key or arguments[:1], arguments[1:]), job)

    def trained(name: str, seed: int) -> Job | None:
        method = METHODS[name]
        if runs.weights(method, seed).exists():
            return None
        if method.derived_from:
            return add("tune", name, seed, after=[trained(method.derived_from, seed)])
        aligned = runs.align_folder(method, seed).exists()
        first = None if aligned else add("align", name, seed, key=runs.align_key(method))
        return add("tune", name, seed, after=[first])

    if not record_path(place.results, "base", 0).exists():
        add("base")
    for seed in seeds:
        for name in methods:
            if not record_path(place.results, name, seed).exists():
                add("record", name, seed, after=[trained(name, seed)])
    return list(jobs.values())


# ---- in the processes ---------------------------------------------------------------------------------------------
@cache
def _runs(place: Place) -> Runs:
    return place.runs()


def _end_with_parent() -> None:
    """A parent that is killed cannot tell its processes, which would wait for it for ever."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _start_process(threads: int) -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    import torch
    from transformers.utils import logging

    torch.set_num_threads(threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def work(place: Place, job: Job) -> Record | None:
    runs = _runs(place)
    match job.action:
        case "base":
            return write_base_record(runs, place.results)
        case "align":
            return runs.align(METHODS[job.arguments[0]], job.arguments[1])
        case "tune":
            return runs.tune(METHODS[job.arguments[0]], job.arguments[1])
        case "record":
            name, seed = job.arguments
            return write_record(runs, place.results, METHODS[name], seed)
    raise AssertionError(job.action)


# ---- the parent ---------------------------------------------------------------------------------------------------
def run(place: Place, jobs: Sequence[Job], workers: int, minutes: float | None = None) -> bool:
    """
    Do `jobs`, `workers` at a time; interrupted, all that is finished stays done. A job that fails holds up those after
    it, no others.

    Returns:
        whether all are done; False where `minutes` ran out before the last was begun.

    Raises:
        RuntimeError: some jobs failed; all others that could be done are.
    """
    threads = max(1, (os.cpu_count() or 1) // workers)
    begun = time.monotonic()
    waiting, running, done, failed = list(jobs), dict[Future, Job](), set[Job](), dict[str, BaseException]()
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_process, (threads,))
    try:
        with tqdm(total=len(jobs), desc=place.results.name, unit="job", smoothing=0.05) as bar:
            while waiting or running:
                late = minutes is not None and time.monotonic() - begun > 60 * minutes
                for job in [] if late else list(_ready(waiting, done, workers - len(running))):
                    waiting.remove(job)
                    running[pool.submit(work, place, job)] = job
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    job = running.pop(future)
                    if error := future.exception():
                        failed[f"{job.action} {' '.join(map(str, job.arguments))}"] = error
                    else:
                        done.add(job)
                        _report(future.result(), bar)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    if failed:
        said = "; ".join(f"{name} failed: {error}" for name, error in failed.items())
        raise RuntimeError(said) from next(iter(failed.values()))
    return not waiting


def _ready(waiting: Sequence[Job], done: set[Job], number: int) -> Iterator[Job]:
    ready = (job for job in waiting if all(before in done for before in job.after))
    yield from (job for _, job in zip(range(number), ready, strict=False))


def _report(record: Record | None, bar: tqdm) -> None:
    bar.update()
    if record is not None:
        accuracy = record["accuracy"]
        shares = ", ".join(f"{kind.replace('_', ' ')} {share:.1%}" for kind, share in accuracy.items())
        bar.write(f"{record['title']}, seed {record['seed']}: {shares}, KL {record['held_out_kl']:.3f}")
