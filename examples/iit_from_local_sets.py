# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Build an interleaved image-text benchmark from sets that lie on disk in their own formats.

    python examples/iit_from_local_sets.py iit --text mmlu/test hellaswag/val.jsonl \\
        --easy-vqa easy_vqa/data --grocery grocery_store --per-setting 200

Text sets are what `wings_hf.evaluation` reads. The two image sets are made multiple-choice questions here: easy-VQA
(https://github.com/vzhou842/easy-VQA, MIT) with all answers of a kind as choices, and the Grocery Store photos
(https://github.com/marcusklasson/GroceryStoreDataset, MIT) with four kinds of products that stand on shelves of one
section. In both, questions and choices come again and again with other images and other answers.
"""

import argparse
import csv
import json
from collections.abc import Iterator
from pathlib import Path

from wings_hf.evaluation.items import Item
from wings_hf.iit.benchmark import CARD, build
from wings_hf.iit.build import BuildOptions
from wings_hf.iit.items import load_items

YES_NO, SHAPES = ("yes", "no"), ("circle", "rectangle", "triangle")
COLOURS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")
EASY_VQA = {"subject": "shapes", "source": "https://github.com/vzhou842/easy-VQA", "licence": "MIT"}
GROCERY = {"source": "https://github.com/marcusklasson/GroceryStoreDataset", "licence": "MIT"}
QUESTION, GROUP = "Which of these products is shown in the photo?", 4


def easy_vqa(data: Path, split: str = "test") -> Iterator[Item]:
    """`questions.json` is a list of `[question, answer, image number]`."""
    for index, (question, answer, number) in enumerate(json.loads((data / split / "questions.json").read_text())):
        choices = next(choices for choices in (YES_NO, SHAPES, COLOURS) if answer in choices)
        image = (data / split / "images" / f"{number}.png").resolve()
        question = question[0].upper() + question[1:]
        yield Item(
            f"easy_vqa/{split}/{index}", question, choices, choices.index(answer), images=(str(image),), **EASY_VQA
        )


def grocery(data: Path, split: str = "test") -> Iterator[Item]:
    """Lines of `test.txt` are `test/Fruit/Apple/.../photo.jpg, class, coarse class`."""
    with open(data / "classes.csv", newline="") as file:
        names = {
            row["Coarse Class ID (int)"]: row["Coarse Class Name (str)"].replace("-", " ")
            for row in csv.DictReader(file)
        }
    photos = [line.split(", ") for line in (data / f"{split}.txt").read_text().splitlines() if line.strip()]
    sections = {names[number]: path.split("/")[1] for path, _, number in photos}
    kinds = sorted(sections, key=lambda name: (sections[name], name))
    for index, (path, _, number) in enumerate(photos):
        place = kinds.index(names[number])
        start = min(place // GROUP * GROUP, len(kinds) - GROUP)
        yield Item(
            f"grocery/{split}/{index}",
            QUESTION,
            tuple(kinds[start : start + GROUP]),
            place - start,
            images=(str((data / path).resolve()),),
            subject=sections[names[number]],
            **GROCERY,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="a new folder")
    parser.add_argument("--text", type=Path, nargs="+", default=[], help="text sets, as files or folders")
    parser.add_argument("--easy-vqa", type=Path, help="the data set's folder `data`")
    parser.add_argument("--grocery", type=Path, help="the data set's folder, with classes.csv")
    parser.add_argument("--per-setting", type=int, default=200, help="conversations in each setting (200)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    images = [*(easy_vqa(args.easy_vqa) if args.easy_vqa else ()), *(grocery(args.grocery) if args.grocery else ())]
    texts = [item for path in args.text for item in load_items(path)]
    benchmark = build(texts, images, args.output, BuildOptions(per_setting=args.per_setting, seed=args.seed))
    print(f"{len(benchmark.conversations)} conversations in {args.output}, see {args.output / CARD}")


if __name__ == "__main__":
    main()
