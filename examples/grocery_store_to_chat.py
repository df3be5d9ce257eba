# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Convert the Grocery Store data set (https://github.com/marcusklasson/GroceryStoreDataset, MIT) for `wings-hf train`.

    python examples/grocery_store_to_chat.py grocery_store grocery_train.jsonl --split train

The data set's layout, below DATA: `train.txt`, `val.txt` and `test.txt` with lines `path, class, coarse class`, and
`classes.csv` with the classes' names, of which each has an iconic image. Chat messages are made, one record a line:
what a photo shows, and, for every fourth photo, whether it shows the same as an iconic image (two images in a turn).
"""

import argparse
import csv
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Product:
    """A class of the data set: `Golden-Delicious`, an `Apple`."""

    name: str
    kind: str
    icon: Path


def read_products(data: Path) -> list[Product]:
    """The classes, by their number."""
    with open(data / "classes.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    rows.sort(key=lambda row: int(row["Class ID (int)"]))
    return [
        Product(
            row["Class Name (str)"].replace("-", " "),
            row["Coarse Class Name (str)"].replace("-", " "),
            data / row["Iconic Image Path (str)"].lstrip("/"),
        )
        for row in rows
    ]


def convert(data: Path, split: str, limit: int | None = None, seed: int = 0) -> list[dict[str, Any]]:
    """Records of the photos of `split` (`limit` of them, drawn at random); image paths are absolute."""
    data = data.resolve()
    products = read_products(data)
    rng = random.Random(seed)
    photos = [line.split(", ") for line in (data / f"{split}.txt").read_text().splitlines() if line.strip()]
    rng.shuffle(photos)
    records: list[dict[str, Any]] = []
    for index, (path, number, _) in enumerate(photos[:limit]):
        product = products[int(number)]
        records.append({"messages": _what_is_it(data / path, product)})
        if index % 4 == 0:
            other = product if rng.random() < 0.5 else rng.choice(products)
            records.append({"messages": _same(data / path, product, other)})
    return records


def _what_is_it(photo: Path, product: Product) -> list[dict[str, Any]]:
    return [
        {"role": "user", "content": [_image(photo), _text("What is this?")]},
        {"role": "assistant", "content": product.kind.lower()},
        {"role": "user", "content": "Which kind?"},
        {"role": "assistant", "content": product.name},
    ]


def _same(photo: Path, product: Product, other: Product) -> list[dict[str, Any]]:
    question = [_image(other.icon), _image(photo), _text("Do both show the same?")]
    answer = "yes" if product == other else "no"
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _image(path: Path) -> dict[str, str]:
    return {"type": "image", "path": str(path)}


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data set's folder, with classes.csv")
    parser.add_argument("output", type=Path, help="the .jsonl file to write")
    parser.add_argument("--split", choices=("train", "val", "test"), default="train")
    parser.add_argument("--limit", type=int, help="this many photos only")
    args = parser.parse_args()
    records = convert(args.data, args.split, args.limit)
    args.output.write_text("".join(json.dumps(record) + "\n" for record in records))
    print(f"{len(records)} records in {args.output}")


if __name__ == "__main__":
    main()
