# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Publishes with `push_to_hub` and with trainers, to the Hub of HF_ENDPOINT; run by test_push_to_hub.py."""

import sys
from pathlib import Path

import torch
from hub_parts import build_parts
from PIL import Image
from transformers import Trainer, TrainingArguments

from wings_hf.hub.trainer_card import PublishingTrainer

FOLDER = Path(sys.argv[1])
model, processor = build_parts()
model.config.text_config._name_or_path = "owner/llm"
model.push_to_hub("ann/pushed", private=True)
processor.push_to_hub("ann/pushed")
model.config.learner_cache = "latent"
model.push_to_hub("ann/pushed", revision="later", commit_message="to a branch")
model.config.learner_cache = "plain"

row = {
    name: torch.as_tensor(value[0])
    for name, value in processor(text="a <image>", images=Image.new("RGB", (8, 8))).items()
}
row["labels"] = row["input_ids"].masked_fill(row["mm_token_type_ids"] == 1, -100)


def train(kind: type, name: str, **arguments) -> Trainer:
    settings = TrainingArguments(
        str(FOLDER / name),
        max_steps=2,
        per_device_train_batch_size=1,
        save_steps=1,
        report_to=[],
        use_cpu=True,
        push_to_hub=True,
        hub_model_id=f"ann/{name}",
        **arguments,
    )
    trainer = kind(model, settings, train_dataset=[row] * 2, processing_class=processor)
    trainer.train()
    return trainer


train(Trainer, "plain", hub_strategy="end").push_to_hub()
train(PublishingTrainer, "ours", hub_strategy="every_save", hub_always_push=True).push_to_hub()
card = FOLDER / "ours" / "README.md"
card.write_text(card.read_text() + "\nMy own words.\n")
train(PublishingTrainer, "ours", hub_strategy="end").push_to_hub()
try:
    train(PublishingTrainer, "refused", hub_token="hf_secretsecretsecretsecret")
except ValueError as error:
    print("refused:", error)
