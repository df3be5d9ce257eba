# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What requests of both harnesses say, in the terms of `Scorer`."""

from typing import Any

from wings_hf.evaluation.scorer import MARK


def generation_arguments(settings: dict[str, Any], default_tokens: int) -> dict[str, Any]:
    """A task's generation settings, as arguments of `Scorer.answers`."""
    settings = dict(settings)
    until = settings.pop("until", None) or []
    tokens = settings.pop("max_gen_toks", settings.pop("max_new_tokens", default_tokens))
    if not settings.get("do_sample") and not settings.get("temperature"):
        settings = {name: value for name, value in settings.items() if name not in ("temperature", "top_p", "top_k")}
        settings["do_sample"] = False
    return {"max_new_tokens": int(tokens), "stop": [until] if isinstance(until, str) else list(until), **settings}


def text_and_images(content: Any) -> Any:
    """Text with marks as a list of texts and images; text without any, and lists, as they are."""
    if not isinstance(content, str):
        return content
    pieces = content.split(MARK)
    parts: list[dict[str, str]] = []
    for place, piece in enumerate(pieces):
        parts += [{"type": "image"}] if place else []
        parts += [{"type": "text", "text": piece}] if piece else []
    return parts
