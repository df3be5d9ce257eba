# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0

"""An interleaved image-text benchmark (IIT): built from multiple-choice sets, and scored."""
