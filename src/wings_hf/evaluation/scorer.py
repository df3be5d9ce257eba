# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Log-likelihoods and greedy answers of an image-text model, for prompts with any number of images.

What both adapters share (lm-evaluation-harness, lmms-eval). Nothing here knows a model family: the processor makes the
inputs, `<image>` in a prompt stands where an image goes.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F

from wings_hf.processing.wings_image_sources import ImageOptions, read_image

MARK = "<image>"
Likelihood = tuple[float, bool]  # log-likelihood, and whether greedy decoding gives that text
T = TypeVar("T")
R = TypeVar("R")


class Prompt(NamedTuple):
    """A prompt as the model reads it (a chat template already applied), and its images in reading order."""

    text: str
    images: Sequence[Any] = ()


class Scorer:
    """
    Args:
        model: any model of transformers whose `forward` gives logits of the next token.
        processor: its processor, or its tokenizer where it takes no images.
        batch_size: prompts at a time.
        max_length: tokens a prompt and its answer may have; the model's own limit where None.
        max_image_pixels: an image with more is refused before it is decoded; None for the processing's own limit.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        batch_size: int = 1,
        max_length: int | None = None,
        max_image_pixels: int | None = None,
    ) -> None:
        self.model, self.processor, self.batch_size = model, processor, batch_size
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self.max_length = max_length or longest(model.config)
        self.options = ImageOptions() if max_image_pixels is None else ImageOptions(max_pixels=max_image_pixels)
        self.image_token = image_token_of(processor, model.config)
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token

    @torch.no_grad()
    def loglikelihoods(
        self, requests: Sequence[tuple[Prompt, str]], done: Callable[[int], Any] = lambda count: None
    ) -> list[Likelihood]:
        """Of each continuation after its prompt, summed over its tokens.

        Raises:
            ValueError: a prompt with its continuation is longer than `max_length`, or its images do not match.
        """
        return batched(requests, self.batch_size, lambda row: self._size(row[0], row[1]), self._score, done)

    @torch.no_grad()
    def answers(
        self,
        requests: Sequence[Prompt],
        max_new_tokens: int = 256,
        stop: Sequence[str] = (),
        done: Callable[[int], Any] = lambda count: None,
        **generation: Any,
    ) -> list[str]:
        """What the model writes after each prompt, up to the first of `stop`; greedy unless `generation` says else."""

        def write(prompts: Sequence[Prompt]) -> list[str]:
            inputs = self.encode(prompts, "left", room=max_new_tokens)
            settings = {"do_sample": False, "pad_token_id": self.tokenizer.pad_token_id, **generation}
            if stop:
                settings |= {"stop_strings": list(stop), "tokenizer": self.tokenizer}
            tokens = self.model.generate(**inputs, max_new_tokens=max_new_tokens, **settings)
            texts = self.tokenizer.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
            return [before_any(text, stop) for text in texts]

        return batched(requests, self.batch_size, self._size, write, done)

    def chat(self, messages: Sequence[Mapping[str, Any]]) -> Prompt:
        """A conversation (contents: strings, or lists of `{"type": "text"}` and `{"type": "image"}`) as a prompt."""
        return Prompt(self._written(messages, add_generation_prompt=True), images_in(messages))

    def replying(self, messages: Sequence[Mapping[str, Any]], replies: Sequence[str]) -> tuple[Prompt, list[str]]:
        """The conversation up to where the assistant's reply begins, and the replies, both as the chat template writes
        the whole conversation.

        That may be more than the prompt for generation: after "ASSISTANT:" a template may write a space first.

        Raises:
            ValueError: the template writes other words than a reply, or begins otherwise for another reply.
        """
        in_parts = any(not isinstance(message["content"], str) for message in messages)
        begins, written = set(), []
        for reply in replies:
            content = [{"type": "text", "text": reply}] if in_parts else reply
            whole = self._written([*messages, {"role": "assistant", "content": content}], continue_final_message=True)
            said = next((form for form in (reply, reply.strip()) if whole.endswith(form)), None)
            if said is None:
                raise ValueError(f"the chat template writes {whole[-len(reply) - 20 :]!r} for the reply {reply!r}.")
            begins.add(whole[: len(whole) - len(said)])
            written.append(said)
        if len(begins) != 1:
            raise ValueError(f"the chat template begins otherwise for each of the replies {list(replies)}.")
        return Prompt(begins.pop(), images_in(messages)), written

    def _written(self, messages: Sequence[Mapping[str, Any]], **how: bool) -> str:
        bare = [{**message, "content": _bare(message["content"])} for message in messages]
        templated = self.processor if getattr(self.processor, "chat_template", None) else self.tokenizer
        return templated.apply_chat_template(bare, tokenize=False, **how)

    def encode(self, prompts: Sequence[Prompt], padding_side: str, room: int = 0) -> Mapping[str, torch.Tensor]:
        """Inputs for these prompts, padded to one length.

        Raises:
            ValueError: too long (prompts are never cut: an image would lose its tokens), images do not match, or some
                of the prompts begin with the BOS token and others do not.
        """
        texts = [self._marked(prompt) for prompt in prompts]
        images = [[read_image(image, self.options) for image in prompt.images] for prompt in prompts]
        settings: dict[str, Any] = {"padding": True, "return_tensors": "pt"}
        begun = {begins_with_bos(text, self.tokenizer) for text in texts}
        if len(begun) > 1:
            raise ValueError(f"some prompts begin with {self.tokenizer.bos_token} and some do not: encode them apart.")
        if True in begun:
            settings["add_special_tokens"] = False
        if any(images):
            settings["images"] = images
        with padding_on(self.tokenizer, padding_side):
            inputs = self.processor(text=texts, **settings)
        length = inputs["input_ids"].shape[1] + room
        if length > self.max_length:
            raise ValueError(
                f"a prompt takes {length} tokens with {room} for the answer, and the model reads {self.max_length}: "
                "ask for fewer examples in the prompt, or shorter answers."
            )
        return inputs.to(self.model.device, self.model.dtype) if any(images) else inputs.to(self.model.device)

    def _score(self, requests: Sequence[tuple[Prompt, str]]) -> list[Likelihood]:
        pairs = [_moved_spaces(prompt, continuation) for prompt, continuation in requests]
        wholes = self.encode([Prompt(prompt.text + text, prompt.images) for prompt, text in pairs], "right")
        logits = self.model(**wholes, use_cache=False).logits
        lengths = wholes["attention_mask"].sum(-1).tolist()
        own = [self._tokens(prompt, text) - self._tokens(prompt) for prompt, text in pairs]
        return [
            likelihood(logits[row, end - count - 1 : end - 1], wholes["input_ids"][row, end - count : end])
            for row, (end, count) in enumerate(zip(lengths, own, strict=True))
        ]

    def _size(self, prompt: Prompt, continuation: str = "") -> tuple[Hashable, int]:
        """What may share a batch (images or none, BOS written or added), and how long it is."""
        kind = (bool(prompt.images), begins_with_bos(self._marked(prompt), self.tokenizer))
        return kind, len(prompt.text) + len(continuation)

    def _tokens(self, prompt: Prompt, continuation: str = "") -> int:
        """Tokens of a prompt with each image counted as one: prompts that share images differ by their texts alone."""
        text = self._marked(prompt) + continuation
        special = {"add_special_tokens": False} if begins_with_bos(text, self.tokenizer) else {}
        return len(self.tokenizer(text, **special)["input_ids"])

    def _marked(self, prompt: Prompt) -> str:
        """The text with the model's own image token for each image; images without a mark come first."""
        text = prompt.text.replace(MARK, self.image_token) if self.image_token else prompt.text
        marks = text.count(self.image_token) if self.image_token else 0
        if prompt.images and not self.image_token:
            raise ValueError(f"a prompt has {len(prompt.images)} images, and this model takes none.")
        if marks > len(prompt.images):
            raise ValueError(f"a prompt has {marks} places for images, and {len(prompt.images)} images.")
        missing = len(prompt.images) - marks
        return f"{self.image_token}\n" * missing + text


def batched(
    requests: Sequence[T],
    size: int,
    key: Callable[[T], tuple[Hashable, int]],
    work: Callable[[Sequence[T]], Sequence[R]],
    done: Callable[[int], Any],
) -> list[R]:
    """Results in the order of the requests; the largest `key` goes first: what does not fit in memory fails at once.

    Requests whose keys begin differently do not share a batch.
    """
    results: dict[int, R] = {}
    keys = [key(request) for request in requests]
    for kind in dict.fromkeys(kind for kind, _ in keys):
        order = [index for index in range(len(requests)) if keys[index][0] == kind]
        order.sort(key=lambda index: -keys[index][1])
        for start in range(0, len(order), size):
            chunk = order[start : start + size]
            results.update(zip(chunk, work([requests[index] for index in chunk]), strict=True))
            done(len(chunk))
    return [results[index] for index in range(len(requests))]


def likelihood(logits: torch.Tensor, tokens: torch.Tensor) -> Likelihood:
    """Log-likelihood of `tokens` (n,) by the `logits` before each (n, vocabulary); whether each is the likeliest."""
    if not len(tokens):
        raise ValueError("a continuation has no tokens of its own: expected at least one character.")
    chosen = F.log_softmax(logits.float(), -1).gather(-1, tokens[:, None])
    return float(chosen.sum()), bool((logits.argmax(-1) == tokens).all())


def before_any(text: str, stop: Sequence[str]) -> str:
    """`text` up to the first of the strings `stop`."""
    return text[: min((text.find(word) for word in stop if word and word in text), default=len(text))]


def image_token_of(processor: Any, config: Any) -> str | None:
    """The text that stands for an image in a prompt; None where the model takes no images."""
    if not hasattr(processor, "tokenizer"):
        return None
    token = getattr(processor, "image_token", None)
    begin, template = getattr(processor, "boi_token", None), str(getattr(processor, "chat_template", None))
    if begin and str(begin) in template and str(token) not in template:  # Gemma 3: one token begins an image
        token = begin
    if token is None:
        number = getattr(config, "image_token_id", None) or getattr(config, "image_token_index", None)
        token = processor.tokenizer.convert_ids_to_tokens(number) if number is not None else None
    return str(token) if token else None


def longest(config: Any) -> int:
    """Tokens the model reads at most, as its configuration says; 2048 where it does not."""
    text = config.get_text_config()
    names = ("max_position_embeddings", "n_positions", "n_ctx")
    return next((value for name in names if (value := getattr(text, name, None))), 2048)


def begins_with_bos(text: str, tokenizer: Any) -> bool:
    return bool(tokenizer.bos_token) and text.startswith(tokenizer.bos_token)


@contextmanager
def padding_on(tokenizer: Any, side: str) -> Iterator[None]:
    before, tokenizer.padding_side = tokenizer.padding_side, side
    try:
        yield
    finally:
        tokenizer.padding_side = before


def _moved_spaces(prompt: Prompt, continuation: str) -> tuple[Prompt, str]:
    """Spaces at the end of the prompt go to the continuation, where tokenizers expect them."""
    kept = prompt.text.rstrip()
    return Prompt(kept, prompt.images), prompt.text[len(kept) :] + continuation


def images_in(messages: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The images of a conversation, in reading order."""
    return [
        next(item[key] for key in ("image", "url", "path") if item.get(key) is not None)
        for message in messages
        if not isinstance(message["content"], str)
        for item in message["content"]
        if item["type"] == "image"
    ]


def _bare(content: Any) -> Any:
    if isinstance(content, str):
        return content
    return [{"type": "image"} if item["type"] == "image" else dict(item) for item in content]
