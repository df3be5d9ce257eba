# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Time, memory and kernels.

Time: contenders run in turn, round after round, since machines drift; comparisons are made within a round.
Memory: what a step allocates at its peak, beyond what is there before it (the weights). On CUDA the allocator tells. On
a CPU torch's profiler notes every allocation and release of its allocator, kernels' scratch memory included: their
running sum is exact and the same in every run. Memory that a library takes past that allocator is not seen.
"""

import gc
import time
from dataclasses import dataclass

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from speed.models import Contender

MEASURED = "measured"
LONG = 10.0  # seconds


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def seconds_of(contender: Contender, device: str) -> float:
    contender.prepare()
    synchronize(device)
    start = time.perf_counter()
    contender.run()
    synchronize(device)
    return time.perf_counter() - start


def time_rounds(
    contenders: dict[str, Contender], device: str, rounds: int, budget: float, least: int = 3
) -> dict[str, list[float]]:
    """
    Seconds of each contender in each round, after two runs to warm up (one, where that takes long).

    Args:
        rounds: at most so many.
        budget: seconds after which no further round begins, once there are `least`.
    """
    for contender in contenders.values():
        if seconds_of(contender, device) < LONG:
            seconds_of(contender, device)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    begin = time.perf_counter()
    for done in range(rounds):
        if done >= least and time.perf_counter() - begin > budget:
            break
        gc.collect()
        gc.disable()
        try:
            for name, contender in contenders.items():
                seconds[name].append(seconds_of(contender, device))
        finally:
            gc.enable()
    return seconds


@dataclass
class Footprint:
    """Peak bytes beyond those before the step, and kernels launched (on a CPU: calls of torch's operators)."""

    peak_bytes: int
    kernels: int


def footprint(contender: Contender, device: str) -> Footprint:
    """Runs the contender once more (on CUDA twice) to see its memory and kernels."""
    if device != "cuda":
        profiled = run_profiled(contender, device, memory=True)
        return Footprint(peak_bytes(profiled), count_kernels(profiled))
    contender.prepare()
    synchronize(device)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = contender.run()
    synchronize(device)
    peak = torch.cuda.max_memory_allocated() - before
    del result
    return Footprint(peak, count_kernels(run_profiled(contender, device)))


def run_profiled(contender: Contender, device: str, memory: bool = False) -> profile:
    """A profile of `prepare` and, marked as `MEASURED`, `run`: what `run` releases must have been seen before."""
    gc.collect()
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device == "cuda")
    with profile(activities=activities, profile_memory=memory, acc_events=True) as profiled:
        contender.prepare()
        synchronize(device)
        with record_function(MEASURED):
            result = contender.run()
            synchronize(device)
    del result
    return profiled


def peak_bytes(profiled: profile) -> int:
    """Highest sum of bytes allocated less bytes released since `run` began, of a profile with memory."""
    events = sorted(profiled.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    live = start = peak = 0
    for event in events:
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
        elif event.name() == MEASURED:
            start = peak = live
    return peak - start


def count_kernels(profiled: profile) -> int:
    """CUDA kernels of `run`, or where there are none the outermost calls of `aten` operators."""
    begin = min(event.time_range.start for event in profiled.events() if event.name == MEASURED)
    events = [event for event in profiled.events() if event.time_range.start >= begin]
    kernels = [event for event in events if event.device_type == DeviceType.CUDA and not event.is_user_annotation]
    if kernels:
        return len([event for event in kernels if not event.name.startswith(("Memcpy", "Memset", MEASURED))])
    return sum(event.name.startswith("aten::") and not _inside_operator(event) for event in events)


def _inside_operator(event: object) -> bool:
    while (event := event.cpu_parent) is not None:
        if event.name.startswith("aten::"):
            return True
    return False


def free_bytes(device: str) -> int:
    """Memory that is free now."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable"))
