# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Look at training data.

`wings-hf data check PATH...` examines every record (its form, the order of its turns, its answers, its images down to
the last pixel), prints statistics, and says which records cannot be used and why.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from wings_hf.cli.output import add_json, result

HELP = "check training data and print statistics"
EXAMPLE = """PATH is a .json (LLaVA's format), .jsonl, .parquet or .tar (WebDataset) file, a pattern of such files
('part-{000..031}.tar'), or a folder that `datasets` saved or can load.

exit code: 0 all records can be used, 1 something is wrong

examples:
  wings-hf data check llava_instruct.json --image-folder images --workers 8
  wings-hf data check chat.jsonl 'shards/*.tar' --processor my-model/tune --max-length 2048 --report report.json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = actions.add_parser(
        "check",
        help="examine every record",
        description=__doc__,
        epilog=EXAMPLE,
    )
    check.add_argument("paths", nargs="*", metavar="PATH", help="files, patterns of files, folders")
    check.add_argument("--dataset", action="append", default=[], metavar="NAME", help="a data set on the Hub")
    check.add_argument("--split", default="train", help="of folders and data sets (train)")
    check.add_argument("--image-folder", metavar="FOLDER", help="what image paths are relative to (the data file)")
    check.add_argument("--limit", type=int, metavar="N", help="only the first N records of each PATH")
    check.add_argument("--text-only", action="store_true", help="a record with images is wrong")
    check.add_argument(
        "--processor", "--model", dest="processor", metavar="MODEL", help="name or folder: count tokens as it does"
    )
    check.add_argument("--max-length", type=int, metavar="N", help="say how many records have more tokens")
    check.add_argument("--headers-only", action="store_true", help="do not decode pixels: fast, and misses damage")
    check.add_argument("--max-image-pixels", type=int, metavar="N", help="an image with more is wrong (89 million)")
    check.add_argument("--allow-urls", action="store_true", help="web addresses of images are right (not fetched)")
    check.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (one per core; 0: none)"
    )
    check.add_argument("--report", type=Path, metavar="FILE", help="write what --json prints there")
    add_json(check)


def run(args: argparse.Namespace) -> int:
    from wings_hf.data.check import check_data
    from wings_hf.data.report import as_text
    from wings_hf.data.sources import Source

    if not args.paths and not args.dataset:
        raise ValueError("name at least one PATH or --dataset to check.")
    _check_options(args)
    common = {"split": args.split, "limit": args.limit, "text_only": args.text_only}
    sources = [Source(path=path, image_folder=args.image_folder, **common) for path in args.paths]
    sources += [Source(dataset=name, **common) for name in args.dataset]
    report = check_data(
        sources,
        decode=not args.headers_only,
        max_pixels=args.max_image_pixels,
        allow_urls=args.allow_urls,
        count_tokens=_counter(args.processor) if args.processor else None,
        workers=args.workers,
        progress=not args.quiet,
    )
    if args.report is not None:
        args.report.write_text(json.dumps(report.to_dict(), indent=2) + "\n", encoding="utf-8")
    bar = "█" if (sys.stdout.encoding or "ascii").lower().startswith("utf") else "#"
    result(args, report.to_dict(), as_text(report, bar, args.max_length))
    return 1 if report.problems or not report.usable else 0


def _check_options(args: argparse.Namespace) -> None:
    for option, least in (("workers", 0), ("max_length", 1), ("max_image_pixels", 1)):
        value = getattr(args, option)
        if value is not None and value < least:
            raise ValueError(f"--{option.replace('_', '-')} {value}: expected at least {least}.")
    if args.max_length is not None and not args.processor:
        raise ValueError(f"--max-length {args.max_length}: tokens are counted with a --processor, and there is none.")
    if args.report is not None and not args.report.parent.is_dir():
        raise ValueError(f"--report {args.report}: there is no folder {args.report.parent}.")


def _counter(name: str):
    from wings_hf.data.lengths import TokenCounter
    from wings_hf.processing.processing_wings import WingsProcessor

    return TokenCounter(WingsProcessor.from_pretrained(name))
