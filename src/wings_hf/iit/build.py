# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
From sets of items to conversations.

Each setting ends with the questions of its kind: all settings that end with V ask the same image questions, with more
or less before them, and all that end with T the same text questions, so that settings compare on equal questions.
What comes before is what lies nearest (question and choices embedded, never the answer), the nearest last.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

import numpy as np

from wings_hf.evaluation.items import Item
from wings_hf.iit.balance import draw_image_items, draw_text_items, spread_letters
from wings_hf.iit.conversation import PAPER_SETTINGS, Conversation, Turn, check_settings
from wings_hf.iit.embedding import Embedder, NGramEmbedder, on_grid
from wings_hf.iit.items import usable
from wings_hf.iit.phrases import Phrases, TemplatePhrases
from wings_hf.iit.stores import make_store, similarities

Kind = Literal["T", "V"]
CANDIDATES = 64  # neighbours of a question that are looked at first


@dataclass(frozen=True)
class BuildOptions:
    """
    Args:
        settings: rows of T and V; the paper's six by default.
        per_setting: conversations in each setting.
        seed: of all that is drawn.
        store: "numpy" (exact, no further package) or "chroma".
        reuse: how often an item may come before other questions; more where items are few.
        most_similar: cosine from which two questions count as the same, and are not put together.
    """

    settings: tuple[str, ...] = PAPER_SETTINGS
    per_setting: int = 200
    seed: int = 0
    store: str = "numpy"
    reuse: int = 4
    most_similar: float = 0.95

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", check_settings(self.settings))
        if self.per_setting < 1 or not self.settings or self.reuse < 1:
            raise ValueError(
                f"per_setting={self.per_setting}, reuse={self.reuse}, settings={self.settings}: expected at least one."
            )
        if self.seed < 0:
            raise ValueError(f"seed={self.seed}: expected at least 0.")
        if not 0 < self.most_similar <= 1:
            raise ValueError(f"most_similar={self.most_similar}: expected a cosine above 0, at most 1.")


@dataclass
class Built:
    """
    Args:
        conversations: setting by setting, in the order of `BuildOptions.settings`; image paths as the items have them.
        left_out: of each kind, how many items were left out, by reason.
        reused: for each kind of last question and of what comes before it ("V after T"), how often an item comes.
        spare: of each kind, the items that are no last question.
    """

    conversations: list[Conversation]
    left_out: dict[str, dict[str, int]]
    reused: dict[str, int] = field(default_factory=dict)
    spare: dict[str, list[Item]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Context:
    """An item before a last question, and how near it is."""

    item: Item
    similarity: float


def build_conversations(
    text_items: Sequence[Item],
    image_items: Sequence[Item],
    options: BuildOptions | None = None,
    embedder: Embedder | None = None,
    phrases: Phrases | None = None,
) -> Built:
    """The benchmark's conversations. Equal for equal items and options, whatever the order of the items.

    Raises:
        ValueError: too few items for the settings, or two items with one id.
    """
    options = options or BuildOptions()
    pools: dict[Kind, list[Item]] = {}
    left_out: dict[str, dict[str, int]] = {}
    for kind, items in (("T", text_items), ("V", image_items)):
        pools[cast(Kind, kind)], left_out[kind] = usable(items, kind)
    vectors = _embed(pools, embedder or NGramEmbedder(seed=options.seed))
    built = Built([], left_out)
    by_setting: dict[str, list[Conversation]] = {}
    for kind in sorted({cast(Kind, setting[-1]) for setting in options.settings}):
        by_setting |= _settings_of(kind, pools, vectors, options, phrases or TemplatePhrases(), built)
    built.conversations = [chat for setting in options.settings for chat in by_setting[setting]]
    return built


def _embed(pools: Mapping[Kind, Sequence[Item]], embedder: Embedder) -> dict[str, np.ndarray]:
    """For each item's id its vector, whole multiples of 1 / STEPS. Equal texts are embedded once."""
    texts = {item.id: _embedded_text(item) for items in pools.values() for item in items}
    different = sorted(set(texts.values()))
    if not different:
        return {}
    vectors = on_grid(np.asarray(embedder.embed(different), dtype=np.float64))
    if len(vectors) != len(different):
        raise ValueError(f"embedder {embedder.name!r} gave {len(vectors)} vectors for {len(different)} texts.")
    place = {text: index for index, text in enumerate(different)}
    return {name: vectors[place[text]] for name, text in texts.items()}


def _embedded_text(item: Item) -> str:
    """Question and choices in the order of the alphabet: nothing tells the right one."""
    return "\n".join([item.question.replace("<image>", " ").strip(), *sorted(item.choices)])


def _settings_of(
    kind: Kind,
    pools: Mapping[Kind, list[Item]],
    vectors: Mapping[str, np.ndarray],
    options: BuildOptions,
    phrases: Phrases,
    built: Built,
) -> dict[str, list[Conversation]]:
    """Conversations of the settings that end with `kind`."""
    rng = random.Random(f"{options.seed} {kind}")
    draw = draw_image_items if kind == "V" else draw_text_items
    asked = draw(pools[kind], options.per_setting, rng)
    rng.shuffle(asked)
    drawn = {item.id for item in asked}
    built.spare[kind] = [item for item in pools[kind] if item.id not in drawn]
    settings = [setting for setting in options.settings if setting[-1] == kind]
    before: dict[Kind, list[list[_Context]]] = {}
    for other in ("T", "V"):
        count = max(setting[:-1].count(other) for setting in settings)
        if count:
            before[other], reused = _neighbours(asked, pools[other], vectors, count, options)
            built.reused[f"{kind} after {other}"] = reused
    turns = _turns(asked, before, rng)
    return {
        setting: [_conversation(setting, number, turns[number], phrases, options.seed) for number in range(len(asked))]
        for setting in settings
    }


# -- what is near -----------------------------------------------------------------------------------------


def _neighbours(
    asked: Sequence[Item],
    pool: Sequence[Item],
    vectors: Mapping[str, np.ndarray],
    count: int,
    options: BuildOptions,
) -> tuple[list[list[_Context]], int]:
    """For each question asked the `count` items near it, nearest first; and how often an item comes at most.

    The nearest pairs of all are joined first. No item comes more than `reuse` times unless there are too few.
    """
    if len(pool) <= count:
        raise ValueError(f"{len(pool)} usable items to choose {count} from before each question: give more.")
    limit = max(options.reuse, -(-len(asked) * count // len(pool)))
    store = make_store(options.store)
    try:
        stored = np.stack([vectors[item.id] for item in pool])
        store.add(stored)
        queries = np.stack([vectors[item.id] for item in asked])
        used = np.zeros(len(pool), dtype=np.int64)
        found: list[list[_Context]] = [[] for _ in asked]
        for _ in range(count):
            waiting = list(range(len(asked)))
            while waiting:
                for most in (min(CANDIDATES, len(pool)), len(pool)):
                    places = store.nearest(queries[waiting], most)
                    similar = similarities(queries[waiting], stored, places)
                    waiting = _join(waiting, places, similar, asked, pool, found, used, limit, options.most_similar)
                    if not waiting:
                        break
                else:  # what is left may be too much like the questions
                    if limit > len(asked) * count:
                        raise ValueError(
                            f"nothing can stand before {asked[waiting[0]].id}: give more items, or raise most_similar."
                        )
                    limit += 1
    finally:
        store.close()
    return found, int(used.max())


def _join(
    waiting: Sequence[int],
    places: np.ndarray,
    similar: np.ndarray,
    asked: Sequence[Item],
    pool: Sequence[Item],
    found: list[list[_Context]],
    used: np.ndarray,
    limit: int,
    most_similar: float,
) -> list[int]:
    """Give each waiting question one more neighbour, the nearest pairs first; return those that went without."""
    order = sorted(
        ((-similar[row, rank], waiting[row], int(places[row, rank])) for row, rank in np.ndindex(places.shape)),
    )
    served: set[int] = set()
    for negative, number, place in order:
        item, question = pool[place], asked[number]
        same = set(item.images) & set(question.images) if item.images else -negative >= most_similar
        if number in served or used[place] >= limit or same:
            continue
        if item.id == question.id or any(item.id == known.item.id for known in found[number]):
            continue
        found[number].append(_Context(item, round(float(-negative), 4)))
        used[place] += 1
        served.add(number)
    return [number for number in waiting if number not in served]


# -- what is said -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Asked:
    """A last question and what may stand before it, each as a turn without a phrase, with the item it is made of."""

    last: tuple[Turn, Item]
    before: dict[Kind, list[tuple[Turn, Item]]]


def _turns(asked: Sequence[Item], before: Mapping[Kind, list[list[_Context]]], rng: random.Random) -> list[_Asked]:
    """All turns; letters are balanced among last questions, and among what stands before each letter."""
    last = _ordered([_Context(item, 1.0) for item in asked], rng, [0] * len(asked))
    ranks: dict[Kind, list[list[tuple[Turn, Item]]]] = {}
    for kind, rows in sorted(before.items()):
        ranks[kind], following = [], last
        for rank in range(len(rows[0])):
            following = _ordered([row[rank] for row in rows], rng, [turn.answer for turn, _ in following])
            ranks[kind].append(following)
    return [
        _Asked(last[number], {kind: [turns[number] for turns in rows] for kind, rows in ranks.items()})
        for number in range(len(asked))
    ]


def _ordered(contexts: Sequence[_Context], rng: random.Random, following: Sequence[int]) -> list[tuple[Turn, Item]]:
    """Turns whose right letters say nothing of the ones that follow, at the places `following`."""
    orders = spread_letters([context.item for context in contexts], rng, following)
    made = []
    for context, order in zip(contexts, orders, strict=True):
        item = context.item
        turn = Turn(
            kind="V" if item.images else "T",
            item=item.id,
            phrase="",
            question=item.question,
            choices=tuple(item.choices[place] for place in order),
            answer=order.index(item.answer),
            images=item.images,
            similarity=context.similarity,
            subject=item.subject,
            source=item.source,
            licence=item.licence,
        )
        made.append((turn, item))
    return made


def _conversation(setting: str, number: int, asked: _Asked, phrases: Phrases, seed: int) -> Conversation:
    """The nearest of a kind stands last among those of its kind."""
    rows = {kind: iter(turns[: setting[:-1].count(kind)][::-1]) for kind, turns in asked.before.items()}
    chosen = [next(rows[cast(Kind, kind)]) for kind in setting[:-1]] + [asked.last]
    turns, previous = [], None
    for place, (turn, item) in enumerate(chosen):
        rng = random.Random(f"{seed} {setting} {number} {place}")
        phrase = phrases.between(previous, item, rng)
        turns.append(Turn(**{**turn.__dict__, "phrase": phrase}))
        previous = item
    return Conversation(f"{setting}/{number:04d}", setting, tuple(turns))
