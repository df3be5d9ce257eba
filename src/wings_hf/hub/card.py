# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The model card: README.md with metadata, made of what a model folder and named measurements say.

Written again, it keeps what a person wrote: text outside the marked parts, marked parts that were changed, and metadata
that this package does not make.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCardData
from huggingface_hub.repocard_data import eval_results_to_model_index

from wings_hf.hub import card_sections as sections
from wings_hf.hub.card_facts import Facts, facts_of
from wings_hf.hub.card_results import Measured, attention, evaluation
from wings_hf.hub.licences import Inherited, inherit
from wings_hf.hub.regions import line_end, merge
from wings_hf.version import __version__

HEADER = re.compile(r"\A---\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
NAME = re.compile(r'^name = "([^"\n]+)"', re.MULTILINE)
NO_NAME = "path/to/this/folder"
TAGS = ("wings", "vision-language", "custom_code")
# How transformers' own cards begin, which say nothing of a model.
BLANK = "This is the model card of a 🤗 transformers model that has been pushed on the Hub"


@dataclass(frozen=True)
class Card:
    """
    Args:
        path: of the README.md.
        remarks: what the user should know: parts kept, a licence not known, ...
    """

    path: Path
    remarks: tuple[str, ...]


def write_card(
    folder: Path,
    *,
    repo_id: str | None = None,
    evaluations: Sequence[Path] = (),
    analysis: Path | None = None,
    names: Mapping[str, str | None] | None = None,
    licences: Mapping[str, str | None] | None = None,
    licence: str | None = None,
    languages: Sequence[str] = (),
    look_up: bool = False,
    run: str | None = None,
) -> Card:
    """
    Writes `README.md` of a model folder, or writes it again, and its plots to `images/`.

    Args:
        folder: a saved model with its processor.
        repo_id: its name on the Hub, for the lines that load it.
        evaluations: folders of `wings-hf evaluate`; none leaves the results of an earlier card.
        analysis: `laws.json` of `wings-hf analyze`, or its folder; likewise.
        names, licences: "text", "vision" -> name on the Hub and licence of the backbone, where not the recorded ones.
        licence: the licence it is published under; inherited from the backbones by default.
        languages: codes, such as "en".
        look_up: ask the Hub for licences of backbones.
        run: what else is known of the training, as Markdown.

    Raises:
        ValueError: the folder holds no whole model, or a file that was named is none of its kind.
    """
    path = folder / "README.md"
    before = read_whole(path) if path.exists() else ""
    if says_nothing(before):
        before = ""
    metadata, body = split(before)
    facts = facts_of(folder, names or {}, licences or {}, look_up)
    measured = evaluation(folder, evaluations) if evaluations else None
    looked = attention(folder, analysis) if analysis is not None else None
    inherited = inherit({f"{each.role} {each.name}".strip(): each.licence for each in facts.backbones})
    stated = _stated(licence, metadata, body)
    name = repo_id or next(iter(NAME.findall(body)), NO_NAME)
    parts = _parts(facts, name, stated, inherited, folder, run)
    if measured or "wings-card:begin evaluation" not in body:
        parts["evaluation"] = sections.evaluation(measured.text if measured else None)
    if looked or "wings-card:begin attention" not in body:
        parts["attention"] = sections.attention(looked.text if looked else None)
    end = line_end(before)
    merged = merge(body, {key: parts[key] for key in _ORDER if key in parts}, end)
    header = _metadata(metadata, facts, stated or inherited.licence, measured, languages, name)
    _write_whole(path, f"---\n{header}---\n\n".replace("\n", end) + merged.text.lstrip())
    remarks = [f"the part {key!r} was changed by hand and stays as it is" for key in merged.kept]
    remarks += [f"the part {key!r} was taken out by hand and stays out" for key in merged.removed]
    for each in (measured, looked):
        remarks += each.remarks if each else ()
    return Card(path, (*remarks, *_doubts(facts, stated, inherited)))


def says_nothing(card: str) -> bool:
    """Whether a card is the one that transformers writes where there is none."""
    return BLANK in card


def split(text: str) -> tuple[dict[str, Any], str]:
    """Metadata and body of a card.

    Raises:
        ValueError: the metadata are no YAML mapping.
    """
    match = HEADER.match(text)
    if match is None:
        return {}, text
    try:
        metadata = yaml.safe_load(match.group(1)) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"README.md begins with metadata that are no YAML ({error}): mend or remove them.") from error
    if not isinstance(metadata, dict):
        raise ValueError(f"README.md begins with metadata {metadata!r}: expected names with values.")
    return metadata, text[match.end() :].lstrip("\r\n")


# -- parts ------------------------------------------------------------------------------------------------

_ORDER = ("title", "about", "use", "evaluation", "attention", "training", "licence", "limits", "code", "citation")


def _parts(
    facts: Facts, name: str, stated: str | None, inherited: Inherited, folder: Path, run: str | None
) -> dict[str, str]:
    return {
        "title": sections.title(name if name != NO_NAME else folder.resolve().name),
        "about": sections.about(facts),
        "use": sections.use(name),
        "training": sections.training(facts, run),
        "licence": sections.licence(stated, inherited),
        "limits": sections.limits(facts),
        "code": sections.code(facts, name, __version__),
        "citation": sections.citation(),
    }


def _stated(licence: str | None, metadata: Mapping[str, Any], body: str) -> str | None:
    """The licence that a person states: now, or in the metadata, unless an earlier card inherited that one."""
    there = metadata.get("license")
    if licence is not None or there is None:
        return licence
    return None if f"`{there}` (inherited)" in body else str(there)


def _doubts(facts: Facts, stated: str | None, inherited: Inherited) -> list[str]:
    doubts = [
        f"the {each.role} is not recorded: name it (--{_option(each.role)}-model)"
        for each in facts.backbones
        if not each.name
    ]
    if inherited.conflict:
        doubts.append(f"licence: {inherited.text}")
    elif stated is None and inherited.licence is None:
        doubts.append(f"licence: {inherited.text} Name it (--license), or those of the parts (--text-license, ...).")
    return doubts


def _option(role: str) -> str:
    return "text" if role == "language model" else "vision"


# -- metadata ---------------------------------------------------------------------------------------------


def _metadata(
    before: Mapping[str, Any],
    facts: Facts,
    licence: str | None,
    measured: Measured | None,
    languages: Sequence[str],
    name: str,
) -> str:
    """The header as YAML: what is made here, over what was there."""
    bases = [each.name for each in facts.backbones if each.name]
    made: dict[str, Any] = {
        "base_model": bases or None,
        "base_model_relation": None if not bases else "merge" if len(bases) > 1 else "finetune",
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        "license": licence,
        "language": list(languages) or before.get("language"),
        "tags": list(dict.fromkeys([*TAGS, *_listed(before.get("tags"))])),
        "datasets": list(dict.fromkeys([*facts.datasets, *_listed(before.get("datasets"))])) or None,
    }
    if measured and measured.results:
        model_name = name.rpartition("/")[2]
        made["model-index"] = eval_results_to_model_index(model_name, list(measured.results))
    kept = {key: value for key, value in before.items() if key not in made}
    data = ModelCardData(**{key: value for key, value in {**made, **kept}.items() if value is not None})
    return data.to_yaml() + "\n"


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def read_whole(path: Path) -> str:
    """The text of a card with its line ends as they are, without the mark that editors on Windows put first."""
    return path.read_bytes().decode("utf-8-sig")


def _write_whole(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(text.encode())
    os.replace(part, path)
