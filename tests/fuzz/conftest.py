# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""How long the fuzz tests go on: a few fixed inputs in `make test`, new ones in `make fuzz`, which counts them.

`WINGS_FUZZ` is the number of inputs for each test, `WINGS_FUZZ_SECONDS` (600) the time after which a test that has not
reached it stops.
"""

import functools
import math
import os
import time
from collections.abc import Callable

import pytest

hypothesis = pytest.importorskip("hypothesis")

INPUTS = int(os.environ.get("WINGS_FUZZ") or 0)
SECONDS = float(os.environ.get("WINGS_FUZZ_SECONDS") or 600)
BATCH = 500  # inputs between two looks at the clock

checks = [
    hypothesis.HealthCheck.too_slow,
    hypothesis.HealthCheck.data_too_large,
    hypothesis.HealthCheck.filter_too_much,
]
common = {"deadline": None, "suppress_health_check": checks, "print_blob": True}
hypothesis.settings.register_profile("fast", max_examples=25, derandomize=True, database=None, **common)
hypothesis.settings.register_profile("long", max_examples=min(INPUTS, BATCH) or 1, **common)
hypothesis.settings.load_profile("long" if INPUTS else "fast")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """A long run of a hypothesis test: batches of new inputs up to the number or the time, both kept for the table."""
    test = pyfuncitem.obj
    if not INPUTS or not hypothesis.is_hypothesis_test(test):
        return None
    run_counted(test, INPUTS, SECONDS, lambda *found: pyfuncitem.user_properties.append(("fuzz", found)))
    return True


def run_counted(test: Callable, inputs: int, seconds: float, tell: Callable[[int, float, float], object]) -> None:
    """Calls a hypothesis test until `inputs` were tried or `seconds` are over; tells count, seconds, CPU seconds."""
    inner, start, cpu, count = test.hypothesis.inner_test, time.monotonic(), time.process_time(), 0

    @functools.wraps(inner)
    def counting(*args: object, **kwargs: object) -> None:
        nonlocal count
        count += 1
        inner(*args, **kwargs)

    test.hypothesis.inner_test = counting
    try:
        while count < inputs and time.monotonic() - start < seconds:
            before = count
            test()
            if count == before:  # skipped, or nothing to draw from
                break
    finally:
        test.hypothesis.inner_test = inner
        tell(count, time.monotonic() - start, time.process_time() - cpu)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A table of what each test was tried on, ready for SECURITY.md."""
    reports = [
        (report, dict(report.user_properties)["fuzz"])
        for outcome in ("passed", "failed", "skipped")
        for report in terminalreporter.getreports(outcome)
        if report.when == "call" and "fuzz" in dict(report.user_properties)
    ]
    if not reports:
        return
    terminalreporter.section("inputs tried")
    terminalreporter.write_line("| Test | Inputs | Seconds | CPU seconds | Result |\n|---|---|---|---|---|")
    for report, (count, seconds, cpu) in reports:
        name = report.nodeid.rpartition("::")[2]
        terminalreporter.write_line(
            f"| `{name}` | {count:,} | {math.ceil(seconds)} | {math.ceil(cpu)} | {report.outcome} |"
        )
