# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""A loaded model that streams answers, can be stopped, and says what its wings did."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoProcessor
from transformers.feature_extraction_utils import BatchFeature
from transformers.generation import StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

import wings_hf  # noqa: F401  (registers the Auto classes)
from wings_hf.app.conversation import Ending
from wings_hf.app.explain import Explanation, explain
from wings_hf.app.kept_cache import KeptCache
from wings_hf.app.settings import UserError


@dataclass(frozen=True)
class Request:
    """
    What an answer is computed from; can be sent to another process.

    Args:
        inputs: of the whole conversation, on the CPU, a batch of one.
        temperature: 0 for the likeliest answer.
    """

    inputs: dict[str, torch.Tensor]
    max_new_tokens: int
    temperature: float = 0.0
    use_wings: bool = True
    explain: bool = True


@dataclass(frozen=True)
class Answer:
    """
    Args:
        text: the whole answer.
        ended: by itself, stopped, or cut at `max_new_tokens`.
        explanation: None where it was not asked for.
    """

    text: str
    ended: Ending = "whole"
    explanation: Explanation | None = None


class Engine:
    """
    One answer at a time: others wait for the model.

    Args:
        model: a `WingsForCausalLM`, in evaluation mode.
        processor: its `WingsProcessor`; a tokenizer for text alone.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model, processor
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self.lock = threading.Lock()

    @classmethod
    def load(cls, name: str, device: str = "auto", revision: str | None = None) -> "Engine":
        """
        The engine of a model folder or name; no code that comes with a model is run.

        Raises:
            OSError, ValueError: it cannot be loaded, is no Wings model, or has no chat template; no such device.
        """
        target = pick_device(device)
        only = {"revision": revision or "main", "trust_remote_code": False}  # said, or transformers asks who is there
        model: Any = AutoModelForCausalLM.from_pretrained(name, dtype="auto", use_safetensors=True, **only)
        if model.config.model_type != "wings":
            raise ValueError(f"{name} is a {model.config.model_type!r} model: expected a Wings model.")
        processor = AutoProcessor.from_pretrained(name, **only)
        if processor.chat_template is None:
            raise ValueError(f"{name} has no chat template: it was not made to converse.")
        return cls(model.to(target).eval(), processor)

    @property
    def sees(self) -> bool:
        """Whether the model takes pictures."""
        return hasattr(self.processor, "image_processor")

    def longest(self, use_wings: bool = True) -> int | None:
        """The most tokens that a conversation may have, answer included; None where there is no limit."""
        limits = [getattr(self.model.config.get_text_config(), "max_position_embeddings", None)]
        if use_wings and self.model.config.has_router and self.model.config.router == "position":
            limits.append(self.model.config.router_positions)
        return min((limit for limit in limits if limit), default=None)

    def encode(self, messages: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Inputs of a conversation, on the CPU."""
        place = getattr(self.processor, "image_token", None)
        inputs = self.processor.apply_chat_template(
            messages if place is None else [_unplaced(each, place) for each in messages],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        return dict(inputs)

    def request(
        self, messages: list[dict[str, Any]], max_new_tokens: int, temperature: float, use_wings: bool, explain: bool
    ) -> Request:
        """
        What is asked of the model for an answer to `messages`, as long as fits.

        Raises:
            UserError: the conversation leaves no room for an answer.
        """
        inputs = self.encode(messages)
        tokens, limit = inputs["input_ids"].shape[1], self.longest(use_wings)
        if limit is not None and tokens >= limit:
            raise UserError(
                f"The conversation is too long: {tokens:,} tokens with this message, and the model reads "
                f"{limit - 1:,}. Undo a turn, or clear the conversation."
            )
        if limit is not None:
            max_new_tokens = min(max_new_tokens, limit - tokens)
        return Request(inputs, max_new_tokens, temperature, use_wings, explain)

    def stream(
        self, request: Request, kept: KeptCache | None = None, stop: threading.Event | None = None
    ) -> Iterator[str | Answer]:
        """
        The answer's text so far, after each token, and at last the whole `Answer`.

        Generation runs in a thread of its own, and ends soon after `stop` is set or the iterator is closed.

        Args:
            kept: the conversation's cache; without one everything is computed.
        """
        stop = threading.Event() if stop is None else stop
        closed = threading.Event()
        pieces: SimpleQueue[Any] = SimpleQueue()
        arguments = (request, kept, Stop(stop, closed), pieces)
        thread = threading.Thread(target=self._work, args=arguments, daemon=True, name="wings answer")
        thread.start()
        try:
            while True:
                piece = pieces.get()
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
                if isinstance(piece, Answer):
                    return
        finally:
            closed.set()

    def _work(self, request: Request, kept: KeptCache | None, stop: "Stop", pieces: "SimpleQueue[Any]") -> None:
        try:
            with self.lock:
                pieces.put(self._answer(request, kept, stop, pieces))
        except BaseException as error:  # raised again where the pieces are read
            if kept is not None:
                kept.forget()
            pieces.put(error)

    def _answer(self, request: Request, kept: KeptCache | None, stop: "Stop", pieces: "SimpleQueue[Any]") -> Answer:
        kept = KeptCache(self.model) if kept is None else kept
        inputs = kept.left_to_compute(BatchFeature(request.inputs), request.use_wings)
        sampling: dict[str, Any] = {"do_sample": request.temperature > 0}
        if request.temperature > 0:
            sampling["temperature"] = request.temperature
        ids = self.model.generate(
            **inputs,
            **sampling,
            max_new_tokens=request.max_new_tokens,
            past_key_values=kept.cache,
            use_cache=True,
            use_wings=request.use_wings,
            streamer=Pieces(self.tokenizer, pieces),
            stopping_criteria=StoppingCriteriaList([stop]),
            pad_token_id=self.tokenizer.pad_token_id or self.tokenizer.eos_token_id,
        )[0].tolist()
        kept.remember(ids)
        answer = ids[inputs["input_ids"].shape[1] :]
        explanation = None
        if request.explain and not stop.closed.is_set():
            explanation = explain(self.model, self.processor, request.inputs, answer, request.use_wings)
        text = self.tokenizer.decode(answer, skip_special_tokens=True)
        return Answer(text, self._ending(answer, request, stop), explanation)

    def _ending(self, answer: list[int], request: Request, stop: "Stop") -> Ending:
        ends = self.model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        if answer and answer[-1] in ends:
            return "whole"
        return "stopped" if stop.asked() else "cut"


class Stop(StoppingCriteria):
    """Ends generation when the user says so, or when nobody reads the answer any more."""

    def __init__(self, stop: threading.Event, closed: threading.Event) -> None:
        self.stop, self.closed = stop, closed

    def asked(self) -> bool:
        return self.stop.is_set() or self.closed.is_set()

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **kwargs: Any) -> torch.BoolTensor:
        ended = torch.full((input_ids.shape[0],), self.asked(), device=input_ids.device, dtype=torch.bool)
        return ended  # type: ignore[return-value]


class Pieces(BaseStreamer):
    """Puts the answer's text so far into a queue, at each token; characters that are not whole yet are held back."""

    def __init__(self, tokenizer: Any, pieces: "SimpleQueue[Any]") -> None:
        self.tokenizer, self.pieces = tokenizer, pieces
        self.ids: list[int] | None = None  # the prompt comes first

    def put(self, value: torch.Tensor) -> None:
        if self.ids is None:
            self.ids = []
            return
        self.ids += value.flatten().tolist()
        self.pieces.put(self.tokenizer.decode(self.ids, skip_special_tokens=True).rstrip("\ufffd"))

    def end(self) -> None:
        """Nothing is left to say."""


def _unplaced(message: dict[str, Any], place: str) -> dict[str, Any]:
    """A message in which text that spells the image token is text: no picture belongs there."""

    def told(text: str) -> str:
        return text.replace(place, f"{place[:1]} {place[1:]}")

    content = message["content"]
    if isinstance(content, str):
        return {**message, "content": told(content)}
    return {
        **message,
        "content": [{**each, "text": told(each["text"])} if "text" in each else each for each in content],
    }


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" for an accelerator where there is one.

    Raises:
        ValueError: torch knows no such device.
    """
    if name != "auto":
        try:
            return torch.device(name)
        except RuntimeError as error:
            raise ValueError(f"device={name!r}: expected auto, cpu, cuda, cuda:1, mps, ...") from error
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return accelerator or torch.device("cpu")
