# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0

"""A whole Wings experiment in minutes on a CPU: learn to see digits, measure what the text tasks lose."""
