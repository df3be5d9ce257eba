# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
The same mathematics with the attention matrices kept: what a straightforward implementation costs.

Plain torch, written from the equations (arXiv 2406.03496, Eq. 4 and 5) and independent of `wings_hf`'s attention: each
learner is a full s x s attention with a mask, the router reads the attention matrix, and generation computes everything
anew for each token, as the released code does. It runs on the modules of a `WingsForCausalLM`, so the weights are the
same ones and need no copy.

Shapes: b batch, s length, d hidden size, H heads, e head size, h learner heads.
"""

import torch
from torch import Tensor, nn

from wings_hf import WingsForCausalLM


class EagerWings(nn.Module):
    """
    Llama with wings, eager.

    Args:
        model: gives the weights; a Llama backbone, `learner_query="attention_input"` and `learner_scope="always"`.
    """

    def __init__(self, model: WingsForCausalLM):
        super().__init__()
        self.config, self.text = model.config, model.config.text_config
        assert self.text.model_type == "llama" and self.config.learner_scope == "always"
        assert self.config.learner_query == "attention_input"
        self.backbone, self.head = model.model.language_model, model.lm_head

    def forward(
        self,
        x: Tensor,
        is_image: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int = 0,
    ) -> Tensor:
        """
        Args:
            x: merged embeddings, (b, s, d).
            is_image: bool (b, s).
            attention_mask: 0 at padding, which is on the right, (b, s).
            position_ids: (b, s), restarting where a packed sample starts.
            labels: (b, s), -100 where none.

        Returns:
            the loss where there are labels, else the logits of the last `logits_to_keep` (0: all) positions.
        """
        positions = torch.arange(x.shape[1], device=x.device)[None] if position_ids is None else position_ids
        samples = (positions.diff(dim=-1, prepend=positions[:, :1]) != 1).cumsum(-1)
        visible = (samples[:, :, None] == samples[:, None, :]).tril()  # (b, s, s): row i sees key j
        if attention_mask is not None:
            visible = visible & attention_mask.bool()[:, None, :]
        keys = {"visual": visible & is_image[:, None, :], "textual": visible & ~is_image[:, None, :]}
        hidden = x
        for layer in self.backbone.layers:
            n = layer.input_layernorm(hidden)
            output, weights = self.main_attention(layer.self_attn, n, visible, positions)
            hidden = hidden + output + self.wings(layer.self_attn, n, x, weights, keys, positions)
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        hidden = self.backbone.norm(hidden)
        if labels is None:
            return self.head(hidden[:, -logits_to_keep:])
        logits = self.head(hidden[:, :-1]).float()
        return nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)

    @torch.no_grad()
    def generate(self, x: Tensor, is_image: Tensor, new_tokens: int) -> Tensor:
        """Greedy ids, (b, new_tokens); every token computes the whole sequence again."""
        ids = []
        for _ in range(new_tokens):
            ids.append(self(x, is_image, logits_to_keep=1).argmax(-1))
            x = torch.cat([x, self.backbone.embed_tokens(ids[-1])], dim=1)
            is_image = torch.cat([is_image, torch.zeros_like(is_image[:, :1])], dim=1)
        return torch.cat(ids, dim=1)

    def main_attention(self, attention: nn.Module, n: Tensor, visible: Tensor, positions: Tensor):
        """The backbone's output (b, s, d) and weights (b, H, s, s)."""
        q, k, v = (
            split_heads(project(n), size=attention.head_dim)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        q, k = self.rotate(q, positions), self.rotate(k, positions)
        groups = q.shape[1] // k.shape[1]
        attended, weights = attend(q, k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1), visible)
        return attention.o_proj(attended), weights

    def wings(
        self, attention: nn.Module, n: Tensor, x: Tensor, weights: Tensor, keys: dict[str, Tensor], positions: Tensor
    ) -> Tensor:
        """What the learners add, (b, s, d)."""
        names = self.config.learners
        present = torch.stack([keys[name].any(-1) for name in names], dim=-1)  # (b, s, learners)
        gates = present.to(n.dtype)
        if len(names) == 2 and self.config.router != "uniform":
            logits = nn.functional.silu(self.router_logits(attention.router, weights, keys, positions))
            share = logits.masked_fill(~present, torch.finfo(logits.dtype).min).softmax(-1)
            gates = gates * (share * present.sum(-1, keepdim=True)).to(n.dtype)
        outputs = [self.learner(getattr(attention, f"{name}_learner"), n, x, keys[name], positions) for name in names]
        return sum(gates[..., i, None] * output for i, output in enumerate(outputs))

    def learner(self, maps: nn.Module, n: Tensor, x: Tensor, visible: Tensor, positions: Tensor) -> Tensor:
        """Eq. 4, (b, s, d); a row without a visible key is left to its gate of 0."""
        q = split_heads(n + n @ maps.q_a @ maps.q_b, heads=self.config.learner_heads)
        k = split_heads(x + x @ maps.k_a @ maps.k_b, heads=self.config.learner_heads)
        v = split_heads(x + x @ maps.v_a @ maps.v_b, heads=self.config.learner_heads)
        if self.config.learner_rope:
            q, k = self.rotate(q, positions), self.rotate(k, positions)
        attended, _ = attend(q, k, v, visible)
        return attended @ maps.o_a @ maps.o_b

    def router_logits(self, router: nn.Module, weights: Tensor, keys: dict[str, Tensor], positions: Tensor) -> Tensor:
        """`Router(a)`, float32 (b, s, 2)."""
        if self.config.router == "position":
            columns = router.weight[positions].expand(len(weights), -1, -1).to(weights.dtype)  # (b, s, 2)
            return (weights.sum(1) @ columns).float() + router.bias.float()
        after_image = keys["visual"].any(-1)[:, None, :]
        textual = keys["textual"]
        kinds = torch.stack([keys["visual"], textual & ~after_image, textual & after_image])  # (3, b, s, s)
        mass = torch.stack([(weights * kind[:, None]).sum(-1) for kind in kinds], dim=-1)  # (b, H, s, 3)
        return torch.einsum("bhsc,hcl->bsl", mass.float(), router.weight.float()) + router.bias.float()

    def rotate(self, states: Tensor, positions: Tensor) -> Tensor:
        """Rotary embedding of (b, heads, s, e)."""
        size = states.shape[-1]
        exponents = torch.arange(0, size, 2, device=states.device, dtype=torch.float32) / size
        angles = positions[:, None, :, None] * self.text.rope_parameters["rope_theta"] ** -exponents
        cos, sin = angles.cos().to(states.dtype), angles.sin().to(states.dtype)
        first, second = states.chunk(2, dim=-1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def split_heads(states: Tensor, heads: int = -1, size: int = -1) -> Tensor:
    """(b, s, heads * size) -> (b, heads, s, size)."""
    return states.unflatten(-1, (heads, size)).transpose(1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    """Attention with its matrix: output (b, s, heads * e) and weights (b, heads, s, s)."""
    scores = (q @ k.transpose(2, 3)) * q.shape[-1] ** -0.5
    scores = scores.masked_fill(~visible[:, None], torch.finfo(scores.dtype).min)
    weights = scores.softmax(-1, dtype=torch.float32).to(q.dtype)
    return (weights @ v).transpose(1, 2).flatten(2), weights
