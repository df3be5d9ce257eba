# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The demo's parts, as small as they go: a tokenizer, a Llama, a SigLIP tower, and the processor that joins them."""

import random
from collections.abc import Iterable, Iterator
from itertools import chain

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipForImageClassification,
    SiglipImageProcessorPil,
)

from wings_hf.demo.text_tasks import TEXT_TASKS
from wings_hf.processing.processing_wings import WingsProcessor

IMAGE_SIZE, PATCH_SIZE = 16, 8  # 2 x 2 = 4 image tokens
SPECIAL_TOKENS = ["<pad>", "<user>", "<assistant>", "<end>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}<user>{{ message['content'] }}"
    "{% else %}<assistant>{{ message['content'] }}<end>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
WORDS_OF_QUESTIONS = "Read Do and show the same digit? yes no How many of are"


def build_tokenizer(more: Iterable[str] = (), vocabulary: int = 640) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer that keeps digits apart, trained on the text tasks, questions' words and `more`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?\d"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(chain(_corpus(), more), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>", chat_template=CHAT_TEMPLATE
    )


def _corpus() -> Iterator[str]:
    rng = random.Random("tokenizer")
    for _ in range(600):
        for task in TEXT_TASKS.values():
            yield from task(rng)
        yield WORDS_OF_QUESTIONS


def build_language_model(tokenizer: PreTrainedTokenizerFast, width: int, layers: int) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        tie_word_embeddings=True,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def build_digit_classifier() -> SiglipForImageClassification:
    """The vision tower with a head to learn digits with; the head is left behind afterwards."""
    vision_config = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": IMAGE_SIZE,
        "patch_size": PATCH_SIZE,
        "vision_use_head": False,
    }
    config = SiglipConfig(vision_config=vision_config, id2label=dict(enumerate("0123456789")))
    return SiglipForImageClassification(config)


def build_processor(tokenizer: PreTrainedTokenizerFast) -> WingsProcessor:
    image_processor = SiglipImageProcessorPil(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE})
    return WingsProcessor(image_processor, tokenizer, patch_size=PATCH_SIZE)
