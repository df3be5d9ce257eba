# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Publish a trained model: look at what would be sent, write its card with its results, send it, and load it back.

    hf auth login
    python examples/publish_to_the_hub.py my-model/tune ann/wings-small --evaluation runs/mine --private

`wings-hf card` and `wings-hf push` do the same from a shell. Here every step can be changed.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from transformers import AutoConfig

import wings_hf  # noqa: F401  (Wings among transformers' auto classes)
from wings_hf.hub.card import write_card
from wings_hf.hub.contents import examine
from wings_hf.hub.push import Pushed, push


def publish(folder: Path, repo_id: str, evaluations: Sequence[Path], analysis: Path | None, private: bool) -> Pushed:
    # 1. The card: what the folder and the measurements say, and what is not known. Edit README.md as you like; written
    #    again, it keeps your changes.
    card = write_card(folder, repo_id=repo_id, evaluations=evaluations, analysis=analysis)
    print(f"card: {card.path}", *card.remarks, sep="\n  ")

    # 2. What would be sent, and what stays: state of training, logs, hidden files. Pickles, links out of the folder,
    #    tokens and paths of this machine are refused.
    contents = examine(folder)
    print(contents.table())

    # 3. One commit with all of it. When the connection breaks, the same call goes on from what had arrived.
    done = push(folder, repo_id, private=private, message="A Wings model, with its card")
    print(f"published: {done.url}")
    return done


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a saved model with its processor")
    parser.add_argument("repo_id", help="owner/name")
    parser.add_argument("--evaluation", nargs="*", type=Path, default=[], help="runs of wings-hf evaluate")
    parser.add_argument("--analysis", type=Path, help="laws.json of wings-hf analyze")
    parser.add_argument("--private", action="store_true")
    args = parser.parse_args(arguments)
    done = publish(args.folder, args.repo_id, args.evaluation, args.analysis, args.private)

    # 4. What others do: a pinned commit is what was published, whatever comes later.
    config = AutoConfig.from_pretrained(done.repo_id, revision=done.commit, trust_remote_code=True)
    print(f"loaded back: {config.model_type}, learners {', '.join(config.learners) or 'none'}")


if __name__ == "__main__":
    main()
