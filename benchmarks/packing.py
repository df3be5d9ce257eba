# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
What packing and grouping by length save on samples of very different lengths, with and without images.

The same records are trained on in three ways, in turn in one process: batches in random order, batches grouped by
length and modality, and packed rows. Printed are real tokens (no padding) per second as ratios to the first, and the
part of what the model computes that is no padding.

    python benchmarks/packing.py --records 256 --repeats 3
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from wings_hf import WingsForCausalLM
from wings_hf.data.collator import ConversationCollator
from wings_hf.data.conversations import Conversations, open_data
from wings_hf.data.lengths import TokenCounter
from wings_hf.data.mixing import generator
from wings_hf.demo.parts import build_digit_classifier, build_processor, build_tokenizer

logging.set_verbosity_error()


def write_records(folder: Path, count: int, longest: int) -> Path:
    """Conversations whose lengths are spread over two orders of magnitude; every second one has images."""
    rng = generator(0)
    Image.new("RGB", (16, 16), "red").save(folder / "a.png")
    lines = []
    for _ in range(count):
        words = int(4 * (longest / 4) ** rng.random() ** 1.5)
        images = int(rng.integers(1, 4)) if rng.random() < 0.5 else 0
        question = "<image>" * images + "How many of these?"
        answer = " ".join(str(number) for number in rng.integers(0, 10, max(words, 1)))
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        lines.append(json.dumps({"messages": turns, "images": ["a.png"] * images}))
    (folder / "data.jsonl").write_text("\n".join(lines))
    return folder / "data.jsonl"


def build_model(tokenizer: object, width: int, layers: int, length: int) -> WingsForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),  # type: ignore[arg-type]
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=2 * length,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    return WingsForCausalLM.from_backbones(
        LlamaForCausalLM(config), build_digit_classifier(), tokenizer=tokenizer, learner_rank=4, vision_feature_layer=-1
    ).train()


def ways(data: Conversations, processor: object, batch: int, length: int) -> dict[str, list[dict]]:
    """The batches of each way, made beforehand: what is timed is the model."""
    padded = ConversationCollator(processor, max_length=length)
    packed = ConversationCollator(processor, max_length=length, packing=True)
    return {
        "random": list(DataLoader(data, batch, collate_fn=padded)),
        "grouped": list(DataLoader(data.grouped(batch), batch, collate_fn=padded)),
        "packed": list(DataLoader(data.packed(length), 2, collate_fn=packed)),
    }


def time_pass(model: WingsForCausalLM, batches: list[dict]) -> float:
    """Seconds of forward and backward over all batches."""
    begin = time.perf_counter()
    for batch in batches:
        model(**{"use_cache": False, **batch}).loss.backward()
        model.zero_grad()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8, help="samples of a padded batch (8)")
    parser.add_argument("--length", type=int, default=512, help="tokens of a sample and of a row, at most (512)")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    tokenizer = build_tokenizer()
    processor = build_processor(tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        path = write_records(Path(folder), arguments.records, int(0.9 * arguments.length))
        data = open_data(path).measured(TokenCounter(processor, arguments.length))
        tokens = int(data.lengths.sum())
        batches = ways(data, processor, arguments.batch, arguments.length)
    model = build_model(tokenizer, arguments.width, arguments.layers, arguments.length)
    for made in batches.values():
        time_pass(model, made[:2])
    times = [{name: time_pass(model, made) for name, made in batches.items()} for _ in range(arguments.repeats)]
    print(f"{len(data)} records of {data.lengths.min()} to {data.lengths.max()} tokens, {tokens} in all")
    for name, made in batches.items():
        computed = sum(batch["input_ids"].numel() for batch in made)
        ratio = statistics.median(run["random"] / run[name] for run in times)
        print(f"{name:8} {tokens / computed:6.1%} of what is computed is no padding; tokens/s x {ratio:.2f}")


if __name__ == "__main__":
    main()
