#!/usr/bin/env python3
# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Checks, times, tunes and profiles the Triton kernels of the wings.

    python scripts/time_kernels.py                  # on a machine with a CUDA GPU: everything
    python scripts/time_kernels.py --interpret      # in Triton's interpreter, tiny: times mean nothing
    python scripts/time_kernels.py --compile 90 80  # without a GPU: what the kernels take of GPUs of these capabilities

    check    tests/modeling/triton_checks on the device (odd shapes, small tiles), then each kernel at larger sizes with
             its own tiles: the error of results and of all gradients against float64 is at most twice that of plain
             torch in the same dtype.
    time     each kernel beside what else computes the same, or nearly (the names say what), forward alone and with the
             backward: median, 20th and 80th percentile in ms; beside it the floor: operations and bytes that there must
             be over the rates of a large matrix product and a large copy, measured in the same run.
    tune     the kernel with other tiles.
    profile  which device kernels a call launches, and how long each takes; registers, spills and shared memory.

Each kernel has a process of its own, so that a fault takes no other's results along. Everything is written as one JSON
file. Exits with 1 if a check failed or a kernel raised, with 2 if nothing could be run.
"""

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

ROOT = Path(__file__).resolve().parents[1]
CHECKS = ROOT / "tests" / "modeling" / "triton_checks"
sys.path[:0] = [str(ROOT / "src"), str(CHECKS)]

from comparison import shares_of_allowed, with_gradients  # noqa: E402

from wings_hf.modeling import wings_triton_attention as attention  # noqa: E402
from wings_hf.modeling import wings_triton_latent as latent  # noqa: E402
from wings_hf.modeling import wings_triton_low_rank as low_rank  # noqa: E402
from wings_hf.modeling import wings_triton_reference as plain  # noqa: E402
from wings_hf.modeling.wings_rope import RopeSpec  # noqa: E402
from wings_hf.modeling.wings_triton import triton  # noqa: E402
from wings_hf.modeling.wings_triton_attention_kernels import Tiles  # noqa: E402

PARTS = ("check", "time", "tune", "profile")
HEAD_STEP = 8  # columns that today's way adds to queries, keys and values


@dataclass(frozen=True)
class Sizes:
    """Of one case; `images` of `image` tokens each stand at even distances."""

    length: int
    hidden: int = 4096
    heads: int = 32
    key_heads: int = 8
    rank: int = 64
    batch: int = 1
    images: int = 1
    image: int = 576
    dtype: torch.dtype = torch.bfloat16
    device: str = "cuda"

    def randn(self, *shape: int) -> Tensor:
        return torch.randn(*shape, device=self.device, dtype=self.dtype)

    def owner(self) -> Tensor:
        """0 where there is an image, 1 where there is text, (b, t)."""
        owner = torch.ones(self.batch, self.length, dtype=torch.int32, device=self.device)
        for index in range(self.images):
            start = self.length * (2 * index + 1) // (2 * self.images) - self.image // 2
            owner[:, max(start, 0) : start + self.image] = 0
        return owner

    def rope(self) -> tuple[RopeSpec, tuple[Tensor, Tensor]]:
        spec = RopeSpec(10000.0, self.hidden // self.heads, False)
        return spec, spec.tables(torch.arange(self.length, device=self.device).expand(self.batch, -1))


@dataclass
class Case:
    """
    Args:
        kernel, plain, rivals: the Triton kernel, the same in plain torch, and what to time beside it; of `inputs`.
        flops, moved: operations and bytes that a forward pass cannot do without.
        variants: label -> attributes of a module, (module, name, value), for other tiles.
    """

    inputs: list[Tensor]
    kernel: Callable
    plain: Callable
    rivals: dict[str, Callable]
    flops: float
    moved: float
    differentiable: bool = True
    variants: dict[str, list[tuple[Any, str, Any]]] = field(default_factory=dict)


# ---- cases -------------------------------------------------------------------------------------------------------


def sdpa(query: Tensor, key: Tensor, value: Tensor, scaling: float | None = None, causal: bool = True) -> Tensor:
    grouped = query.shape[1] != key.shape[1]
    return scaled_dot_product_attention(query, key, value, is_causal=causal, scale=scaling, enable_gqa=grouped)


def cudnn(*arguments: Any) -> Tensor:
    with nn.attention.sdpa_kernel(nn.attention.SDPBackend.CUDNN_ATTENTION):
        return sdpa(*arguments)


def bytes_of(tensors: list[Tensor]) -> float:
    return float(sum(each.numel() * each.element_size() for each in tensors))


def attention_variants() -> dict[str, list[tuple[Any, str, Any]]]:
    """All steps of attention with other tiles."""
    variants = {}
    for rows, warps, stages in ((128, 8, 2), (128, 8, 3), (128, 4, 2), (64, 4, 2), (64, 4, 3), (64, 8, 2), (32, 4, 2)):
        tiles = Tiles(rows, 64, warps, stages)
        label = f"{rows} rows, {warps} warps, {stages} stages"
        variants[label] = [(attention, "tiles_for", lambda *_, tiles=tiles: tiles)]
    return variants


def router_case(size: Sizes) -> Case:
    """The main branch's attention with three columns of the modality router."""
    head, b, s = size.hidden // size.heads, size.batch, size.length
    inputs = [size.randn(b, heads, s, head) for heads in (size.heads, size.key_heads, size.key_heads)]
    inputs.append(size.randn(b, s, 3))
    owner = torch.zeros(b, s, dtype=torch.int32, device=size.device)
    layout = attention.key_layout(owner)

    def widened(query: Tensor, key: Tensor, value: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        columns = pad(columns, (0, HEAD_STEP - 3)).unsqueeze(1).expand(-1, value.shape[1], -1, -1)
        return pad(query, (0, HEAD_STEP)), pad(key, (0, HEAD_STEP)), torch.cat([value, columns], -1)

    rivals: dict[str, Callable] = {
        "sdpa without a router": lambda q, k, v, r: sdpa(q, k, v),
        "sdpa, columns in the values": lambda *inputs: sdpa(*widened(*inputs), head**-0.5),
    }
    if size.device == "cuda":
        rivals["cudnn without a router"] = lambda q, k, v, r: cudnn(q, k, v)
        rivals["cudnn, columns in the values"] = lambda *inputs: cudnn(*widened(*inputs), head**-0.5)
    return Case(
        inputs,
        lambda *states: attention.router_attention(*states, layout),
        lambda *states: plain.router_attention(*states, owner),
        rivals,
        flops=2 * b * size.heads * s * s * head,
        moved=bytes_of(inputs) + bytes_of(inputs[:1]),
        variants=attention_variants(),
    )


def learner_case(size: Sizes) -> Case:
    """Both learners, each on the keys of its modality."""
    head, b, s, h = size.hidden // size.heads, size.batch, size.length, size.heads
    inputs = [size.randn(b, h, 2, s, head), size.randn(b, h, s, head), size.randn(b, h, s, head)]
    owner = size.owner()
    layout = attention.key_layout(owner, 2)
    foreign = torch.stack([owner != 0, owner != 1], -1).to(size.dtype) * -(2.0**14)  # (b, t, 2)

    def columns(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        chosen = pad(torch.eye(2, device=size.device, dtype=size.dtype), (0, HEAD_STEP - 2))[:, None]
        queries = torch.cat([queries, chosen.expand(*queries.shape[:-1], -1)], -1)
        added = pad(foreign, (0, HEAD_STEP - 2)).unsqueeze(1).expand(-1, h, -1, -1)
        keys = torch.cat([keys, added], -1)
        return sdpa(queries.flatten(1, 2), keys, pad(values, (0, HEAD_STEP)), head**-0.5)

    rivals = {
        "sdpa, one plain attention of as many heads": lambda q, k, v: sdpa(q[:, :, 0], k, v),
        "sdpa, modality in columns": columns,
    }
    if size.device == "cuda":
        rivals["flex_attention, a call for each learner"] = flex_learners(owner)
    counts = (owner[:, None] == torch.arange(2, device=size.device)[:, None]).double().cumsum(-1)  # (b, n, t)
    return Case(
        inputs,
        lambda *states: attention.learner_attention(*states, layout),
        lambda *states: plain.learner_attention(*states, owner),
        rivals,
        flops=4 * h * head * counts.sum().item(),
        moved=bytes_of(inputs) + bytes_of(inputs[:1]),
        variants=attention_variants(),
    )


def flex_learners(owner: Tensor) -> Callable:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    compiled, masks = torch.compile(flex_attention), []

    def run(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        if not masks:
            batch, length = owner.shape
            for learner in range(2):

                def visible(b: Tensor, h: Tensor, i: Tensor, j: Tensor, learner: int = learner) -> Tensor:
                    return (owner[b, j] == learner) & (j <= i)

                masks.append(create_block_mask(visible, batch, None, length, length, device=str(owner.device)))
        parts = [compiled(queries[:, :, i], keys, values, block_mask=mask) for i, mask in enumerate(masks)]
        return torch.stack(parts, 2)

    return run


def low_rank_case(size: Sizes) -> Case:
    """Queries of both learners, rotated."""
    rows, head = size.batch * size.length, size.hidden // size.heads
    down = size.randn(2, size.hidden, size.rank) * size.hidden**-0.5
    inputs = [size.randn(rows, size.hidden), down, size.randn(2, size.rank, size.hidden)]
    spec, tables = size.rope()
    rope = tuple(table.flatten(0, 2) for table in tables)

    def in_torch(x: Tensor, down: Tensor, up: Tensor) -> Tensor:
        low = (x @ down.transpose(0, 1).flatten(1)).unflatten(-1, (2, -1))
        return x.unsqueeze(1) + torch.einsum("Nnr,nrd->Nnd", low, up)

    def rotated_in_torch(*inputs: Tensor) -> Tensor:
        heads = in_torch(*inputs).unflatten(-1, (-1, head))
        return spec.rotate(heads, tuple(table[:, None, None] for table in rope)).flatten(-2)

    rivals = {"torch without rotation": in_torch, "torch": rotated_in_torch}
    if size.device == "cuda":
        rivals["torch, compiled"] = torch.compile(rotated_in_torch)
    return Case(
        inputs,
        lambda *states: low_rank.low_rank_residual(*states, rope, head),
        lambda *states: plain.low_rank_residual(*states, rope, head),
        rivals,
        flops=8 * rows * size.hidden * size.rank,
        moved=bytes_of(inputs) + 2 * bytes_of(inputs[:1]),
        variants={
            f"{sides[0]} rows, {sides[1]} columns": [(low_rank, "tile_sides", lambda rows, sides=sides: sides)]
            for sides in ((16, 64), (16, 128), (32, 64), (32, 128), (64, 64), (64, 128), (128, 64))
        },
    )


def latent_case(size: Sizes, rotated: bool = False) -> Case:
    """One decoding step of both learners."""
    head, b, t, h, r = size.hidden // size.heads, size.batch, size.length, size.heads, size.rank
    inputs = [size.randn(b, 2, h, head), size.randn(b, t, size.hidden), size.randn(b, t, r), size.randn(b, t, r)]
    inputs += [size.randn(2, r, size.hidden) * r**-0.5 for _ in range(2)]
    owner = size.owner()
    rope = tuple(table[:, 0].contiguous() for table in size.rope()[1]) if rotated else None
    keys, values, own = size.randn(b, h, t, head), size.randn(b, h, t, head), owner == 0
    mask = torch.stack([own, ~own], 1)[:, None].expand(-1, h, -1, -1)  # (b, h, n, t)

    def plain_cache(queries: Tensor, *others: Tensor) -> Tensor:
        return scaled_dot_product_attention(queries.transpose(1, 2), keys, values, attn_mask=mask)

    return Case(
        inputs,
        lambda *states: latent.latent_decode(*states, owner, rope),
        lambda *states: plain.latent_decode(*states, owner, rope),
        {
            "sdpa on keys and values of a plain cache": plain_cache,
            "the latent cache in torch, keys and values formed": lambda *states: plain.latent_decode(
                *states, owner, rope
            ),
        },
        flops=8 * b * t * size.hidden,
        moved=bytes_of(inputs),
        differentiable=False,
        variants={f"blocks of {block}": [(latent, "BLOCK_T", block)] for block in (32, 64, 128)},
    )


CASES: dict[str, Callable[[Sizes], Case]] = {
    "router_attention": router_case,
    "learner_attention": learner_case,
    "low_rank_residual": low_rank_case,
    "latent_decode": latent_case,
    "latent_decode, rotated": lambda size: latent_case(size, rotated=True),
}


def sizes(interpret: bool) -> tuple[list[Sizes], list[Sizes]]:
    """Sizes to check, and to time."""
    if interpret:
        tiny = Sizes(70, 32, 2, 1, 8, image=20, dtype=torch.float16, device="cpu")
        return [tiny], [tiny]
    half = [replace(Sizes(1000, 1024, 8, 2, batch=2), dtype=dtype) for dtype in (torch.bfloat16, torch.float16)]
    heads = [replace(half[0], hidden=size * 8, batch=1) for size in (64, 80, 256)]
    checked = [*half, *heads, replace(half[0], dtype=torch.float32), replace(half[0], length=4096, heads=8, batch=1)]
    return checked, [Sizes(2048), Sizes(16384), Sizes(16384, images=8), Sizes(2048, batch=8)]


# ---- parts -------------------------------------------------------------------------------------------------------


def check(case: Case) -> dict[str, Any]:
    if not case.differentiable:
        results = [[case.kernel(*case.inputs)], [case.plain(*case.inputs)]]
        results.append([case.plain(*(each.double() for each in case.inputs))])
    else:
        outputs = case.plain(*case.inputs)
        seeds = [torch.randn_like(each) for each in (outputs if isinstance(outputs, tuple) else [outputs])]
        exact = [each.double() for each in case.inputs]
        results = [with_gradients(case.kernel, exact, case.inputs[0].dtype, seeds)]
        results.append(with_gradients(case.plain, exact, case.inputs[0].dtype, seeds))
        results.append(with_gradients(case.plain, exact, torch.float64, seeds))
    shares = shares_of_allowed(*results)
    if not all(share <= 1 for share in shares):
        raise AssertionError(f"errors as shares of what is allowed: {shares}")
    return {"shares_of_allowed": shares}


def calls(function: Callable, inputs: list[Tensor], differentiable: bool) -> dict[str, Callable]:
    """What there is to time of `function`."""
    passes = {"forward": torch.no_grad()(lambda: function(*inputs))}
    if differentiable:
        leaves = [each.detach().requires_grad_() for each in inputs]
        with torch.no_grad():
            outputs = function(*inputs)
        seeds = [torch.randn_like(each) for each in (outputs if isinstance(outputs, tuple) else [outputs])]
        passes["forward and backward"] = lambda: torch.autograd.grad(
            function(*leaves), leaves, seeds, allow_unused=True
        )
    return passes


def milliseconds(call: Callable, device: str) -> dict[str, float]:
    if device != "cuda":
        start = time.perf_counter()
        call()
        return {"ms": (time.perf_counter() - start) * 1e3}
    median, low, high = triton.testing.do_bench(call, warmup=50, rep=200, quantiles=[0.5, 0.2, 0.8])
    return {"ms": median, "low": low, "high": high}


def ceilings(size: Sizes) -> dict[str, float]:
    """Rates of a large matrix product and of a large copy, in operations and bytes per second."""
    side, count = (8192, 1 << 30) if size.device == "cuda" else (64, 1 << 16)
    left, right = size.randn(side, side), size.randn(side, side)
    source = torch.empty(count, dtype=torch.uint8, device=size.device)
    target = torch.empty_like(source)
    product = milliseconds(lambda: left @ right, size.device)["ms"]
    copy = milliseconds(lambda: target.copy_(source), size.device)["ms"]
    return {"flops": 2e3 * side**3 / product, "bytes": 2e3 * count / copy}


@contextlib.contextmanager
def patched(changes: list[tuple[Any, str, Any]]) -> Iterator[None]:
    before = [(module, name, getattr(module, name)) for module, name, _ in changes]
    try:
        for module, name, value in changes:
            setattr(module, name, value)
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def profile(case: Case, device: str) -> dict[str, Any]:
    """Microseconds of each device kernel in a call, of the whole call on a CPU."""
    passes = calls(case.kernel, case.inputs, case.differentiable)
    call = list(passes.values())[-1]
    call()
    activity = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[activity.CUDA if device == "cuda" else activity.CPU]) as record:
        call()
    found = {
        event.key[:100]: [event.count, event.self_device_time_total if device == "cuda" else event.self_cpu_time_total]
        for event in record.key_averages()
    }
    return {"kernels": dict(sorted(found.items(), key=lambda each: -each[1][1])[:12])}


def resources() -> list[dict[str, Any]]:
    """Registers, spills and shared memory of every kernel that was compiled in this process."""
    found = []
    for module in (attention, latent, low_rank):
        for name, function in vars(module).items():
            for caches in getattr(function, "device_caches", {}).values():
                for compiled in caches[0].values():
                    found.append({"name": name, "registers": getattr(compiled, "n_regs", None),
                                  "spills": getattr(compiled, "n_spills", None), "shared": compiled.metadata.shared,
                                  "warps": compiled.metadata.num_warps})  # fmt: skip
    return found


# ---- one kernel --------------------------------------------------------------------------------------------------


class Report:
    """Writes each row as soon as it is there, one JSON object in a line, and prints it."""

    def __init__(self, path: str, kernel: str):
        self.path, self.kernel = path, kernel

    def row(self, part: str, label: str, size: Sizes | None, work: Callable[[], dict[str, Any]]) -> None:
        """Whatever `work` raises is a result, and the rest goes on."""
        try:
            self.write(part, label, size, work())
        except Exception as failure:
            self.write(part, label, size, failure)

    def write(self, part: str, label: str, size: Sizes | None, outcome: dict[str, Any] | Exception) -> None:
        result, numbers = "ok", outcome
        if isinstance(outcome, Exception):
            line = (str(outcome).strip().splitlines() or [""])[0]
            result, numbers = "FAILED", {"error": f"{type(outcome).__name__}: {line[:500]}"}
        about = {}
        if size is not None:
            about = {name: getattr(size, name) for name in ("length", "batch", "images", "hidden")}
            about["dtype"] = str(size.dtype).removeprefix("torch.")
        row = {"kernel": self.kernel, "part": part, "label": label, **about, "result": result, **numbers}
        with open(self.path, "a") as file:
            file.write(json.dumps(row) + "\n")
        shown = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in numbers.items()}
        print(f"{self.kernel:24}{part:9}{result:7}{label:52}", *about.values(), shown, flush=True)


def run_kernel(kernel: str, parts: list[str], interpret: bool, path: str) -> None:
    report, build = Report(path, kernel), CASES[kernel]
    checked, timed = sizes(interpret)
    device = timed[0].device
    torch.manual_seed(0)
    if "check" in parts:
        for size in checked:
            report.row("check", f"heads of {size.hidden // size.heads}", size, lambda size=size: check(build(size)))
    if "time" in parts:
        rates: dict[str, float] = {}
        report.row("time", "ceilings", timed[0], lambda: rates.update(ceilings(timed[0])) or dict(rates))
        for size in timed:
            try:
                time_case(report, build(size), size, rates)
            except Exception as failure:
                report.write("time", "inputs", size, failure)
            if device == "cuda":
                torch.cuda.empty_cache()
    if "tune" in parts:
        size, case = timed[0], build(timed[0])
        variants = list(case.variants.items())[: 1 if interpret else None]
        for label, changes in variants:
            report.row("tune", label, size, lambda case=case, changes=changes: tuned(case, changes, device))
    if "profile" in parts:
        report.row("profile", "device kernels, count and us", timed[0], lambda: profile(build(timed[0]), device))
        report.row("profile", "resources", None, lambda: {"compiled": resources()})


def time_case(report: Report, case: Case, size: Sizes, rates: dict[str, float]) -> None:
    floor = {}
    if rates:
        floor["floor_ms"] = 1e3 * max(case.flops / rates["flops"], case.moved / rates["bytes"])
    for name, function in {"triton": case.kernel, **case.rivals}.items():
        passes = ("forward", "forward and backward") if case.differentiable else ("forward",)
        for step in passes:

            def work(function=function, step=step) -> dict[str, Any]:
                found = milliseconds(calls(function, case.inputs, case.differentiable)[step], size.device)
                return found | {"tflops": case.flops / found["ms"] / 1e9, **floor} if step == "forward" else found

            report.row("time", f"{name}, {step}", size, work)


def tuned(case: Case, changes: list[tuple[Any, str, Any]], device: str) -> dict[str, Any]:
    with patched(changes):
        passes = calls(case.kernel, case.inputs, case.differentiable)
        return {name: milliseconds(call, device)["ms"] for name, call in passes.items()}


# ---- without a GPU -----------------------------------------------------------------------------------------------


def compile_for(capability: int, path: str) -> None:
    """Compiles what the cases launch for GPUs of `capability` (90 for 9.0), and launches nothing."""
    from triton.backends.compiler import GPUTarget
    from triton.runtime.jit import JITFunction

    class Driver:
        get_current_device = get_current_stream = staticmethod(lambda *_: 0)
        get_current_target = staticmethod(lambda: GPUTarget("cuda", capability, 32))

    triton.runtime.driver.set_active(Driver())
    run = JITFunction.run
    seen: set[str] = set()
    report = Report(path, "")

    def compile_only(self: JITFunction, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> None:
        compiled = run(self, *arguments, grid=grid, warmup=True, **options)
        if compiled.hash not in seen:
            seen.add(compiled.hash)
            taken = {"capability": capability, "shared": compiled.metadata.shared, **usage(compiled.asm["cubin"])}
            report.row("compile", compiled.metadata.name, size, lambda: taken)

    JITFunction.run = compile_only
    for size in (Sizes(128, 2 * head, 2, 1, device="cpu") for head in (64, 128, 256)):
        for kernel, build in CASES.items():
            report.kernel, case = kernel, build(size)
            report.row("compile", "all", size, lambda case=case: {
                name: call() is not None for name, call in calls(case.kernel, case.inputs, case.differentiable).items()
            })  # fmt: skip


def usage(binary: bytes) -> dict[str, int]:
    """Registers and bytes of stack (spills among them) of each thread."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        text = subprocess.run([tool, "--dump-resource-usage", file.name], capture_output=True, text=True).stdout
    registers, stack = re.search(r"REG:(\d+)", text), re.search(r"STACK:(\d+)", text)
    return {"registers": int(registers[1]) if registers else -1, "stack": int(stack[1]) if stack else -1}


# ---- running -----------------------------------------------------------------------------------------------------


def in_a_process(command: list[str], environment: dict[str, str], limit: float) -> dict[str, Any]:
    """Runs a command, its output going to ours; what became of it."""
    start = time.perf_counter()
    try:
        code: int | str = subprocess.run(command, env=environment, timeout=limit).returncode
    except subprocess.TimeoutExpired:
        code = f"stopped after {limit:.0f} s"
    return {"exit": code, "seconds": round(time.perf_counter() - start, 1)}


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--interpret", action="store_true", help="tiny sizes in Triton's interpreter, on the CPU")
    mode.add_argument("--compile", nargs="+", type=int, metavar="CAPABILITY", help="compile only, without a GPU")
    parser.add_argument("--kernels", nargs="+", default=list(CASES), choices=CASES, help="default: all")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS, help="default: all")
    parser.add_argument("--limit", type=float, default=300, help="seconds for each kernel (default: %(default)s)")
    parser.add_argument("--output", default="kernels.json", help="the JSON file (default: %(default)s)")
    parser.add_argument("--rows", help=argparse.SUPPRESS)  # of one kernel: the file to which its process adds rows
    return parser.parse_args(arguments)


def obstacle(options: argparse.Namespace) -> str | None:
    if triton is None:
        return "The package triton is not installed, so nothing is run."
    if not (options.interpret or options.compile or torch.cuda.is_available()):
        return "There is no CUDA GPU, so nothing is run. Pass --interpret or --compile 90 for what a CPU can."
    return None


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    reason = obstacle(options)
    if reason is not None:
        print(reason, file=sys.stderr)
        return 2
    if options.rows is not None:  # a process of the one below
        if options.compile:
            compile_for(options.compile[0], options.rows)
        else:
            run_kernel(options.kernels[0], options.parts, options.interpret, options.rows)
        return 0
    environment = {**os.environ, "TRITON_INTERPRET": "1" if options.interpret else "0"}
    script = [sys.executable, __file__, "--parts", *options.parts]
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows"
        rows.touch()
        if options.compile:
            commands = {f"capability {c}": [*script, "--compile", str(c)] for c in options.compile}
        else:
            mode = ["--interpret"] if options.interpret else []
            commands = {kernel: [*script, *mode, "--kernels", kernel] for kernel in options.kernels}
        processes = {
            name: in_a_process([*command, "--rows", str(rows)], environment, options.limit)
            for name, command in commands.items()
        }
        if "check" in options.parts and not options.compile and not options.interpret:  # there make test runs them
            tests = [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                *map(str, CHECKS.glob("check_*.py")),
            ]
            processes["tests"] = in_a_process(tests, environment, options.limit)
        found = [json.loads(line) for line in rows.read_text().splitlines()]
    failed = [row for row in found if row["result"] == "FAILED"]
    ours = [row for row in failed if row["part"] != "time" or row["label"].startswith("triton")]
    crashed = [name for name, process in processes.items() if process["exit"] != 0]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    about = {"gpu": gpu, "torch": torch.__version__, "triton": triton.__version__, "interpreted": options.interpret}
    Path(options.output).write_text(json.dumps({"environment": about, "processes": processes, "rows": found}, indent=1))
    print(f"\n{len(found) - len(failed)} ok, {len(failed)} failed; written to {options.output}")
    for name in crashed:
        print(f"{name}: exit {processes[name]['exit']}")
    return 1 if ours or crashed else 0


if __name__ == "__main__":
    sys.exit(main())
