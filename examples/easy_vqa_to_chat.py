# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Convert easy-VQA (https://github.com/vzhou842/easy-VQA, MIT) to training files for `wings-hf train`.

    python examples/easy_vqa_to_chat.py easy_vqa/data easy_vqa_train.json --split train --limit 2000

The data set's layout, below DATA: `train` and `test`, each with `images/NUMBER.png` and `questions.json`, a list of
`[question, answer, image number]`. One record in LLaVA's format is made for each image, with all its questions as
turns."""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any


def convert(data: Path, split: str, limit: int | None = None) -> list[dict[str, Any]]:
    """Records of the first `limit` images of `split`; image paths are absolute."""
    turns: dict[int, list[dict[str, str]]] = defaultdict(list)
    for question, answer, number in json.loads((data / split / "questions.json").read_text()):
        mark = "" if turns[number] else "<image>\n"
        turns[number] += [{"from": "human", "value": mark + question}, {"from": "gpt", "value": answer}]
    images = (data / split / "images").resolve()
    return [
        {"id": f"{split}-{number}", "image": str(images / f"{number}.png"), "conversations": turns[number]}
        for number in sorted(turns)[:limit]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data set's folder `data`")
    parser.add_argument("output", type=Path, help="the .json file to write")
    parser.add_argument("--split", choices=("train", "test"), default="train")
    parser.add_argument("--limit", type=int, help="this many images only")
    args = parser.parse_args()
    records = convert(args.data, args.split, args.limit)
    args.output.write_text(json.dumps(records, indent=1))
    print(f"{len(records)} records in {args.output}")


if __name__ == "__main__":
    main()
