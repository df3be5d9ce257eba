# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""The licence of a model made of others: inherited where that is plain, else said to be unknown or in conflict.

The table holds what is known here of licences by the identifiers of the Hub; docs/publishing.md shows it. It is a help
against oversights and no legal advice. A licence that is not in it is never guessed at.
"""

from collections.abc import Mapping
from dataclasses import dataclass

PERMISSIVE, SHARE_ALIKE, NON_COMMERCIAL, OWN_TERMS, NO_DERIVATIVES = (
    "permissive",
    "share-alike",
    "non-commercial",
    "own terms",
    "no derivatives",
)
MEANING = {
    PERMISSIVE: "what is made of it may have another licence; its notice must be kept",
    SHARE_ALIKE: "what is made of it must have the same licence",
    NON_COMMERCIAL: "no commercial use; what is made of it must say so",
    OWN_TERMS: "terms of its publisher, which must be passed on; some want their name in the model's name",
    NO_DERIVATIVES: "nothing made of it may be published",
}
# Permissive ones in the order in which they bind: a mix has the last one's.
LICENCES = {
    **dict.fromkeys(("unlicense", "cc0-1.0", "wtfpl", "mit", "isc", "bsd", "bsd-2-clause", "bsd-3-clause"), PERMISSIVE),
    **dict.fromkeys(("cdla-permissive-1.0", "cdla-permissive-2.0", "cc-by-3.0", "cc-by-4.0", "apache-2.0"), PERMISSIVE),
    **dict.fromkeys(("mpl-2.0", "lgpl-3.0", "gpl-2.0", "gpl-3.0", "agpl-3.0"), SHARE_ALIKE),
    **dict.fromkeys(("cc-by-sa-3.0", "cc-by-sa-4.0", "odbl"), SHARE_ALIKE),
    **dict.fromkeys(("cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0"), NON_COMMERCIAL),
    **dict.fromkeys(("llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "gemma"), OWN_TERMS),
    **dict.fromkeys(("openrail", "openrail++", "creativeml-openrail-m", "bigscience-openrail-m"), OWN_TERMS),
    **dict.fromkeys(("bigscience-bloom-rail-1.0", "bigcode-openrail-m", "deepfloyd-if-license"), OWN_TERMS),
    **dict.fromkeys(("cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"), NO_DERIVATIVES),
}


@dataclass(frozen=True)
class Inherited:
    """
    Args:
        licence: identifier on the Hub; None where it is not known or cannot be one.
        text: what is to be said about it.
        conflict: no licence meets the demands of all parts.
    """

    licence: str | None
    text: str
    conflict: bool = False


def inherit(parts: Mapping[str, str | None]) -> Inherited:
    """
    The licence of a model made of parts.

    Args:
        parts: name of each part -> its licence, in any case, None where it is not known.
    """
    parts = {name: licence and licence.lower() for name, licence in parts.items()}
    said = "; ".join(f"{name}: {licence or 'not known here'}" for name, licence in parts.items())
    unknown = [name for name, licence in parts.items() if licence is None]
    strange = {name: licence for name, licence in parts.items() if licence is not None and licence not in LICENCES}
    if not parts or unknown:
        return Inherited(
            None, f"Not determined, for a part's licence is not known here ({said or 'no part is known'})."
        )
    kinds = {licence: LICENCES.get(str(licence)) for licence in parts.values()}
    if NO_DERIVATIVES in kinds.values():
        return Inherited(None, f"In conflict: a part does not allow what is made of it to be published ({said}).", True)
    if "other" in strange.values() or (strange and len(set(parts.values())) > 1):
        return Inherited(None, f"Not determined, for the terms of a part are not known here ({said}).")
    if len(kinds) == 1:
        return Inherited(next(iter(kinds)), f"That of all parts ({said}).")
    binding = [str(licence) for licence, kind in kinds.items() if kind != PERMISSIVE]
    if len(binding) > 1:
        text = f"In conflict: each of {' and '.join(binding)} wants its own terms for what is made of it ({said})."
        return Inherited(None, text, True)
    if binding:
        kind = LICENCES[binding[0]]
        return Inherited(binding[0], f"That of the part that binds ({said}). {binding[0]} is {kind}: {MEANING[kind]}.")
    order = list(LICENCES)
    licence = max((str(each) for each in kinds), key=order.index)
    return Inherited(licence, f"All parts are permissive ({said}); the notices of all must be kept.")
