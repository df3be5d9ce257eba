# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0

"""Measuring what a model can do, and what it forgot: task files, scoring, statistics, comparison of runs."""
