# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
What the wings cost: times of the same backbone with and without them, as ratios measured side by side.

Each case runs both models in turn in one process and compares pair by pair, since machines drift. Without wings is
`learners=()`, the plain backbone on the same embeddings.

    python benchmarks/overhead.py --length 512 --repeats 5
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import LlamaConfig
from transformers.utils import logging

from wings_hf import WingsConfig, WingsForCausalLM

logging.set_verbosity_error()


def build(arguments: argparse.Namespace, learners: tuple[str, ...], **options: object) -> WingsForCausalLM:
    """A model with random weights throughout, in float32."""
    text = LlamaConfig(
        vocab_size=1000,
        hidden_size=arguments.hidden,
        intermediate_size=arguments.hidden * 8 // 3,
        num_hidden_layers=arguments.layers,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=2 * arguments.length,
    )
    config = WingsConfig(
        text_config=text,
        vision_feature_size=64,
        learners=learners,
        learner_rank=max(arguments.hidden // 64, 1),
        router_positions=2 * arguments.length,
        **options,
    )
    torch.manual_seed(0)
    model = WingsForCausalLM(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    model.generation_config.eos_token_id = None
    return model


def cases(arguments: argparse.Namespace, model: WingsForCausalLM) -> dict[str, Callable[[], object]]:
    """What is timed: a training step, a prefill, and the generation of tokens after it."""
    image_tokens = arguments.length // 4
    ids = torch.randint(3, 900, (1, arguments.length))
    ids[:, 8 : 8 + image_tokens] = model.config.image_token_id
    features = torch.randn(1, image_tokens, 64)
    labels = ids.masked_fill(ids == model.config.image_token_id, -100)

    def train() -> None:
        model.train().zero_grad()
        model(input_ids=ids, pixel_values=features, labels=labels, use_cache=False).loss.backward()

    @torch.no_grad()
    def prefill() -> None:
        model.eval()(input_ids=ids, pixel_values=features, logits_to_keep=1)

    def generate() -> None:
        model.eval().generate(ids, pixel_values=features, max_new_tokens=arguments.new_tokens, do_sample=False)

    return {"training step": train, "prefill": prefill, f"generate {arguments.new_tokens} tokens": generate}


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(arguments: argparse.Namespace) -> list[dict]:
    """For each case and kind of wings, the ratio of times with to without, pair by pair."""
    plain = cases(arguments, build(arguments, ()))
    kinds = {
        "stage 1": build(arguments, ("visual",)),
        "stage 2, position router": build(arguments, ("visual", "textual")),
        "stage 2, modality router": build(arguments, ("visual", "textual"), router="modality"),
    }
    rows = []
    for kind, model in kinds.items():
        for name, function in cases(arguments, model).items():
            seconds(function), seconds(plain[name])  # warm up
            pairs = [(seconds(function), seconds(plain[name])) for _ in range(arguments.repeats)]
            ratios = sorted(ours / theirs for ours, theirs in pairs)
            median = statistics.median(ratios)
            rows.append({"wings": kind, "case": name, "ratio": median, "least": ratios[0], "most": ratios[-1]})
            print(f"{kind:26} {name:20} {median:5.2f} x  ({ratios[0]:.2f} to {ratios[-1]:.2f})", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=1024, help="tokens of the prompt, a quarter of them visual")
    parser.add_argument("--hidden", type=int, default=512, help="hidden size; the learners' rank is a 64th of it")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="write the rows to this JSON file")
    arguments = parser.parse_args()
    rows = compare(arguments)
    if arguments.out:
        arguments.out.write_text(json.dumps({"settings": vars(arguments) | {"out": None}, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
