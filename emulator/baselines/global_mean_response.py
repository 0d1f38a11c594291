"""How the global mean of a climate responds to its forcings, from a series and what is expected from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from graphs.errors import MeshcastError

Array = NDArray[np.float64]
Expected = tuple[float, float]  # mean and standard deviation


@dataclass(frozen=True, eq=False)
class GlobalMean:
    """The global mean of a variable, row after row: forcing [time, forcing], mean, row and bin [time]."""

    forcing: Array
    mean: Array
    row: NDArray[np.int64]
    bin: NDArray[np.int64]

    def response(
        self, names: tuple[str, ...], expected: Mapping[str, Expected], curvature: Expected
    ) -> tuple[Array, float]:
        """Return slopes [forcing] and curvature, most likely after what is expected of them.

        Residuals are taken to be as correlated from time to time as they are found to be.
        """
        if strangers := sorted(set(expected) - set(names)):
            raise MeshcastError(f"expected names {', '.join(strangers)}, but the forcings are {', '.join(names)}.")
        known = [*(expected.get(name, (0.0, np.inf)) for name in names)]
        known.append(curvature)
        centre, width = np.array(known).T
        start = np.append(np.linalg.lstsq(self._centred(self.forcing), self._centred(self.mean), rcond=None)[0], 0.0)
        noise = self._lasting(self._centred(self.mean - self._at(start)))
        first = np.where(np.isfinite(width), centre, start)
        free, told = width > 0, np.isfinite(width) & (width > 0)
        if not told.any() and curvature == (0.0, 0.0):
            return start[:-1], 0.0

        def residuals(some: Array) -> Array:
            parameters = first.copy()
            parameters[free] = some
            error = self._centred(self.mean - self._at(parameters))
            return np.concatenate([error / noise, (parameters - centre)[told] / width[told]])

        first[free] = least_squares(residuals, first[free], x_scale="jac").x
        return first[:-1], float(first[-1])

    def _at(self, parameters: Array) -> Array:
        straight = self.forcing @ parameters[:-1]
        return np.asarray(straight + parameters[-1] * straight**2, np.float64)

    def _centred(self, values: Array) -> Array:
        """Return values [time, ...] over the mean of their bin."""
        centred = values.astype(np.float64)
        for number in np.unique(self.bin):
            centred[self.bin == number] -= centred[self.bin == number].mean(axis=0)
        return centred

    def _lasting(self, residual: Array) -> float:
        """Return the standard deviation of residuals as if they were independent: larger where one follows another."""
        same = self.row[1:] == self.row[:-1]
        variance = float((residual**2).mean())
        likeness = float((residual[1:] * residual[:-1])[same].mean()) / variance if same.any() and variance > 0 else 0.0
        likeness = min(max(likeness, 0.0), 0.9)
        return max(float(np.sqrt(variance * (1 + likeness) / (1 - likeness))), 1e-12)
