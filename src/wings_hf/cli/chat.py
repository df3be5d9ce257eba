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
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wings_hf.cli.output import add_json, line, note, result

HELP = "talk to a model in the terminal, with images"
EXAMPLE = """examples:
  wings-hf chat my-model/tune --image a.png --image b.png --prompt "What differs?"
  wings-hf chat my-model/tune --json < questions.txt > answers.jsonl"""
JSON = "print {model, message, images, answer} as JSON; without --prompt a line for each message of the input"
Tell = Callable[[dict[str, Any]], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
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
    add_json(parser, JSON)


def run(args: argparse.Namespace) -> int:
    from wings_hf.cli.chat_session import ChatSession

    session = ChatSession.load(args.model, args.device, args.system, args.trust_remote_code)
    session.limit(args.max_new_tokens, args.temperature)
    if args.json:
        session.out = io.StringIO()
    for image in args.image:
        session.show(image)
    if args.prompt is not None:
        shown = session.shown
        result(args, {"model": args.model, **_turn(args.prompt, shown, session.say(args.prompt))})
        return 0
    note(f"{args.model} is listening. /image FILE shows an image, /quit leaves.")
    converse(session, _read_line, lambda turn: line(args, {"model": args.model, **turn}))
    return 0


def _read_line(prompt: str) -> str:
    """A line of the input; people are asked for it, on whichever of their streams they see."""
    if sys.stdin is None:  # closed
        raise EOFError
    if not sys.stdin.isatty():
        prompt = ""
    elif not sys.stdout.isatty():
        print(prompt, end="", file=sys.stderr, flush=True)
        prompt = ""
    try:
        return input(prompt)
    except EOFError:
        if sys.stdin.isatty():
            print(file=sys.stderr)
        raise
    except UnicodeDecodeError as error:
        raise ValueError(f"The input is not text in {error.encoding}: {error}.") from error


def _turn(message: str, images: list[str], answer: str | None, error: str | None = None) -> dict[str, Any]:
    turn = {"message": message, "images": list(images), "answer": answer}
    return turn if error is None else {**turn, "error": error}


def converse(session: Any, read_line: Callable[[str], str], tell: Tell = lambda turn: None) -> None:
    """Answer line after line until there are no more; `tell` gets each message with its answer or what went wrong."""
    while True:
        try:
            said = read_line("> ").strip()
        except EOFError:
            return
        if said == "/quit":
            return
        shown = session.shown
        try:
            answer = _obey(session, said)
        except KeyboardInterrupt:
            note("  (stopped)")
            tell(_turn(said, shown, None, "stopped"))
        except BrokenPipeError:  # who read the answers has gone
            raise
        except (ValueError, OSError) as error:
            print(f"  {error}", file=sys.stderr)
            tell(_turn(said, shown, None, str(error)))
        else:
            if answer is not None:
                tell(_turn(said, shown, answer))


def _path(said: str) -> str:
    """A file as a person names it where no shell reads it: in quotes, from ~; a name with spaces needs neither."""
    if not said:
        raise ValueError("/image needs a FILE.")
    if said[0] in "'\"" and said[-1] == said[0] and len(said) > 2 and not Path(said).exists():
        said = said[1:-1]
    return str(Path(said).expanduser())


def _obey(session: Any, said: str) -> str | None:
    """Does what a line says, and returns the answer where it is a message."""
    command, _, rest = said.partition(" ")
    if command == "/image":
        path = _path(rest.strip())
        session.show(path)
        note(f"  {path} goes before your next message.")
    elif command == "/new":
        session.begin()
        note("  Everything is forgotten.")
    elif said.startswith("/"):
        raise ValueError(f"{command} is no command: /image FILE, /new, /quit")
    elif said:
        return session.say(said)
    return None
