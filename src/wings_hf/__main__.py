# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""`python -m wings_hf` is `wings-hf`."""

import sys

from wings_hf.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
