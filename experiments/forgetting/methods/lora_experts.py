# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
A mixture of LoRA experts: LLaVA-MoLE (Chen et al., arXiv 2401.16160).

Each layer's MLP has several LoRA experts, and each token, of an image or of text, goes to one of them: the one that a
linear map of the MLP's input likes best. Attention has plain LoRA. What the tokens' share of each expert and its mean
probability are off balance joins the loss, as in Switch Transformers (Fedus et al., arXiv 2101.03961, Eq. 4-6). The
chosen expert counts with its probability, as there, so that the choice learns from the task, too.

Octavius chooses for a whole instance, by its instruction: see `instance_experts`.

The rank is that at which all experts and the attention's LoRA have as many parameters as Wings would add.

Shapes: `b` batch, `s` positions, `n` experts, `r` rank.
"""

import math
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from forgetting.methods.adapters import LORA, linear_maps, wings_parameters
from forgetting.methods.base import LOW_RANK, NEW, PROJECTOR, Method, note
from forgetting.methods.modality import Modality

ATTENTION = r"layers\.\d+\.self_attn\.\w+_proj"
EXPERTS = 3
BALANCE = 0.01  # weight of the balance in the loss


class Expertise(nn.Module):
    """
    The LoRA experts of one linear map; B is zero at first.

    Args:
        linear: the map, whose output they add to.
        experts, rank: n, r.
    """

    def __init__(self, linear: nn.Linear, experts: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(linear.in_features, experts * rank, bias=False)
        self.up = nn.Linear(experts * rank, linear.out_features, bias=False)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))  # as peft does
        nn.init.zeros_(self.up.weight)

    def forward(self, states: torch.Tensor, gates: torch.Tensor) -> torch.Tensor:
        """What the chosen experts add; states (b, s, in), gates (b, s, n) -> (b, s, out)."""
        low = self.down(states).unflatten(-1, (gates.shape[-1], -1)) * gates.unsqueeze(-1)
        return self.up(low.flatten(-2))


class Mixture(nn.Module):
    """
    Chooses an expert for each token of one MLP.

    Args:
        mlp: the MLP.
        experts, rank: n, r.
        modality: says which tokens are padding.
    """

    def __init__(self, mlp: nn.Module, experts: int, rank: int, modality: Modality) -> None:
        super().__init__()
        linears = {name: child for name, child in mlp.named_children() if isinstance(child, nn.Linear)}
        self.chooser = nn.Linear(next(iter(linears.values())).in_features, experts, bias=False)
        self.maps = nn.ModuleDict({name: Expertise(linear, experts, rank) for name, linear in linears.items()})
        self.modality = modality
        self.gates: torch.Tensor | None = None
        self.imbalance: torch.Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        """A copy leaves behind what belongs to the last call."""
        return {**self.__dict__, "gates": None, "imbalance": None}

    def choose(self, mlp: nn.Module, args: tuple[torch.Tensor]) -> None:
        """Forward pre-hook of the MLP."""
        probabilities = self.chooser(args[0]).float().softmax(-1)
        best, choice = probabilities.max(-1, keepdim=True)
        self.gates = torch.zeros_like(probabilities).scatter(-1, choice, best).to(args[0].dtype)
        if torch.is_grad_enabled():
            self.imbalance = imbalance(probabilities[self.modality.now.is_token])

    def forget(self, mlp: nn.Module, args: tuple[torch.Tensor], output: torch.Tensor) -> None:
        """Forward hook of the MLP."""
        self.gates = None


class AddExperts:
    """Forward hook of a linear map: adds what its experts say."""

    def __init__(self, mixture: Mixture, name: str) -> None:
        self.mixture, self.name = mixture, name

    def __call__(self, linear: nn.Module, args: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        return output + self.mixture.maps[self.name](args[0], self.mixture.gates)


def imbalance(probabilities: torch.Tensor) -> torch.Tensor:
    """
    `n sum_j c_j p_j`: 1 where tokens are spread evenly, n where one expert has all.

    Args:
        probabilities: of the experts for each token, (tokens, n); c_j is the share of tokens that like j best, p_j
            the mean of its probability.
    """
    experts = probabilities.shape[-1]
    share = torch.bincount(probabilities.argmax(-1), minlength=experts) / max(len(probabilities), 1)
    return experts * (share * probabilities.mean(0)).sum()


def balance_penalty(
    model: nn.Module, start: nn.Module, batch: Any, outputs: Any, weight: float = BALANCE
) -> torch.Tensor:
    """`weight` times the mean imbalance of the layers in the last call."""
    mixtures = [module for module in model.modules() if isinstance(module, Mixture)]
    return weight * torch.stack([mixture.imbalance for mixture in mixtures]).mean()


def matched_expert_rank(model: Any, parameters: int, experts: int) -> int:
    """The rank at which experts on the MLPs and LoRA on attention have nearest to `parameters`, at least 1."""
    per_rank = sum(
        (linear.in_features + linear.out_features) * (experts if ".mlp." in name else 1)
        for name, linear in linear_maps(model).items()
    )
    return max(1, round(parameters / per_rank))


def add_lora_experts(model: Any, experts: int = EXPERTS) -> Any:
    """Adds experts to the MLPs and LoRA to attention; no logit changes."""
    rank = matched_expert_rank(model, wings_parameters(model), experts)
    note(model, rank=rank)
    language_model = model.model.language_model
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=ATTENTION), language_model)
    modality = Modality.install(model)
    for layer in language_model.layers:
        mixture = Mixture(layer.mlp, experts, rank, modality).to(model.device, model.dtype)
        for name in mixture.maps:
            layer.mlp.get_submodule(name).register_forward_hook(AddExperts(mixture, name))
        layer.mlp.lora_experts = mixture
        layer.mlp.register_forward_pre_hook(mixture.choose)
        layer.mlp.register_forward_hook(mixture.forget)
    return model


METHODS: tuple[Method, ...] = (
    Method(
        "lora-experts",
        "mixture of LoRA experts",
        "adapters",
        {LORA: LOW_RANK, r"\.lora_experts\.maps\.": LOW_RANK, r"\.lora_experts\.": NEW, PROJECTOR: NEW},
        install=add_lora_experts,
        penalty=balance_penalty,
    ),
)
