# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
The benchmark as a folder:

    conversations.jsonl   one conversation a line
    images/               the images, named by their content
    benchmark.json        how it was built, of what, and how far text alone leads
    README.md             the data card

Nothing in it tells when or where it was built: equal items and options give equal bytes.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wings_hf.data.images import look_at
from wings_hf.data.readers import JsonLines
from wings_hf.evaluation.items import Item
from wings_hf.iit.baselines import baselines
from wings_hf.iit.build import BuildOptions, Built, build_conversations
from wings_hf.iit.conversation import Conversation, check_settings
from wings_hf.iit.embedding import Embedder, NGramEmbedder
from wings_hf.iit.items import path_within
from wings_hf.iit.phrases import Phrases, TemplatePhrases
from wings_hf.version import __version__

LINES, FACTS, CARD, IMAGES = "conversations.jsonl", "benchmark.json", "README.md", "images"


@dataclass(frozen=True)
class Benchmark:
    """
    A benchmark that was read from its folder.

    Args:
        folder: where it is.
        conversations: with absolute image paths.
        facts: what `benchmark.json` holds.
    """

    folder: Path
    conversations: tuple[Conversation, ...]
    facts: dict[str, Any]

    @property
    def settings(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(chat.setting for chat in self.conversations))

    def of(self, setting: str) -> list[Conversation]:
        """The conversations of a setting.

        Raises:
            ValueError: it has none of it.
        """
        wanted = check_settings([setting])[0]
        found = [chat for chat in self.conversations if chat.setting == wanted]
        if not found:
            raise ValueError(f"setting {setting!r}: {self.folder} has {', '.join(self.settings)}.")
        return found

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the conversations' file."""
        return hashlib.sha256((self.folder / LINES).read_bytes()).hexdigest()

    @classmethod
    def load(cls, folder: str | Path) -> "Benchmark":
        """
        Raises:
            ValueError: no benchmark is there, or it is damaged, or an image path leads out of it.
        """
        folder = Path(folder)
        if not (folder / LINES).is_file() or not (folder / FACTS).is_file():
            raise ValueError(f"{folder} is no benchmark: expected {LINES} and {FACTS} in it.")
        records = JsonLines(folder / LINES)
        conversations = []
        for index in range(len(records)):
            try:
                conversations.append(_with_paths(Conversation.from_dict(records[index]), folder))
            except (ValueError, TypeError) as error:
                raise ValueError(f"{records.describe(index)}: {error}") from error
        if len({chat.id for chat in conversations}) < len(conversations) or not conversations:
            raise ValueError(f"{folder / LINES}: expected conversations, each with an id of its own.")
        return cls(folder, tuple(conversations), json.loads((folder / FACTS).read_text(encoding="utf-8")))


def build(
    text_items: Sequence[Item],
    image_items: Sequence[Item],
    folder: str | Path,
    options: BuildOptions | None = None,
    embedder: Embedder | None = None,
    phrases: Phrases | None = None,
) -> Benchmark:
    """Builds a benchmark in `folder`, which is made, and must be empty where there is one.

    Raises:
        ValueError: the folder is not empty, there are too few items, an image cannot be used.
    """
    from wings_hf.iit.card import card

    folder, options = Path(folder), options or BuildOptions()
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: name a new folder.")
    embedder, phrases = embedder or NGramEmbedder(seed=options.seed), phrases or TemplatePhrases()
    built = build_conversations(text_items, image_items, options, embedder, phrases)
    (folder / IMAGES).mkdir(parents=True, exist_ok=True)
    copied: dict[str, str] = {}
    conversations = [_with_copies(chat, folder, copied) for chat in built.conversations]
    facts = _facts(conversations, built, options, embedder, phrases)
    lines = (json.dumps(chat.to_dict(), ensure_ascii=False) for chat in conversations)
    (folder / LINES).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
    (folder / FACTS).write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")
    benchmark = Benchmark.load(folder)
    (folder / CARD).write_text(card(benchmark), encoding="utf-8", newline="\n")
    return benchmark


def _with_copies(chat: Conversation, folder: Path, copied: dict[str, str]) -> Conversation:
    """The conversation with the paths of copies of its images, relative to the folder."""
    turns = (
        replace(turn, images=tuple(copied.get(image) or _copy(image, folder, copied) for image in turn.images))
        for turn in chat.turns
    )
    return replace(chat, turns=tuple(turns))


def _copy(image: str, folder: Path, copied: dict[str, str]) -> str:
    facts = look_at(image, decode=True)
    if facts is None:
        raise ValueError(f"image {image} is a web address, and nothing is fetched: expected a file.")
    digest = hashlib.sha256(Path(image).read_bytes()).hexdigest()
    name = f"{IMAGES}/{digest[:24]}.{facts.format.lower()}"
    shutil.copyfile(image, folder / name)
    copied[image] = name
    return name


def _with_paths(chat: Conversation, folder: Path) -> Conversation:
    turns = (
        replace(turn, images=tuple(str(path_within(folder, image)) for image in turn.images)) for turn in chat.turns
    )
    return replace(chat, turns=tuple(turns))


# -- facts ------------------------------------------------------------------------------------------------


def _facts(
    conversations: Sequence[Conversation], built: Built, options: BuildOptions, embedder: Embedder, phrases: Phrases
) -> dict[str, Any]:
    return {
        "made by": f"wings_hf {__version__}",
        "options": {
            "settings": list(options.settings),
            "per_setting": options.per_setting,
            "seed": options.seed,
            "store": options.store,
            "reuse": options.reuse,
            "most_similar": options.most_similar,
            "embedder": embedder.name,
            "phrases": phrases.name,
        },
        "sets": _sets(conversations),
        "left out": built.left_out,
        "context items used at most": built.reused,
        "phrases replaced by templates": getattr(phrases, "replaced", 0),
        "settings": {
            setting: _setting(conversations, setting, built.spare[setting[-1]], options.seed)
            for setting in options.settings
        },
        "balance": _balance(conversations),
    }


def _sets(conversations: Sequence[Conversation]) -> list[dict[str, Any]]:
    """Where the items are from: one entry for each set, source and licence."""
    turns = {turn.item: turn for chat in conversations for turn in chat.turns}
    groups: dict[tuple[str, str, str, str], int] = {}
    for item, turn in sorted(turns.items()):
        key = (item.partition("/")[0], turn.kind, turn.source, turn.licence)
        groups[key] = groups.get(key, 0) + 1
    names = ("set", "kind", "source", "licence")
    return [{**dict(zip(names, key, strict=True)), "items": count} for key, count in sorted(groups.items())]


def _setting(conversations: Sequence[Conversation], setting: str, others: Sequence[Item], seed: int) -> dict[str, Any]:
    chats = [chat for chat in conversations if chat.setting == setting]
    near = [turn.similarity for chat in chats for turn in chat.turns[:-1]]
    scores = {name: vars(score) for name, score in baselines(chats, others, seed).items()}
    return {
        "conversations": len(chats),
        "mean similarity": round(sum(near) / len(near), 4) if near else None,
        "baselines": scores,
    }


def _balance(conversations: Sequence[Conversation]) -> dict[str, Any]:
    """How well image questions are balanced: shares of right letters, and of questions asked with other answers too."""
    asked = {chat.last.item: chat.last for chat in conversations if chat.last.kind == "V"}
    if not asked:
        return {}
    answers: dict[str, set[str]] = {}
    for turn in asked.values():
        answers.setdefault(turn.question.casefold(), set()).add(turn.choices[turn.answer])
    with_others = sum(len(answers[turn.question.casefold()]) > 1 for turn in asked.values())
    letters: dict[str, int] = {}
    for turn in asked.values():
        letter = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[turn.answer]
        letters[letter] = letters.get(letter, 0) + 1
    return {
        "image questions": len(asked),
        "different question texts": len(answers),
        "images": len({turn.images for turn in asked.values()}),
        "asked with another answer too": with_others,
        "right letters": dict(sorted(letters.items())),
    }
