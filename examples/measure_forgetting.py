# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""How much worse does a model predict text than the language model it was made of? For any models of transformers.

    python examples/measure_forgetting.py Qwen/Qwen2.5-0.5B-Instruct my-model/tune other-vlm --text held_out.txt

TEXT is one that none of them was trained on: paragraphs (.txt), or conversations of text (.jsonl, "messages"). It goes
through the language model's tokenizer; the others must have the same one. Loss and divergence are in nats per token;
the divergence is taken over the 64 likeliest tokens of the language model and all others together.
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any

import torch

from wings_hf.evaluation.models import default_device, load
from wings_hf.training.recipes import Retention
from wings_hf.training.retention import make_reference, measure, read_texts


def open_model(name: str, trust_remote_code: bool) -> tuple[Any, Any]:
    """The model of that name, an image-text model or a causal one, in float32, and its tokenizer."""
    model, processor = load(name, trust_remote_code, dtype=torch.float32)
    return model.to(default_device()), getattr(processor, "tokenizer", processor)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="name or folder of the language model, before it saw")
    parser.add_argument("models", nargs="+", metavar="model", help="names or folders of what became of it")
    parser.add_argument("--text", required=True, help="a .txt file of paragraphs or a .jsonl file of messages")
    parser.add_argument("--samples", type=int, default=200, help="paragraphs at most (200)")
    parser.add_argument("--max-length", type=int, default=512, help="tokens of a paragraph at most (512)")
    parser.add_argument("--json", help="write the numbers into this file, too")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that comes with the models")
    options = parser.parse_args(arguments)

    base, tokenizer = open_model(options.base, options.trust_remote_code)
    plan = Retention(data=options.text, samples=options.samples, max_length=options.max_length)
    texts = read_texts(plan, tokenizer)
    sample = tokenizer.decode(texts[0], skip_special_tokens=True)
    reference = make_reference(base, texts)
    found = {options.base: measure(base, texts, reference)}
    del base
    print(f"{len(texts)} texts, {sum(map(len, texts)):,} tokens\n\n{'loss':>9}{'lost':>9}{'KL':>9}  model")
    for name in [options.base, *options.models]:
        if name not in found:
            model, other = open_model(name, options.trust_remote_code)
            if other(sample)["input_ids"] != tokenizer(sample)["input_ids"]:
                raise ValueError(f"{name} has another tokenizer than {options.base}: losses per token do not compare.")
            found[name] = measure(model, texts, reference)
        loss, divergence = found[name]["retention_loss"], found[name]["retention_kl"]
        print(f"{loss:>9.4f}{loss - found[options.base]['retention_loss']:>9.4f}{divergence:>9.4f}  {name}")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(found, file, indent=2)


if __name__ == "__main__":
    main()
