# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Serve a model over HTTP, for clients that speak OpenAI's chat protocol, with images and streamed answers.

MODEL is a folder or a name: a Wings model with its processor, or a causal language model for text alone. Clients send
images inside their messages, as data: URLs; the features of those seen last are kept, for a client sends them again at
each turn. Answers are made one after the other. No client can make the server load another model, read a file, or
(unless you allow it) fetch an address. There is no encryption: put a proxy before it where others can reach it.

It answers POST /v1/chat/completions, GET /v1/models and GET /health (docs/serving.md). It needs
pip install 'wings_hf[serve]'.
"""

import argparse
import logging
import os
import socket

from wings_hf.cli.output import ADDRESS_JSON, add_json, line, note, warn
from wings_hf.serving.limits import LOOPBACK, Limits

HELP = "serve a model over HTTP, with images, for clients of OpenAI's protocol"
EXAMPLE = """examples:
  wings-hf serve my-model/tune
  wings-hf serve my-model/tune --port 9000 --device cuda --dtype bfloat16
  WINGS_HF_API_KEY=secret wings-hf serve my-model/tune --host 0.0.0.0

  curl localhost:8000/v1/chat/completions -H "Content-Type: application/json" \\
      -d '{"messages": [{"role": "user", "content": "Hello"}]}'"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("model", metavar="MODEL", help="folder or name of the model")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="to listen on (127.0.0.1: this machine)")
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="to listen on (8000)")
    parser.add_argument("--name", metavar="TEXT", help="what clients call the model (MODEL)")
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto (default), cpu, cuda, cuda:1, mps, ...")
    parser.add_argument("--dtype", default="auto", metavar="NAME", help="bfloat16, float32, ... (as it was saved)")
    parser.add_argument("--attention", metavar="NAME", help="sdpa, eager, flash_attention_2, ... (the model's own)")
    parser.add_argument("--compile", action="store_true", help="compile decoding, with a static cache")
    parser.add_argument(
        "--cached-images", type=int, default=64, metavar="N", help="images whose features are kept (64; 0: none)"
    )
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that comes with the model")
    add_json(parser, ADDRESS_JSON)
    limits, defaults = parser.add_argument_group("what one client may ask for"), Limits()
    limits.add_argument(
        "--max-new-tokens", type=int, default=defaults.new_tokens, metavar="N", help="longest answer (%(default)s)"
    )
    limits.add_argument(
        "--max-images", type=int, default=defaults.images, metavar="N", help="images in a request (%(default)s)"
    )
    limits.add_argument(
        "--max-pixels", type=int, default=defaults.pixels, metavar="N", help="of all its images (%(default)s)"
    )
    limits.add_argument(
        "--max-request-bytes", type=int, default=defaults.request_bytes, metavar="N", help="of a request (%(default)s)"
    )
    limits.add_argument(
        "--max-requests", type=int, default=defaults.requests, metavar="N", help="connections at a time (%(default)s)"
    )
    limits.add_argument(
        "--allow-urls",
        action="store_true",
        help="fetch images from public web addresses that clients name, within 30 s for all of a request",
    )


def run(args: argparse.Namespace) -> int:
    from transformers.utils.import_utils import is_serve_available

    limits = Limits(
        request_bytes=args.max_request_bytes,
        images=args.max_images,
        pixels=args.max_pixels,
        new_tokens=args.max_new_tokens,
        requests=args.max_requests,
        allow_urls=args.allow_urls,
    )
    if not is_serve_available():
        raise ValueError("Serving needs more packages: pip install 'wings_hf[serve]'")
    listening = _bind(args.host, args.port)
    _serve(args, limits, listening)
    return 0


def _bind(host: str, port: int) -> socket.socket:
    """A socket that has the address, so that a wrong one is known before the model is loaded."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        bound.close()
        raise ValueError(f"--host {host} --port {port}: cannot be listened on ({error}).") from error
    return bound


def _serve(args: argparse.Namespace, limits: Limits, listening: socket.socket) -> None:
    import uvicorn

    from wings_hf.serving.app import build_app
    from wings_hf.serving.load import load

    key = os.environ.get("WINGS_HF_API_KEY")
    kinds = {"device": args.device, "dtype": args.dtype, "attention": args.attention}
    kinds |= {"cached_images": args.cached_images, "trust_remote_code": args.trust_remote_code}
    served = load(args.model, args.name or args.model, limits, **kinds)
    app = build_app(served, args.host, key, args.compile)
    config = uvicorn.Config(
        app,
        log_level="info" if args.verbose else "error" if args.quiet else "warning",
        limit_concurrency=limits.requests,
        timeout_graceful_shutdown=5,
    )
    if args.host not in LOOPBACK and key is None:
        warn(f"Whoever reaches {args.host} can use this server: set WINGS_HF_API_KEY to ask for a key.")
    if not args.verbose:
        logging.getLogger("transformers.cli.serving").setLevel(logging.ERROR)  # it warns of every request
    listening.listen()
    address = _address(args.host, listening.getsockname()[1])
    note(f"{served.name} answers on {address} (Ctrl-C ends)")
    line(args, {"address": address, "model": served.name})
    uvicorn.Server(config).run(sockets=[listening])


def _address(host: str, port: int) -> str:
    """What clients take as their base URL; an IPv6 address stands in brackets there."""
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"
