# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The data card of a benchmark: what it holds, of what it was made, how far text alone leads."""

from typing import TYPE_CHECKING, Any

from wings_hf.iit.baselines import BASELINES
from wings_hf.iit.conversation import Turn, named

if TYPE_CHECKING:
    from wings_hf.iit.benchmark import Benchmark

EXAMPLES = 2
NOT_STATED = "not stated"


def card(benchmark: "Benchmark") -> str:
    """The card as markdown, with the header that the Hub reads."""
    facts = benchmark.facts
    licences = sorted({entry["licence"] or NOT_STATED for entry in facts["sets"]})
    parts = [
        _header(),
        "# An interleaved image-text benchmark",
        "Conversations of multiple-choice questions, with (V) and without (T) images. The last question is scored; "
        "those before it are close to it in meaning. The idea is that of the IIT benchmark of "
        "[Wings](https://arxiv.org/abs/2406.03496), which was not released; this is another one, built from the sets "
        f"below by {facts['made by']}.",
        "## Settings",
        _settings(benchmark),
        "Scores of answering without looking, with 95% bootstrap intervals. *majority*: the letter that is right most "
        "often (chosen on these very questions); *repeat*: the letter that was right in the turn before; *text only*: "
        "a linear model of the words, learned on the questions of the sets that are not asked here; *context*: the "
        "same with the turns before, cross-validated. All settings that end with V ask the same image questions, all "
        "that end with T the same text questions.",
        "## Sets and licences",
        _table(
            ("Set", "Kind", "Questions", "Source", "Licence"),
            [
                (e["set"], e["kind"], e["items"], e["source"] or "-", e["licence"] or "not stated")
                for e in facts["sets"]
            ],
        ),
        f"Each question keeps the id, source and licence of its item. Licences: {'; '.join(licences)}. They apply to "
        "the questions and images taken from the sets.",
        "## How it was built",
        _options(facts),
        "## Balance of the image questions",
        _lines(facts["balance"]) or "There are none.",
        "## Examples",
        *_examples(benchmark),
        "## Files",
        "`conversations.jsonl`: a conversation a line, with `setting` and `turns`; a turn has `kind`, `phrase`, "
        "`question`, `choices`, `answer` (index), `images` (paths), `similarity` to the last question, `item`, "
        "`subject`, `source` and `licence`. `images/`: the images as they were, named by their content. "
        "`benchmark.json`: the facts of this card.",
        "## Limits",
        "Questions and answers are those of the sets, with their mistakes and biases; neither they nor phrases were "
        "checked by people for this benchmark. Closeness is that of the embedder named above. Scores tell nothing of "
        "free conversation.",
    ]
    return "\n\n".join(parts) + "\n"


def _header() -> str:
    return "---\ntask_categories:\n- visual-question-answering\n- multiple-choice\ntags:\n- interleaved\n- wings\n---"


def _settings(benchmark: "Benchmark") -> str:
    rows = []
    for setting, entry in benchmark.facts["settings"].items():
        near = entry["mean similarity"]
        scores = [_percent(entry["baselines"].get(name)) for name in BASELINES]
        rows.append((named(setting), entry["conversations"], "-" if near is None else f"{near:.2f}", *scores))
    return _table(("Setting", "Conversations", "Mean similarity", *(name.capitalize() for name in BASELINES)), rows)


def _percent(score: dict[str, float] | None) -> str:
    if score is None:
        return "-"
    middle, low, high = (100 * score[name] for name in ("accuracy", "low", "high"))
    return f"{middle:.1f}" if low == high else f"{middle:.1f} ({low:.1f} to {high:.1f})"


def _options(facts: dict[str, Any]) -> str:
    left_out = {
        f"{kind} items left out": ", ".join(f"{count} ({reason})" for reason, count in reasons.items()) or "none"
        for kind, reasons in facts["left out"].items()
    }
    reused = {f"an item comes at most, {name}": count for name, count in facts["context items used at most"].items()}
    replaced = {"phrases replaced by templates": facts["phrases replaced by templates"]}
    return _lines({**facts["options"], **left_out, **reused, **replaced})


def _lines(entries: dict[str, Any]) -> str:
    return "\n".join(f"- {name.replace('_', ' ')}: {_plain(value)}" for name, value in entries.items())


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {count}" for name, count in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _examples(benchmark: "Benchmark") -> list[str]:
    longest = max(benchmark.settings, key=lambda setting: (len(setting), setting))
    made = []
    for chat in benchmark.of(longest)[:EXAMPLES]:
        said = [f"{_shown(turn)}\n> *{turn.choices[turn.answer]}*" for turn in chat.turns]
        made.append(f"`{chat.id}`\n\n" + "\n>\n".join(said))
    return made


def _shown(turn: Turn) -> str:
    lines = turn.text("letter").replace("<image>", "[image] ").replace("<", "&lt;").splitlines()
    return "\n".join(f"> {line}  " for line in lines)


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    cells = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in cells)
