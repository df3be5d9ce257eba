# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Show a page in the browser on which one talks to a Wings model, with pictures.

MODEL is a folder or a name. Beside each answer the page shows which learner the router favoured for each token, and
what the model attended to in the pictures; a switch turns the wings off, to compare. Nobody but this machine can open
the page unless --host or --share says so, and nothing is sent anywhere. Needs: pip install 'wings_hf[app]'.
"""

import argparse

from wings_hf.cli.output import ADDRESS_JSON, add_json, line, note

HELP = "talk to a model in the browser, and see what its wings do"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example:\n  wings-hf app my-model/tune --port 7860\n\nFurther settings: docs/app.md"
    parser.add_argument("model", metavar="MODEL", help="folder or name of the model")
    parser.add_argument("--revision", metavar="NAME", help="revision of the model on the Hub")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (127.0.0.1)")
    parser.add_argument("--port", type=int, metavar="N", help="port (the first free one from 7860)")
    parser.add_argument("--share", action="store_true", help="let Gradio's servers pass the page on to the world")
    parser.add_argument("--device", metavar="NAME", help="auto (default), cpu, cuda, cuda:1, mps, ...")
    parser.add_argument("--system", metavar="TEXT", help="a system message")
    parser.add_argument("--max-new-tokens", type=int, metavar="N", help="longest answer (512)")
    parser.add_argument(
        "--temperature", type=float, metavar="T", help="0 for the likeliest answer (default), else sample"
    )
    parser.add_argument("--examples", metavar="FILE", help="JSON file of examples to begin with")
    add_json(parser, ADDRESS_JSON)


def run(args: argparse.Namespace) -> int:
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise ValueError(f"The page needs {error.name}: pip install 'wings_hf[app]'") from error
    from wings_hf.app.controller import Controller
    from wings_hf.app.engine import Engine
    from wings_hf.app.launch import launch, serve_until_interrupted
    from wings_hf.app.page import build_page
    from wings_hf.app.settings import Settings
    from wings_hf.cli.chat_session import check_name

    check_name(args.model)
    if args.port is not None and not 0 < args.port < 2**16:
        raise ValueError(f"--port {args.port}: expected 1 to 65535.")
    names = ("model", "revision", "device", "system", "max_new_tokens", "temperature", "examples")
    settings = Settings.from_environment(**{n: getattr(args, n) for n in names if getattr(args, n) is not None})
    engine = Engine.load(settings.model, settings.device, settings.revision)
    page = build_page(Controller(engine, settings))
    say = lambda text: note(f"{text} (Ctrl-C ends it)")  # noqa: E731
    address = launch(page, settings, args.host, args.port, args.share, say)
    line(args, {"address": address, "model": settings.model})
    serve_until_interrupted(page)
    return 0
