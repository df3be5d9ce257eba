# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Both stages of training in plain Python, with the `Trainer` of transformers.

    python examples/train_with_trainer.py --text-model Qwen/Qwen3-0.6B --vision-model google/siglip2-base-patch16-224 \
        --data data.jsonl --output wings

`wings-hf train` does the same from a recipe. Here every step can be changed.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from transformers import AutoImageProcessor, AutoTokenizer, Trainer, TrainingArguments

from wings_hf import WingsForCausalLM, WingsProcessor
from wings_hf.data.collator import ConversationCollator
from wings_hf.data.conversations import open_data
from wings_hf.training.stages import Stage, begin_stage, optimizer_for

# Learning rates by part; what has none is frozen. Section 3.3 of the paper: first the new parts learn what images are,
# then the textual learners and the router join, and the language model moves in small steps.
STAGES = (
    Stage("align", {"projector": 1e-3, "visual_learner": 1e-3}, learners=("visual",)),
    Stage(
        "tune",
        {
            "projector": 1e-4,
            "visual_learner": 1e-4,
            "textual_learner": 1e-4,
            "router": 1e-4,
            "language_model": 1e-5,
        },
        learners=("visual", "textual"),
    ),
)


def build(text_model: str, vision_model: str, rank: int) -> tuple[WingsForCausalLM, WingsProcessor]:
    """The model as it is before training, and its processor."""
    tokenizer = AutoTokenizer.from_pretrained(text_model)
    model = WingsForCausalLM.from_backbones(
        text_model, vision_model, tokenizer=tokenizer, learners=STAGES[0].learners, learner_rank=rank
    )
    images = AutoImageProcessor.from_pretrained(vision_model)
    return model, WingsProcessor.from_model_config(model.config, images, tokenizer)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text-model", required=True, help="name or path of a causal language model")
    parser.add_argument("--vision-model", required=True, help="name or path of an image encoder")
    parser.add_argument("--data", nargs="+", required=True, help="conversations, see docs/data.md")
    parser.add_argument("--output", type=Path, required=True, help="folder for the model of each stage")
    parser.add_argument("--rank", type=int, default=64, help="rank of the learners")
    parser.add_argument("--batch-size", type=int, default=8, help="conversations in a batch")
    parser.add_argument("--max-steps", type=int, default=-1, help="steps in each stage (default: one pass)")
    options = parser.parse_args(arguments)

    model, processor = build(options.text_model, options.vision_model, options.rank)
    collator = ConversationCollator(processor, max_length=2048, on_error="skip")
    for stage in STAGES:
        begin_stage(model, stage)  # adds the learners that it needs, and freezes what it does not train
        conversations = open_data(options.data, on_error="skip")
        if stage.name == "align":
            conversations = conversations.with_images()  # text alone teaches nothing to what moves here
        training = TrainingArguments(
            str(options.output / f"{stage.name}-checkpoints"),
            per_device_train_batch_size=options.batch_size,
            num_train_epochs=1,
            max_steps=options.max_steps,
            lr_scheduler_type="cosine",
            warmup_steps=0.03,  # below 1: a share of all steps
            remove_unused_columns=False,
            logging_steps=10,
            report_to="none",
        )
        trainer = Trainer(
            model,
            args=training,
            train_dataset=conversations,
            data_collator=collator,
            optimizer_cls_and_kwargs=optimizer_for(model, stage, training),
        )
        trainer.train()
        trainer.save_model(str(options.output / stage.name))
        processor.save_pretrained(options.output / stage.name)


if __name__ == "__main__":
    main()
