# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What a run of `wings-hf evaluate` was asked to do."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Settings:
    """
    Args:
        limit: questions of each task; None for all.
        shots: examples in prompts; None for each set's own number.
        seed: of everything drawn (examples in prompts, sampling).
        chat: put prompts through the model's chat template.
        system: a system message; only with `chat`.
        data_folder: local files in the place of the Hub.
        run_code: programs that the model writes may run.
        confirm: compute scores of choices with the package `evaluate` too.
        batch_size, device, dtype, max_length: how the model computes. The batch size and the device are recorded, and
            may change when a run goes on.
    """

    limit: int | None = None
    shots: int | None = None
    seed: int = 1234
    chat: bool = False
    system: str | None = None
    data_folder: str | None = None
    run_code: bool = False
    confirm: bool = False
    batch_size: int = 1
    device: str | None = None
    dtype: str = "auto"
    max_length: int | None = None

    def __post_init__(self) -> None:
        for name in ("limit", "batch_size", "max_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} {value}: expected at least 1.")
        if self.shots is not None and self.shots < 0:
            raise ValueError(f"shots {self.shots}: expected at least 0.")
        if self.system and not self.chat:
            raise ValueError("a system message needs the chat template: add --chat.")

    def to_record(self) -> dict[str, Any]:
        """What must be the same when a run goes on: all that changes a score or its questions."""
        return {name: value for name, value in asdict(self).items() if name not in ("batch_size", "device")}
