# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""How well a model's text survives, measured while it trains: loss and divergence on text that it never trains on.

The language model that the training starts from is run once over the texts. What it predicts is kept for each token as
its likeliest `KEPT` tokens and one number for all others; the divergence is that of these distributions, which is never
more than the divergence over the whole vocabulary.

Shapes: `b` texts, `s` tokens, `v` vocabulary, `k` tokens kept.
"""

import json
import logging
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Trainer, TrainerCallback

from wings_hf.training.recipes import Retention

logger = logging.getLogger(__name__)

KEPT = 64
TEXTS_AT_ONCE = 8


def read_texts(plan: Retention, tokenizer: Any) -> list[list[int]]:
    """
    Token ids of the texts in `plan.data`: paragraphs of a .txt file, or conversations of a .jsonl file.

    Raises:
        ValueError: no such file, another kind of file, or no text of at least two tokens.
    """
    path = Path(plan.data or "")
    if not path.is_file() or path.suffix not in (".txt", ".jsonl"):
        raise ValueError(
            f"retention.data={plan.data!r}: expected a .txt file of paragraphs or a .jsonl file of messages."
        )
    texts = []
    for index, piece in enumerate(_pieces(path)):
        if isinstance(piece, str):
            ids = tokenizer(piece)["input_ids"]
        else:
            try:
                ids = tokenizer.apply_chat_template(piece["messages"], tokenize=True, return_dict=True)["input_ids"]
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{path}, record {index}: no conversation of text ({error}).") from error
        if len(ids) > 1:
            texts.append(list(ids[: plan.max_length]))
        if len(texts) == plan.samples:
            break
    if not texts:
        raise ValueError(f"{path}: no text of at least two tokens.")
    return texts


def _pieces(path: Path) -> Iterator[Any]:
    if path.suffix == ".txt":
        yield from filter(None, map(str.strip, path.read_text().split("\n\n")))
        return
    with path.open() as lines:
        for line in filter(str.strip, lines):
            yield json.loads(line)


def _batches(texts: Sequence[Sequence[int]], device: torch.device) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Ids and masks, long (b, s), padded on the right."""
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        rows = texts[start : start + TEXTS_AT_ONCE]
        ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
            mask[index, : len(row)] = 1
        yield ids.to(device), mask.to(device)


def _log_probabilities(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Of the next token at each position that has one, float32 (tokens, v)."""
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
    return logits[mask[:, 1:].bool()].float().log_softmax(-1)


def make_reference(model: Any, texts: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
    """
    What `model`, the language model to compare with, predicts.

    Returns:
        `ids` (tokens, k) and `log_probabilities` (tokens, k + 1), the last for all other tokens together.
    """
    ids, kept = [], []
    with torch.no_grad():
        for tokens, mask in _batches(texts, model.device):
            found, places = _log_probabilities(model, tokens, mask).topk(min(KEPT, model.config.vocab_size))
            ids.append(places.int().cpu())
            kept.append(torch.cat([found, _rest(found)], dim=-1).cpu())
    return {"ids": torch.cat(ids), "log_probabilities": torch.cat(kept)}


def _rest(log_probabilities: torch.Tensor) -> torch.Tensor:
    """Log probability of everything else, (tokens, 1); a tiny one where rounding leaves nothing."""
    rest = 1.0 - log_probabilities.exp().sum(-1, keepdim=True)
    return rest.clamp(min=1e-12).log()


def load_reference(model: Any, texts: Sequence[Sequence[int]], path: Path) -> dict[str, torch.Tensor]:
    """The reference in `path`; made by `model()`, a function that loads the language model, where it is not there.

    Raises:
        ValueError: the file is that of other texts.
    """
    if path.exists():
        reference = load_file(path)
        tokens = sum(len(text) - 1 for text in texts)
        if len(reference["ids"]) != tokens:
            raise ValueError(
                f"{path} holds predictions for {len(reference['ids'])} tokens, the texts have {tokens}: the texts "
                "changed since the run began. Delete it to measure from now on."
            )
        return reference
    reference = make_reference(model(), texts)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")  # each process its own
    save_file(reference, unfinished)
    os.replace(unfinished, path)
    return reference


@torch.no_grad()
def measure(model: nn.Module, texts: Sequence[Sequence[int]], reference: dict[str, torch.Tensor]) -> dict[str, float]:
    """
    How well `model` predicts the texts.

    Returns:
        `retention_loss`, nats per token; `retention_kl`, divergence from the reference in nats per token.
    """
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    loss = divergence = 0.0
    start = 0
    for ids, mask in _batches(texts, device):
        log_probabilities = _log_probabilities(model, ids, mask)
        targets = ids[:, 1:][mask[:, 1:].bool()]
        loss -= log_probabilities.gather(-1, targets.unsqueeze(-1)).sum().item()
        part = slice(start, start + len(targets))
        start = part.stop
        theirs = reference["log_probabilities"][part].to(device)
        ours = log_probabilities.gather(-1, reference["ids"][part].to(device).long())
        ours = torch.cat([ours, _rest(ours)], dim=-1)
        divergence += (theirs.exp() * (theirs - ours)).sum().item()
    model.train(was_training)
    return {"retention_loss": loss / start, "retention_kl": max(divergence / start, 0.0)}


class RetentionCallback(TrainerCallback):
    """
    Measures every `plan.every` steps, logs what it found, and may stop the training or mark the best checkpoint.

    All processes measure, since a sharded model needs them all; `trainer` is set once it exists.
    """

    def __init__(self, plan: Retention, texts: Sequence[Sequence[int]], reference: dict[str, torch.Tensor]) -> None:
        self.plan, self.texts, self.reference = plan, texts, reference
        self.trainer: Trainer | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 0:
            self._measure(args, state, control, kwargs["model"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.plan.every == 0 or state.global_step == state.max_steps:
            self._measure(args, state, control, kwargs["model"])

    def _measure(self, args: Any, state: Any, control: Any, model: nn.Module) -> None:
        earlier = [e["retention_loss"] for e in state.log_history if "retention_loss" in e and e["step"]]
        found = measure(model, self.texts, self.reference)
        assert self.trainer is not None
        due = control.should_log
        self.trainer.log(dict(found))  # which takes the line of the step for logged
        control.should_log = due
        limit = self.plan.stop_at
        if limit is not None and not found["retention_kl"] <= limit:
            logger.warning(
                "Stopped after step %d: the text diverges by %.4f nats per token, more than retention.stop_at=%g.",
                state.global_step,
                found["retention_kl"],
                limit,
            )
            control.should_training_stop = control.should_save = True
        best = min(earlier, default=math.inf)
        if self.plan.keep_best and state.global_step and found["retention_loss"] <= best:  # as good and later
            state.best_model_checkpoint = str(Path(args.output_dir) / f"checkpoint-{state.global_step}")
            state.best_global_step, state.best_metric = state.global_step, found["retention_loss"]
            control.should_save = True
