# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What the code published with the paper computes, row by row and key by key, to compare ``semantics="released"`` with.

It stands on the plain oracle: the same float64 backbone, the same reading of weights from a state dict. Only what is
added to the attention's output differs, and is written here as the published code has it: the text keys are a list
of columns, row i sees the first i + 1 of them, and both learners are added twice. Padding is left out of a row before
anything else, so that each row is computed as if alone.
"""

import torch
from torch import Tensor, nn

from oracle import BACKBONE_PREFIX, VISUAL, WingsOracle, rotate


class ReleasedOracle(WingsOracle):
    """The float64 model of ``semantics="released"`` with the weights of a `WingsForCausalLM`'s state dict."""

    def wings(self, index: int, layer: nn.Module, query: Tensor, a: Tensor) -> Tensor:
        """What one layer adds to the residual stream after attention, (B, S, D)."""
        name = f"{BACKBONE_PREFIX}layers.{index}.{self.attention_name(layer)}"
        added = torch.zeros_like(query)
        for b, real in enumerate(self.call.real):
            columns = [j for j, is_real in enumerate(real) if is_real]
            if columns:
                rows = self.wings_of_row(name, columns, b, query[b, columns], a[b][:, columns][:, :, columns])
                added = added.index_put((torch.tensor(b), torch.tensor(columns)), rows)
        return added

    def wings_of_row(self, name: str, columns: list[int], b: int, r: Tensor, a: Tensor) -> Tensor:
        """The same of one row without padding: r (L, D), a (H, L, L), the result (L, D)."""
        x = self.call.x[b, columns]
        images = [i for i, column in enumerate(columns) if self.call.modality[b][column] == VISUAL]
        everything = list(range(len(columns)))
        if "textual" not in self.learner_names:  # stage 1
            return self.attend(f"{name}.visual_learner", r, x, images, causal=False)
        if not images:
            return self.attend(f"{name}.textual_learner", r, x, everything, causal=True)
        begin, end = images[0], images[-1] + 1
        text = everything if begin == 0 else everything[self.config.system_prompt_length : begin] + everything[end:]
        visual = self.attend(f"{name}.visual_learner", r, x, images, causal=False)
        textual = self.attend(f"{name}.textual_learner", r, x, text, causal=True)
        weight, bias = self.weights[f"{name}.router.weight"], self.weights[f"{name}.router.bias"]
        w = nn.functional.silu(a.sum(0) @ weight[: len(columns)] + bias).softmax(-1)
        added = w[:, :1] * visual + w[:, 1:] * textual
        return added + added

    def attend(self, name: str, r: Tensor, x: Tensor, keys: list[int], causal: bool) -> Tensor:
        """One learner: queries from r (L, D), keys and values from x at ``keys``; causal: row i sees i + 1 of them."""
        if not keys:
            return torch.zeros_like(r)
        w = {part: self.weights[f"{name}.{part}_a"] @ self.weights[f"{name}.{part}_b"] for part in "qkvo"}
        heads = self.text.num_attention_heads
        theta = self.text.rope_parameters["rope_theta"]

        def split(states: Tensor, positions: list[int] | None) -> Tensor:
            states = states.view(len(states), heads, -1)
            if positions is None:
                return states
            return torch.stack([rotate(s, p, theta, 1.0, False) for s, p in zip(states, positions, strict=True)])

        chosen = x[keys]
        q = split(r + r @ w["q"], list(range(len(r))))
        k, v = split(chosen + chosen @ w["k"], keys), split(chosen + chosen @ w["v"], None)
        rows = []
        for i in range(len(r)):
            seen = min(i + 1, len(keys)) if causal else len(keys)
            scores = torch.einsum("he,khe->hk", q[i], k[:seen]) / q.shape[-1] ** 0.5
            rows.append(torch.einsum("hk,khe->he", scores.softmax(-1), v[:seen]).flatten() @ w["o"])
        return torch.stack(rows)
