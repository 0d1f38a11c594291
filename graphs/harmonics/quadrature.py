"""Quadrature over the latitudes of a grid: weights with which sums over its rows are integrals of harmonics."""

from __future__ import annotations

import numpy as np

from graphs.geometry import Array

EXACT = 1e-11  # largest error of an integral that counts as rounding
SYMMETRIC = 2e-4  # degrees; what files hold is often in single precision


def latitude_weights(latitudes: Array, least: int) -> Array | None:
    """Return weights [latitude], which sum to one, for means over the sphere of functions of latitude.

    They are exact for polynomials in the sine of latitude of as high a degree as positive weights allow. Of all such
    weights they are those nearest to the areas of the rows' cells.

    latitudes: of the rows [degrees], from south to north, none of them a pole. least: the degree that is needed.
    Returns None where the rows do not lie symmetrically about the equator, or no positive weights reach that degree.
    """
    if np.abs(latitudes + latitudes[::-1]).max() > SYMMETRIC:
        return None
    sines = np.sin(np.radians((latitudes - latitudes[::-1]) / 2.0))
    edges = np.concatenate([[-1.0], (sines[1:] + sines[:-1]) / 2.0, [1.0]])
    areas = np.diff(edges) / 2.0
    highest = 2 * ((len(latitudes) - 1) // 2)  # odd degrees are exact by symmetry
    for degree in sorted({*np.linspace(least, highest, 9).astype(int) // 2 * 2, least + least % 2}, reverse=True):
        if degree < least or degree > highest:
            continue
        even = np.polynomial.legendre.legvander(sines, degree)[:, ::2] * np.sqrt(
            2.0 * np.arange(0, degree + 1, 2) + 1.0
        )
        wanted = np.zeros(even.shape[1])
        wanted[0] = 1.0
        root = np.sqrt(areas)
        weights = areas + root * np.linalg.lstsq(even.T * root, wanted - even.T @ areas, rcond=None)[0]
        if weights.min() > 0.0 and np.abs(even.T @ weights - wanted).max() < EXACT:
            return weights
    return None
