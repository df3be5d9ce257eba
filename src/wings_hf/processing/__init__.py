# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Images and chat to model inputs: ``WingsProcessor`` and what it is made of."""
