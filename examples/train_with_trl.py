# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""LoRA on the language model, and the wings in full, with the `SFTTrainer` of TRL; text-only rows beside image rows.

    pip install 'wings_hf[train,peft]' trl datasets
    python examples/train_with_trl.py --model wings/align --data data.jsonl --output wings-sft

Rows are TRL's and the Hub's: `messages`, and `images`, a list that is empty where a row is text alone.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import peft
import torch
from datasets import Image, List, load_dataset
from trl import SFTConfig, SFTTrainer

from wings_hf import WingsForCausalLM, WingsProcessor
from wings_hf.data.collator import ConversationCollator
from wings_hf.data.records import to_messages
from wings_hf.training.adapters import train_in_float32, wings_lora_config


def read(path: str) -> Any:
    """The rows of a JSON lines file whose images are paths; any data set with such columns will do."""
    rows = load_dataset("json", data_files=path, split="train")
    return rows.cast_column("images", List(Image()))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a Wings model with its processor")
    parser.add_argument("--data", required=True, help="JSON lines of messages and images")
    parser.add_argument("--output", required=True, help="folder for the adapter and its processor")
    parser.add_argument("--rank", type=int, default=16, help="rank of the adapters")
    parser.add_argument("--learning-rate", type=float, default=1e-4, help="of adapters and wings alike")
    parser.add_argument("--batch-size", type=int, default=8, help="conversations in a batch")
    parser.add_argument("--max-steps", type=int, default=-1, help="steps (default: one pass)")
    options = parser.parse_args(arguments)

    accelerated = torch.accelerator.is_available()
    model = WingsForCausalLM.from_pretrained(options.model, dtype=torch.bfloat16 if accelerated else torch.float32)
    config = wings_lora_config(model, ["language_model"], r=options.rank, lora_alpha=2 * options.rank)
    model = train_in_float32(peft.get_peft_model(model, config))  # the frozen part stays in bfloat16
    processor = WingsProcessor.from_pretrained(options.model)
    # TRL's own collator works with assistant_only_loss=True; without, it has questions and placeholders of images
    # learned, too. This one leaves out the oldest turns of long conversations, whole, where TRL's truncates.
    collator = ConversationCollator(processor, max_length=2048)

    def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return collator([to_messages(row, None) for row in rows])

    training = SFTConfig(
        options.output,
        per_device_train_batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        num_train_epochs=1,
        max_steps=options.max_steps,
        bf16=accelerated,
        ddp_find_unused_parameters=False,  # text alone leaves no parameter without a gradient
        logging_steps=10,
        max_length=None,  # the collator's is the one that counts
        report_to="none",
    )
    trainer = SFTTrainer(
        model,
        args=training,
        train_dataset=read(options.data),
        data_collator=collate,
        processing_class=processor,
    )
    trainer.train()
    trainer.save_model()  # adapters, projector, learners and router; peft.PeftModel.from_pretrained loads them
    processor.save_pretrained(options.output)


if __name__ == "__main__":
    main()
