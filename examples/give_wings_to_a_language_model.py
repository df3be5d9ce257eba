# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Put a vision tower and wings to a language model, check that its text stayed what it was, and save the model.

    python examples/give_wings_to_a_language_model.py Qwen/Qwen3-0.6B google/siglip2-base-patch16-224 --output my-wings

Nothing is trained here: `examples/train_with_trainer.py` and `wings-hf train` do that.
"""

import argparse
from collections import Counter
from collections.abc import Sequence

import torch
from transformers import AutoImageProcessor, AutoModelForCausalLM, AutoTokenizer

from wings_hf import WingsForCausalLM, WingsProcessor
from wings_hf.training.stages import part_of

TEXT = "The quick brown fox jumps over the lazy dog."


@torch.no_grad()
def largest_difference(text_model: str, model: WingsForCausalLM, tokenizer) -> float:
    """Between the logits of `model` and those of its language model by itself, on a sentence without an image."""
    base = AutoModelForCausalLM.from_pretrained(text_model, dtype=model.dtype).eval()
    ids = tokenizer(TEXT, return_tensors="pt")["input_ids"]
    ours, theirs = model(input_ids=ids).logits, base(input_ids=ids).logits
    return (ours[..., : theirs.shape[-1]] - theirs).abs().max().item()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text_model", help="name or folder of a causal language model")
    parser.add_argument("vision_model", help="name or folder of an image encoder")
    parser.add_argument("--image-processor", help="name or folder of an image processor (that of the vision model)")
    parser.add_argument("--output", required=True, help="a folder for the model and its processor")
    parser.add_argument("--rank", type=int, default=64, help="rank of the learners (64)")
    parser.add_argument("--exact", action="store_true", help="learners act where an image is visible, nowhere else")
    options = parser.parse_args(arguments)

    tokenizer = AutoTokenizer.from_pretrained(options.text_model)
    model = WingsForCausalLM.from_backbones(
        options.text_model,
        options.vision_model,
        tokenizer=tokenizer,  # which gives the placeholder of images an id that it leaves unused
        learner_rank=options.rank,
        learner_scope="visual_context" if options.exact else "always",
    ).eval()
    images = AutoImageProcessor.from_pretrained(options.image_processor or options.vision_model)
    processor = WingsProcessor.from_model_config(model.config, images, tokenizer)

    sizes: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        sizes[part_of(name)] += parameter.numel()
    for part, size in sizes.items():
        print(f"{part:<20}{size:>16,} parameters")
    difference = largest_difference(options.text_model, model, tokenizer)
    print(f"largest difference to the language model's own logits, on text: {difference:g}")

    model.save_pretrained(options.output)
    processor.save_pretrained(options.output)
    print(f"saved in {options.output}")


if __name__ == "__main__":
    main()
