# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Chat completions: transformers' own handler (`transformers.cli.serving`), told what it may do for a client.

transformers' handler takes arguments of a request for its own, fetches what messages name, and loads models that
clients ask for. Here it gets one model, messages whose images are pixels already, and settings that were checked.
Importing this module needs what `pip install 'wings_hf[serve]'` installs.
"""

import asyncio
import contextlib
import inspect
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jinja2.meta
import torch
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList
from transformers.cli.serving.chat_completion import ChatCompletionHandler
from transformers.cli.serving.utils import GenerationState, Modality
from transformers.utils.chat_template_utils import _compile_jinja_template

from wings_hf.processing.wings_call_arguments import WingsImagesKwargs
from wings_hf.serving.fetching import fetch, too_slow, web_images
from wings_hf.serving.limits import Limits, RequestError, error_body, shown
from wings_hf.serving.messages import read_messages
from wings_hf.serving.settings import OURS, PASSED_ON, check_settings

logger = logging.getLogger(__name__)
STREAM_ERROR = 'data: {"error": "'
FETCHING = 8  # requests whose images are fetched at a time


@dataclass
class Served:
    """A model, its processor (a tokenizer where it reads text only), and the name that clients know it by."""

    model: Any
    processor: Any
    name: str
    limits: Limits

    @property
    def sees(self) -> bool:
        """Whether the model takes images."""
        return hasattr(self.processor, "image_processor")

    @property
    def tokenizer(self) -> Any:
        return getattr(self.processor, "tokenizer", self.processor)

    @property
    def context(self) -> int | None:
        """Tokens that prompt and answer have room for; None where the configuration does not say."""
        config = self.model.config
        known = [getattr(config.get_text_config(), "max_position_embeddings", None)]
        if getattr(config, "router", None) == "position" and len(config.learners) > 1:
            known.append(config.router_positions)
        return min((length for length in known if length), default=None)

    def template_variables(self) -> set[str]:
        """Names that the chat template reads and nobody sets: what a client may tell it, and `tools`."""
        template = self.processor.chat_template
        names: set[str] = set()
        for each in template.values() if isinstance(template, dict) else [template]:
            environment = _compile_jinja_template(each).environment
            names |= jinja2.meta.find_undeclared_variables(environment.parse(each)) - set(environment.globals)
        set_elsewhere = set(inspect.signature(self.processor.apply_chat_template).parameters) - {"tools"}
        set_elsewhere |= {
            "messages",
            "documents",
            *self.tokenizer.SPECIAL_TOKENS_ATTRIBUTES,
            *WingsImagesKwargs.__annotations__,
        }
        return names - set_elsewhere


class ChatServer:
    """Answers `/v1/chat/completions` for one model; one answer is made at a time, the others wait their turn.

    Args:
        compile: whether decoding is compiled, with a static cache.
    """

    def __init__(self, served: Served, compile: bool = False) -> None:
        self.served = served
        self.state = GenerationState(compile=compile)
        self.variables = served.template_variables()
        self._reading = asyncio.Lock()  # one request's images at a time: memory
        self._fetching = ThreadPoolExecutor(FETCHING, "fetch")  # of their own: slow addresses hold up no one else

    async def answer(self, body: dict[str, Any], request: Request, request_id: str) -> Response:
        """
        The answer, whole or as a stream.

        Raises:
            RequestError: the request is wrong; see its status.
        """
        self._check(body)
        fetched = await self._fetch(body.get("messages"))
        async with self._reading:
            inputs = await asyncio.to_thread(self._encode, body, fetched)
        handler = _Handler(self, inputs, body)
        plain = {name: value for name, value in body.items() if name in PASSED_ON}
        answering = asyncio.ensure_future(handler.handle_request({**plain, "messages": []}, request_id))
        if body.get("stream"):
            stream: Any = await _wrong_requests_named(answering)
            return StreamingResponse(_well_formed(stream.body_iterator, handler), media_type="text/event-stream")
        gone = asyncio.ensure_future(_disconnected(request))
        await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not gone.cancel():
            handler.cancelled.set()
        return await _wrong_requests_named(answering)

    def _check(self, body: dict[str, Any]) -> None:
        name = body.get("model")
        if name is not None and name != self.served.name:
            message = f"The model {shown(name)} does not exist: this server has {self.served.name!r}."
            raise RequestError(message, "model", 404, "model_not_found")
        check_settings(body, self.served.limits.new_tokens)
        if body.get("tools"):
            self._check_tools("tools")
        vocabulary = self.served.model.config.get_text_config().vocab_size
        for token in body.get("logit_bias") or {}:
            if int(token) >= vocabulary:
                raise RequestError(f"logit_bias: token {token} of a vocabulary of {vocabulary}.", "logit_bias")
        for name in body.get("chat_template_kwargs") or {}:
            if name not in self.variables - {"tools"}:
                raise RequestError(f"The chat template asks for no {shown(name)}.", "chat_template_kwargs")

    def _check_tools(self, param: str) -> None:
        if "tools" not in self.variables:
            raise RequestError("The chat template of this model has no place for tools.", param, code="unsupported")

    async def _fetch(self, messages: Any) -> dict[str, bytes]:
        """The images that are web addresses, where those are allowed. The time covers waiting and looking names up."""
        limits = self.served.limits
        addresses = web_images(messages) if limits.allow_urls and self.served.sees else {}
        if not addresses:
            return {}
        deadline = time.monotonic() + limits.fetch_seconds
        fetching = asyncio.get_running_loop().run_in_executor(self._fetching, fetch, addresses, limits, deadline)
        try:
            return await asyncio.wait_for(fetching, limits.fetch_seconds + 1)
        except TimeoutError as error:
            raise too_slow(limits) from error

    def _encode(self, body: dict[str, Any], fetched: Mapping[str, bytes]) -> Any:
        """What the model reads."""
        messages = read_messages(body.get("messages"), self.served.limits, self.served.sees, fetched)
        if any(message.get("tool_calls") or message["role"] == "tool" for message in messages):
            self._check_tools("messages")  # else calls are left out, and their results are the assistant's own words
        try:
            inputs = self.served.processor.apply_chat_template(
                messages,
                add_generation_prompt=True,
                tools=body.get("tools"),
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                **(body.get("chat_template_kwargs") or {}),
            )
        except (ValueError, jinja2.TemplateError) as error:
            raise RequestError(f"These messages cannot be put to this model: {error}", "messages") from error
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self.served.model.dtype)
        return inputs


async def _wrong_requests_named(answering: asyncio.Future) -> Any:
    """What comes of it; a setting that `generate` refuses is the client's mistake."""
    try:
        return await answering
    except ValueError as error:
        raise error if isinstance(error, RequestError) else RequestError(str(error)) from error


class _Handler(ChatCompletionHandler):
    """transformers' handler, for one request that was read already."""

    def __init__(self, server: ChatServer, inputs: Any, body: dict[str, Any]) -> None:
        manager: Any = _Manager(server.served)
        super().__init__(model_manager=manager, generation_state=server.state)
        self.served, self.inputs, self.body = server.served, inputs, body
        self.cancelled = threading.Event()

    def _resolve_model(self, body: dict[str, Any]) -> tuple[str, Any, Any]:
        return self.served.name, _StoppableModel(self.served, self.cancelled), _ReadAlready(self.served, self.inputs)

    def get_processor_inputs_from_messages(self, messages: Any, modality: Any) -> list[Any]:  # type: ignore[override]
        return []

    def _build_generation_config(self, body: dict[str, Any], *args: Any, **kwargs: Any) -> GenerationConfig:
        """As transformers makes it, with room for the answer; a temperature that is asked for is sampled with."""
        config = super()._build_generation_config(body, *args, **kwargs)
        if body.get("logit_bias") is not None:
            config.sequence_bias = {(int(token),): float(bias) for token, bias in body["logit_bias"].items()}
        for name in OURS:
            if self.body.get(name) is not None:
                setattr(config, name, self.body[name])
        temperature = body.get("temperature")
        if temperature or (temperature is None and (body.get("top_p") or 1) < 1):  # 0 is greedy, whatever top_p is
            config.do_sample = True
        config.max_new_tokens = self._new_tokens(config.max_new_tokens)
        return config

    def _new_tokens(self, default: int) -> int:
        asked = self.body.get("max_completion_tokens") or self.body.get("max_tokens")
        length, context = self.inputs["input_ids"].shape[-1], self.served.context
        room = self.served.limits.new_tokens if context is None else context - length
        if (asked or 1) > room:
            wanted = f" and {asked} new ones are asked for" if asked else ""
            message = f"The prompt has {length} tokens{wanted}; this model has room for {context} in all."
            raise RequestError(message, "messages", code="context_length_exceeded")
        return asked or min(default, room, self.served.limits.new_tokens)


class _Manager:
    """What the handler asks a model manager for."""

    def __init__(self, served: Served) -> None:
        self._modality = Modality.VLM if served.sees else Modality.LLM

    def get_model_modality(self, model: Any, processor: Any = None) -> Modality:
        return self._modality


class _ReadAlready:
    """The processor, for one request whose messages it has read."""

    def __init__(self, served: Served, inputs: Any) -> None:
        self._processor, self._inputs = served.processor, inputs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)

    def apply_chat_template(self, *args: Any, **kwargs: Any) -> Any:
        return self._inputs


class _StoppableModel:
    """The model, for one request: it stops when the client has gone."""

    def __init__(self, served: Served, cancelled: threading.Event) -> None:
        self._served, self._cancelled = served, cancelled

    def __getattr__(self, name: str) -> Any:
        return getattr(self._served.model, name)

    def generate(self, **kwargs: Any) -> Any:
        if self._cancelled.is_set():  # while it waited for its turn
            return kwargs["input_ids"]
        kwargs["tokenizer"] = self._served.tokenizer  # for `stop`
        return self._served.model.generate(
            **kwargs, stopping_criteria=StoppingCriteriaList([_Cancelled(self._cancelled)])
        )


class _Cancelled(StoppingCriteria):
    def __init__(self, event: threading.Event) -> None:
        self.event = event

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self.event.is_set(), device=input_ids.device, dtype=torch.bool)


async def _well_formed(chunks: AsyncIterator[str], handler: _Handler) -> AsyncIterator[str]:
    """The events of a stream, errors in OpenAI's form and a last `[DONE]`; a client that goes stops the answer."""
    try:
        async for chunk in chunks:
            before, found, message = chunk.partition(STREAM_ERROR)
            if found:
                logger.error("An answer broke off: %s", message.removesuffix('"}\n\n'))
                error = error_body("The answer broke off; the log of the server says why.", "server_error")
                chunk = f"{before}data: {json.dumps(error)}\n\n"
            yield chunk
        yield "data: [DONE]\n\n"
    finally:
        handler.cancelled.set()
        with contextlib.suppress(RuntimeError):  # it runs already, or has ended
            await chunks.aclose()  # type: ignore[attr-defined]


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
