# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Between the checkpoint that the paper's authors released and a folder that transformers loads, both ways."""
