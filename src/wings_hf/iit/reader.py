# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
A conversation that a model reads turn by turn: how likely it finds each reply to the last question.

With a kept cache a turn costs its own tokens only: what was read before is not read again. Without, each turn is read
from its beginning, which any model can. Both give the same numbers, up to the rounding of their arithmetic.
"""

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from wings_hf.evaluation.scorer import Prompt, Scorer, begins_with_bos

Inputs = dict[str, torch.Tensor]


class ConversationReader:
    """
    Args:
        scorer: a model with its processor.
        keep: whether to keep the cache from turn to turn.
    """

    def __init__(self, scorer: Scorer, keep: bool) -> None:
        self.scorer, self.keep = scorer, keep
        self.short = "logits_to_keep" in inspect.signature(scorer.model.forward).parameters
        self.begin()

    def begin(self) -> None:
        """Forget what was read."""
        self.cache: Any = None
        self.ids: list[int] = []
        self.images = 0

    @torch.no_grad()
    def read(self, messages: Sequence[Mapping[str, Any]], replies: Sequence[str]) -> list[float]:
        """Log-likelihood of each reply, summed over its tokens, as the chat template writes the conversation with it.

        Args:
            messages: the conversation up to a question; where it goes on from the one read before, only what is new
                is computed.

        Raises:
            ValueError: a conversation that is longer than the model reads, or a model that keeps no cache.
        """
        prompt, replies = self.scorer.replying(messages, replies)
        inputs = dict(self.scorer.encode([prompt], "right"))
        tails, cut = self._tails(prompt, replies)
        inputs = _cut(inputs, inputs["input_ids"].shape[1] - cut)
        if self.keep:
            return self._kept(prompt, inputs, tails)
        last = self._logits(inputs, 1)
        return [
            _sum(last, tail[:1]) + (_sum(self._logits(_extended(inputs, tail[:-1]), len(tail))[1:], tail[1:]))
            if len(tail) > 1
            else _sum(last, tail)
            for tail in tails
        ]

    # -- a kept cache -----------------------------------------------------------------------------------------

    def _kept(self, prompt: Prompt, inputs: Inputs, tails: Sequence[Sequence[int]]) -> list[float]:
        ids = inputs["input_ids"][0].tolist()
        if self.cache is None or len(ids) <= len(self.ids) or ids[: len(self.ids)] != self.ids:
            self.begin()
        new = self._new(prompt, inputs)
        outputs = self._forward(new, 1, past_key_values=self.cache, use_cache=True)
        self.cache, self.ids, self.images = outputs.past_key_values, ids, len(prompt.images)
        if self.cache is None:
            raise ValueError(f"{type(self.scorer.model).__name__} gives back no cache to keep.")
        last = outputs.logits[0, -1:]
        return [_sum(last, tail[:1]) + self._rest(inputs, tail) for tail in tails]

    def _new(self, prompt: Prompt, inputs: Inputs) -> Inputs:
        """The inputs from where the cache ends, with the images that are not in it."""
        start, aligned = len(self.ids), _aligned(inputs)
        made = {name: inputs[name][:, start:] for name in aligned if name != "attention_mask"}
        made["attention_mask"] = inputs["attention_mask"]
        others = {name: value for name, value in inputs.items() if name not in aligned}
        if self.images:
            shown = prompt.images[self.images :]
            alone = dict(self.scorer.encode([Prompt("", shown)], "right")) if shown else {}
            others = {name: value for name, value in alone.items() if name not in aligned}
        return made | others

    def _rest(self, inputs: Inputs, tail: Sequence[int]) -> float:
        """Log-likelihood of the tokens after the first, read on a copy of the cache."""
        if len(tail) < 2:
            return 0.0
        whole = _extended(inputs, tail[:-1])
        new = {name: whole[name][:, -len(tail) + 1 :] for name in _aligned(inputs) if name != "attention_mask"}
        new["attention_mask"] = whole["attention_mask"]
        outputs = self._forward(new, 0, past_key_values=copy.deepcopy(self.cache), use_cache=True)
        return _sum(outputs.logits[0], tail[1:])

    # -- tokens and logits ------------------------------------------------------------------------------------

    def _tails(self, prompt: Prompt, replies: Sequence[str]) -> tuple[list[list[int]], int]:
        """The tokens of each reply from where it parts from the prompt; how many of the prompt's last it changes."""
        tokenizer = self.scorer.tokenizer
        special = {"add_special_tokens": False} if begins_with_bos(prompt.text, tokenizer) else {}
        rows = [tokenizer(prompt.text + reply, **special)["input_ids"] for reply in ("", *replies)]
        shared = min(len(row) for row in rows)
        shared = next((i for i in range(shared) if len({row[i] for row in rows}) > 1), shared)
        return [row[shared:] for row in rows[1:]], len(rows[0]) - shared

    def _logits(self, inputs: Inputs, count: int) -> torch.Tensor:
        """Logits of the last `count` positions, (count, vocabulary)."""
        return self._forward(inputs, count, use_cache=False).logits[0, -count:]

    def _forward(self, inputs: Inputs, count: int, **settings: Any) -> Any:
        if self.short:
            settings["logits_to_keep"] = count
        return self.scorer.model(**inputs, **settings)


def _aligned(inputs: Inputs) -> list[str]:
    """Names of the inputs that have one entry for each token."""
    return [name for name, value in inputs.items() if value.shape == inputs["input_ids"].shape]


def _cut(inputs: Inputs, length: int) -> Inputs:
    aligned = _aligned(inputs)
    return {name: value[:, :length] if name in aligned else value for name, value in inputs.items()}


def _extended(inputs: Inputs, tail: Sequence[int]) -> Inputs:
    """The inputs with text tokens behind them: what marks tokens as text is 0, the mask is 1."""
    made = dict(inputs)
    for name in _aligned(inputs):
        fill = {"input_ids": list(tail), "attention_mask": [1] * len(tail)}.get(name, [0] * len(tail))
        made[name] = torch.cat([inputs[name], inputs[name].new_tensor([fill])], dim=1)
    return made


def _sum(logits: torch.Tensor, tokens: Sequence[int]) -> float:
    """Log-likelihood of tokens by the logits before each, (n, vocabulary); what is left over is not looked at."""
    if not tokens:
        return 0.0
    shares = torch.log_softmax(logits[: len(tokens)].float(), -1)
    return float(shares.gather(-1, torch.tensor(tokens, device=logits.device)[:, None]).sum())
