# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A `Trainer` that publishes whole models: with their code at every push, and this package's card.

transformers' own `Trainer(push_to_hub=True)` publishes a model that loads, with a card of its own that replaces the one
that is there. Any trainer can be made to keep it: `class MyTrainer(PublishingMixin, SFTTrainer): ...`.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import Trainer

from wings_hf.hub.card import split, write_card

PROCEDURE = "## Training procedure"

if TYPE_CHECKING:
    Base = Trainer
else:
    Base = object


class PublishingMixin(Base):
    """
    Goes before a trainer of transformers or TRL.

    Raises:
        ValueError: `hub_token` is given, which `Trainer` would publish inside `training_args.bin`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        settings = kwargs.get("args", args[1] if len(args) > 1 else None)
        if settings is not None and settings.push_to_hub and settings.hub_token:
            raise ValueError(
                "hub_token would be saved in training_args.bin and published with it: leave it out, and log in with "
                "`hf auth login` or set HF_TOKEN."
            )
        super().__init__(*args, **kwargs)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """The card of `wings-hf card`, with what the Trainer knows of the run in it; people's changes to it stay."""
        if not self.is_world_process_zero():
            return
        folder = Path(str(self.args.output_dir))
        path = folder / "README.md"
        before = path.read_bytes() if path.exists() else None
        super().create_model_card(*args, **kwargs)
        _, said = split(path.read_text("utf-8"))
        if before is None:
            path.unlink()
        else:
            path.write_bytes(before)
        run = said[said.index(PROCEDURE) + len(PROCEDURE) :].strip() if PROCEDURE in said else None
        write_card(folder, repo_id=self.hub_model_id, run=run)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        for code in Path(checkpoint_folder).glob("*.py"):  # which Trainer does not copy while it trains
            shutil.copy(code, str(self.args.output_dir))
        super()._push_from_checkpoint(checkpoint_folder)


class PublishingTrainer(PublishingMixin, Trainer):
    """transformers' `Trainer`, publishing whole models."""
