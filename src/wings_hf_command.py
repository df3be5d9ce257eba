# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
The console script `wings-hf`. It puts off what `import wings_hf` does (torch, transformers, the Auto classes) until a
command runs, so that help, completion and mistakes are answered at once. Ctrl-C is heard from the first moment on.
"""

import importlib.util
import sys


def main() -> int:
    """Run `wings-hf` with the process's arguments and return its exit code."""
    try:
        _put_off("wings_hf")
        from wings_hf.cli.main import main as run

        return run()
    except KeyboardInterrupt:
        print("\nwings-hf: interrupted", file=sys.stderr)
        return 130


def _put_off(name: str) -> None:
    """Makes the package known without running its `__init__`: its modules can be imported, `cli.main` runs the rest."""
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    assert spec is not None
    sys.modules[name] = importlib.util.module_from_spec(spec)


if __name__ == "__main__":
    sys.exit(main())
