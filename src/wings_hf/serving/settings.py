# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The settings of a chat request: which there are, what they may be, and which this server does not have."""

import math
from collections.abc import Callable
from typing import Any

from wings_hf.serving.limits import RequestError, shown

# What clients may send with the value that changes nothing; anything else would be ignored, and is refused.
WITHOUT_EFFECT: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "tool_choice": ("auto",),
    "parallel_tool_calls": (True,),
}
# No part of OpenAI's protocol, but of what its clients can send (`extra_body`).
OURS = ("top_k", "min_p", "repetition_penalty")
# What transformers' handler reads.
PASSED_ON = ("model", "stream", "temperature", "top_p", "seed", "stop", "logit_bias", "tools")
# What is about the client's own business, whatever its value.
FREE = ("user", "metadata", "store", "stream_options", "service_tier", "safety_identifier", "prompt_cache_key")


def check_settings(body: dict[str, Any], max_new_tokens: int) -> None:
    """
    Raises:
        RequestError: a setting that has no effect here, is unknown, or has another value than it may have.
    """
    for name, value in body.items():
        if value is None or name in ("model", "messages", *FREE):
            continue
        if name in WITHOUT_EFFECT:
            if value not in WITHOUT_EFFECT[name]:
                raise RequestError(f"{name}={shown(value)} is not supported by this server.", name, code="unsupported")
        elif name not in CHECKS:
            raise RequestError(f"{shown(name)} is not known to this server.", name, code="unsupported")
        elif problem := CHECKS[name](value):
            raise RequestError(f"{name}={shown(value)}: expected {problem}.", name)
    for name in ("max_tokens", "max_completion_tokens"):
        if (body.get(name) or 0) > max_new_tokens:
            raise RequestError(f"{name}={shown(body[name])}: this server gives at most {max_new_tokens}.", name)


def _whole(low: int, high: int, expected: str) -> Callable[[Any], str | None]:
    return lambda value: None if type(value) is int and low <= value <= high else expected


def _number(low: float, high: float, expected: str) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        right = type(value) in (int, float) and math.isfinite(value) and low <= value <= high
        return None if right else expected

    return check


def _kind(kind: type, expected: str) -> Callable[[Any], str | None]:
    return lambda value: None if isinstance(value, kind) else expected


def _check_stop(value: Any) -> str | None:
    texts = [value] if isinstance(value, str) else value
    right = isinstance(texts, list) and 0 < len(texts) <= 16 and all(isinstance(t, str) and t for t in texts)
    return None if right else "a text, or a list of up to 16, none of them empty"


def _check_bias(value: Any) -> str | None:
    number = _number(-100, 100, "")
    right = isinstance(value, dict) and len(value) <= 1024
    right = right and all(key.isdecimal() and len(key) < 10 and number(bias) is None for key, bias in value.items())
    return None if right else "an object of token ids and numbers from -100 to 100"


def _check_tools(value: Any) -> str | None:
    right = isinstance(value, list) and all(isinstance(tool, dict) for tool in value)
    return None if right else "a list of objects"


CHECKS: dict[str, Callable[[Any], str | None]] = {
    "stream": _kind(bool, "true or false"),
    "max_tokens": _whole(1, 2**53, "a whole number from 1 on"),
    "max_completion_tokens": _whole(1, 2**53, "a whole number from 1 on"),
    "temperature": _number(0, 2, "a number from 0 to 2"),
    "top_p": _number(1e-6, 1, "a number above 0, at most 1"),
    "top_k": _whole(0, 2**31, "a whole number from 0 on"),
    "min_p": _number(0, 1, "a number from 0 to 1"),
    "repetition_penalty": _number(1e-3, 1e3, "a number above 0"),
    "seed": _whole(-(2**63), 2**63 - 1, "a whole number of 64 bits"),
    "stop": _check_stop,
    "logit_bias": _check_bias,
    "tools": _check_tools,
    "chat_template_kwargs": _kind(dict, "an object"),
}
