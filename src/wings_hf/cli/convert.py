# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Turn the checkpoint that the authors of Wings released into a folder that transformers loads, and back.

SRC is a folder with model.safetensors, or with shards and their index, or a name on the Hub. Sizes are read from the
tensors. What they cannot tell comes from a config.json beside them or from the models that you name; both must agree.
Every tensor is placed, kept aside in unused.safetensors, or an error. Every file is read back and compared with its
source by checksum. An interrupted conversion goes on where it stopped when you run the same command again.
"""

import argparse

from wings_hf.cli.output import add_json, note, result

HELP = "make the released Wings checkpoint loadable by transformers, and back"
EXAMPLE = """examples:
  wings-hf convert AIDC-AI/Wings-Qwen1_5-8B wings-8b --text-config Qwen/Qwen1.5-7B-Chat \\
      --vision-config google/siglip-so400m-patch14-384
  wings-hf convert wings-8b released-again --to released"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("source", metavar="SRC", help="folder or Hub name of the checkpoint")
    parser.add_argument("destination", metavar="DST", help="folder to write")
    parser.add_argument(
        "--to", choices=("wings", "released"), default="wings", help="names to write: ours (default), or the released"
    )
    known = parser.add_argument_group("what the tensors cannot tell")
    known.add_argument(
        "--text-config", metavar="MODEL", help="the language model it was made from: name, folder or config.json"
    )
    known.add_argument("--vision-config", metavar="MODEL", help="likewise, the vision tower")
    known.add_argument(
        "--tokenizer", metavar="MODEL", help="name or folder (default: beside SRC or the text configuration, if any)"
    )
    known.add_argument(
        "--system-prompt-length",
        type=int,
        metavar="N",
        help="first tokens that the textual learner leaves out when an image follows (default: as released)",
    )
    known.add_argument(
        "--learner-rope-dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="bfloat16 rounds the learners' rotary tables as the released code does (float32)",
    )
    files = parser.add_argument_group("files")
    files.add_argument("--max-shard-size", default="5GB", metavar="SIZE", help="of a file, at most (5GB)")
    files.add_argument(
        "--keep-unknown", action="store_true", help="keep tensors that nothing is known about aside, do not fail"
    )
    files.add_argument("--restart", action="store_true", help="delete what an earlier conversion wrote to DST")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from transformers.utils import logging

    from wings_hf.conversion.convert import convert_to_released, convert_to_wings

    if not args.verbose:
        logging.set_verbosity_error()
    sizes = {"max_shard_size": args.max_shard_size, "restart": args.restart}
    if args.to == "released":
        _refuse_unused(args)
        text = convert_to_released(args.source, args.destination, **sizes).summary()
        result(args, {"folder": args.destination, "report": text}, text)
        return 0
    report = convert_to_wings(
        args.source,
        args.destination,
        text_config=args.text_config,
        vision_config=args.vision_config,
        tokenizer=args.tokenizer,
        system_prompt_length=args.system_prompt_length,
        learner_rope_dtype=args.learner_rope_dtype,
        keep_unknown=args.keep_unknown,
        **sizes,
    )
    result(args, {"folder": args.destination, "report": report.summary()}, report.summary())
    note(
        f'Load it: AutoModelForCausalLM.from_pretrained("{args.destination}"), after importing wings_hf or with\n'
        f"trust_remote_code=True. For further training: wings-hf causalize {args.destination}"
    )
    return 0


def _refuse_unused(args: argparse.Namespace) -> None:
    given = ("text_config", "vision_config", "tokenizer", "system_prompt_length")
    unused = [f"--{name.replace('_', '-')}" for name in given if getattr(args, name) is not None]
    unused += ["--keep-unknown"] if args.keep_unknown else []
    unused += ["--learner-rope-dtype"] if args.learner_rope_dtype != "float32" else []
    if unused:
        raise ValueError(f"{', '.join(unused)}: not used with --to released, where the model says it.")
