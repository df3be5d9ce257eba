# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Publish a model on the Hub: weights, the code that loads them, processor, generation settings and model card.

DIR is a saved model with its processor, as wings-hf train, convert and demo leave them. It is checked before anything
is sent: only files that are known to be part of a model go (--dry-run lists them with what stays), only safetensors,
and nothing from outside DIR. Where DIR has no README.md, a model card is written there first (see wings-hf card).

The token is the one of `hf auth login` or of HF_TOKEN. A push that breaks is continued by the same command: what
arrived is not sent again.
"""

import argparse
from pathlib import Path
from typing import Any

from wings_hf.cli.output import add_json, note, result, warn

HELP = "publish a model on the Hugging Face Hub"
EXAMPLE = """examples:
  wings-hf push my-model/tune ann/wings-small --dry-run
  wings-hf push my-model/tune ann/wings-small --private
  wings-hf push my-model/tune lab/wings --pull-request --message 'Two more epochs'"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EXAMPLE
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of the model")
    parser.add_argument("repo_id", metavar="OWNER/NAME", help="repository on the Hub; made where there is none")
    parser.add_argument("--private", action="store_true", help="make the repository private")
    parser.add_argument(
        "--revision", metavar="NAME", help="branch to commit to (main); refs/pr/N: an open pull request"
    )
    parser.add_argument("--pull-request", action="store_true", help="propose it, instead of committing it")
    parser.add_argument("--message", metavar="TEXT", help="of the commit")
    parser.add_argument("--no-card", action="store_true", help="write no model card where DIR has none")
    parser.add_argument("--include", nargs="+", default=[], metavar="FILE", help="further files of DIR, or patterns")
    parser.add_argument("--dry-run", action="store_true", help="check, list what would be sent, and send nothing")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from wings_hf.hub.contents import examine
    from wings_hf.hub.push import check_target

    check_target(args.repo_id, args.revision, args.pull_request)
    contents = examine(args.folder, args.include)
    makes_card = not args.no_card and not (args.folder / "README.md").exists()
    if args.dry_run:
        lines = [contents.table()]
        if makes_card:
            lines.append("README.md is not there: a model card would be made and sent (wings-hf card makes it now)")
        lines.append(f"nothing was sent to {args.repo_id} (--dry-run)")
        result(args, _document(args, contents, None), "\n".join(lines))
        return 0
    if makes_card:
        _make_card(args)
        contents = examine(args.folder, args.include)
    note(contents.table())
    done = _push(args)
    result(args, _document(args, contents, done), _outcome(done))
    return 0


def _make_card(args: argparse.Namespace) -> None:
    from wings_hf.hub.card import write_card

    for remark in write_card(args.folder, repo_id=args.repo_id).remarks:
        note(f"model card: {remark}")


def _push(args: argparse.Namespace) -> Any:
    from wings_hf.hub.push import push

    try:
        return push(
            args.folder,
            args.repo_id,
            private=args.private,
            revision=args.revision,
            pull_request=args.pull_request,
            message=args.message,
            include=args.include,
        )
    except KeyboardInterrupt:
        warn("\nlarge files that arrived stay on the Hub: the same command goes on from there")
        raise


def _document(args: argparse.Namespace, contents: Any, done: Any) -> dict[str, Any]:
    return {
        "repository": done.repo_id if done else args.repo_id,
        "commit": done.commit if done else None,
        "url": done.url if done else None,
        "pull_request": done.pull_request if done else None,
        "changed": bool(done and done.changed),
        "files": {file.name: file.size for file in contents.sent},
        "left_out": contents.left_out,
    }


def _outcome(done: Any) -> str:
    if not done.changed:
        return f"{done.repo_id} has all of it already: nothing was committed ({done.url})"
    if done.pull_request:
        return f"proposed: {done.pull_request}"
    return (
        f"published: {done.url}\nto load exactly this, whatever comes later:\n"
        f'  AutoModelForCausalLM.from_pretrained("{done.repo_id}", revision="{done.commit}", trust_remote_code=True)'
    )
