# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Octavius (Chen et al., arXiv 2311.02684): a mixture of LoRA experts, chosen for a whole instance by what it asks.

One gating network serves the model: a linear map of the mean embedding of the instruction's tokens. The two likeliest
experts count, with their probabilities over their sum, in every map that has experts, at every token of the instance.
After the paper and the authors' code; where it departs from them:
    - A conversation of several questions is several instances: from a question to the end of its answer. Answers are
      not looked at, so that no token is computed with what it is to predict.
    - Text without a question has no instance: there all experts count alike.
    - The second expert is always kept (in their code it is dropped now and then), and experts are on all linear maps
      of attention and MLP.

The rank is that at which all experts have as many parameters as Wings would add.

Shapes: `b` batch, `s` positions, `d` hidden size, `i` instances in the row that has most and what is before them, `n`
experts.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from forgetting.methods.adapters import linear_maps, wings_parameters
from forgetting.methods.base import LOW_RANK, NEW, PROJECTOR, Method, note
from forgetting.methods.lora_experts import Expertise
from forgetting.methods.modality import Modality

EXPERTS, CHOSEN = 4, 2


class InstanceExperts(nn.Module):
    """
    All experts of a language model, and what chooses among them.

    Args:
        maps: the linear maps that get experts, by name.
        experts, rank: n, and the rank of each.
        hidden_size: d.
        marks: tokens that begin a question, and tokens that begin its answer.
        modality: where images and padding are.
    """

    def __init__(
        self,
        maps: dict[str, nn.Linear],
        experts: int,
        rank: int,
        hidden_size: int,
        marks: tuple[Sequence[int], Sequence[int]],
        modality: Modality,
    ) -> None:
        super().__init__()
        self.chooser = nn.Linear(hidden_size, experts, bias=False)
        self.maps = nn.ModuleDict(
            {name.replace(".", "_"): Expertise(linear, experts, rank) for name, linear in maps.items()}
        )
        self.marks, self.modality = marks, modality
        self.ids: torch.Tensor | None = None
        self.gates: torch.Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy leaves behind what belongs to the last call."""
        return {**self.__dict__, "ids": None, "gates": None}

    def read(self, model: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        """Forward pre-hook of the Wings model: keeps the tokens."""
        self.ids = kwargs.get("input_ids")

    def choose(self, language_model: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        """Forward pre-hook of the language model: the gates of its positions, (b, s, n)."""
        call = self.modality.now
        if self.ids is None or call.past:
            raise ValueError("Experts by instance read whole sequences of tokens: expected input_ids, and no cache.")
        is_text = call.is_token & ~call.is_image
        self.gates = self.gates_of(kwargs["inputs_embeds"], *instances(self.ids, is_text, self.marks))

    def gates_of(self, embeddings: torch.Tensor, instance: torch.Tensor, asks: torch.Tensor) -> torch.Tensor:
        """
        Args:
            embeddings: (b, s, d).
            instance: of each position, (b, s); asks: whether it is a token of the instance's instruction, (b, s).
        """
        member = nn.functional.one_hot(instance).to(embeddings.dtype)  # (b, s, i)
        read = (member * asks.unsqueeze(-1)).transpose(1, 2)  # (b, i, s)
        count = read.sum(-1, keepdim=True)
        shares = self.chooser(read @ embeddings / count.clamp(min=1)).float().softmax(-1)  # (b, i, n)
        best = shares.topk(CHOSEN, dim=-1)
        gates = torch.zeros_like(shares).scatter(-1, best.indices, best.values / best.values.sum(-1, keepdim=True))
        gates = torch.where(count > 0, gates, 1 / gates.shape[-1])
        return member @ gates.to(embeddings.dtype)

    def forget(self, language_model: nn.Module, args: tuple, output: Any) -> None:
        """Forward hook of the language model."""
        self.ids = self.gates = None


class AddChosen:
    """Forward hook of a linear map: adds what the instance's experts say."""

    def __init__(self, experts: InstanceExperts, name: str) -> None:
        self.experts, self.name = experts, name

    def __call__(self, linear: nn.Module, args: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        return output + self.experts.maps[self.name](args[0], self.experts.gates)


def instances(
    ids: torch.Tensor, is_text: torch.Tensor, marks: tuple[Sequence[int], Sequence[int]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Which instance each position belongs to, counted from 1 (0: before the first), and whether it is of its instruction:
    text between the question's mark and its answer's, both (b, s).
    """
    begins, answers = (found(ids, mark) & is_text for mark in marks)
    answered = answers.cumsum(-1)
    before = torch.where(begins, answered, 0).cummax(-1).values  # answers begun when the instance did
    instance = begins.cumsum(-1)
    return instance, is_text & (instance > 0) & (answered == before)


def found(ids: torch.Tensor, mark: Sequence[int]) -> torch.Tensor:
    """Positions where the tokens of `mark` begin, bool (b, s)."""
    here = torch.ones_like(ids, dtype=torch.bool)
    for offset, token in enumerate(mark):
        here &= nn.functional.pad(ids, (0, offset), value=-1)[:, offset:] == token
    return here


def add_instance_experts(model: Any, experts: int = EXPERTS) -> Any:
    """Adds the experts; no logit changes.

    Raises:
        ValueError: nobody said how questions and answers begin (`model.turn_marks`, a function).
    """
    marks = model.turn_marks() if hasattr(model, "turn_marks") else None
    if not marks or not all(marks):
        raise ValueError(f"turn_marks {marks}: expected tokens that begin a question, and tokens that begin an answer.")
    language_model, maps = model.model.language_model, linear_maps(model)
    per_rank = experts * sum(linear.in_features + linear.out_features for linear in maps.values())
    rank = max(1, round(wings_parameters(model) / per_rank))
    note(model, rank=rank)
    width = language_model.config.hidden_size
    modality = Modality.install(model)
    made = InstanceExperts(maps, experts, rank, width, marks, modality).to(model.device, model.dtype)
    language_model.instance_experts = made
    model.model.register_forward_pre_hook(made.read, with_kwargs=True)
    language_model.register_forward_pre_hook(made.choose, with_kwargs=True)
    language_model.register_forward_hook(made.forget, always_call=True)
    for name, linear in maps.items():
        linear.register_forward_hook(AddChosen(made, name.replace(".", "_")))
    return model


METHODS: tuple[Method, ...] = (
    Method(
        "instance-experts",
        "LoRA experts by instruction (Octavius)",
        "adapters",
        {r"\.instance_experts\.maps\.": LOW_RANK, r"\.instance_experts\.chooser\.": NEW, PROJECTOR: NEW},
        install=add_instance_experts,
    ),
)
