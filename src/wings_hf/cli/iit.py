# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Build and score an interleaved image-text benchmark.

`wings-hf iit build` makes one from multiple-choice sets of text and of images: conversations in which questions that
are close in meaning follow each other, text alone (T) or with images (V). `wings-hf iit score` scores models on it,
`wings-hf iit card` shows its data card.
"""

import argparse
from pathlib import Path
from typing import Any

from wings_hf.cli.output import add_json, result, warn

HELP = "build and score an interleaved image-text benchmark"
BUILD = """FILE is any set that `wings_hf.evaluation` reads (mmlu, hellaswag, scienceqa, ...), or a .jsonl file of
items, one object a line, with image paths relative to the file: {"id", "question", "choices": [...], "answer": index,
"images": [...], "source", "licence"}. FILE:FORMAT names the format where looks do not tell it.

example:
  wings-hf iit build --text mmlu/test hellaswag_val.jsonl --image scienceqa/problems.json --output iit"""
SCORE = """MODEL is a folder or name, of any image-text or text model of transformers with a chat template, or a folder
of results from before.

example:
  wings-hf iit score my-model/tune my-llm --benchmark iit --output iit-results"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions: Any = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_build(actions.add_parser("build", help="make a benchmark", epilog=BUILD))
    _add_score(actions.add_parser("score", help="score models on it", epilog=SCORE))
    card = actions.add_parser("card", help="write its data card again and show it")
    card.add_argument("benchmark", type=Path, metavar="FOLDER")
    for action in actions.choices.values():
        add_json(action)


def _add_build(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--text", nargs="+", default=[], metavar="FILE", help="sets of text questions")
    parser.add_argument("--image", nargs="+", default=[], metavar="FILE", help="sets of questions about images")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="a new folder")
    parser.add_argument(
        "--settings", nargs="+", metavar="S", help="rows of T and V, as TTV (T TT TTT TTV TV V, as in the paper)"
    )
    parser.add_argument("--per-setting", type=int, default=200, metavar="N", help="conversations in each (200)")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--store", default="numpy", help="where neighbours are found: numpy (exact) or chroma")
    parser.add_argument("--reuse", type=int, default=4, metavar="N", help="how often an item may be context (4)")
    parser.add_argument("--embedder", metavar="MODEL", help="a model of transformers (default: word statistics)")
    parser.add_argument("--phrases-from", metavar="MODEL", help="a language model that leads over (default: templates)")


def _add_score(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="+", metavar="MODEL", help="models, or folders of results")
    parser.add_argument("--benchmark", type=Path, metavar="FOLDER", help="needed unless all are results")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="for results, table and picture")
    parser.add_argument("--settings", nargs="+", metavar="S", help="these only")
    parser.add_argument("--answers", default="letter", choices=("letter", "text"), help="what is compared (letter)")
    parser.add_argument("--history", default="gold", choices=("gold", "model"), help="answers to earlier turns (gold)")
    parser.add_argument(
        "--cache", default="auto", choices=("auto", "keep", "recompute"), help="from turn to turn (auto: where exact)"
    )
    parser.add_argument("--blind", choices=("blank", "removed"), help="grey images, or none: what text alone gives")
    parser.add_argument("--limit", type=int, metavar="N", help="conversations of each setting")
    parser.add_argument("--device", default="auto", help="cpu, cuda, ... (auto)")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that comes with a model")


def run(args: argparse.Namespace) -> int:
    return {"build": _build, "score": _score, "card": _card}[args.action](args)


def _build(args: argparse.Namespace) -> int:
    from wings_hf.iit.benchmark import CARD, build
    from wings_hf.iit.build import BuildOptions
    from wings_hf.iit.conversation import PAPER_SETTINGS
    from wings_hf.iit.embedding import TransformersEmbedder
    from wings_hf.iit.phrases import LanguageModelPhrases

    options = BuildOptions(
        settings=tuple(args.settings or PAPER_SETTINGS),
        per_setting=args.per_setting,
        seed=args.seed,
        store=args.store,
        reuse=args.reuse,
    )
    benchmark = build(
        _items(args.text),
        _items(args.image),
        args.output,
        options,
        TransformersEmbedder(args.embedder) if args.embedder else None,
        LanguageModelPhrases(args.phrases_from) if args.phrases_from else None,
    )
    card, count = args.output / CARD, len(benchmark.conversations)
    document = {"folder": args.output, "card": card, "conversations": count, "facts": benchmark.facts}
    result(args, document, f"{count} conversations in {args.output}; the data card is {card}")
    return 0


def _items(names: list[str]) -> list[Any]:
    from wings_hf.iit.items import load_items

    items: list[Any] = []
    for name in names:
        path, _, kind = name.rpartition(":")
        whole = not path or Path(name).exists()
        items += load_items(name) if whole else load_items(path, kind)
    return items


def _score(args: argparse.Namespace) -> int:
    from wings_hf.conversion.writing import make_writable, write_text
    from wings_hf.iit.figure import draw
    from wings_hf.iit.results import table

    folders = _folder_names(args.models)
    make_writable(args.output)
    results = [_results_of(name, folders[name], args) for name in args.models]
    shown, picture = table(results), args.output / "scores"
    write_text(args.output / "table.md", f"{shown}\n")
    try:
        draw(results, picture)
    except ValueError as error:  # matplotlib is optional
        warn(f"no picture: {error}")
        picture = None
    models = [{"name": one.name, "scores": one.summary()} for one in results]
    drawn = [f"{picture}.{end}" for end in ("png", "svg", "json")] if picture else []
    result(args, {"models": models, "table": args.output / "table.md", "picture": drawn}, shown)
    return 0


def _results_of(name: str, folder_name: str, args: argparse.Namespace) -> Any:
    """Results that are there already, or those of a model, saved below `--output`."""
    from tqdm.auto import tqdm

    from wings_hf.cli.chat_session import pick_device
    from wings_hf.evaluation.models import default_device, load
    from wings_hf.iit.benchmark import Benchmark
    from wings_hf.iit.results import RESULTS, Results
    from wings_hf.iit.scoring import ScoreOptions, score

    if (Path(name) / RESULTS).is_file():
        return Results.load(name)
    if args.benchmark is None:
        raise ValueError(f"{name} holds no results: name the --benchmark to score it on.")
    benchmark = Benchmark.load(args.benchmark)
    fields = ("answers", "history", "cache", "blind", "limit")
    options = ScoreOptions(
        settings=tuple(args.settings) if args.settings else None, **{field: getattr(args, field) for field in fields}
    )
    device = default_device() if args.device == "auto" else pick_device(args.device)
    model, processor = load(name, args.trust_remote_code, dtype="auto")
    short = Path(name).resolve().name if Path(name).exists() else name
    if sum(Path(each).name == Path(name).name for each in args.models) > 1:
        short = folder_name
    asked = options.departures()
    folder = args.output / "-".join([folder_name, *asked])
    _check_same_model(folder, model)
    shown = " ".join([short, *asked])
    with tqdm(desc=shown, unit=" conversations", disable=None) as bar:
        results = score(benchmark, model.to(device), processor, options, shown, bar.update)
    results.save(folder)
    return results


def _folder_names(names: list[str]) -> dict[str, str]:
    """A folder for each model: the last two parts of its name, more where models would share one."""
    parts = {name: [part for part in Path(name).parts if part not in ("/", ".", "..")] for name in names}
    parts = {name: own or [Path(name).resolve().name] for name, own in parts.items()}
    made: dict[str, str] = {}
    for name, own in parts.items():
        lengths = range(2, max(map(len, parts.values())) + 1)
        apart = (k for k in lengths if all(other[-k:] != own[-k:] for each, other in parts.items() if each != name))
        made[name] = "-".join(own[-next(apart, len(own)) :])
    if shared := sorted(name for name in made if list(made.values()).count(made[name]) > 1):
        raise ValueError(f"{' and '.join(shared)} would share a folder of results: score them into other --output.")
    return made


def _check_same_model(folder: Path, model: Any) -> None:
    """
    Raises:
        ValueError: the folder has results of another model.
    """
    from wings_hf.evaluation.models import weights_hash
    from wings_hf.iit.results import RESULTS, Results

    if (folder / RESULTS).is_file():
        there = Results.load(folder).facts.get("model", {}).get("weights_hash")
        if there is not None and there != weights_hash(list(model.parameters())):
            raise ValueError(f"{folder} has results of another model: choose another --output, or delete them.")


def _card(args: argparse.Namespace) -> int:
    from wings_hf.conversion.writing import write_text
    from wings_hf.iit.benchmark import CARD, Benchmark
    from wings_hf.iit.card import card

    text, path = card(Benchmark.load(args.benchmark)), args.benchmark / CARD
    write_text(path, text)
    result(args, {"card": path, "text": text}, text.rstrip("\n"))
    return 0
