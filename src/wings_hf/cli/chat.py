# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Talk to a model, about images or about anything else.

MODEL is a folder or a name: a Wings model with its processor, or any causal language model for text alone. What was
said is kept in the model's cache, so that each turn costs only what is new. While you talk:
  /image FILE    show an image; it goes before your next message. Several are shown in order.
  /new           forget everything and begin again
  /quit          leave (so does Ctrl-D); Ctrl-C stops an answer
"""

import argparse
import sys
from collections.abc import Callable

HELP = "talk to a model in the terminal, with images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = 'example:\n  wings-hf chat my-model/tune --image a.png --image b.png --prompt "What differs?"'
    parser.add_argument("model", metavar="MODEL", help="folder or name of the model")
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="FILE",
        help="show an image at the start, before the text or where it says <image>; may be repeated",
    )
    parser.add_argument("--prompt", metavar="TEXT", help="ask this one question, print the answer and leave")
    parser.add_argument("--system", metavar="TEXT", help="a system message")
    parser.add_argument("--max-new-tokens", type=int, default=512, metavar="N", help="longest answer (512)")
    parser.add_argument(
        "--temperature", type=float, default=0.0, metavar="T", help="0 for the likeliest answer (default), else sample"
    )
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto (default), cpu, cuda, cuda:1, mps, ...")
    parser.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="run code that comes with the model; Wings models need none",
    )


def run(args: argparse.Namespace) -> int:
    from transformers.utils import logging

    from wings_hf.cli.chat_session import ChatSession

    logging.disable_progress_bar()  # of loading
    session = ChatSession.load(args.model, args.device, args.system, args.trust_remote_code)
    session.limit(args.max_new_tokens, args.temperature)
    for image in args.image:
        session.show(image)
    if args.prompt is not None:
        session.say(args.prompt)
        return 0
    print(f"{args.model} is listening. /image FILE shows an image, /quit leaves.")
    converse(session, input)
    return 0


def converse(session, read_line: Callable[[str], str]) -> None:
    """Answer line after line until there are no more."""
    while True:
        try:
            line = read_line("> ").strip()
        except EOFError:
            print()
            return
        if line == "/quit":
            return
        try:
            _obey(session, line)
        except KeyboardInterrupt:
            print("  (stopped)")
        except (ValueError, OSError) as error:
            print(f"  {error}", file=sys.stderr)


def _obey(session, line: str) -> None:
    command, _, rest = line.partition(" ")
    if command == "/image":
        session.show(rest.strip())
        print(f"  {rest.strip()} goes before your next message.")
    elif command == "/new":
        session.begin()
        print("  Everything is forgotten.")
    elif line.startswith("/"):
        raise ValueError(f"{command} is no command: /image FILE, /new, /quit")
    elif line:
        session.say(line)
