# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What the wings cost: parts of `benchmarks/run.py`; docs/speed.md says what is compared."""
