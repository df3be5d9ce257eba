# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`wings-lm-eval`: the command line of lm-evaluation-harness, with our model type "wings" and our task files.

Versions of the harness that read the entry point group "lm_eval.models" know the name by themselves; 0.4.13 does not.
"""

import sys
from pathlib import Path

TASKS = Path(__file__).with_name("tasks")


def main() -> None:
    try:
        from lm_eval.__main__ import cli_evaluate
    except ModuleNotFoundError as error:
        raise SystemExit(f"wings-lm-eval: {error}. It is in the extra 'eval': pip install 'wings_hf[eval]'") from error
    from wings_hf.evaluation.harness import register

    register()
    sys.argv[0] = "lm_eval"
    given = any(argument.partition("=")[0] == "--include_path" for argument in sys.argv)
    if len(sys.argv) > 2 and not given:
        sys.argv += ["--include_path", str(TASKS)]
    cli_evaluate()


if __name__ == "__main__":
    main()
