# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Models and inputs of a case: wings, the plain backbone and the eager implementation, on the same weights."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AutoModelForCausalLM, CompileConfig, LlamaConfig, PreTrainedModel, StaticCache

from speed.cases import Case, Shape
from speed.eager import EagerWings
from wings_hf import WingsConfig, WingsForCausalLM

FEATURE_SIZE = 64  # of the given image features: there is no tower on either side


@dataclass
class Contender:
    """Something to time: `prepare` runs before each `run` and is not timed."""

    run: Callable[[], object]
    prepare: Callable[[], object] = field(default=lambda: None)


@dataclass
class Inputs:
    """
    Args:
        ids: (b, s), the placeholder's id where an image feature goes.
        features: (images, tokens, FEATURE_SIZE).
        is_image: bool (b, s).
        labels: (b, s), -100 at images and padding.
        masking: `attention_mask` or `position_ids`, where the layout has one.
        samples: row, first position and the position after the last, of each sample.
    """

    ids: Tensor
    features: Tensor
    is_image: Tensor
    labels: Tensor
    masking: dict[str, Tensor]
    samples: list[tuple[int, int, int]]


def sample_spans(case: Case) -> list[tuple[int, int, int]]:
    """Row, start and stop of each sample."""
    if case.layout == "packed":
        edges = [case.length * part // 10 for part in (0, 4, 7, 9, 10)]
        return [(row, start, stop) for row in range(case.batch) for start, stop in itertools.pairwise(edges)]
    shortened = case.layout == "mixed" and case.kind in ("train", "prefill")
    step = case.length // (2 * case.batch) if shortened else 0
    return [(row, 0, case.length - row * step) for row in range(case.batch)]


def make_inputs(case: Case, vocabulary: int, device: str, dtype: torch.dtype) -> Inputs:
    """Random text and image features; images are spread over each sample, from its eighth token on."""
    samples = sample_spans(case)
    ids = torch.randint(3, vocabulary, (case.batch, case.length))
    real = torch.zeros(case.batch, case.length, dtype=torch.bool)
    positions = torch.zeros(case.batch, case.length, dtype=torch.long)
    shortest = min(stop - start for _, start, stop in samples)
    tokens, images = max(shortest // 4 // case.images, 1), 0
    for index, (row, start, stop) in enumerate(samples):
        real[row, start:stop] = True
        positions[row, start:stop] = torch.arange(stop - start)
        if case.layout != "plain" and index % 2:
            continue
        gap = (stop - start) // case.images
        for image in range(case.images):
            first = start + image * gap + min(8, (gap - tokens) // 2)
            ids[row, first : first + tokens] = vocabulary  # the placeholder: the first id past the vocabulary
            images += 1
    masking = {"position_ids": positions} if case.layout == "packed" else {}
    if not real.all():
        masking = {"attention_mask": real.long()}
    is_image = (ids == vocabulary) & real
    return Inputs(
        ids=ids.to(device),
        features=torch.randn(images, tokens, FEATURE_SIZE).to(device, dtype),
        is_image=is_image.to(device),
        labels=ids.masked_fill(is_image | ~real, -100).to(device),
        masking={name: tensor.to(device) for name, tensor in masking.items()},
        samples=samples,
    )


def build_wings(shape: Shape, case: Case, device: str) -> WingsForCausalLM:
    """Random weights throughout: wings at their initialisation would multiply by zero."""
    positions = case.length + case.new_tokens
    text = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        max_position_embeddings=positions,
        dtype=shape.dtype,
        bos_token_id=None,
        eos_token_id=None,
    )
    config = WingsConfig(
        text_config=text,
        vision_feature_size=FEATURE_SIZE,
        learners=case.learners,
        learner_rank=shape.rank,
        learner_cache=case.cache,
        learner_rope=case.rope,
        router=case.router,
        router_positions=positions,
        dtype=shape.dtype,
    )
    backend = "sdpa" if case.backend == "cudnn" else case.backend
    with torch.device(device):
        model = WingsForCausalLM._from_config(config, attn_implementation={"text_config": backend})
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.02)
    for name, parameter in model.named_parameters():  # stage 1 trains the learners and the projector
        parameter.requires_grad_(case.stage == 2 or "_learner." in name or "multi_modal_projector" in name)
    return model


def build_plain(wings: WingsForCausalLM) -> PreTrainedModel:
    """The backbone's own class with the tensors of `wings`, not copies, for weights."""
    text = wings.model.language_model
    implementation = text.config._attn_implementation
    with torch.device(wings.device):
        plain = AutoModelForCausalLM.from_config(wings.config.text_config, attn_implementation=implementation)
    plain = plain.to(wings.dtype)
    state = wings.state_dict()
    prefix = "model.language_model."
    weights = {name: state[name.replace("model.", prefix, 1)] for name in plain.state_dict()}
    plain.load_state_dict(weights, assign=True)
    frozen = not wings.lm_head.weight.requires_grad
    return plain.requires_grad_(not frozen)


@torch.no_grad()
def merged_embeddings(wings: WingsForCausalLM, inputs: Inputs) -> Tensor:
    """What layer 0 receives, (b, s, d)."""
    x = wings.get_input_embeddings()(inputs.ids.masked_fill(inputs.is_image, 0))
    features = torch.cat(list(wings.model.get_image_features(inputs.features).pooler_output))
    return x.masked_scatter(inputs.is_image[..., None], features)


class Bench:
    """The models and inputs of one case, and what is timed with them."""

    def __init__(self, shape: Shape, case: Case, device: str):
        torch.manual_seed(0)
        self.shape, self.case, self.device = shape, case, device
        self.wings = build_wings(shape, case, device)
        self.plain = build_plain(self.wings)
        self.inputs = make_inputs(case, shape.vocabulary, device, self.wings.dtype)
        self.x = merged_embeddings(self.wings, self.inputs).requires_grad_(case.kind == "train")
        for model in (self.wings, self.plain):
            model.train(case.kind == "train")
            if case.checkpointing:
                enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
                enable()

    def contenders(self) -> dict[str, Contender]:
        """ "plain", "wings" and, where the case asks for it, "eager"."""
        sides = {
            "plain": (self.plain, {"inputs_embeds": self.x}),
            "wings": (self.wings, {"input_ids": self.inputs.ids, "pixel_values": self.inputs.features}),
        }
        make = {"train": self.train, "prefill": self.prefill, "generate": self.generate, "decode": self.decode}
        made = {name: make[self.case.kind](model, prompt) for name, (model, prompt) in sides.items()}
        if self.case.eager:
            made["eager"] = self.eager()
        if self.case.backend == "cudnn":
            made = {name: Contender(only_cudnn(it.run), it.prepare) for name, it in made.items()}
        return made

    def train(self, model: PreTrainedModel, prompt: dict[str, Tensor]) -> Contender:
        def step() -> None:
            labels = self.inputs.labels
            model(**prompt, **self.inputs.masking, labels=labels, use_cache=False).loss.backward()

        return Contender(step, self.drop_gradients)

    def drop_gradients(self) -> None:
        self.x.grad = None
        for model in (self.plain, self.wings):
            model.zero_grad(set_to_none=True)

    def prefill(self, model: PreTrainedModel, prompt: dict[str, Tensor]) -> Contender:
        use_cache = self.case.layout != "packed"

        @torch.no_grad()
        def forward() -> object:
            return model(**prompt, **self.inputs.masking, logits_to_keep=1, use_cache=use_cache)

        return Contender(forward)

    def generate(self, model: PreTrainedModel, prompt: dict[str, Tensor]) -> Contender:
        settings: dict = {"max_new_tokens": self.case.new_tokens, "do_sample": False}
        if self.case.compiled:
            config = CompileConfig(mode="reduce-overhead" if self.device == "cuda" else "default")
            config._compile_all_devices = True  # of itself `generate` compiles on accelerators only
            settings |= {"cache_implementation": "static", "compile_config": config}
        ones = torch.ones_like(self.inputs.ids)
        return Contender(lambda: model.generate(**prompt, attention_mask=ones, **settings))

    def decode(self, model: PreTrainedModel, prompt: dict[str, Tensor]) -> Contender:
        """Greedy steps on a filled cache; the prompt is read before, untimed."""
        state: dict = {}
        forward = model.forward
        if self.case.compiled:
            room = self.case.length + self.case.new_tokens
            state["cache"] = StaticCache(config=self.wings.config.text_config, max_cache_len=room)
            mode = "reduce-overhead" if self.device == "cuda" else "default"
            forward = torch.compile(model.forward, fullgraph=True, dynamic=False, mode=mode)

        @torch.no_grad()
        def fill() -> None:
            cache = state["cache"] if self.case.compiled else None
            if cache is not None and cache.is_initialized:
                cache.reset()
            outputs = model(**prompt, past_key_values=cache, use_cache=True, logits_to_keep=1)
            state["cache"], state["token"] = outputs.past_key_values, outputs.logits.argmax(-1)

        @torch.no_grad()
        def steps() -> Tensor:
            token = state["token"]
            for _ in range(self.case.new_tokens):
                if self.case.compiled and self.device == "cuda":
                    torch.compiler.cudagraph_mark_step_begin()
                token = forward(input_ids=token, past_key_values=state["cache"], use_cache=True).logits.argmax(-1)
            return token

        return Contender(steps, fill)

    def eager(self) -> Contender:
        model = EagerWings(self.wings)
        x, is_image = self.x, self.inputs.is_image
        if self.case.kind == "generate":
            return Contender(lambda: model.generate(x, is_image, self.case.new_tokens))
        if self.case.kind == "train":
            return Contender(
                lambda: model(x, is_image, **self.inputs.masking, labels=self.inputs.labels).backward(),
                self.drop_gradients,
            )
        forward = torch.no_grad()(lambda: model(x, is_image, **self.inputs.masking, logits_to_keep=1))
        return Contender(forward)

    def eager_bytes(self) -> int:
        """About what the eager implementation needs for its matrices, to see beforehand whether it fits."""
        length = self.case.length + self.case.new_tokens
        matrix = self.case.batch * self.shape.heads * length**2 * 4
        kept = self.shape.layers * (1 + len(self.case.learners)) if self.case.kind == "train" else 0
        return (kept + 4) * matrix


def only_cudnn(run: Callable[[], object]) -> Callable[[], object]:
    def limited() -> object:
        if not torch.cuda.is_available():
            raise RuntimeError("cuDNN attention needs CUDA")
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            return run()

    return limited
