"""Equal Earth: the whole globe on a plane, areas true to scale.

Šavrič, Patterson and Jenny (2019), DOI 10.1080/13658816.2018.1504949, eq. 1 to 4; the sphere has radius one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

A1, A2, A3, A4 = 1.340264, -0.081106, 0.000893, 0.003796  # Šavrič et al. (2019), after eq. 4
SHRINK = np.sqrt(3.0) / 2.0  # sin θ = (√3 / 2) sin φ


def project(longitudes: ArrayLike, latitudes: ArrayLike) -> tuple[Array, Array]:
    """x and y of places in degrees; longitudes from -180 to 180, the middle at 0."""
    longitude, latitude = np.radians(np.asarray(longitudes, np.float64)), np.radians(np.asarray(latitudes, np.float64))
    theta = np.arcsin(SHRINK * np.sin(latitude))
    return longitude * np.cos(theta) / (SHRINK * _slope(theta)), _height(theta)


def unproject(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    """Longitudes and latitudes [degrees] of points of the plane, NaN outside the globe's outline."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    theta = y / A1
    for _ in range(12):  # Newton's method; height is monotonic in θ
        theta = theta - (_height(theta) - y) / _slope(theta)
    with np.errstate(invalid="ignore"):
        latitude = np.degrees(np.arcsin(np.sin(theta) / SHRINK))
        longitude = np.degrees(x * SHRINK * _slope(theta) / np.cos(theta))
        inside = (np.abs(y) <= HALF_HEIGHT) & (np.abs(longitude) <= 180.0)
    return np.where(inside, longitude, np.nan), np.where(inside, latitude, np.nan)


def outline(points: int = 181) -> Array:
    """[point, (x, y)] around the globe: the meridian at 180 E, the poles, and the meridian at 180 W."""
    latitude = np.linspace(-90.0, 90.0, points)
    east, height = project(180.0, latitude)
    edge = np.stack([east, height], axis=1)
    return np.concatenate([edge, edge[::-1] * (-1.0, 1.0), edge[:1]])


def directions(longitudes: Array, latitudes: Array, east: Array, north: Array) -> tuple[Array, Array]:
    """x and y components of vectors on the sphere: the direction of their path on the map, their length kept."""
    step = 1e-5  # [degrees]
    x, y = project(longitudes, latitudes)
    shrink = np.cos(np.radians(latitudes))
    to_east = np.stack(project(longitudes + step, latitudes)) - (x, y)
    to_north = np.stack(project(longitudes, latitudes + step)) - (x, y)
    moved = east / np.maximum(shrink, 1e-6) * to_east + north * to_north
    length = np.hypot(*moved)
    scale = np.hypot(east, north) / np.where(length > 0, length, 1.0)
    return moved[0] * scale, moved[1] * scale


def _height(theta: Array) -> Array:
    return theta * (A1 + A2 * theta**2 + theta**6 * (A3 + A4 * theta**2))


def _slope(theta: Array) -> Array:
    """dy/dθ."""
    return A1 + 3 * A2 * theta**2 + theta**6 * (7 * A3 + 9 * A4 * theta**2)


HALF_WIDTH, HALF_HEIGHT = float(project(180.0, 0.0)[0]), float(project(0.0, 90.0)[1])
