# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Methods that add no parts to the model: fine-tuning in several shares and rates, text replay, penalties that hold the
weights or the predictions near the start, and interpolation with it.

    L2 to the start      Li et al., Explicit inductive bias for transfer learning, arXiv 1802.01483
    KL to the start      Li and Hoiem, Learning without forgetting, arXiv 1606.09282: here on the positions of the batch
    interpolation        Wortsman et al., Robust fine-tuning of zero-shot models (WiSE-FT), arXiv 2109.01903
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.functional import kl_div

from forgetting.methods.base import LANGUAGE_MODEL, NEW, PROJECTOR, TUNED, Method, Rate, State

FULL = {PROJECTOR: NEW, LANGUAGE_MODEL: TUNED}
THIRD = Rate("language_model", 1 / 3)
SLOWLY = {PROJECTOR: NEW, LANGUAGE_MODEL: Rate("language_model", 0.1)}
REPLAYED = (2.5, 10, 25, 50)  # per cent of the turns
L2_WEIGHT = 0.1
KL_WEIGHT = 1.0


def l2_to_start(
    model: nn.Module, start: nn.Module, batch: Mapping[str, Any], outputs: Any, weight: float = L2_WEIGHT
) -> torch.Tensor:
    """Half the squared distance of the language model's weights from where they started, times `weight`."""
    pairs = zip(model.model.language_model.parameters(), start.model.language_model.parameters(), strict=True)
    return weight / 2 * torch.stack([(now - then).pow(2).sum() for now, then in pairs]).sum()


def kl_to_start(
    model: nn.Module, start: nn.Module, batch: Mapping[str, Any], outputs: Any, weight: float = KL_WEIGHT
) -> torch.Tensor:
    """Mean divergence of the predictions from those of the start, over the text positions of the batch, in nats, times
    `weight`."""
    text = (batch["attention_mask"] == 1) & (batch["mm_token_type_ids"] == 0)
    with torch.no_grad():
        theirs = start(**{name: value for name, value in batch.items() if name != "labels"}, use_cache=False).logits
    ours, theirs = (logits[text].float().log_softmax(-1) for logits in (outputs.logits, theirs))
    return weight * kl_div(ours, theirs, reduction="batchmean", log_target=True)


class Interpolation:
    """Weights on the line from the start of stage 2 (0) to its end (1).

    Args:
        share: of the way.
        of: what moves back; all else stays trained. All names that begin so.
    """

    def __init__(self, share: float, of: str = "") -> None:
        self.share, self.of = share, of

    def __call__(self, start: State, trained: State) -> State:
        return {
            name: torch.lerp(start[name], weight, self.share) if self.moves(name) else weight
            for name, weight in trained.items()
        }

    def moves(self, name: str) -> bool:
        wings = any(f".{part}." in name for part in ("visual_learner", "textual_learner", "router"))
        return name.startswith(self.of) and not wings


METHODS = (
    Method("full", "full fine-tuning", "fine-tuning", FULL, core=True),
    Method("full-low", "full, a tenth of the rate", "fine-tuning", SLOWLY, core=True),
    Method("full-third", "full, a third of the rate", "fine-tuning", {PROJECTOR: NEW, LANGUAGE_MODEL: THIRD}),
    Method("projector", "projector only", "fine-tuning", {PROJECTOR: NEW}, core=True),
    Method("attention", "attention only", "fine-tuning", {PROJECTOR: NEW, r"\.self_attn\.": TUNED}),
    *(
        Method(f"replay-{p:g}", f"full, {p:g} % text replay", "replay", FULL, text_share=p / 100, core=p == 10)
        for p in REPLAYED
    ),
    Method("l2", "full, L2 to the start", "regularisation", FULL, penalty=l2_to_start),
    Method("kl", "full, KL to the start", "regularisation", FULL, penalty=kl_to_start),
    *(
        Method(
            f"interpolation-{share}",
            f"full, {share} % of the way",
            "interpolation",
            derived_from="full",
            transform=Interpolation(share / 100),
        )
        for share in (25, 50, 75)
    ),
)
