# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Measure what a model can do, and how much of its language model's ability is left.

MODEL is Wings, any causal language model, or any image-text model of transformers: a folder or a name on the Hub. Text
sets run through lm-evaluation-harness, image sets through lmms-eval. The run's folder keeps prompts, outputs, settings
and versions; finished tasks are not asked again.
"""

import argparse
import re
from pathlib import Path
from typing import Any

from wings_hf.cli.output import add_json, note, result

HELP = "measure a model on text and image benchmarks"
EXAMPLE = """examples:
  wings-hf evaluate my-model --tasks mmlu,hellaswag --base Qwen/Qwen2.5-7B --output runs/mine
  wings-hf evaluate my-model --tasks mmlu,gsm8k --data-folder benchmarks --limit 100
  wings-hf evaluate llava-hf/llava-1.5-7b-hf --tasks image --batch-size 8
  wings-hf evaluate --list"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("model", nargs="?", metavar="MODEL", help="folder, or name on the Hub")
    parser.add_argument("--tasks", metavar="NAMES", help="as mmlu,hellaswag; text, image or all; names of the harness")
    parser.add_argument("--list", action="store_true", help="name the sets")
    parser.add_argument("--output", type=Path, metavar="RUN", help="folder of the run (runs/MODEL)")
    parser.add_argument(
        "--base", metavar="RUN_OR_MODEL", help="the language model: retention and paired tests against it"
    )
    parser.add_argument(
        "--data-folder", metavar="FOLDER", help="local files, as their authors publish them, not the Hub"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N questions of each task")
    parser.add_argument("--shots", type=int, metavar="N", help="examples in prompts (each set's own number)")
    parser.add_argument("--chat", action="store_true", help="put prompts through the chat template")
    parser.add_argument("--system", metavar="TEXT", help="a system message, with --chat")
    parser.add_argument(
        "--run-code", action="store_true", help="run programs the model writes (MBPP), apart and limited"
    )
    parser.add_argument("--confirm", action="store_true", help="compute accuracies with `evaluate` too (from the Hub)")
    parser.add_argument("--batch-size", type=int, default=1, metavar="N", help="prompts at a time (1)")
    parser.add_argument("--max-length", type=int, metavar="N", help="tokens the model reads (its own limit)")
    parser.add_argument("--device", metavar="NAME", help="cuda, cpu (cuda where there is one)")
    parser.add_argument("--dtype", default="auto", metavar="NAME", help="bfloat16, float32 (as it was saved)")
    parser.add_argument("--seed", type=int, default=1234, metavar="N", help="of everything drawn (1234)")
    parser.add_argument("--revision", default="main", metavar="NAME", help="of a model on the Hub (main)")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that comes with the model")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from wings_hf.evaluation.sets import choose

    if args.list:
        _list_sets(args)
        return 0
    if not args.model or not args.tasks:
        raise ValueError("name a MODEL and --tasks (--list names the sets).")
    sets = choose(args.tasks)
    folder = args.output or Path("runs") / _file_name(args.model)
    try:
        summary = _evaluate(args, sets, folder)
    except KeyboardInterrupt:
        note(f"\nfinished tasks are kept in {folder}: the same command goes on from there")
        raise
    from wings_hf.evaluation.tables import of_summary

    result(args, summary, of_summary(summary))
    note(f"\nprompts, outputs and settings: {folder}")
    return 0


def _evaluate(args: argparse.Namespace, sets: Any, folder: Path) -> dict[str, Any]:
    import torch

    from wings_hf.cli.chat_session import pick_device
    from wings_hf.evaluation.records import Run
    from wings_hf.evaluation.run import Evaluation
    from wings_hf.evaluation.settings import Settings

    if args.device:
        pick_device(args.device)  # known to be there before anything is loaded
    if args.dtype != "auto" and not isinstance(getattr(torch, args.dtype, None), torch.dtype):
        raise ValueError(f"--dtype {args.dtype}: expected auto, bfloat16, float16 or float32.")
    settings = Settings(
        limit=args.limit,
        shots=args.shots,
        seed=args.seed,
        chat=args.chat,
        system=args.system,
        data_folder=args.data_folder,
        run_code=args.run_code,
        confirm=args.confirm,
        batch_size=args.batch_size,
        device=args.device,
        dtype=args.dtype,
        max_length=args.max_length,
    )
    base = Run(Path(args.base)) if args.base else None
    if base is not None and not base.exists():
        text_sets = [each for each in sets if each.kind == "text"]
        if not text_sets:
            raise ValueError("--base measures a language model on text sets, and there are none in --tasks.")
        _check_base(args.base)
        base = Run(folder / "base")
        note(f"the base first: {args.base}")
        Evaluation(args.base, settings, args.trust_remote_code, say=note).run(text_sets, base.folder)
    evaluation = Evaluation(args.model, settings, args.trust_remote_code, args.revision, say=note)
    return evaluation.run(sets, folder, base)


def _check_base(name: str) -> None:
    """
    Raises:
        ValueError: it is a folder that holds neither a run nor a model, or can only be meant for one that is not there.
    """
    from wings_hf.conversion.locate import is_path

    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ValueError(f"--base {name}: this folder holds neither a run (run.json) nor a model (config.json).")
        return
    runs = sorted(run.parent.name for run in folder.parent.glob("*/run.json")) if len(folder.parts) > 1 else []
    if folder.exists() or is_path(name) or runs:
        there = f"; runs beside it: {', '.join(runs)}" if runs else ""
        raise ValueError(f"--base {name}: there is no such folder of a run or a model{there}.")


def _file_name(model: str) -> str:
    return re.sub(r"[^\w.-]+", "--", model.strip("/.")) or "run"


def _list_sets(args: argparse.Namespace) -> None:
    from wings_hf.evaluation.sets import SETS, TextSet

    listed = []
    for each in SETS.values():
        harness = "lm-eval" if isinstance(each, TextSet) else "lmms-eval"
        listed.append({"name": each.name, "kind": each.kind, "harness": harness, "task": each.task})
    result(args, listed, "\n".join("{name:<15} {kind:<6} {harness:<10} {task}".format(**each) for each in listed))
