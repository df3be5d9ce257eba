# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Shows the page: on this machine alone unless asked, with nothing loaded from or sent to anywhere else."""

import threading
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from wings_hf.app.settings import Settings
from wings_hf.app.visitors import FairQueue

# Answers are a model's, and may say anything: what a browser loads for them comes from this server alone.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'"
)


class ContentPolicy:
    """Adds `POLICY` to each response."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"], (b"content-security-policy", POLICY.encode())]
                headers += [(b"referrer-policy", b"no-referrer"), (b"x-content-type-options", b"nosniff")]
                message = {**message, "headers": headers}
            await send(message)

        await self.app(scope, receive, with_policy if scope["type"] == "http" else send)


def launch(
    page: gr.Blocks,
    settings: Settings,
    host: str | None = None,
    port: int | None = None,
    share: bool = False,
    say: Callable[[str], None] = print,
) -> str:
    """
    Serves the page in the background, and gives its address; `serve_until_interrupted` waits.

    Args:
        host: the address to listen at; None for `GRADIO_SERVER_NAME`, as a Space sets it, else this machine alone.
        port: None for `GRADIO_SERVER_PORT`, else the first free one from 7860.
        share: let Gradio's servers pass the page on to the world.
        say: tells the address.

    Raises:
        OSError: the port is taken.
    """
    assets = files("wings_hf.app") / "assets"
    _, address, public = page.launch(
        server_name=host,
        server_port=port,
        share=share,
        prevent_thread_lock=True,
        quiet=True,
        show_error=False,
        footer_links=["gradio"],
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        ssr_mode=False,
        max_file_size=settings.image_bytes + 1_000_000,  # a little above, so that the page itself can say what is wrong
        state_session_capacity=settings.conversations,
        app_kwargs={
            "middleware": [Middleware(ContentPolicy), Middleware(FairQueue, page=page, most=settings.visitor_queue)],
            "docs_url": None,
            "redoc_url": None,
        },
        theme=gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        css=(assets / "page.css").read_text(encoding="utf-8"),
        js=(assets / "page.js").read_text(encoding="utf-8"),
    )
    say(f"The page is at {public or address}")
    return public or address


def serve_until_interrupted(page: gr.Blocks) -> None:
    """Waits for Ctrl-C, and closes the page."""
    try:
        threading.Event().wait()
    finally:
        page.close(verbose=False)
