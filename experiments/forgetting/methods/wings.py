# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Wings, and what of it can be left out or made otherwise (Zhang et al., arXiv 2406.03496, section 3 and Figure 5)."""

from forgetting.methods.adapters import LORA, add_image_lora
from forgetting.methods.base import LANGUAGE_MODEL, LEARNERS, LOW_RANK, NEW, PROJECTOR, ROUTER, TUNED, Method, Rate
from forgetting.methods.fine_tuning import THIRD, Interpolation

BOTH = ("visual", "textual")
FROZEN = {PROJECTOR: NEW, ROUTER: NEW, LEARNERS: LOW_RANK}
PAPER = {**FROZEN, LANGUAGE_MODEL: TUNED}  # the first pattern found decides: learners lie within the language model
EXACT = {"learner_scope": "visual_context"}
LOW = Rate("language_model", 0.1)


def wings(name: str, title: str, trained=PAPER, learners=BOTH, core: bool = False, text_share: float = 0.0, **fields):
    return Method(name, title, "wings", trained, fields, learners, text_share=text_share, core=core)


METHODS = (
    wings("wings", "Wings", core=True),
    wings("wings-exact", "Wings, exact retention", FROZEN, core=True, **EXACT),
    wings("wings-frozen", "Wings, LLM frozen", FROZEN),
    wings("wings-low", "Wings, LLM at a tenth", {**FROZEN, LANGUAGE_MODEL: LOW}),
    wings("wings-third", "Wings, LLM at a third", {**FROZEN, LANGUAGE_MODEL: THIRD}),
    wings("wings-visual", "Wings, visual learner only", learners=("visual",)),
    wings("wings-textual", "Wings, textual learner only", learners=("textual",)),
    wings("wings-modality", "Wings, modality router", router="modality"),
    wings("wings-uniform", "Wings, uniform router", router="uniform"),
    wings("wings-mass", "Wings, attention mass as router", router="mass"),
    wings("wings-no-rope", "Wings, learners without rotary", learner_rope=False),
    wings("wings-post-attention", "Wings, query after attention", learner_query="post_attention"),
    wings("wings-rates-low", "Wings, all rates low", {PROJECTOR: LOW, LEARNERS: LOW, LANGUAGE_MODEL: LOW}),
    wings("wings-rates-one", "Wings, one rate for all", {PROJECTOR: TUNED, LEARNERS: TUNED, LANGUAGE_MODEL: TUNED}),
    wings("wings-rates-high", "Wings, all rates high", {PROJECTOR: NEW, LEARNERS: NEW, LANGUAGE_MODEL: NEW}),
    wings("wings-replay-10", "Wings, 10 % text replay", text_share=0.1),
    wings("wings-exact-modality", "Wings, exact, modality router", FROZEN, router="modality", **EXACT),
    wings("wings-exact-uniform", "Wings, exact, uniform router", FROZEN, router="uniform", **EXACT),
    wings("wings-exact-mass", "Wings, exact, attention mass as router", FROZEN, router="mass", **EXACT),
    wings("wings-exact-mass-1", "Wings, exact, mass, power 1", FROZEN, router="mass", router_power=1, **EXACT),
    wings("wings-exact-no-rope", "Wings, exact, without rotary", FROZEN, learner_rope=False, **EXACT),
    wings("wings-exact-post-attention", "Wings, exact, query after", FROZEN, learner_query="post_attention", **EXACT),
    Method(
        "wings-exact-lora",
        "Wings, exact, and LoRA with an image in context",
        "wings",
        {**FROZEN, LORA: LOW_RANK},
        EXACT,
        BOTH,
        install=add_image_lora,
    ),
    Method(
        "wings-interpolation-50",
        "Wings, LLM half way back",
        "wings",
        learners=BOTH,
        derived_from="wings",
        transform=Interpolation(0.5, of="model.language_model"),
    ),
)
