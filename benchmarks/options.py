# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Which value of a `WingsConfig` field learns better: the demo's experiment, once for each value and seed.

    python benchmarks/options.py learner_rope false true --seeds 3

Everything else is as in `wings-hf demo`: data, steps, learning rates, seeds. Interrupted, it goes on where it was.
"""

import argparse
import json
from pathlib import Path

from transformers.utils import logging

from wings_hf.demo.experiment import REHEARSED, Contender, Experiment
from wings_hf.demo.report import as_text, summarise
from wings_hf.demo.settings import DemoSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("field", metavar="FIELD", help="a field of WingsConfig")
    parser.add_argument("values", metavar="VALUE", nargs="+", help="its values, in JSON (a bare word is a string)")
    parser.add_argument("--recipe", default="wings", help="wings (default) or exact")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0 .. N-1 (3)")
    parser.add_argument("--out", type=Path, default=Path("wings-options"), metavar="FOLDER")
    parser.add_argument("--quick", action="store_true", help="a few steps of everything; the numbers mean nothing")
    arguments = parser.parse_args()
    logging.disable_progress_bar()
    logging.set_verbosity_error()

    experiment = Experiment(arguments.out, DemoSettings.quick() if arguments.quick else DemoSettings())
    experiment.fit_parts()
    contenders = [
        Contender(arguments.recipe, f"{arguments.field}={value}", {arguments.field: _parse(value)})
        for value in arguments.values
    ]
    for seed in range(arguments.seeds):
        for contender in contenders:
            experiment.fit(contender, seed)
    before = summarise("before it could see", [experiment.scores_before()])
    after = [summarise(c.name, [experiment.scores(c, seed) for seed in range(arguments.seeds)]) for c in contenders]
    print(f"\n{as_text(before, after, REHEARSED)}")
    path = arguments.out / f"{arguments.field}.json"
    path.write_text(json.dumps({"before": before, "after": after, "seeds": arguments.seeds}, indent=2) + "\n")


def _parse(value: str) -> object:
    try:
        return json.loads(value)
    except ValueError:
        return value


if __name__ == "__main__":
    main()
