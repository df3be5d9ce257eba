# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0

"""The version of the package, importable without torch."""

__version__ = "0.1.0"
