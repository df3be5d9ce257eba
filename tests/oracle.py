# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What Wings computes, written as slowly and plainly as possible, to compare the model with.

The oracle builds the plain backbone (``AutoModelForCausalLM``, eager attention, float64), loads a Wings
state dict into it, and adds the learners with forward hooks. It shares no code with ``wings_hf``: it reads a
configuration's fields and a state dict's tensors, nothing else. It has no cache, no fused kernel and no mask:
every row looks up its visible keys in a Python loop.

Legend: B batch, S sequence, D hidden size, H query heads, E head size of a learner, R rank.
    x    (B, S, D)     initial embeddings, what layer 0 receives
    n    (B, S, D)     what this layer's self-attention reads
    a    (B, H, S, S)  weights of the main attention
Equations are those of arXiv 2406.03496: Eq. 4 is the learner, Eq. 5 the sum.

The norms and rotary tables compute in float32 even here (transformers casts them), so the oracle is
exact to about 1e-7, not to 1e-15.
"""

import contextlib
import copy
import math
from dataclasses import dataclass
from unittest import mock

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

VISUAL, TEXTUAL = 1, 0  # as in mm_token_type_ids
MODALITY = {"visual": VISUAL, "textual": TEXTUAL}
ROUTER_COLUMN = {"visual": 0, "textual": 1}
BACKBONE_PREFIX = "model.language_model."

# Families whose rotary embedding pairs neighbours (2i, 2i + 1) instead of halves (i, i + half).
INTERLEAVED_ROPE = ("cohere", "cohere2", "ernie4_5", "glm", "glm4", "helium")
# Families that norm the attention's output before it joins the residual stream, and the norm's name.
POST_ATTENTION_NORM = {
    "gemma2": "post_attention_layernorm",
    "gemma3_text": "post_attention_layernorm",
    "olmo2": "post_attention_layernorm",
    "glm4": "post_self_attn_layernorm",
}


@dataclass
class Call:
    """What one forward call tells every layer."""

    modality: list[list[int]]  # (B, S) 1 = visual, 0 = textual
    positions: list[list[int]]  # (B, S) position ids
    real: list[list[bool]]  # (B, S) False = padding
    documents: list[list[int]]  # (B, S) packed sample each token belongs to
    x: Tensor | None = None  # (B, S, D), set when layer 0 starts
    residual: Tensor | None = None  # (B, S, D), input of the layer that runs now

    def visible_keys(self, b: int, i: int, modality: int | None = None) -> list[int]:
        """Columns visible to row i: at or before it, in its packed sample, not padding (of one modality)."""
        return [
            j
            for j in range(i + 1)
            if self.real[b][j]
            and self.documents[b][j] == self.documents[b][i]
            and (modality is None or self.modality[b][j] == modality)
        ]

    def key_class(self, b: int, j: int) -> int:
        """Class of a key for the modality router: 0 visual, 1 text before any image, 2 text after one."""
        if self.modality[b][j] == VISUAL:
            return 0
        return 2 if self.visible_keys(b, j, VISUAL) else 1


@contextlib.contextmanager
def softmax_keeps_dtype():
    """Keep eager attention's softmax from float32, where a float64 mask overflows to -inf, and NaN."""
    softmax = nn.functional.softmax
    with mock.patch.object(nn.functional, "softmax", lambda x, dim, dtype=None: softmax(x, dim)):
        yield


def positions_from_mask(attention_mask: Tensor) -> Tensor:
    """Position ids that count real tokens only; padding gets 0. (B, S) -> (B, S)."""
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)


def resolve_learner_heads(hidden_size: int, num_heads: int) -> int:
    """H where d / H is even and at most 248, else the next divisor of d above H that qualifies."""
    for heads in range(num_heads, hidden_size + 1):
        if hidden_size % heads == 0 and (hidden_size // heads) % 2 == 0 and hidden_size // heads <= 248:
            return heads
    raise ValueError(f"no number of learner heads fits hidden_size={hidden_size}, num_heads={num_heads}")


def rotate(vector: Tensor, position: int, theta: float, factor: float, interleaved: bool) -> Tensor:
    """Rotary embedding of one position's heads, (H, E), on the first ``int(E * factor)`` dimensions."""
    size = int(vector.shape[-1] * factor)
    result = vector.clone()
    for i in range(size // 2):
        angle = position * theta ** (-2 * i / size)
        first, second = (2 * i, 2 * i + 1) if interleaved else (i, i + size // 2)
        result[:, first] = vector[:, first] * math.cos(angle) - vector[:, second] * math.sin(angle)
        result[:, second] = vector[:, second] * math.cos(angle) + vector[:, first] * math.sin(angle)
    return result


class WingsOracle:
    """A float64 Wings model with the weights of ``state_dict`` (that of a ``WingsForCausalLM``)."""

    def __init__(self, config, state_dict: dict[str, Tensor]):
        self.config = config
        self.text = copy.deepcopy(config.text_config)
        implementation = {"attn_implementation": "eager", "experts_implementation": "eager"}
        self.backbone = AutoModelForCausalLM.from_config(self.text, **implementation).double().eval()
        self.weights = self._load(state_dict)  # learner and router tensors, named as in the state dict
        self.call: Call | None = None
        base = getattr(self.backbone, self.backbone.base_model_prefix)
        for index, layer in enumerate(base.layers):
            layer.register_forward_pre_hook(self._before_layer(index), with_kwargs=True)
            if config.learners and index in self.learner_layers:
                attention = getattr(layer, self.attention_name(layer))
                attention.register_forward_hook(self._after_attention(index, layer), with_kwargs=True)

    @property
    def learner_layers(self) -> list[int]:
        layers = self.config.learner_layers
        return list(range(self.text.num_hidden_layers)) if layers is None else [int(layer) for layer in layers]

    @property
    def learner_names(self) -> list[str]:
        return [name for name in ROUTER_COLUMN if name in self.config.learners]

    @staticmethod
    def attention_name(layer: nn.Module) -> str:
        return next(name for name in ("self_attn", "attention", "self_attention") if hasattr(layer, name))

    def _load(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Load the backbone's weights and return the rest of the language model's, as float64 leaves."""
        prefix = f"{self.backbone.base_model_prefix}."
        plain, wings = {}, {}
        expected = set(self.backbone.state_dict())
        for name, tensor in state_dict.items():
            if name.startswith(BACKBONE_PREFIX) and prefix + name.removeprefix(BACKBONE_PREFIX) not in expected:
                wings[name] = tensor.detach().double().clone().requires_grad_()
            elif name.startswith(BACKBONE_PREFIX):
                plain[prefix + name.removeprefix(BACKBONE_PREFIX)] = tensor
            elif name in expected:
                plain[name] = tensor
        missing, unexpected = self.backbone.load_state_dict(plain, strict=False)
        tied = {"lm_head.weight"} if getattr(self.text, "tie_word_embeddings", False) else set()
        assert not set(missing) - tied and not unexpected, (missing, unexpected)
        return wings

    # ---------------------------------------------------------------------------------------------- calling

    def __call__(
        self,
        inputs_embeds: Tensor | None = None,
        input_ids: Tensor | None = None,
        mm_token_type_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        document_ids: Tensor | None = None,
        **kwargs,
    ):
        """The backbone's output with the wings added. Packed samples need position_ids and document_ids."""
        if inputs_embeds is None:
            inputs_embeds = self.backbone.get_input_embeddings()(input_ids)
        batch, length = inputs_embeds.shape[:2]
        zeros = torch.zeros(batch, length, dtype=torch.long)
        if position_ids is None and attention_mask is not None:
            position_ids = positions_from_mask(attention_mask)
        elif position_ids is None:
            position_ids = zeros + torch.arange(length)
        modality = zeros if mm_token_type_ids is None else mm_token_type_ids
        documents = zeros if document_ids is None else document_ids
        self.call = Call(
            modality=modality.tolist(),
            positions=position_ids.expand(batch, -1).tolist(),
            real=(zeros == 0 if attention_mask is None else attention_mask.bool()).tolist(),
            documents=documents.tolist(),
        )
        with softmax_keeps_dtype():
            return self.backbone(
                inputs_embeds=inputs_embeds.double(),
                attention_mask=attention_mask,
                position_ids=position_ids,
                use_cache=False,
                **kwargs,
            )

    def named_gradients(self) -> dict[str, Tensor]:
        """Gradients after a backward pass, named as in the Wings state dict."""
        prefix = f"{self.backbone.base_model_prefix}."
        gradients = {name: tensor.grad for name, tensor in self.weights.items()}
        for name, parameter in self.backbone.named_parameters():
            wings_name = BACKBONE_PREFIX + name.removeprefix(prefix) if name.startswith(prefix) else name
            gradients[wings_name] = parameter.grad
        return gradients

    def zero_grad(self) -> None:
        self.backbone.zero_grad()
        for tensor in self.weights.values():
            tensor.grad = None

    # ------------------------------------------------------------------------------------------------ hooks

    def _before_layer(self, index: int):
        def hook(module, args, kwargs):
            self.call.residual = args[0] if args else kwargs["hidden_states"]
            if index == 0:
                self.call.x = self.call.residual

        return hook

    def _after_attention(self, index: int, layer: nn.Module):
        def hook(module, args, kwargs, output):
            n = args[0] if args else kwargs["hidden_states"]
            attention_output, a = output[0], output[1]
            query = self.learner_query(layer, n, attention_output)
            return (attention_output + self.wings(index, layer, query, a), *output[1:])

        return hook

    def learner_query(self, layer: nn.Module, n: Tensor, attention_output: Tensor) -> Tensor:
        """What the learners' queries are made of, (B, S, D)."""
        if self.config.learner_query == "attention_input":
            return n
        assert self.config.learner_query == "post_attention"
        family = self.text.model_type
        if family in POST_ATTENTION_NORM:
            attention_output = getattr(layer, POST_ATTENTION_NORM[family])(attention_output)
        if family == "granite":
            attention_output = attention_output * self.text.residual_multiplier
        return self.call.residual + attention_output

    # ------------------------------------------------------------------------------------------ Eq. 4, Eq. 5

    def wings(self, index: int, layer: nn.Module, query: Tensor, a: Tensor) -> Tensor:
        """``g_V * out_V + g_T * out_T`` of one layer (the sum of Eq. 5 without Att_main), (B, S, D)."""
        name = f"{BACKBONE_PREFIX}layers.{index}.{self.attention_name(layer)}"
        outputs = {
            learner: self.learner(f"{name}.{learner}_learner", MODALITY[learner], index, query)
            for learner in self.learner_names
        }
        rows = []
        for b in range(query.shape[0]):
            for i in range(query.shape[1]):
                weights = self.row_weights(name, a, b, i)
                row = torch.zeros_like(query[b, i])
                for learner, weight in weights.items():
                    row = row + weight * outputs[learner][b, i]
                rows.append(row)
        return torch.stack(rows).view_as(query)

    def learner(self, name: str, modality: int, index: int, query: Tensor) -> Tensor:
        """Eq. 4: low-rank residual attention over the visible keys of one modality, (B, S, D).

        A row with no visible key gets exactly 0.
        """
        w = {part: self.weights[f"{name}.{part}_a"] @ self.weights[f"{name}.{part}_b"] for part in "qkvo"}
        x = self.call.x
        batch, length, hidden = x.shape
        heads = self.config.learner_heads or resolve_learner_heads(hidden, self.text.num_attention_heads)
        size = hidden // heads
        q = (query + query @ w["q"]).view(batch, length, heads, size)
        k = (x + x @ w["k"]).view(batch, length, heads, size)
        v = (x + x @ w["v"]).view(batch, length, heads, size)
        q, k = self.rope(index, q), self.rope(index, k)
        rows = []
        for b in range(batch):
            for i in range(length):
                keys = self.call.visible_keys(b, i, modality)
                if not keys:
                    rows.append(torch.zeros_like(query[b, i]))
                    continue
                scores = torch.einsum("he,khe->hk", q[b, i], k[b, keys]) / size**0.5
                attended = torch.einsum("hk,khe->he", scores.softmax(-1), v[b, keys])
                rows.append(attended.reshape(hidden) @ w["o"])
        return torch.stack(rows).view_as(query)

    def row_weights(self, name: str, a: Tensor, b: int, i: int) -> dict[str, Tensor | float]:
        """Weight g of each learner that acts on row i: ``g = n softmax(SiLU(Router(a)))``, of sum n."""
        has_key = [learner for learner in self.learner_names if self.call.visible_keys(b, i, MODALITY[learner])]
        in_sight = sum(bool(self.call.visible_keys(b, i, modality)) for modality in MODALITY.values())
        if self.config.learner_scope == "visual_context" and not self.call.visible_keys(b, i, VISUAL):
            return {}
        if self.config.router == "mass":
            power = self.config.router_power
            return {
                learner: (in_sight * a[b, :, i, self.call.visible_keys(b, i, MODALITY[learner])].sum(-1).mean())
                ** power
                for learner in has_key
            }
        if len(has_key) < 2 or self.config.router == "uniform":
            return dict.fromkeys(has_key, 1.0)
        logits = self.router_logits(name, a[b, :, i, :], b)
        chosen = torch.stack([logits[ROUTER_COLUMN[learner]] for learner in has_key])
        weights = len(has_key) * nn.functional.silu(chosen).softmax(-1)
        return dict(zip(has_key, weights, strict=True))

    def router_logits(self, name: str, a: Tensor, b: int) -> Tensor:
        """Router(a) of one row. a: (H, S), that row's attention weights; the result: (2,)."""
        weight, bias = self.weights[f"{name}.router.weight"], self.weights[f"{name}.router.bias"]
        logits = bias
        for j in range(a.shape[-1]):
            if not self.call.real[b][j]:
                continue  # padding has no attention weight
            if self.config.router == "position":
                logits = logits + a[:, j].sum() * weight[self.call.positions[b][j]]  # weight: (positions, 2)
            else:
                logits = logits + a[:, j] @ weight[:, self.call.key_class(b, j)]  # weight: (H, 3, 2)
        return logits

    # ------------------------------------------------------------------------------------------------- rope

    def rope(self, index: int, heads: Tensor) -> Tensor:
        """Rotate learner queries or keys of one layer, (B, S, H, E) -> (B, S, H, E)."""
        if not self.config.learner_rope or not self.layer_has_rope(index):
            return heads
        parameters = self.text.rope_parameters
        layer_types = getattr(self.text, "layer_types", None)
        if layer_types and layer_types[index] in parameters:
            parameters = parameters[layer_types[index]]
        theta, factor = parameters["rope_theta"], parameters.get("partial_rotary_factor", 1.0)
        interleaved = self.text.model_type in INTERLEAVED_ROPE
        batch, length = heads.shape[:2]
        return torch.stack(
            [
                rotate(heads[b, i], self.call.positions[b][i], theta, factor, interleaved)
                for b in range(batch)
                for i in range(length)
            ]
        ).view_as(heads)

    def layer_has_rope(self, index: int) -> bool:
        if self.text.model_type == "smollm3":
            return bool(self.text.no_rope_layers[index])
        if self.text.model_type == "cohere2":
            return self.text.layer_types[index] == "sliding_attention"
        return True
