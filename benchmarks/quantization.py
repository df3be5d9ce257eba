# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
What quantisation costs in quality, on the model and the questions of the demo.

    wings-hf demo
    python benchmarks/quantization.py wings-demo --json quantization.json

For each method: the share of right answers about pictures ("sees") and from the text tasks ("remembers"), the mean
Kullback-Leibler divergence of the predicted answer tokens from those in full precision (nats per token), and the size
of the saved weights. torchao's int4 is `IntxWeightOnlyConfig`, which runs on a CPU and keeps each number in a byte.
Three variants:

    default        the language model's blocks; learners, router, projector, tower and head are kept
    wings too      learners rounded as well, in the same format (they are parameters, which no library quantises)
    all layers     every linear layer but the head: projector and vision tower as well

Methods whose library is missing are left out.
"""

import argparse
import importlib.util
import json
import logging as python_logging
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig, TorchAoConfig
from transformers.utils import logging

from wings_hf import WingsForCausalLM
from wings_hf.data.collator import IGNORED
from wings_hf.demo.experiment import Experiment
from wings_hf.demo.scoring import accuracy
from wings_hf.demo.settings import DemoSettings
from wings_hf.modeling.wings_learners import LowRankLearner

METHODS = ("torchao int8", "torchao int4", "bitsandbytes 8-bit", "bitsandbytes nf4", "bitsandbytes fp4")
VARIANTS = ("default", "wings too", "all layers")
GROUP = 32  # weights that share a scale in torchao's int4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="the folder of a finished `wings-hf demo`")
    parser.add_argument("--questions", type=int, help="per task (as many as the demo asks)")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    arguments = parser.parse_args()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    python_logging.getLogger("bitsandbytes.autograd._functions").setLevel("ERROR")

    settings = DemoSettings(**json.loads((arguments.demo / "settings.json").read_text()))
    experiment = Experiment(arguments.demo, settings)
    questions = experiment._questions("test", arguments.questions or settings.test_questions)
    folder = arguments.demo / "model"
    model = WingsForCausalLM.from_pretrained(folder)
    rows = [{"method": "full precision", "variant": "", **measure(model, questions, full := {})}]
    print(header())
    print(line(rows[0]))
    for method in METHODS:
        if importlib.util.find_spec(method.split()[0]) is None:
            print(f"{method}: {method.split()[0]} is not installed")
            continue
        for variant in VARIANTS:
            exceptions = ["lm_head"] if variant == "all layers" else None
            model = WingsForCausalLM.from_pretrained(folder, quantization_config=configuration(method, exceptions))
            if variant == "wings too":
                round_learners(model, method)
            rows.append({"method": method, "variant": variant, **measure(model, questions, full)})
            print(line(rows[-1]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"questions": arguments.questions, "rows": rows}, indent=2) + "\n")


def configuration(method: str, exceptions: list[str] | None) -> Any:
    if method == "bitsandbytes 8-bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=exceptions)
    if method.startswith("bitsandbytes"):
        kind = method.split()[1]
        return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=kind, llm_int8_skip_modules=exceptions)
    return TorchAoConfig(torchao_weights(method, GROUP), modules_to_not_convert=exceptions)


def torchao_weights(method: str, group: int) -> Any:
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig
    from torchao.quantization.granularity import PerGroup

    return Int8WeightOnlyConfig() if method == "torchao int8" else IntxWeightOnlyConfig(torch.int4, PerGroup(group))


# ---- learners -----------------------------------------------------------------------------------------------


@torch.no_grad()
def round_learners(model: nn.Module, method: str) -> None:
    """Replaces the learners' maps by what they would be after quantising and back."""
    rounded = rounding(method)
    for module in model.modules():
        if isinstance(module, LowRankLearner):
            for parameter in module.parameters():  # (in, out); the libraries expect (out, in)
                parameter.copy_(rounded(parameter.T.contiguous()).T)


def rounding(method: str) -> Callable[[torch.Tensor], torch.Tensor]:
    if method.startswith("torchao"):
        from torchao.quantization import quantize_

        def through_torchao(weight: torch.Tensor) -> torch.Tensor:
            layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
            layer.weight.data = weight.clone()
            quantize_(layer, torchao_weights(method, math.gcd(GROUP, weight.shape[1])))
            return layer.weight.dequantize()

        return through_torchao
    from bitsandbytes import functional

    if method == "bitsandbytes 8-bit":

        def through_int8(weight: torch.Tensor) -> torch.Tensor:
            numbers, scales, _ = functional.int8_vectorwise_quant(weight.half())
            return numbers.to(weight.dtype) * scales[:, None].to(weight.dtype) / 127

        return through_int8
    kind = method.split()[1]
    return lambda weight: functional.dequantize_4bit(*functional.quantize_4bit(weight, quant_type=kind)).to(
        weight.dtype
    )


def saved_size(model: nn.Module) -> int:
    """Bytes of the weights on the disk."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return sum(path.stat().st_size for path in Path(folder).glob("*.safetensors"))


# ---- scores -------------------------------------------------------------------------------------------------


@torch.no_grad()
def measure(model: nn.Module, questions: dict[str, dict[str, Any]], full: dict) -> dict[str, float]:
    """Accuracy and divergence from `full`, the predictions in full precision; fills it where it is empty."""
    result: dict[str, float] = {"megabytes": saved_size(model) / 1e6}
    first = not full
    for kind, name in (("sight", "sees"), ("text", "remembers")):
        answers: dict[str, list[bool]] = {}
        divergence, tokens = 0.0, 0
        for task, batches in questions[kind].items():
            answers[task] = []
            for number, batch in enumerate(batches):
                labels = batch["labels"][:, 1:]
                inputs = {key: value for key, value in batch.items() if key != "labels"}
                logits = model(**inputs, use_cache=False).logits[:, :-1].float()
                answers[task] += ((logits.argmax(-1) == labels) | (labels == IGNORED)).all(-1).tolist()
                predicted = logits[labels != IGNORED].log_softmax(-1)
                expected = full.setdefault((kind, task, number), predicted) if first else full[kind, task, number]
                divergence += float((expected.exp() * (expected - predicted)).sum())
                tokens += len(predicted)
        result[name] = accuracy(answers)
        result[f"kl_{name}"] = divergence / tokens
    return result


def header() -> str:
    return f"{'':20}{'':14}{'MB':>8}{'sees':>8}{'remembers':>11}{'KL sees':>10}{'KL remembers':>14}"


def line(row: dict[str, Any]) -> str:
    return (
        f"{row['method']:20}{row['variant']:14}{row['megabytes']:8.2f}{row['sees']:8.3f}{row['remembers']:11.3f}"
        f"{row['kl_sees']:10.5f}{row['kl_remembers']:14.5f}"
    )


if __name__ == "__main__":
    main()
