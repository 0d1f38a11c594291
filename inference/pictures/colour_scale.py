"""Colour scales that panels share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

Array = NDArray[np.floating]
SEQUENTIAL, DIVERGING, ERROR = "viridis", "RdBu_r", "PuOr_r"
MISSING_COLOUR = "#d9d9d9"


@dataclass(frozen=True)
class ColourScale:
    """One colour map and its ends, shared by all panels that may be compared."""

    name: str
    low: float
    high: float

    @classmethod
    def of(cls, *fields: Array) -> ColourScale:
        """Return a scale that is diverging about zero where the fields have both signs in like measure, else
        sequential; outliers clipped."""
        values = np.concatenate([field[np.isfinite(field)].ravel() for field in fields])
        low, high = (float(end) for end in np.quantile(values, [0.001, 0.999])) if values.size else (0.0, 1.0)
        if low < 0 < high and min(-low, high) > 0.25 * max(-low, high):
            return cls(DIVERGING, -max(-low, high), max(-low, high))
        return cls(SEQUENTIAL, low, high if high > low else low + 1e-12)

    @classmethod
    def of_error(cls, error: Array) -> ColourScale:
        """Return a scale symmetric about zero, in other colours."""
        finite = np.abs(error[np.isfinite(error)])
        high = float(np.quantile(finite, 0.999)) if finite.size else 1.0
        return cls(ERROR, -max(high, 1e-12), max(high, 1e-12))

    @property
    def options(self) -> dict[str, Any]:
        return {"cmap": colormaps[self.name].with_extremes(bad=MISSING_COLOUR), "vmin": self.low, "vmax": self.high}
