# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""An HTTP server for clients of OpenAI's chat protocol, on transformers' own serving classes."""
