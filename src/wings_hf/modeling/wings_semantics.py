# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The parts that `WingsConfig.semantics` decides about."""

from collections.abc import Callable
from typing import NamedTuple

from wings_hf.modeling.wings_attention import WingsAttentionMixin
from wings_hf.modeling.wings_context import WingsContext, make_context
from wings_hf.modeling.wings_released import ReleasedAttentionMixin, make_released_context


class Semantics(NamedTuple):
    """
    Args:
        attention: what is put before a backbone's attention classes.
        make_context: works out what the layers of one call share.
    """

    attention: type[WingsAttentionMixin]
    make_context: Callable[..., WingsContext]


SEMANTICS = {
    "paper": Semantics(WingsAttentionMixin, make_context),
    "released": Semantics(ReleasedAttentionMixin, make_released_context),
}
