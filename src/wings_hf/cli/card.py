# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Write the model card of a model, README.md, or write it again.

The card says what the model is made of, how it was trained, what it scores and keeps of its language model's text, how
to load it, what code that runs, and its licence, inherited from its parts. What is not known it says is not known.
Name measurements to have their tables and plots in it; without, those of the earlier card stay.

Text of yours stays: all that stands outside the marked parts, marked parts that you changed, and further metadata.
"""

import argparse
from pathlib import Path

from wings_hf.cli.output import add_json, result

HELP = "write the model card of a model (README.md)"
EXAMPLE = """examples:
  wings-hf card my-model/tune
  wings-hf card my-model/tune --evaluation runs/mine --analysis look/laws.json --name ann/wings-small
  wings-hf card my-model/tune --text-license apache-2.0 --vision-license apache-2.0 --language en"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of the model")
    parser.add_argument("--name", metavar="OWNER/NAME", help="its name on the Hub, for the lines that load it")
    parser.add_argument(
        "--evaluation", nargs="+", type=Path, default=[], metavar="RUN", help="runs of wings-hf evaluate of this model"
    )
    parser.add_argument("--analysis", type=Path, metavar="FILE", help="laws.json of wings-hf analyze, or its folder")
    for part, what in (("text", "language model"), ("vision", "vision tower")):
        parser.add_argument(f"--{part}-model", metavar="NAME", help=f"the {what}'s name on the Hub (as recorded)")
        parser.add_argument(f"--{part}-license", metavar="ID", help=f"the {what}'s licence, as apache-2.0")
    parser.add_argument("--license", metavar="ID", help="the licence you publish it under (inherited from its parts)")
    parser.add_argument("--language", nargs="+", default=[], metavar="CODE", help="languages it speaks, as en zh")
    parser.add_argument("--look-up", action="store_true", help="ask the Hub for licences of the parts")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from wings_hf.hub.card import write_card

    card = write_card(
        args.folder,
        repo_id=args.name,
        evaluations=args.evaluation,
        analysis=args.analysis,
        names={"text": args.text_model, "vision": args.vision_model},
        licences={"text": args.text_license, "vision": args.vision_license},
        licence=args.license,
        languages=args.language,
        look_up=args.look_up,
    )
    text = "\n".join([f"wrote {card.path}", *(f"  {remark}" for remark in card.remarks)])
    result(args, {"path": card.path, "remarks": list(card.remarks)}, text)
    return 0
