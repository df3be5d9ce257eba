# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Give a language model sight: train projector and learners, then tune, on your own images and conversations.

RECIPE is the name of a recipe of the package (--list) or a YAML file; it says everything that can be said about a
run (--fields explains each field). The options below set the fields that are needed most; --set sets any:
  wings-hf train wings --text-model LLM --vision-model TOWER --data data.json --output my-model \\
      --set stage2.learning_rate=5e-5 stages.max_steps=1000

DATA is a .json file in LLaVA's format, a .jsonl file of chat messages, or another source (docs/data.md). Records
without images are text-only turns; mix them in to keep what the language model knows. Only what the assistant says is
learned.

The paper's recipe has two stages. "align" teaches the projector and the visual learners to read images while the
language model is frozen; "tune" adds the textual learners and the router, and lets the language model move in smaller
steps. The vision tower is frozen throughout. Each stage leaves a model folder: OUTPUT/align and OUTPUT/tune.
"""

import argparse
import logging
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from wings_hf.cli.output import add_json, note, result

HELP = "train a model that sees from a language model, a vision model and a data file"
EXAMPLE = """example:
  wings-hf train --text-model Qwen/Qwen2.5-0.5B-Instruct --vision-model google/siglip-base-patch16-224 \\
      --data llava_instruct.json --image-folder images --output my-model
  wings-hf chat my-model/tune --image photo.jpg"""

# Options that are short for `--set PATH=VALUE`.
SHORT = {
    "text_model": ("text_model", "MODEL", "causal language model: name or folder"),
    "vision_model": ("vision_model", "MODEL", "vision tower: name or folder"),
    "image_processor": (
        "image_processor",
        "MODEL",
        "where to take the image processor from (default: the vision model)",
    ),
    "image_folder": ("image_folder", "FOLDER", "what image paths are relative to"),
    "on_error": ("on_error", "raise|skip", "a record that cannot be used: stop (default), or leave it out"),
    "learner_rank": ("model.learner_rank", "R", "rank of the learners"),
    "max_length": ("stages.max_length", "TOKENS", "longest sample, image tokens included"),
    "max_steps": ("stages.max_steps", "N", "steps of each stage, at most"),
    "epochs": ("stages.epochs", "N", "passes over the data in each stage"),
    "per_device_batch_size": ("stages.per_device_batch_size", "N", "samples in a batch on each device"),
    "batch_size": ("stages.batch_size", "N", "samples in an optimizer step over all devices"),
    "precision": ("precision", "fp32|bf16|fp16", "what computation runs in"),
    "save_steps": ("save_steps", "N", "steps between checkpoints"),
    "workers": ("workers", "N", "processes that prepare batches"),
    "seed": ("seed", "N", "of everything random"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("recipe", nargs="?", default="wings", metavar="RECIPE", help="name or YAML file (wings)")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where the models go")
    parser.add_argument("--data", nargs="+", metavar="SOURCE", help="records for all stages")
    parser.add_argument("--align-data", nargs="+", metavar="SOURCE", help="other records for the first stage")
    for name, (path, metavar, text) in SHORT.items():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, help=f"{text} [{path}]")
    parser.add_argument(
        "--gradient-checkpointing", action="store_true", help="save memory, take more time [activation_checkpointing]"
    )
    parser.add_argument("--set", nargs="+", default=[], metavar="PATH=VALUE", help="any field of the recipe")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run in OUTPUT")
    parser.add_argument(
        "--dry-run", action="store_true", help="print sizes, parameters, tokens and memory of each stage, train nothing"
    )
    parser.add_argument("--list", action="store_true", help="list the recipes of the package and leave")
    parser.add_argument("--fields", action="store_true", help="explain every field of a recipe and leave")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from wings_hf.training import recipes

    if args.list:
        known = recipes.available()
        result(args, known, "\n".join(f"{name:28} {about}" for name, about in known.items()))
        return 0
    if args.fields:
        result(args, {"fields": recipes.fields()}, recipes.fields())
        return 0
    recipe = recipes.load_recipe(args.recipe, _changes(args))
    if args.dry_run:
        from wings_hf.training.dry_run import report

        text = report(recipe)
        result(args, {"report": text}, text)
        return 0
    if args.output is None:
        raise ValueError("--output is missing: the folder where the models go.")
    from wings_hf.training.run import train

    first = os.environ.get("RANK", "0") == "0"  # of the processes of a launcher
    if not first:
        logging.getLogger("wings_hf").setLevel(logging.WARNING)
    try:
        with redirect_stdout(sys.stderr):  # where Trainer prints what it logs
            folder = train(recipe, args.output, args.resume)
    except KeyboardInterrupt:
        note(f"\nthe same command with --resume goes on from the newest checkpoint in {args.output}")
        raise
    if first:
        result(args, {"model": folder}, f"\nDone. Talk to the model: wings-hf chat {folder} --image FILE")
    return 0


def _changes(args: argparse.Namespace) -> dict[str, Any]:
    """What the command line sets, by path; `--set` has the last word."""
    from wings_hf.training.recipes import parse_changes

    given = [f"{path}={getattr(args, name)}" for name, (path, _, _) in SHORT.items() if getattr(args, name) is not None]
    changes = parse_changes(given)
    if args.data:
        changes["data"] = args.data
    if args.align_data:
        changes["stage1.data"] = args.align_data
    if args.gradient_checkpointing:
        changes["activation_checkpointing"] = True
    return {**changes, **parse_changes(args.set)}
