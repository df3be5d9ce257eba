# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What a client may ask for, and the error of one that asks for more."""

from dataclasses import dataclass, fields
from typing import Any

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Limits:
    """What one request may cost. The defaults are meant for clients that nobody vouches for.

    Attributes:
        request_bytes: size of a request, images included (base64 takes 4 bytes for 3); images that the server fetches
            for it may have as many bytes once more, all together.
        images: images in one request, over all its messages.
        pixels: width x height, summed over the images of one request, checked before they are decoded.
        new_tokens: tokens of an answer.
        requests: connections at a time; more are answered with status 503.
        allow_urls: whether images may be addresses on the (public) web, which the server then fetches.
        fetch_seconds: for fetching all images of one request.
    """

    request_bytes: int = 64 * 1024 * 1024
    images: int = 32
    pixels: int = 100_000_000
    new_tokens: int = 4096
    requests: int = 100
    allow_urls: bool = False
    fetch_seconds: int = 30

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name != "allow_urls" and value < 1:
                raise ValueError(f"{each.name}={value}: expected at least 1.")


class RequestError(ValueError):
    """A request that cannot be answered as it is.

    Args:
        message: for the client.
        param: the field that is meant.
        status: of the HTTP answer.
        code: a name for programs.
    """

    def __init__(self, message: str, param: str | None = None, status: int = 400, code: str | None = None) -> None:
        super().__init__(message)
        self.param, self.status, self.code = param, status, code

    def body(self) -> dict[str, Any]:
        """The answer, in the form of OpenAI's errors."""
        return error_body(str(self), "invalid_request_error", self.param, self.code)


def error_body(message: str, kind: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """An error in the form that clients of OpenAI's protocol read."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def shown(value: Any, length: int = 60) -> str:
    """`value` as it is shown to the client, of any size."""
    text = repr(value)
    return text if len(text) <= length else f"{text[:length]}..."
