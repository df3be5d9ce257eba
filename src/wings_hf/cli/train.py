# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Give a language model sight: train projector and learners, then tune, on your own images and conversations.

DATA is a .json file in LLaVA's format, a list of
  {"id": "1", "image": "cat.jpg", "conversations": [{"from": "human", "value": "<image>\\nWhat is this?"},
                                                    {"from": "gpt", "value": "A cat."}]}
or a .jsonl file of chat messages, one record a line:
  {"messages": [{"role": "user", "content": [{"type": "image", "path": "cat.jpg"},
                                             {"type": "text", "text": "What is this?"}]},
                {"role": "assistant", "content": "A cat."}]}
Image paths are relative to the file. Records without images are text-only turns; mix them in to keep what the
language model knows. Only what the assistant says is learned.

Training has two stages. "align" teaches the projector and the visual learners to read images while the language
model is frozen; "tune" adds the textual learners and the router, and lets the language model move in smaller steps.
The vision tower is frozen throughout. Each stage leaves a model folder: OUTPUT/align and OUTPUT/tune.
"""

import argparse
import dataclasses
import logging
from pathlib import Path

HELP = "train a model that sees from a language model, a vision model and a data file"
EXAMPLE = """example:
  wings-hf train --text-model Qwen/Qwen2.5-0.5B-Instruct --vision-model google/siglip-base-patch16-224 \\
      --data llava_instruct.json --image-folder images --output my-model
  wings-hf chat my-model/tune --image photo.jpg"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    models = parser.add_argument_group("models")
    models.add_argument("--text-model", required=True, metavar="MODEL", help="causal language model: name or folder")
    models.add_argument("--vision-model", required=True, metavar="MODEL", help="vision tower: name or folder")
    models.add_argument(
        "--image-processor", metavar="MODEL", help="where to take the image processor from (default: the vision model)"
    )
    models.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="where the models go")
    models.add_argument(
        "--recipe",
        choices=("wings", "exact", "plain"),
        default="wings",
        help="wings: as above (default). exact: the language model never moves and learners act after images only, so "
        "that text-only answers stay what they were. plain: no learners, as in LLaVA",
    )
    models.add_argument("--learner-rank", type=_positive, default=64, metavar="R", help="rank of the learners (64)")
    _add_data_arguments(parser.add_argument_group("data"))
    _add_training_arguments(parser.add_argument_group("training"))


def _add_data_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--data", nargs="+", required=True, metavar="FILE", help=".json and .jsonl files")
    group.add_argument(
        "--align-data", nargs="+", default=(), metavar="FILE", help="other data for the first stage (default: --data)"
    )
    group.add_argument("--image-folder", metavar="FOLDER", help="what image paths are relative to")
    group.add_argument(
        "--on-error",
        choices=("raise", "skip"),
        default="raise",
        help="a record with a missing or broken image, or that does not fit: stop (default), or leave it out",
    )
    group.add_argument(
        "--max-length",
        type=_positive,
        metavar="TOKENS",
        help="longest sample, image tokens included; the oldest turns of longer ones are left out, images whole",
    )


def _add_training_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--align-rate", type=float, default=1e-3, metavar="LR", help="learning rate of stage 1 (1e-3)")
    group.add_argument(
        "--tune-rate", type=float, default=1e-4, metavar="LR", help="of projector, learners, router in stage 2 (1e-4)"
    )
    group.add_argument(
        "--language-model-rate", type=float, default=1e-5, metavar="LR", help="of the language model in stage 2 (1e-5)"
    )
    group.add_argument("--align-epochs", type=float, default=1.0, metavar="N", help="passes over the data (1)")
    group.add_argument("--tune-epochs", type=float, default=1.0, metavar="N", help="passes over the data (1)")
    group.add_argument("--max-steps", type=_positive, default=-1, metavar="N", help="steps of each stage, at most")
    group.add_argument("--batch-size", type=_positive, default=8, metavar="N", help="samples per device and step (8)")
    group.add_argument("--accumulate", type=_positive, default=1, metavar="N", help="batches per step (1)")
    group.add_argument("--weight-decay", type=float, default=0.0, metavar="W", help="of weight matrices (0)")
    group.add_argument("--save-steps", type=_positive, default=500, metavar="N", help="steps between checkpoints (500)")
    group.add_argument("--workers", type=int, default=0, metavar="N", help="processes that read images (0: none)")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="of everything random (0)")
    group.add_argument("--bf16", action="store_true", help="compute in bfloat16")
    group.add_argument("--gradient-checkpointing", action="store_true", help="save memory, take more time")
    group.add_argument("--resume", action="store_true", help="continue an interrupted run in OUTPUT")


def run(args: argparse.Namespace) -> int:
    from wings_hf.training.run import TrainingRun, train

    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("wings_hf").setLevel(logging.INFO)
    fields = {field.name for field in dataclasses.fields(TrainingRun)}
    folder = train(TrainingRun(**{name: value for name, value in vars(args).items() if name in fields}))
    print(f"\nDone. Talk to the model: wings-hf chat {folder} --image FILE")
    return 0


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, got {text}")
    return value
