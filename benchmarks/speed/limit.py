# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
The limit: what wings would cost beside the backbone as measured, if each of their parts ran at this machine's ceilings.

    limit = 1 + (sum over the wings' parts of the part's time) / (measured time of the plain backbone)
    time of a part = max(operations / ceiling of their kind, bytes / ceiling of memory, calls * time of a smallest call)

Ceilings are measured in the same rounds as the models (`probes`): a product of matrices of the backbone's sizes;
torch's scaled_dot_product_attention, causal and without a mask, at the learners' shapes, forward or forward and
backward, and with one query where tokens are decoded; a copy of memory; the smallest operator. A multiply-add is two
operations.

Parts of a layer with n learners of rank r, for N rows, M rows that a learner keeps a key for, P pairs of a row and a
key that one of its learners sees, and Q pairs of the main attention. The keys of both learners together are all keys,
so with both P = Q = s (s + 1) / 2 for a sample of s tokens.

    maps        4 d r (2 n N + 2 M) operations: q and o of each learner for each row, k and v for each key;
                d (3 + 2 n) N + 3 d M numbers: read n, write each q and read what it attended to, read and write the
                output; read x, write k and v
    attention   4 d P operations
    router      2 c H Q operations: c more columns of the values in the main attention (position 2, modality 3)

and the projector, once. A training step makes three products of each (backward has the gradients of inputs and of
weights), with checkpointing four. A decoding step reads the maps' weights once and cannot do with fewer than
LEAST_CALLS operators a layer beside attention; compiled on a CPU it calls none.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from speed.cases import Case, Shape
from speed.models import FEATURE_SIZE, Contender, Inputs

LEAST_CALLS = 7  # of plain torch: down and up for q, down and up for k and v, the cache, down and up-and-add for o
CALLS_TIMED = 200
FORWARD_AND_BACKWARD = 3.5  # operations of attention's forward and backward over those of its forward


@dataclass(frozen=True)
class Part:
    """
    Work of one part.

    Args:
        ceiling: name of the probe whose operations per second bound it.
        operations: in one forward pass for "attention", whose probe runs what the case runs; else all.
        bytes: moved to or from memory at least.
        calls: operators called at least.
    """

    name: str
    ceiling: str
    operations: float
    bytes: float = 0.0
    calls: float = 0.0

    def seconds(self, ceilings: dict[str, float]) -> float:
        """
        Args:
            ceilings: operations per second for each kind, bytes per second in "memory", calls per second in "calls".
        """
        return max(
            self.operations / ceilings[self.ceiling], self.bytes / ceilings["memory"], self.calls / ceilings["calls"]
        )


@dataclass(frozen=True)
class Counts:
    """Rows (real tokens), keys that the learners keep, pairs of all rows and keys, pairs that learners see, images."""

    rows: int
    keys: int
    pairs: int
    learner_pairs: int
    image_tokens: int


def count(case: Case, inputs: Inputs) -> Counts:
    rows = keys = pairs = learner_pairs = 0
    for row, start, stop in inputs.samples:
        length, image = stop - start, inputs.is_image[row, start:stop].cpu()
        seen = image.cumsum(0)
        rows, pairs = rows + length, pairs + length * (length + 1) // 2
        if "textual" in case.learners:
            keys, learner_pairs = keys + length, learner_pairs + length * (length + 1) // 2
        else:
            keys, learner_pairs = keys + int(image.sum()), learner_pairs + int(seen.sum())
    return Counts(rows, keys, pairs, learner_pairs, inputs.features.shape[0] * inputs.features.shape[1])


def prompt_parts(shape: Shape, case: Case, counts: Counts, itemsize: int) -> list[Part]:
    """The wings' parts of a training step or a prefill, all layers."""
    d, r, n, layers = shape.hidden, shape.rank, len(case.learners), shape.layers
    products = 1 if case.kind != "train" else 4 if case.checkpointing else 3
    attention = 1 + case.checkpointing / FORWARD_AND_BACKWARD  # checkpointing runs it forward once more
    maps = 4 * d * r * (2 * n * counts.rows + 2 * counts.keys)
    moved = d * ((3 + 2 * n) * counts.rows + 3 * counts.keys) * itemsize
    columns = {"position": 2, "modality": 3}[case.router] if n == 2 else 0
    parts = [
        Part("maps", "product", layers * products * maps, layers * products * moved, layers * LEAST_CALLS),
        Part("attention", "attention", layers * attention * 4 * d * counts.learner_pairs),
        Part("router", "attention", layers * attention * 2 * columns * shape.heads * counts.pairs),
    ]
    projector = 2 * counts.image_tokens * (FEATURE_SIZE * d + d * d)
    return [*parts, Part("projector", "product", products * projector)]


def decode_parts(shape: Shape, case: Case, inputs: Inputs, itemsize: int) -> list[Part]:
    """The wings' parts of all decoded tokens; a learner's keys are those of the prompt and of the tokens so far."""
    d, r, n = shape.hidden, shape.rank, len(case.learners)
    steps = shape.layers * case.new_tokens
    text = "textual" in case.learners
    seen = case.length * case.batch if text else int(inputs.is_image.sum())  # keys of all rows, split by modality
    seen += case.batch * case.new_tokens / 2 if text else 0
    maps = 4 * d * r * (2 * n + 2 * text) * case.batch
    weights = 4 * d * r * (n + text) * itemsize
    calls = 0 if case.compiled and inputs.ids.device.type == "cpu" else LEAST_CALLS
    return [
        Part("maps", "product", steps * maps, steps * weights, steps * calls),
        Part("attention", "decode attention", steps * 4 * d * seen),
    ]


def wings_parts(shape: Shape, case: Case, inputs: Inputs, itemsize: int) -> list[Part]:
    parts = [] if case.kind == "decode" else prompt_parts(shape, case, count(case, inputs), itemsize)
    return parts + (decode_parts(shape, case, inputs, itemsize) if case.new_tokens else [])


def backbone_operations(shape: Shape, case: Case, inputs: Inputs) -> float:
    """Operations of the plain backbone: products and attention, without what checkpointing repeats."""
    head = shape.hidden // shape.heads
    layer = shape.hidden * head * (2 * shape.heads + 2 * shape.key_heads) + 3 * shape.hidden * shape.intermediate
    counts, train = count(case, inputs), case.kind == "train"
    logits = counts.rows if train else case.batch
    products = 2 * (counts.rows * shape.layers * layer + logits * shape.hidden * shape.vocabulary)
    attention = 4 * shape.hidden * counts.pairs * shape.layers
    passes = 1 if not train else 2 if case.stage == 1 else 3  # a frozen backbone has no gradients of weights
    prompt = passes * products + (FORWARD_AND_BACKWARD if train else 1) * attention
    step = 2 * (shape.layers * layer + shape.hidden * shape.vocabulary) * case.batch
    step += 4 * shape.hidden * (case.length + case.new_tokens / 2) * shape.layers * case.batch
    return (0 if case.kind == "decode" else prompt) + case.new_tokens * step


def wings_operations(shape: Shape, case: Case, inputs: Inputs, itemsize: int) -> float:
    """Operations that the wings add, without what checkpointing repeats."""
    passes = FORWARD_AND_BACKWARD if case.kind == "train" else 1  # "attention" parts count forward
    return sum(
        part.operations * (passes if part.ceiling == "attention" else 1)
        for part in wings_parts(shape, replace(case, checkpointing=False), inputs, itemsize)
    )


# ---- ceilings ---------------------------------------------------------------------------------------------------
@dataclass
class Probe(Contender):
    """A ceiling: `work` over the seconds of `run` is a rate."""

    work: float = 0.0


def probes(shape: Shape, case: Case, device: str, dtype: torch.dtype) -> dict[str, Probe]:
    """What measures the ceilings of a case, by name; see the module's docstring."""
    make = {"device": device, "dtype": dtype}
    rows = min(case.batch * case.length, 4096)
    a, b = torch.randn(rows, shape.hidden, **make), torch.randn(shape.hidden, shape.intermediate, **make)
    source = torch.randn(2**24, device=device)
    target = torch.empty_like(source)
    small = torch.zeros(1, device=device)
    made = {
        "product": Probe(lambda: a @ b, work=2.0 * rows * shape.hidden * shape.intermediate),
        "memory": Probe(lambda: target.copy_(source), work=2.0 * source.nbytes),
        "calls": Probe(_smallest_calls(small, graphed=case.compiled and device == "cuda"), work=CALLS_TIMED),
    }
    if case.kind != "decode":
        made["attention"] = _attention_probe(shape, case, make)
    if case.new_tokens:
        made["decode attention"] = _decode_attention_probe(shape, case, make)
    return made


def _smallest_calls(small: torch.Tensor, graphed: bool) -> Callable[[], object]:
    @torch.no_grad()
    def calls() -> None:
        for _ in range(CALLS_TIMED):
            small.add_(1.0)

    if not graphed:
        return calls
    calls()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        calls()
    return graph.replay


def _attention_probe(shape: Shape, case: Case, make: dict) -> Probe:
    """One causal attention of the learners' shape; in training forward and backward, counted as the forward's work."""
    size = (case.batch, shape.heads, case.length, shape.hidden // shape.heads)
    q, k, v = (torch.randn(size, **make, requires_grad=case.kind == "train") for _ in range(3))
    gradient = torch.randn(size, **make)

    def attention() -> None:
        output = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        if case.kind == "train":
            torch.autograd.grad(output, (q, k, v), gradient)

    pairs = case.batch * case.length * (case.length + 1) // 2
    return Probe(attention, work=4.0 * shape.hidden * pairs)


def _decode_attention_probe(shape: Shape, case: Case, make: dict) -> Probe:
    """One query per row over each of as many layers' keys and values, as decoding goes through them."""
    size, length = shape.hidden // shape.heads, case.length + case.new_tokens // 2
    q = torch.randn(case.batch, shape.heads, 1, size, **make)
    layers = [torch.randn(2, case.batch, shape.heads, length, size, **make) for _ in range(shape.layers)]

    @torch.no_grad()
    def attention() -> None:
        for keys, values in layers:
            nn.functional.scaled_dot_product_attention(q, keys, values)

    return Probe(attention, work=4.0 * shape.hidden * length * case.batch * shape.layers)


def ceilings(probed: dict[str, Probe], seconds: dict[str, float]) -> dict[str, float]:
    """Rates, from the seconds of each probe."""
    return {name: probe.work / seconds[name] for name, probe in probed.items()}


def limit(parts: list[Part], rates: dict[str, float], plain_seconds: float) -> float:
    """Ratio to the plain backbone; see the module's docstring."""
    return 1 + sum(part.seconds(rates) for part in parts) / plain_seconds
