# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Measure what a model attends to.

`wings-hf analyze MODEL --data FILE` runs any image-text model over conversations and says, layer by layer, how much
attention goes to text before the image, to the image and to text after it (MLLM-LAWS, Eq. 1 of arXiv 2406.03496), and
the attention shift: 1 - the correlation of before and after over layers. It writes numbers (JSON) and plots (PNG, SVG).

`wings-hf analyze --compare a/laws.json b/laws.json ... --scores scores.json` draws the shift of several models against
their scores on text, with the correlation and its 95 % interval.
"""

import argparse
import importlib.util
import json
import math
from pathlib import Path
from typing import Any

from wings_hf.cli.output import add_json, result, warn

HELP = "measure attention shift, router weights, attention maps"
EXAMPLE = """Data are conversations as `wings-hf data check` reads them (.json, .jsonl, .parquet, .tar, a folder).
scores.json maps names (a folder's, or the file's "name") to scores: {"model-a": 0.61, "model-b": 0.58}, or to objects
{"score": 0.61, "group": "LoRA"}. Ctrl-C stops early and keeps what was measured so far.

examples:
  wings-hf analyze my-model/tune --data chat.jsonl --limit 200 --per-head --router --maps 3 --output look
  wings-hf analyze llava-hf/llava-1.5-7b-hf --data chat.jsonl --rows after
  wings-hf analyze --compare look-*/laws.json --scores scores.json --output shift"""
NO_PLOTS = "plots need matplotlib: pip install 'wings_hf[demo]'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("model", nargs="?", metavar="MODEL", help="folder or name of an image-text model")
    parser.add_argument("--data", action="append", default=[], metavar="FILE", help="conversations; may be repeated")
    parser.add_argument("--processor", metavar="NAME", help="folder or name of the processor (MODEL)")
    parser.add_argument("--image-folder", metavar="FOLDER", help="what image paths are relative to (the data file)")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N records of each FILE")
    parser.add_argument("--batch-size", type=int, default=1, metavar="N", help="conversations at a time (1)")
    parser.add_argument(
        "--rows",
        choices=("all", "image", "after", "answer", "last"),
        default="all",
        help="query rows that count: all, of the image, of text after it, those that predict answers, the last (all)",
    )
    parser.add_argument("--per-token", action="store_true", help="divide masses by the number of tokens they lie on")
    parser.add_argument("--per-head", action="store_true", help="keep and draw the heads one by one")
    parser.add_argument("--per-row-kind", action="store_true", help="keep the masses of each kind of query row")
    parser.add_argument(
        "--router", type=int, nargs="?", const=1, default=0, metavar="N", help="router weights of N samples (1)"
    )
    parser.add_argument(
        "--maps",
        type=int,
        default=0,
        metavar="N",
        help="attention over the images of N samples, of the rows after them where --rows is all (0)",
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for results (MODEL-attention)")
    parser.add_argument("--name", metavar="TEXT", help="what to call the model in plots (its folder's name)")
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto (default), cpu, cuda, cuda:1, mps, ...")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that comes with the model")
    parser.add_argument("--compare", nargs="+", default=[], metavar="JSON", help="laws.json of several models")
    parser.add_argument("--scores", type=Path, metavar="JSON", help="with --compare: their scores on text")
    parser.add_argument("--score-name", default="text score", metavar="TEXT", help="with --compare: what scores are")
    parser.add_argument(
        "--of-samples", action="store_true", help="with --compare: take the mean of the samples' own shifts"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    if args.compare:
        return _compare(args)
    if args.model is None or not args.data:
        raise ValueError("name a MODEL and --data, or results to --compare with their --scores.")
    for option, least in (("batch_size", 1), ("maps", 0), ("router", 0)):
        if getattr(args, option) < least:
            name = option.replace("_", "-")
            raise ValueError(f"--{name} {getattr(args, option)}: expected at least {least}.")
    return _measure(args)


# -- one model --------------------------------------------------------------------------------------------


def _measure(args: argparse.Namespace) -> int:
    from wings_hf.analysis.inputs import Encoder, load_model
    from wings_hf.cli.chat_session import check_name, pick_device
    from wings_hf.conversion.writing import make_writable, write_text

    check_name(args.model)
    device = str(pick_device(args.device))
    records = _read(args)
    model, processor = load_model(args.model, device, args.trust_remote_code, args.processor)
    name = args.name or Path(args.model).name
    output = args.output or Path(f"{Path(args.model).name}-attention")
    encoder = Encoder(processor)
    if args.rows == "answer" and encoder.collator is None:
        raise ValueError(
            f"--rows answer needs to know which tokens are answers, and {type(processor).__name__} does not tell: "
            "expected a WingsProcessor, or other rows."
        )
    make_writable(output)
    laws, interrupted = _laws(args, model, encoder, records, name)
    report = {"name": name, **laws.to_dict()}
    write_text(output / "laws.json", json.dumps(report, indent=2, allow_nan=False) + "\n")
    if importlib.util.find_spec("matplotlib") is None:
        warn(NO_PLOTS)
    else:
        _draw(args, model, encoder, records, laws, output, name)
    written = sorted(path.name for path in output.iterdir())
    if not laws.samples and not interrupted:
        raise ValueError(
            f"nothing was measured: none of {len(records)} conversations has an image and a row that counts"
            f"{_skipped(laws)}."
        )
    document = {**report, "output": output, "files": written}
    result(args, document, f"{_summary(laws, name)}\nwritten to {output}: {', '.join(written)}")
    return 130 if interrupted else 0


def _read(args: argparse.Namespace) -> Any:
    from wings_hf.data.conversations import open_data
    from wings_hf.data.sources import Source

    sources = [Source(path=path, image_folder=args.image_folder, limit=args.limit) for path in args.data]
    records = open_data(sources, on_error="skip", shuffle=False)
    for problem in records.problems[:10]:
        _say_left_out(str(problem))
    if len(records.problems) > 10:
        _say_left_out(f"{len(records.problems) - 10} more")
    return records


def _say_left_out(what: str) -> None:
    warn(f"left out: {what}")


def _laws(args: argparse.Namespace, model: Any, encoder: Any, records: Any, name: str) -> tuple[Any, bool]:
    """What was measured, and whether that was cut short by Ctrl-C."""
    import torch
    import transformers
    from tqdm.auto import tqdm

    from wings_hf.analysis.inputs import batches_of
    from wings_hf.analysis.measure import AttentionMeter
    from wings_hf.version import __version__

    meter = AttentionMeter(model, args.rows, args.per_token, args.per_head, args.per_row_kind)
    interrupted = False
    try:
        with meter, tqdm(total=len(records), desc=name, unit=" records", disable=None) as bar:
            for batch in batches_of(records, encoder, args.batch_size, left_out=_say_left_out):
                meter.update(batch)
                bar.update(meter.samples + sum(meter.skipped.values()) - bar.n)
    except KeyboardInterrupt:
        interrupted = True
        warn(f"\nwings-hf analyze: interrupted after {meter.samples} samples")
    laws = meter.laws()
    laws.settings |= {
        "model": args.model,
        "data": args.data,
        "limit": args.limit,
        "interrupted": interrupted,
        "versions": {"wings_hf": __version__, "torch": torch.__version__, "transformers": transformers.__version__},
    }
    return laws, interrupted


def _summary(laws: Any, name: str) -> str:
    scale, unit = (100, "%") if not laws.settings["per_token"] else (1000, "‰ per token")
    lines = [f"{name}: attention on text before, image and text after, in {unit}", "layer  before   image   after"]
    rows = zip(laws.before, laws.image, laws.after, strict=True)
    lines += [f"{n:5d}  {b * scale:6.2f}  {i * scale:6.2f}  {a * scale:6.2f}" for n, (b, i, a) in enumerate(rows, 1)]
    defined = "" if laws.shift_is_defined else " (not defined: one layer, or a constant curve; counted as uncorrelated)"
    lines.append(f"attention shift {laws.shift:.4f}{defined}")
    if laws.sample_shift is not None:
        lines.append(f"mean of the shifts of {laws.shifted_samples} samples {laws.sample_shift:.4f}")
    lines.append(f"{laws.samples} samples, {laws.rows} rows{_skipped(laws)}")
    return "\n".join(lines)


def _skipped(laws: Any) -> str:
    return "".join(f", {count} left out ({reason})" for reason, count in laws.skipped.items())


def _draw(args: argparse.Namespace, model: Any, encoder: Any, records: Any, laws: Any, output: Path, name: str) -> None:
    from wings_hf.analysis.curves import draw_heads, draw_laws

    if not laws.samples:
        return
    draw_laws(output / "laws", laws, name)
    if args.per_head:
        draw_heads(output / "heads", laws, name)
    most = max(args.router, args.maps)
    routed = []
    for number, (record, batch) in zip(range(1, most + 1), _with_images(records, encoder), strict=False):
        if number <= args.router:
            routed.append(_draw_router(model, encoder, batch, output / f"router-{number}", name))
        if number <= args.maps:
            _draw_maps(args, model, encoder, record, batch, output / f"map-{number}", name)
    if routed:
        _write_router_means(output / "router.json", routed, name)


def _with_images(records: Any, encoder: Any) -> Any:
    """Records with images and their batches; those that cannot be encoded were named while they were measured."""
    for index in range(len(records)):
        record = records[index]
        if record.images:
            try:
                batch = encoder([record])
            except (ValueError, OSError):
                continue
            yield record, batch


def _draw_router(model: Any, encoder: Any, batch: Any, stem: Path, name: str) -> Any:
    from wings_hf.analysis.pictures import draw_router
    from wings_hf.analysis.router import router_weights

    sample = router_weights(model, batch, getattr(encoder.processor, "tokenizer", encoder.processor))[0]
    draw_router(stem, sample, name)
    return sample


def _write_router_means(path: Path, samples: list[Any], name: str) -> None:
    from wings_hf.analysis.router import means_by_kind
    from wings_hf.conversion.writing import write_text

    means = {"name": name, "samples": len(samples), "layers": samples[0].layers, "means": means_by_kind(samples)}
    write_text(path, json.dumps(means, indent=2, allow_nan=False) + "\n")


def _draw_maps(
    args: argparse.Namespace, model: Any, encoder: Any, record: Any, batch: Any, stem: Path, name: str
) -> None:
    from wings_hf.analysis.inputs import open_images, pictures_for
    from wings_hf.analysis.maps import attention_maps
    from wings_hf.analysis.pictures import draw_maps

    maps = attention_maps(model, batch, rows="after" if args.rows == "all" else args.rows)
    if not maps:
        warn(f"{record.source}: no row that counts, no map")
        return
    pictures = pictures_for(len(maps), batch, encoder.processor, open_images(record))
    asked = next(message for message in record.messages if message["role"] == "user")["content"]
    question = "".join("[image]" if item["type"] == "image" else item["text"] for item in asked)
    draw_maps(stem, maps, pictures, question, name)


# -- several models ---------------------------------------------------------------------------------------


def _compare(args: argparse.Namespace) -> int:
    from wings_hf.analysis.laws import AttentionLaws

    if args.scores is None:
        raise ValueError("--compare needs --scores: a JSON file with a score on text for each model.")
    scores = _json(args.scores)
    models, groups, taken = [], [], dict[str, str]()
    for file in args.compare:
        values = _json(Path(file))
        name = _named(values.get("name"), Path(file), scores, args.scores)
        if name in taken:
            raise ValueError(
                f"{taken[name]} and {file} would both take the score of {name!r} in {args.scores}: name them there by "
                "their paths, as given."
            )
        taken[name] = file
        laws = AttentionLaws.from_dict(values)
        shift = laws.sample_shift if args.of_samples else laws.shift
        if shift is None or not (args.of_samples or laws.shift_is_defined):
            _say_left_out(f"{file} has no defined shift")
            continue
        score = scores[name] if isinstance(scores[name], dict) else {"score": scores[name]}
        models.append((name, float(shift), _score(score.get("score"), name, args.scores)))
        groups.append(str(score.get("group", "")))
    if not models:
        raise ValueError("none of the results has a defined shift: there is nothing to compare.")
    if importlib.util.find_spec("matplotlib") is None:
        raise ValueError(NO_PLOTS)
    return _draw_comparison(args, models, groups)


def _draw_comparison(args: argparse.Namespace, models: list[tuple[str, float, float]], groups: list[str]) -> int:
    from wings_hf.analysis.curves import draw_shift_against_score

    output = args.output or Path("attention-shift")
    found = draw_shift_against_score(output / "shift-against-score", models, args.score_name, groups)
    width = max(len(name) for name, _, _ in models)
    lines = [f"{'':{width}}   shift  {args.score_name}"]
    lines += [f"{name:{width}}  {shift:6.3f}  {score:.4f}" for name, shift, score in sorted(models, key=lambda m: m[1])]
    lines.append(f"Pearson r = {found.r:.3f}, 95 % interval {found.low:.3f} to {found.high:.3f}, {found.n} models")
    files = [f"shift-against-score.{end}" for end in ("png", "svg", "json")]
    lines.append(f"written to {output}: {', '.join(files)}")
    document = _json(output / "shift-against-score.json")
    result(args, {**document, "output": output, "files": files}, "\n".join(lines))
    return 0


def _named(name: str | None, file: Path, scores: dict[str, Any], scores_file: Path) -> str:
    """The name by which the scores know a result: its path as given, its own, its folder's, its file's."""
    candidates = [str(file), name, file.parent.name, file.stem]
    for candidate in candidates:
        if candidate in scores:
            return str(candidate)
    raise ValueError(f"{scores_file} has no score for {file}: expected one of {candidates}, got {', '.join(scores)}.")


def _score(value: Any, name: str, scores_file: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{scores_file}: the score of {name!r} is {value!r}, expected a number.")
    return float(value)


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error}).") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(values).__name__}.")
    return values
