# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""What a model attends to: MLLM-LAWS and the attention shift (Eq. 1), router weights, attention maps; and plots."""

from wings_hf.analysis.laws import AttentionLaws
from wings_hf.analysis.measure import AttentionMeter, measure_attention

__all__ = ["AttentionLaws", "AttentionMeter", "measure_attention"]
