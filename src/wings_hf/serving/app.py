# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
The server: three routes, a limit on what comes in, and errors in the form that clients of OpenAI's protocol read.

Importing this module needs what `pip install 'wings_hf[serve]'` installs.
"""

import hmac
import json
import logging
import re
import time
import uuid
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from wings_hf.serving.chat import ChatServer, Served
from wings_hf.serving.limits import LOOPBACK, RequestError, error_body

logger = logging.getLogger(__name__)
HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")  # of a surrogate pair; where the other half is missing it is no text
ROUTES = "POST /v1/chat/completions, GET /v1/models, GET /health"


def build_app(served: Served, host: str = "127.0.0.1", api_key: str | None = None, compile: bool = False) -> Starlette:
    """
    The application for an ASGI server.

    Args:
        host: what the server listens on. On the machine's own addresses it answers requests for these names only, so
            that no web page reaches it under a name of its own.
        api_key: what clients must send (`Authorization: Bearer ...`); None for any or none.
        compile: see `ChatServer`.
    """
    chat, started = ChatServer(served, compile), int(time.time())

    async def complete(request: Request) -> Response:
        _check_key(request, api_key)
        body = await _read_json(request, served.limits.request_bytes)
        try:
            return await chat.answer(body, request, uuid.uuid4().hex)
        except RequestError:
            raise
        except Exception as error:  # here, so that the connection stays; the next request may come on it
            return await _failed(request, error)

    async def models(request: Request) -> Response:
        _check_key(request, api_key)
        model = {"id": served.name, "object": "model", "created": started, "owned_by": "wings_hf"}
        return JSONResponse({"object": "list", "data": [model]})

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    hosts = [*LOOPBACK, "[::1]"] if host in LOOPBACK else ["*"]
    return Starlette(
        routes=[
            Route("/v1/chat/completions", complete, methods=["POST"]),
            Route("/v1/models", models),
            Route("/health", health),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts)],
        exception_handlers={
            RequestError: _refuse,
            HTTPException: _no_route,
            ClientDisconnect: _gone,
            Exception: _failed,
        },
    )


def _check_key(request: Request, api_key: str | None) -> None:
    given = request.headers.get("authorization", "")
    if api_key is not None and not hmac.compare_digest(given.encode(), f"Bearer {api_key}".encode()):
        raise RequestError("The API key is missing or wrong.", None, 401, "invalid_api_key")


async def _read_json(request: Request, max_bytes: int) -> dict[str, Any]:
    """The body, an object of JSON. Its kind must be said, which web pages of others cannot do."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RequestError("Expected the header Content-Type: application/json.", None, 415)
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > max_bytes:
            raise RequestError(f"The request is larger than {max_bytes} bytes.", None, 413, "request_too_large")
    try:
        body = json.loads(data)
        if HALF_CHARACTER.search(data):
            json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise RequestError(f"The request is not JSON: {error}.") from error
    if not isinstance(body, dict):
        raise RequestError(f"Expected a JSON object, got {type(body).__name__}.")
    return body


async def _refuse(request: Request, error: Any) -> Response:
    return JSONResponse(error.body(), error.status)


async def _no_route(request: Request, error: Any) -> Response:
    message = f"{request.method} {request.url.path}: {error.detail}. This server answers {ROUTES}."
    return JSONResponse(error_body(message, "invalid_request_error"), error.status_code, headers=error.headers)


async def _gone(request: Request, error: Any) -> Response:
    return Response(status_code=499)


async def _failed(request: Request, error: Any) -> Response:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return JSONResponse(error_body("The server failed to answer; its log says why.", "server_error"), 500)
