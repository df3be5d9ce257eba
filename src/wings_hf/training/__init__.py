# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0

"""Training in stages with the Hugging Face `Trainer`."""
