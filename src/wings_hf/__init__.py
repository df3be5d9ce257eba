# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
Wings for Hugging Face: give any language model sight without making it forget how to read.

Implements Zhang et al., "Wings: Learning Multimodal LLMs without Text-only Forgetting", arXiv 2406.03496.
"""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
)

from wings_hf.configuration.configuration_wings import WingsConfig
from wings_hf.hub.pushed_card import card_for_upload
from wings_hf.modeling.modeling_wings import WingsForCausalLM, WingsModel, WingsPreTrainedModel
from wings_hf.modeling.wings_triton import set_kernels
from wings_hf.processing.processing_wings import WingsProcessor
from wings_hf.version import __version__

AutoConfig.register(WingsConfig.model_type, WingsConfig)
AutoModel.register(WingsConfig, WingsModel)
AutoModelForCausalLM.register(WingsConfig, WingsForCausalLM)
AutoModelForImageTextToText.register(WingsConfig, WingsForCausalLM)
AutoProcessor.register(WingsConfig, WingsProcessor)
WingsPreTrainedModel.write_card = staticmethod(card_for_upload)

__all__ = ["WingsConfig", "WingsForCausalLM", "WingsModel", "WingsProcessor", "__version__", "set_kernels"]
