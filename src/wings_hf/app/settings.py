# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What the page is told: the model, how it answers, and what users may do. From options or environment variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

PREFIX = "WINGS_"


class UserError(ValueError):
    """Something that the user of the page can mend; its message is shown there."""


def setting(default: Any, help: str) -> Any:
    """A field with its help, which the command line and docs/app.md show."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Settings:
    """Each field can be given as an environment variable, its name in capitals after `WINGS_`."""

    model: str = setting("", "folder or name of the model")
    revision: str = setting("", "revision of the model on the Hub")
    device: str = setting("auto", "auto, cpu, cuda, mps, ...")
    title: str = setting("", "title of the page")
    system: str = setting("", "a system message before each conversation")
    examples: str = setting("", "JSON file of examples, see docs/app.md")
    max_new_tokens: int = setting(512, "longest answer, in tokens")
    temperature: float = setting(0.0, "0 for the likeliest answer, else sample")
    explain: bool = setting(True, "show what router and attention did")
    message_characters: int = setting(4000, "longest message")
    message_images: int = setting(4, "most pictures in a message")
    conversation_images: int = setting(8, "most pictures in a conversation")
    image_bytes: int = setting(10_000_000, "largest picture file")
    image_pixels: int = setting(25_000_000, "largest picture, width times height")
    queue: int = setting(16, "most answers that wait for their turn")
    visitor_queue: int = setting(4, "most answers that one visitor waits for")
    conversations: int = setting(
        64, "conversations kept in memory; of the visitor with most, the one unused longest goes"
    )
    cache_bytes: int = setting(
        2_000_000_000, "the model's caches of all conversations; those over it are computed again"
    )
    picture_bytes: int = setting(1_000_000_000, "picture files of all conversations; those over it are forgotten")
    gpu_seconds: int = setting(60, "ZeroGPU: most seconds that an answer takes")

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            least = 0 if each.name in ("queue", "conversation_images", "message_images") else 1
            if isinstance(value, int) and not isinstance(value, bool) and value < least:
                raise ValueError(f"{each.name}={value}: expected at least {least}.")
        if not 0 <= self.temperature <= 10:
            raise ValueError(f"temperature={self.temperature}: expected 0 to 10.")
        if self.examples and not Path(self.examples).is_file():
            raise ValueError(f"examples={self.examples!r}: there is no such file.")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ, **given: Any) -> "Settings":
        """
        What the environment variables say; `given` goes before them.

        Raises:
            ValueError: a variable's value is no number where one is expected, or out of range.
        """
        read = {
            each.name: _read(PREFIX + each.name.upper(), environment[PREFIX + each.name.upper()], each.default)
            for each in fields(cls)
            if environment.get(PREFIX + each.name.upper())
        }
        return cls(**{**read, **given})


def _read(name: str, text: str, default: Any) -> Any:
    """The text of a variable as a value of the default's type."""
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    try:
        return words[text.strip().lower()] if isinstance(default, bool) else type(default)(text.strip())
    except (KeyError, ValueError):
        expected = "yes or no" if isinstance(default, bool) else "a number"
        raise ValueError(f"The environment variable {name} is {text!r}: expected {expected}.") from None
