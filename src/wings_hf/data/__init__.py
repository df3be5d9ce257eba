# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0

"""Conversations with images: reading them from files, and batching them for training."""
