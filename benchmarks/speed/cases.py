# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What is measured: shapes, cases, and the targets that some of them have to meet."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """
    A Llama backbone and the rank of its learners.

    The vocabulary is small, so that the head, which wings do not change, does not hide what they cost.
    """

    hidden: int
    layers: int
    heads: int
    key_heads: int
    intermediate: int
    dtype: str
    vocabulary: int = 1000

    @property
    def rank(self) -> int:
        return max(self.hidden // 64, 1)


@dataclass(frozen=True)
class Case:
    """
    One row of the table.

    Args:
        kind: "train" (forward and backward), "prefill" (forward into a cache, last logits), "generate" (the library's
            `generate` from prompt to last token) or "decode" (single steps on a filled cache, in a bare loop).
        length: tokens of a row, a quarter of them visual.
        layout: "mixed": every second row has no images, and, where nothing is decoded, rows end early and are padded
            on the right. "packed": one row holds four samples, told apart by position ids.
        stage: 1 has the visual learner only, and the backbone is frozen; 2 has both, and everything trains.
        backend: an attn_implementation, or "cudnn": sdpa held to cuDNN.
        compiled: `torch.compile` of the decode step, on a static cache; in "generate" by `generate` itself.
        cache: form of the learners' cache, "plain" or "latent".
        rope: whether learner queries and keys are rotated.
        eager: whether the implementation that keeps the attention matrix runs beside.
    """

    kind: str
    length: int
    batch: int = 1
    images: int = 1
    layout: str = "plain"
    stage: int = 2
    router: str = "position"
    backend: str = "sdpa"
    checkpointing: bool = False
    compiled: bool = False
    new_tokens: int = 0
    cache: str = "plain"
    rope: bool = True
    eager: bool = False

    @property
    def name(self) -> str:
        parts = [self.kind, str(self.length)]
        parts += [f"+{self.new_tokens}"] * bool(self.new_tokens)
        parts += [f"batch {self.batch}"] * (self.batch > 1)
        parts += [f"{self.images} images"] * (self.images > 1)
        parts += [self.layout] * (self.layout != "plain")
        parts += [f"stage {self.stage}"] * (self.stage != 2)
        parts += [self.router] * (self.router != "position")
        parts += [self.backend] * (self.backend != "sdpa")
        parts += [f"{self.cache} cache"] * (self.cache != "plain") + ["no rope"] * (not self.rope)
        parts += ["checkpointing"] * self.checkpointing
        parts += ["compiled"] * self.compiled
        return " ".join(parts)

    @property
    def learners(self) -> tuple[str, ...]:
        return ("visual",) if self.stage == 1 else ("visual", "textual")

    @property
    def tokens(self) -> int:
        """Tokens that the case's tokens/s counts: the new ones where there are any."""
        return self.batch * (self.new_tokens or self.length)


@dataclass(frozen=True)
class Target:
    """
    A bound on one number of a case.

    Args:
        measure: "time" and "memory": wings over plain, at most; "speedup": eager over wings, at least; "growth": how
            memory grows from `case`'s half length to its length, over how it grew from a quarter to a half,
            2 where it is linear, at most.
    """

    text: str
    case: Case
    measure: str
    bound: float


@dataclass(frozen=True)
class Preset:
    shape: Shape
    cases: tuple[Case, ...]
    targets: tuple[Target, ...]
    caches: tuple[str, ...] = ("bench", "Qwen2.5-7B", "Qwen3-8B", "Llama-3.1-8B")

    def all_cases(self, targets_only: bool = False) -> list[Case]:
        """Every case once, those of the targets first."""
        wanted = [case for target in self.targets for case in cases_of(target)]
        return list(dict.fromkeys(wanted if targets_only else (*wanted, *self.cases)))


def cases_of(target: Target) -> list[Case]:
    """The cases that a target is computed from."""
    if target.measure != "growth":
        return [target.case]
    return [Case(target.case.kind, target.case.length // part, eager=target.case.eager) for part in (4, 2, 1)]


# name: hidden size, layers, query heads, key heads, head size
CACHE_SHAPES = {
    "Qwen2.5-7B": (3584, 28, 28, 4, 128),
    "Qwen3-8B": (4096, 36, 32, 8, 128),
    "Llama-3.1-8B": (4096, 32, 32, 8, 128),
}
BACKENDS = ("eager", "flex_attention", "flash_attention_2", "flash_attention_3", "cudnn")


def variants(length: int, batch_length: int) -> tuple[Case, ...]:
    """One length in all its forms: stages, routers, backends, batches, images, layouts."""
    return (
        Case("train", length, stage=1),
        Case("train", length, router="modality"),
        Case("train", length, checkpointing=True),
        Case("train", length, images=8),
        Case("train", length, layout="packed"),
        Case("train", batch_length, batch=8),
        Case("train", batch_length, batch=8, layout="mixed"),
        Case("prefill", length, stage=1),
        Case("prefill", length, router="modality"),
        Case("prefill", length, images=8),
        Case("prefill", batch_length, batch=8),
        Case("prefill", batch_length, batch=8, layout="mixed"),
        *(Case(kind, length, backend=backend) for kind in ("prefill", "train") for backend in BACKENDS),
        Case("train", length, layout="packed", backend="flash_attention_2"),
        Case("train", length, layout="packed", backend="flash_attention_3"),
    )


def decoding(length: int, new_tokens: int, compiled: bool = True) -> tuple[Case, ...]:
    """Decoding at batch 1 and 8, eager and compiled, and with rows of different image counts."""
    return tuple(
        Case("decode", length, batch=batch, layout=layout, new_tokens=new_tokens, compiled=way)
        for way in (False, True)[: 1 + compiled]
        for batch, layout in ((1, "plain"), (8, "plain"), (8, "mixed"))
    )


def latent(length: int, new_tokens: int, compiled: bool = False) -> tuple[Case, ...]:
    """Decoding from the latent form of the learners' cache, which has less to do without a rotary embedding."""
    return tuple(
        Case("decode", length, new_tokens=new_tokens, compiled=compiled, cache="latent", rope=rope)
        for rope in (True, False)
    )


def cpu() -> Preset:
    train = {length: Case("train", length, eager=True) for length in (512, 1024, 2048, 4096)}
    prefill = {length: Case("prefill", length, eager=length <= 4096) for length in (512, 1024, 2048, 4096, 8192)}
    answer, long_answer = Case("generate", 324, new_tokens=64), Case("generate", 324, new_tokens=256, eager=True)
    compiled_answer = Case("generate", 324, new_tokens=64, compiled=True)
    return Preset(
        shape=Shape(hidden=512, layers=8, heads=8, key_heads=4, intermediate=1376, dtype="float32"),
        cases=(
            *train.values(),
            *prefill.values(),
            *variants(1024, 512),
            Case("generate", 324, batch=8, new_tokens=64),
            *decoding(2048, 32),
            *latent(2048, 32),
        ),
        targets=(
            Target("training step, 1,024 tokens", train[1024], "time", 1.35),
            Target("training step, 4,096 tokens", train[4096], "time", 1.5),
            Target("prefill, 1,024 tokens", prefill[1024], "time", 1.35),
            Target("prefill, 4,096 tokens", prefill[4096], "time", 1.35),
            Target("generation of 64 tokens after 324", answer, "time", 1.3),
            Target("generation of 64 tokens after 324, compiled", compiled_answer, "time", 1.3),
            Target("peak memory of a step, 1,024 tokens", train[1024], "memory", 1.4),
            Target("peak memory of a step, 4,096 tokens", train[4096], "memory", 1.4),
            Target("growth of that memory when the length doubles (linear: 2)", train[4096], "growth", 2.1),
            Target("generation of 256 tokens, eager / wings", long_answer, "speedup", 20.0),
            Target("training step, 4,096 tokens, eager / wings", train[4096], "speedup", 3.0),
        ),
    )


def gpu() -> Preset:
    lengths = (512, 2048, 8192, 16384, 32768)
    train = {length: Case("train", length, eager=length <= 8192) for length in lengths}
    prefill = {length: Case("prefill", length, eager=length <= 8192) for length in lengths}
    compiled = Case("decode", 2048, new_tokens=64, compiled=True)
    return Preset(
        shape=Shape(hidden=4096, layers=4, heads=32, key_heads=8, intermediate=14336, dtype="bfloat16"),
        cases=(
            *train.values(),
            *prefill.values(),
            *variants(2048, 2048),
            Case("generate", 324, new_tokens=64),
            Case("generate", 324, new_tokens=64, compiled=True),
            Case("generate", 324, new_tokens=256, eager=True),
            *decoding(2048, 64),
            *latent(2048, 64, compiled=True),
        ),
        targets=(
            Target("training step, 2,048 tokens", train[2048], "time", 1.15),
            Target("training step, 16,384 tokens", train[16384], "time", 1.4),
            Target("prefill, 2,048 tokens", prefill[2048], "time", 1.15),
            Target("prefill, 16,384 tokens", prefill[16384], "time", 1.4),
            Target("compiled decode, batch 1 after 2,048 tokens", compiled, "time", 1.15),
            Target("peak memory of a step, 2,048 tokens", train[2048], "memory", 1.15),
            Target("peak memory of a step, 16,384 tokens", train[16384], "memory", 1.15),
        ),
    )


def quick() -> Preset:
    """Every kind of case at sizes that say nothing about speed."""
    train = [Case("train", length, eager=True) for length in (32, 64, 128)]
    answer = Case("generate", 32, new_tokens=4, eager=True)
    return Preset(
        shape=Shape(hidden=64, layers=2, heads=4, key_heads=2, intermediate=96, dtype="float32"),
        cases=(
            *train,
            Case("prefill", 64, eager=True),
            Case("train", 64, stage=1),
            Case("train", 64, router="modality", checkpointing=True, images=2),
            Case("train", 64, layout="packed"),
            Case("train", 64, batch=4, layout="mixed"),
            Case("train", 64, backend="eager"),
            Case("train", 64, backend="cudnn"),
            Case("train", 64, backend="flash_attention_2"),
            *decoding(64, 4, compiled=False),
            *latent(64, 4),
        ),
        targets=(
            Target("training step", train[2], "time", 1.35),
            Target("peak memory of a step", train[2], "memory", 1.4),
            Target("growth of that memory when the length doubles (linear: 2)", train[2], "growth", 2.1),
            Target("generation of 4 tokens, eager / wings", answer, "speedup", 20.0),
        ),
        caches=("bench",),
    )


PRESETS = {"cpu": cpu, "gpu": gpu, "quick": quick}
