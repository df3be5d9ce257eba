# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
The language model's own causal head, whole.

What a family does between its decoder and its logits and loss (final soft-cap, logit scaling, bias, auxiliary
losses) stands in the `forward` of its causal class. That very function is run, on an object that answers for `self`
with the parts Wings holds, and whose decoder returns the outputs that Wings has computed already.
"""

import inspect
from collections.abc import Iterator
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import ModelOutput


class CausalHead:
    """
    The head of `causal_lm`'s class.

    Args:
        causal_lm: a freshly built causal language model; only its class, its settings and the names of its parts
            are kept.
    """

    def __init__(self, causal_lm: PreTrainedModel):
        self.model_class = type(causal_lm)
        self.decoder_name = causal_lm.base_model_prefix
        self.settings = {
            name: value for name, value in vars(causal_lm).items() if not name.startswith("_") and name != "training"
        }
        outputs = causal_lm.get_output_embeddings()
        self.names = [name for name, _ in causal_lm.named_children() if name != self.decoder_name]
        named = [name for name, child in causal_lm.named_children() if child is outputs]
        if outputs is None or not named or causal_lm.base_model is causal_lm:
            raise ValueError(
                f"The language model {causal_lm.config.model_type!r} cannot carry wings: "
                f"{self.model_class.__name__} is not a decoder with a head of its own beside it."
            )
        self.output_name = named[0]
        self._tied = dict(causal_lm._tied_weights_keys or {})

    def modules_of(self, causal_lm: PreTrainedModel) -> Iterator[tuple[str, nn.Module]]:
        """Name and module of the head's parts in `causal_lm`."""
        return ((name, getattr(causal_lm, name)) for name in self.names)

    def tied_weights(self, decoder_path: str) -> dict[str, str]:
        """The family's tied weights, with its decoder found at `decoder_path`."""
        prefix = f"{self.decoder_name}."

        def moved(name: str) -> str:
            return f"{decoder_path}.{name[len(prefix) :]}" if name.startswith(prefix) else name

        return {moved(target): moved(source) for target, source in self._tied.items()}

    def __call__(self, wings: nn.Module, outputs: ModelOutput, **kwargs: Any) -> ModelOutput:
        """
        Logits and loss for the decoder's `outputs`.

        Args:
            wings: the model that holds the head's modules.
            outputs: what its decoder returned.
            kwargs: `labels`, `logits_to_keep` and what else the family's `forward` takes.
        """
        forward = inspect.unwrap(self.model_class.forward)
        return forward(_HeadSelf(self, wings, outputs), **kwargs)


class _HeadSelf:
    """`self` for a family's `forward`: its settings, the head's modules of `wings`, and a decoder that is done."""

    def __init__(self, head: CausalHead, wings: nn.Module, outputs: ModelOutput):
        self._head, self._wings, self._outputs = head, wings, outputs

    def __getattr__(self, name: str) -> Any:
        if name == self._head.decoder_name:
            return self._finished_decoder
        if name == "vocab_size":  # resizing changes it
            return self._wings.config.text_config.vocab_size
        if name in self._head.settings:
            return self._head.settings[name]
        return getattr(self._wings, name)

    def _finished_decoder(self, *args: Any, **kwargs: Any) -> ModelOutput:
        return self._outputs
