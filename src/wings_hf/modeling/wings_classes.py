# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""Run-time subclasses: a mixin in front of a class that is known only when a model is built."""

from typing import Any

WINGED_CLASSES: dict[tuple[type, type], type] = {}


def winged_class(mixin: type, base: type) -> type:
    """The one subclass of `base` with `mixin` in front, called `Wings` and the name of `base`, which it knows."""
    if (mixin, base) not in WINGED_CLASSES:
        members = {"__module__": base.__module__, "__reduce_ex__": _reduce_winged, "backbone_class": base}
        WINGED_CLASSES[mixin, base] = type(f"Wings{base.__name__}", (mixin, base), members)
    return WINGED_CLASSES[mixin, base]


def _reduce_winged(instance: Any, protocol: int) -> tuple:
    """For copy and pickle: the class is found by its parts, since it cannot be imported by name."""
    return _new_winged, type(instance).__bases__, instance.__dict__


def _new_winged(mixin: type, base: type) -> Any:
    cls = winged_class(mixin, base)
    return cls.__new__(cls)
