# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The benchmarks by the names they have here: which task of which harness, which metric, which local files.

Text sets are the 16 of the paper. Everything else about a task (prompt, filters, metric) is its harness's own.
"""

from dataclasses import dataclass
from pathlib import Path

ALIASES = ("text", "image", "all")


@dataclass(frozen=True)
class TextSet:
    """A set that lm-evaluation-harness runs.

    Args:
        task: task or group there, or a task file of `evaluation/tasks`.
        format: what `documents.READERS` calls its files.
        metric, filter: the score of a question, as the harness names it.
        shots: examples in the prompt; None for the task's own number.
        words: words one of which must be in the path of a local file, where a format serves two sets.
        by_subject: tasks are named `{format}_{subject}`.
        runs_code: needs leave to run what the model writes.
    """

    name: str
    task: str
    format: str
    metric: str = "acc"
    filter: str = "none"
    shots: int | None = None
    words: tuple[str, ...] = ()
    by_subject: bool = False
    runs_code: bool = False
    kind: str = "text"

    def has(self, path: Path) -> bool:
        """Whether a file of the format is of this set."""
        return not self.words or any(word in str(path).lower() for word in self.words)


@dataclass(frozen=True)
class ImageSet:
    """A set that lmms-eval runs.

    Args:
        task: its task there.
        metric: the metric of which a question's score is made; "" where a model's answer is compared by `rule`.
        rule: "letter" (the letter of the right choice) or "yes_no", where lmms-eval would ask a model on the web.
        has_answers: False where the answers are not public: outputs are kept, and there is no score.
    """

    name: str
    task: str
    metric: str = ""
    rule: str = ""
    has_answers: bool = True
    kind: str = "image"


TEXT_SETS = (
    TextSet("mmlu", "mmlu", "mmlu", shots=5, by_subject=True),
    TextSet("cmmlu", "cmmlu", "cmmlu", shots=5, by_subject=True),
    TextSet("arc_e", "arc_easy", "arc", "acc_norm", words=("easy", "arc-e", "arc_e")),
    TextSet("arc_c", "arc_challenge", "arc", "acc_norm", words=("challenge", "arc-c", "arc_c")),
    TextSet("winogrande", "winogrande", "winogrande"),
    TextSet("openbookqa", "openbookqa", "openbookqa", "acc_norm"),
    TextSet("race_m", "race_middle", "race", words=("middle",)),
    TextSet("race_h", "race", "race", words=("high",)),
    TextSet("wsc", "wsc", "wsc"),
    TextSet("chid", "chid", "chid"),
    TextSet("hellaswag", "hellaswag", "hellaswag", "acc_norm"),
    TextSet("siqa", "social_iqa", "siqa"),
    TextSet("piqa", "piqa", "piqa", "acc_norm"),
    TextSet("ocnli", "ocnli", "ocnli"),
    TextSet("gsm8k", "gsm8k", "gsm8k", "exact_match", "flexible-extract"),
    TextSet("mbpp", "mbpp_apart", "mbpp", "pass_at_1", runs_code=True),
)
IMAGE_SETS = (
    ImageSet("mmmu_val", "mmmu_val", "mmmu_acc"),
    ImageSet("mmmu_test", "mmmu_test", has_answers=False),
    ImageSet("mme", "mme", "mme_perception_score|mme_cognition_score"),
    ImageSet("mmbench_en", "mmbench_en_dev", rule="letter"),
    ImageSet("mmbench_cn", "mmbench_cn_dev", rule="letter"),
    ImageSet("scienceqa", "scienceqa_img", "exact_match"),
    ImageSet("seedbench", "seedbench", "seed_image"),
    ImageSet("ai2d", "ai2d", "exact_match"),
    ImageSet("hallusionbench", "hallusion_bench_image", rule="yes_no"),
)
SETS: dict[str, TextSet | ImageSet] = {each.name: each for each in (*TEXT_SETS, *IMAGE_SETS)}


def choose(names: str) -> list[TextSet | ImageSet]:
    """Sets of a list such as "mmlu,hellaswag", "text" or "all"; any other word is a task of lm-evaluation-harness.

    A task may be given with its metric: "lambada_openai:acc".
    """
    chosen: dict[str, TextSet | ImageSet] = {}
    for name in filter(None, (word.strip() for word in names.split(","))):
        if name in ALIASES:
            chosen |= {each.name: each for each in SETS.values() if name in ("all", each.kind)}
        elif name in SETS:
            chosen[name] = SETS[name]
        else:
            task, _, metric = name.partition(":")
            chosen[task] = TextSet(task, task, "", metric or "acc")
    if not chosen:
        raise ValueError(f"no tasks in {names!r}: expected names as {', '.join(list(SETS)[:3])}, or text, image, all.")
    return list(chosen.values())
