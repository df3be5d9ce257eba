# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Teach a Wings model your images; its language model stays frozen, unless you say otherwise.

    python examples/fine_tune_on_your_images.py wings-demo/model --data data.jsonl --output my-images

DATA are conversations, a JSON object a line (docs/data.md): {"messages": [{"role": "user", "content": "<image>What is
this?"}, {"role": "assistant", "content": "A pear."}], "images": ["pear.jpg"]}
"""

import argparse
from collections.abc import Sequence

import torch
from transformers import TrainingArguments

from wings_hf import WingsForCausalLM, WingsProcessor
from wings_hf.data.collator import ConversationCollator
from wings_hf.data.conversations import open_data
from wings_hf.training.stages import Stage, part_of
from wings_hf.training.trainer import stage_trainer


def stage_for(model: WingsForCausalLM, rate: float, language_model_rate: float | None) -> Stage:
    """The stage in which all that the model has beside its language model moves, and that too at a rate of its own."""
    parts = {part_of(name) for name, _ in model.named_parameters()} - {"language_model", "vision_tower"}
    rates = dict.fromkeys(sorted(parts), rate)
    if language_model_rate is not None:
        rates["language_model"] = language_model_rate
    return Stage("images", rates, learners=model.config.learners)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder or name of a Wings model with its processor")
    parser.add_argument("--data", nargs="+", required=True, help="conversations with images")
    parser.add_argument("--image-folder", help="what image paths are relative to (the data's folder), / for absolute")
    parser.add_argument("--output", required=True, help="a folder for the trained model")
    parser.add_argument("--rate", type=float, default=1e-4, help="learning rate of projector, learners, router (1e-4)")
    parser.add_argument("--language-model-rate", type=float, help="of the language model (default: it is frozen)")
    parser.add_argument("--epochs", type=float, default=1.0, help="passes over the data (1)")
    parser.add_argument("--batch-size", type=int, default=8, help="conversations in a batch (8)")
    parser.add_argument("--max-length", type=int, default=2048, help="longest conversation in tokens (2048)")
    options = parser.parse_args(arguments)

    # What learns is float32: in bfloat16 small steps round to none.
    model = WingsForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    processor = WingsProcessor.from_pretrained(options.model)
    conversations = open_data(options.data, on_error="skip", image_folder=options.image_folder)
    for problem in conversations.problems:
        print(f"left out: {problem}")
    training = TrainingArguments(
        f"{options.output}-checkpoints",
        per_device_train_batch_size=options.batch_size,
        num_train_epochs=options.epochs,
        lr_scheduler_type="cosine",
        warmup_steps=0.03,  # below 1: a share of all steps
        bf16=torch.accelerator.is_available(),
        remove_unused_columns=False,
        logging_steps=10,
        report_to="none",
    )
    stage = stage_for(model, options.rate, options.language_model_rate)
    collator = ConversationCollator(processor, max_length=options.max_length)
    trainer = stage_trainer(model, stage, training, conversations, collator)
    trainer.train()
    trainer.save_model(options.output)
    processor.save_pretrained(options.output)
    print(f"saved in {options.output}; talk to it: wings-hf chat {options.output} --image FILE")


if __name__ == "__main__":
    main()
