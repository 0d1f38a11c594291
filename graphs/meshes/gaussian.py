"""Gaussian grids, full and reduced: latitudes at the zeros of a Legendre polynomial, for exact quadrature."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphs.errors import MeshcastError
from graphs.geometry import Array, to_xyz
from graphs.mesh import EARTH_RADIUS, Domain, Mesh


def gaussian_latitudes(num_latitudes: int) -> tuple[Array, Array]:
    """Return Gaussian latitudes [degrees], south to north, and their weights, which sum to one."""
    if num_latitudes < 2:
        raise MeshcastError(
            f"A Gaussian grid has at least 1 latitude between pole and equator, not {num_latitudes // 2}."
        )
    nodes, weights = np.polynomial.legendre.leggauss(num_latitudes)
    return np.degrees(np.arcsin(nodes)), weights / 2.0


def gaussian(number: int, radius: float = EARTH_RADIUS) -> Mesh:
    """Return the full Gaussian grid, 2 · number latitudes from the north of 4 · number longitudes, areas by quadrature.

    number: latitudes between a pole and the equator, the N of ECMWF's names.
    """
    latitudes, weights = gaussian_latitudes(2 * number)
    longitudes = 360.0 * np.arange(4 * number) / (4 * number)
    positions = to_xyz(latitudes[::-1, None], longitudes).reshape(-1, 3)
    areas = np.repeat(weights[::-1], longitudes.size)
    shape = (latitudes.size, longitudes.size)
    return Mesh(positions, areas / areas.sum(), shape, Domain("sphere", float(radius)))


def reduced_gaussian(points_per_latitude: Sequence[int], radius: float = EARTH_RADIUS) -> Mesh:
    """Return a reduced Gaussian grid: so many points (GRIB's `pl`) from 0 E on each latitude, from north to south."""
    counts = np.asarray(points_per_latitude)
    if counts.ndim != 1 or counts.size < 2 or counts.size % 2 or not np.issubdtype(counts.dtype, np.integer):
        raise MeshcastError(
            "points_per_latitude lists a whole number for every latitude of both hemispheres, an even number of them, "
            f"but has {counts.size} of shape {counts.shape}."
        )
    if counts.min() < 3:
        raise MeshcastError(f"Every latitude needs at least 3 points, but number {counts.argmin()} has {counts.min()}.")
    latitudes, weights = gaussian_latitudes(counts.size)
    latitude = np.repeat(latitudes[::-1], counts)
    longitude = np.concatenate([360.0 * np.arange(count) / count for count in counts])
    areas = np.repeat(weights[::-1] / counts, counts)
    return Mesh(to_xyz(latitude, longitude), areas / areas.sum(), (latitude.size,), Domain("sphere", float(radius)))


def octahedral(number: int, radius: float = EARTH_RADIUS) -> Mesh:
    """Return the octahedral grid O`number`: 20 points beside each pole, four more on each latitude inward.

    Malardel et al. (2016), ECMWF Newsletter 146, https://doi.org/10.21957/zwdu9u5i; 4 · number · (number + 9) points.
    """
    if number < 1:
        raise MeshcastError(f"A Gaussian grid has at least 1 latitude between pole and equator, not {number}.")
    north = 16 + 4 * np.arange(1, number + 1)
    return reduced_gaussian(np.concatenate([north, north[::-1]]).tolist(), radius)
