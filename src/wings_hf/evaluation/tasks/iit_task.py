# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The class that `iit.yaml` names: the harness looks for it beside the file."""

from wings_hf.iit.harness import IITTask

__all__ = ["IITTask"]
