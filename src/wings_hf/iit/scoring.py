# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Scoring a model on a benchmark: each turn of each conversation, by the log-likelihood of its choices."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
import transformers
from PIL import Image

from wings_hf.evaluation.models import describe
from wings_hf.evaluation.scorer import Scorer
from wings_hf.iit.benchmark import Benchmark
from wings_hf.iit.conversation import ANSWER_FORMS, AnswerForm, Conversation, check_settings
from wings_hf.iit.reader import ConversationReader
from wings_hf.iit.results import Results, Sample
from wings_hf.processing.wings_image_sources import read_image
from wings_hf.version import __version__

GREY = (128, 128, 128)
TOLERANCE = {"float64": 1e-6, "float32": 2e-5}  # of log-likelihoods with and without a kept cache
ROUGH = 0.1  # in lower precision, where rounding hides small differences


@dataclass(frozen=True)
class ScoreOptions:
    """
    Args:
        settings: which; None for all that the benchmark has.
        answers: "letter": choices are listed with letters, and the letters compared; "text": they are listed without,
            and their texts compared, by log-likelihood per character.
        history: what stands as answers to earlier turns: "gold", the right ones, so that all models are asked the
            same; or "model", its own.
        cache: "keep" it from turn to turn; "recompute" each turn from its beginning; "auto": keep it where the first
            conversation of the setting gives the same log-likelihoods as recomputing. Some models read an image that
            comes after a past otherwise than at the beginning; in half precision that could not be told from
            rounding, so "auto" keeps the cache there for Wings, and for settings without images after the first turn.
        blind: None; "blank": grey images in the place of images; "removed": none. What a model scores so, it knows
            from the text.
        limit: conversations of each setting, the first ones; None for all.
    """

    settings: tuple[str, ...] | None = None
    answers: AnswerForm = "letter"
    history: Literal["gold", "model"] = "gold"
    cache: Literal["auto", "keep", "recompute"] = "auto"
    blind: Literal["blank", "removed"] | None = None
    limit: int | None = None

    def departures(self) -> list[str]:
        """What changes scores and is not as it is by default: "blind=blank"."""
        defaults = ScoreOptions()
        names = ("answers", "history", "blind", "limit")
        return [f"{name}={getattr(self, name)}" for name in names if getattr(self, name) != getattr(defaults, name)]

    def __post_init__(self) -> None:
        allowed = {
            "answers": ANSWER_FORMS,
            "history": ("gold", "model"),
            "cache": ("auto", "keep", "recompute"),
            "blind": (None, "blank", "removed"),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected one of {', '.join(map(str, values))}.")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit={self.limit}: expected at least 1.")
        if self.settings is not None:
            object.__setattr__(self, "settings", check_settings(self.settings))


def score(
    benchmark: Benchmark,
    model: Any,
    processor: Any,
    options: ScoreOptions | None = None,
    name: str = "model",
    done: Callable[[int], Any] = lambda count: None,
) -> Results:
    """Scores of a model that converses.

    Args:
        model: any model of transformers that gives logits of the next token; set it to `eval()` before.
        processor: its processor, or its tokenizer where it takes no images: settings with images are then left out,
            unless images are removed.
        name: what it is called in tables.
        done: called with the number of conversations that were scored since it was called last.

    Raises:
        ValueError: it has no chat template, a conversation is too long for it, or no setting is left.
    """
    options = options or ScoreOptions()
    job = _Job(Scorer(model, processor), options)
    wanted = options.settings or benchmark.settings
    skipped = [setting for setting in wanted if "V" in setting and not job.sees and options.blind != "removed"]
    kept = [setting for setting in wanted if setting not in skipped]
    if not kept:
        raise ValueError(f"{name} takes no images, and {', '.join(skipped)} have some: name a setting of text.")
    samples: list[Sample] = []
    caches: dict[str, str] = {}
    for setting in kept:
        chats = benchmark.of(setting)[: options.limit]
        keep, caches[setting] = job.choose(chats[0])
        reader = ConversationReader(job.scorer, keep)
        for chat in chats:
            samples += job.run(chat, reader)
            done(1)
    return Results(
        name=name,
        samples=tuple(samples),
        facts=_as_in_files(
            {
                "options": asdict(options),
                "cache": caches,
                "skipped": skipped,
                "model": _model_facts(model, job.scorer, name),
                "benchmark": {"sha256": benchmark.fingerprint, "facts": benchmark.facts},
            }
        ),
    )


@dataclass(frozen=True)
class _Job:
    scorer: Scorer
    options: ScoreOptions

    @property
    def sees(self) -> bool:
        return self.scorer.image_token is not None

    def choose(self, chat: Conversation) -> tuple[bool, str]:
        """Whether to keep the cache, and why."""
        if self.options.cache != "auto" or len(chat.turns) == 1:
            return self.options.cache == "keep", self.options.cache if len(chat.turns) > 1 else "one turn"
        plain = self.run(chat, ConversationReader(self.scorer, keep=False))
        try:
            kept = self.run(chat, ConversationReader(self.scorer, keep=True))
        except Exception as error:  # whatever a model says to a second turn, it can be read from the beginning
            return False, f"recomputed: {type(error).__name__}: {error}"
        pairs = zip(kept, plain, strict=True)
        apart = max(abs(a - b) for x, y in pairs for a, b in zip(x.loglikelihoods, y.loglikelihoods, strict=True))
        allowed = TOLERANCE.get(str(self.scorer.model.dtype).removeprefix("torch."), ROUGH)
        if allowed == ROUGH and "V" in chat.setting[1:] and self.scorer.model.config.model_type != "wings":
            return False, f"recomputed: images after the first turn in {self.scorer.model.dtype}"
        if apart <= allowed:
            return True, f"kept: {apart:.1e} apart on the first conversation"
        return False, f"recomputed: with a kept cache {apart:.1e} apart on the first conversation, {allowed} allowed"

    def run(self, chat: Conversation, reader: ConversationReader) -> list[Sample]:
        reader.begin()
        form = self.options.answers
        given: list[int] = []
        made = []
        for place, turn in enumerate(chat.turns):
            replies = turn.replies(form)
            likely = reader.read(self._shown(chat.messages(place, given, form)), replies)
            per = [value / (len(reply) if form == "text" else 1) for value, reply in zip(likely, replies, strict=True)]
            choice = max(range(len(per)), key=per.__getitem__)
            given.append(turn.answer if self.options.history == "gold" else choice)
            made.append(Sample(chat.id, chat.setting, place, turn.item, turn.kind, turn.answer, choice, tuple(likely)))
        return made

    def _shown(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The messages as this model is to see them."""
        shown = []
        for message in messages:
            images = [self._image(item) if item["type"] == "image" else dict(item) for item in message["content"]]
            content = [item for item in images if item is not None]
            plain = "\n".join(item["text"] for item in content if item["type"] == "text")
            shown.append({**message, "content": content if self.sees else plain})
        return shown

    def _image(self, item: Mapping[str, Any]) -> dict[str, Any] | None:
        if self.options.blind is None:
            return dict(item)
        if self.options.blind == "removed":
            return None
        size = read_image(item["path"], self.scorer.options).size
        return {"type": "image", "image": Image.new("RGB", size, GREY)}


def _as_in_files(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts as they come back from a file: lists for tuples, names for what JSON does not know."""
    return json.loads(json.dumps(facts, default=str))


def _model_facts(model: Any, scorer: Scorer, name: str) -> dict[str, Any]:
    template = getattr(scorer.processor, "chat_template", None) or getattr(scorer.tokenizer, "chat_template", None)
    versions = {"wings_hf": __version__, "transformers": transformers.__version__, "torch": torch.__version__}
    return {**describe(model, scorer.processor, name), "chat_template": template, "versions": versions}
