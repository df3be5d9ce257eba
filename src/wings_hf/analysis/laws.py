# Copyright 2026 The wings_hf authors. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
"""
The result of a measurement: MLLM-LAWS, the attention on text before, on the image, on text after, layer by layer
(Eq. 1 of arXiv 2406.03496), and the attention shift.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from wings_hf.analysis.tokens import KINDS
from wings_hf.evaluation.statistics import pearson

BEFORE, IMAGE, BETWEEN, AFTER = range(len(KINDS))
CONSTANT = 1e-6  # relative range below which a curve is constant: float32 attention knows no more


def is_constant(curve: np.ndarray) -> bool:
    """Whether a curve has one value throughout, up to rounding; one of a single layer has."""
    return float(np.ptp(curve)) <= CONSTANT * float(np.abs(curve).max())


def shift_of(before: np.ndarray, after: np.ndarray) -> float | None:
    """`1 - Pearson(before, after)`, 0 to 2, over layers; None where a curve is constant."""
    if is_constant(before) or is_constant(after):
        return None
    return 1 - pearson(before, after).r


@dataclass
class AttentionLaws:
    """
    Mean attention masses over a data set: of each sample over its counted rows and all heads, then over samples.

    Args:
        masses: float64 (layers, 4): on text before the first image, images, text between images, text after the last.
        samples: how many samples were counted: those with an image and a counted row.
        rows: how many query rows were counted.
        sample_shift: the mean of each sample's own shift, over the samples that have one; None if none has.
        shifted_samples: how many have one.
        skipped: how many samples were left out, by reason.
        head_masses: (layers, heads, 4), where asked for.
        row_masses: for each kind of query row, (layers, 4), where asked for; nan for kinds that did not occur.
        settings: how it was measured.
    """

    masses: np.ndarray
    samples: int
    rows: int
    sample_shift: float | None = None
    shifted_samples: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    head_masses: np.ndarray | None = None
    row_masses: dict[str, np.ndarray] | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def before(self) -> np.ndarray:
        """Mass on text before the sample's first image, (layers,)."""
        return self.masses[:, BEFORE]

    @property
    def image(self) -> np.ndarray:
        """Mass on all images, (layers,)."""
        return self.masses[:, IMAGE]

    @property
    def between(self) -> np.ndarray:
        """The part of `after` that lies before the sample's last image, (layers,)."""
        return self.masses[:, BETWEEN]

    @property
    def after(self) -> np.ndarray:
        """Mass on text after the sample's first image, (layers,)."""
        return self.masses[:, BETWEEN] + self.masses[:, AFTER]

    @property
    def shift(self) -> float:
        """`1 - Pearson(before, after)` of the mean curves; 1.0 (no correlation) where it is not defined."""
        shift = shift_of(self.before, self.after)
        return 1.0 if shift is None else shift

    @property
    def shift_is_defined(self) -> bool:
        """False for one layer, a constant curve, no text before or after the image, no sample."""
        return shift_of(self.before, self.after) is not None

    @property
    def head_shifts(self) -> np.ndarray | None:
        """The shift of each head, over layers, (heads,); where measured per head."""
        if self.head_masses is None:
            return None
        after = self.head_masses[..., BETWEEN] + self.head_masses[..., AFTER]
        shifts = [shift_of(b, a) for b, a in zip(self.head_masses[..., BEFORE].T, after.T, strict=True)]
        return np.array([1.0 if shift is None else shift for shift in shifts])

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for JSON."""
        nested = {name: _plain(values) for name, values in (self.row_masses or {}).items()}
        return {
            "shift": self.shift,
            "shift_is_defined": self.shift_is_defined,
            "sample_shift": self.sample_shift,
            "shifted_samples": self.shifted_samples,
            "samples": self.samples,
            "rows": self.rows,
            "skipped": dict(self.skipped),
            "settings": dict(self.settings),
            "kinds": list(KINDS),
            "masses": _plain(self.masses),
            "head_masses": None if self.head_masses is None else _plain(self.head_masses),
            "row_masses": None if self.row_masses is None else nested,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "AttentionLaws":
        """What `to_dict` gave.

        Raises:
            ValueError: a field is missing, or the masses have another shape.
        """
        try:
            masses = np.asarray(values["masses"], dtype=np.float64).reshape(-1, len(KINDS))
            heads, by_row = values.get("head_masses"), values.get("row_masses")
            return cls(
                masses=masses,
                samples=int(values["samples"]),
                rows=int(values["rows"]),
                sample_shift=values.get("sample_shift"),
                shifted_samples=int(values.get("shifted_samples", 0)),
                skipped=dict(values.get("skipped", {})),
                head_masses=None if heads is None else np.asarray(heads, dtype=np.float64),
                row_masses=None if by_row is None else {name: _array(rows) for name, rows in by_row.items()},
                settings=dict(values.get("settings", {})),
            )
        except KeyError as error:
            raise ValueError(f"no attention laws: the field {error} is missing, got {', '.join(values)}.") from error


def _plain(values: np.ndarray) -> Any:
    """Nested lists, None for nan."""
    plain = values.astype(object)
    plain[np.isnan(values)] = None
    return plain.tolist()


def _array(values: Any) -> np.ndarray:
    return np.array(values, dtype=object).astype(np.float64)
