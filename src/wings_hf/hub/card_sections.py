# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The parts of a model card that this package writes, as Markdown. What is not known is said to be."""

from collections.abc import Mapping
from typing import Any

from wings_hf.hub.card_facts import Facts
from wings_hf.hub.licences import Inherited

PAPER = "https://arxiv.org/abs/2406.03496"
NOT_EVALUATED = (
    "Not known: no run of `wings-hf evaluate` was named when this card was written. Neither what this model sees nor "
    "how much of its language model's ability is left is claimed here."
)
NOT_ANALYZED = "Not known: no result of `wings-hf analyze` was named when this card was written."
LEARNERS = {
    (): "no learners (the plain backbone with sight)",
    ("visual",): "visual learners, without a router (stage 1)",
    ("textual",): "textual learners",
    ("visual", "textual"): "visual and textual learners, blended by a router",
}
USE = """```python
from transformers import AutoModelForImageTextToText, AutoProcessor

name = "{name}"
model = AutoModelForImageTextToText.from_pretrained(name, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(name, trust_remote_code=True)
```

```python
question = [{{"type": "image", "path": "photo.png"}}, {{"type": "text", "text": "What is shown?"}}]
inputs = processor.apply_chat_template(
    [{{"role": "user", "content": question}}],
    add_generation_prompt=True,
    tokenize=True,
    return_dict=True,
    return_tensors="pt",
)
answer = model.generate(**inputs, max_new_tokens=100)[0, inputs["input_ids"].shape[1] :]
print(processor.decode(answer, skip_special_tokens=True))
```

Leave the image out for text alone, put several in, or go on with more turns. It takes transformers 5.17 or newer, torch
2.8 or newer, and Pillow."""
CODE = """`trust_remote_code=True` runs the {count} Python files of this repository with all the rights of your user.
They define the model and the processor, register one attention function, and read their own source to save it
again; they import torch, transformers, huggingface_hub, numpy and Pillow, start no process, and open no connection but
for image URLs that you allow (`allow_urls=True`). Begin to read with `modeling_wings.py`. The weights are safetensors,
which run nothing.

- To keep what you read: pass its commit, `revision="..."`, to both `from_pretrained`.
- To compare it with an installation of `wings_hf` {version} without running it:

```python
from pathlib import Path

from huggingface_hub import snapshot_download
from wings_hf.hub.wings_remote_code import flat_sources

ours = flat_sources("wings_hf.modeling.modeling_wings") | flat_sources("wings_hf.processing.processing_wings")
folder = Path(snapshot_download("{name}", allow_patterns="*.py"))
found = {{path.stem: path.read_bytes() for path in folder.glob("*.py")}}
print(sorted(file for file in found.keys() | ours.keys() if found.get(file) != ours.get(file)) or "the same")
```

With `wings_hf` imported, its own classes are used and `trust_remote_code` is not needed."""
CITATION = """```bibtex
@article{zhang2024wings,
  title   = {Wings: Learning Multimodal LLMs without Text-only Forgetting},
  author  = {Zhang, Yi-Kai and others},
  journal = {arXiv preprint arXiv:2406.03496},
  year    = {2024}
}
```"""


def title(name: str) -> str:
    return f"# {name.rpartition('/')[2]}"


def about(facts: Facts) -> str:
    """What the model is, and what it is made of."""
    language = next((str(each) for each in facts.backbones if each.role == "language model"), "not recorded")
    tower = next((str(each) for each in facts.backbones if each.role == "vision tower"), None)
    config = facts.config
    learners = LEARNERS.get(tuple(config.get("learners", ())), "not recorded")
    released = config.get("semantics") == "released"
    rows = [
        ("Language model", _with_family(facts, "language model", language)),
        ("Vision tower", _with_family(facts, "vision tower", tower) if tower else "none: it takes features of images"),
        ("Wings", f"{learners}; rank {config.get('learner_rank')}, router {config.get('router')}"),
        (
            "Learners act",
            "only where an image is in context" if config.get("learner_scope") == "visual_context" else "always",
        ),
        (
            "Computes",
            "what the released code of the paper's authors computes" if released else "the causal form of the paper",
        ),
        ("Tokens for an image", config.get("image_seq_length") or "not fixed"),
        ("Parameters", _counts(facts.parameters)),
        ("Saved in", config.get("dtype") or "not recorded"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return (
        f"A language model that was given sight with [Wings]({PAPER}): low-rank attention learners beside the language "
        f"model's own attention. What it sees and what it kept of its text is below, where it was measured.\n\n"
        f"| | |\n|---|---|\n{table}"
    )


def _with_family(facts: Facts, role: str, shown: str) -> str:
    family = next(each.family for each in facts.backbones if each.role == role)
    return f"{shown} ({family})"


def _counts(parameters: Mapping[str, int]) -> str:
    parts = ", ".join(f"{name} {count:,}" for name, count in sorted(parameters.items(), key=lambda each: -each[1]))
    return f"{sum(parameters.values()):,} ({parts})"


def use(name: str) -> str:
    return f"## How to load it\n\n{USE.format(name=name)}"


def training(facts: Facts, run: str | None) -> str:
    """The recipe, stage by stage; or what the Trainer said of its `run`."""
    record = facts.training
    if record is None and run:
        return f"## Training\n\nAs transformers' Trainer recorded it:\n\n{run}"
    if record is None:
        return "## Training\n\nNot known: the model was saved without a record of `wings-hf train`."
    versions = ", ".join(f"{name} {value}" for name, value in record.get("versions", {}).items())
    lines = [
        f"## Training\n\nWith `wings-hf train`, recipe `{record.get('recipe')}`, computed in "
        f"{record.get('precision')}, seed {record.get('seed')} ({versions}). Parts that are not named were frozen."
    ]
    if not record.get("complete", True):
        lines.append("What happened before the first stage below is not recorded.")
    lines += [_stage(number, stage) for number, stage in enumerate(record["stages"], 1)]
    return "\n\n".join(lines)


def _stage(number: int, stage: Mapping[str, Any]) -> str:
    rates = ", ".join(f"{part} {rate:g}" for part, rate in stage["learning_rates"].items())
    records = f"{stage['records']:,} records" if stage.get("records") is not None else "a stream of records"
    rows = [
        ("Learning rates", rates),
        ("Learners", ", ".join(stage.get("learners") or ()) or "as before"),
        ("Data", f"{records}: {', '.join(map(_source, stage['data'])) or 'not recorded'}"),
        ("Steps", f"{stage['steps']:,} of {stage['batch']} samples, on {stage['devices']} device(s)"),
        ("Longest sample", f"{stage['max_length']} tokens" if stage.get("max_length") else "not limited"),
        ("Optimizer", f"{stage['optimizer']}, weight decay {stage['weight_decay']:g}, norm {stage['max_grad_norm']:g}"),
        ("Schedule", f"{stage['schedule']}, warm-up {stage['warmup']:g}"),
        ("Last loss", f"{stage['last_loss']:.4f}" if stage.get("last_loss") is not None else "not recorded"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"**Stage {number}: {stage['name']}**\n\n| | |\n|---|---|\n{table}"


def _source(source: Mapping[str, Any]) -> str:
    if "dataset" in source:
        return f"[{source['dataset']}](https://huggingface.co/datasets/{source['dataset']})"
    return f"`{source.get('file')}` (a local file)"


def evaluation(text: str | None) -> str:
    return f"## What it sees, and what it kept\n\n{text or NOT_EVALUATED}"


def attention(text: str | None) -> str:
    return f"## Where it looks\n\n{text or NOT_ANALYZED}"


def limits(facts: Facts) -> str:
    """What to expect, and what not."""
    points = [
        "It may describe what is not in an image, and it has the biases of its parts and of the data it learned from."
    ]
    if facts.config.get("router") == "position" and len(facts.config.get("learners", ())) == 2:
        length = facts.config.get("router_positions")
        points.append(f"Its router reads positions up to {length}: longer inputs are refused, not cut.")
    if facts.config.get("learner_scope") == "visual_context":
        points.append("Text after an image is not protected: learners act there.")
    points.append("It has not been tested for safety by the tools that wrote this card.")
    return "## Limits\n\n" + "\n".join(f"- {point}" for point in points)


def licence(stated: str | None, inherited: Inherited) -> str:
    """`stated`: by who publishes it, which goes before what is inherited."""
    if stated is not None:
        return f"## Licence\n\n`{stated}` (stated by the publisher). Of the parts: {inherited.text}"
    shown = f"`{inherited.licence}` (inherited). " if inherited.licence else ""
    return f"## Licence\n\n{shown}{inherited.text} Data sets have licences of their own, which were not checked."


def code(facts: Facts, name: str, version: str) -> str:
    return "## The code that is loaded\n\n" + CODE.format(count=len(facts.code), name=name, version=version)


def citation() -> str:
    return f"## Citation\n\nThe method:\n\n{CITATION}"
