"""Equal Earth: the whole globe on a plane, areas true to scale.

Šavrič, Patterson and Jenny (2019), DOI 10.1080/13658816.2018.1504949, as PROJ has it; the sphere has radius one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pyproj import Proj  # before eccodes, see emulator/data/__init__.py

Array = NDArray[np.float64]

EQUAL_EARTH = Proj("+proj=eqearth +R=1 +over")  # over: what lies beyond 180 E stays there


def project(longitudes: ArrayLike, latitudes: ArrayLike) -> tuple[Array, Array]:
    """Return x and y of places in degrees; longitudes from -180 to 180, the middle at 0."""
    longitudes, latitudes = np.broadcast_arrays(longitudes, latitudes)
    x, y = EQUAL_EARTH(longitudes, latitudes)
    return np.asarray(x), np.asarray(y)


def unproject(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    """Return longitudes and latitudes [degrees] of points of the plane, NaN outside the globe's outline."""
    x, y = np.broadcast_arrays(x, y)
    longitude, latitude = EQUAL_EARTH(x, y, inverse=True)
    inside = (np.abs(y) <= HALF_HEIGHT) & (np.abs(longitude) <= 180.0)
    return np.where(inside, longitude, np.nan), np.where(inside, latitude, np.nan)


def outline(points: int = 181) -> Array:
    """Return [point, (x, y)] around the globe: the meridian at 180 E, the poles, and the meridian at 180 W."""
    latitude = np.linspace(-90.0, 90.0, points)
    east, height = project(180.0, latitude)
    edge = np.stack([east, height], axis=1)
    return np.concatenate([edge, edge[::-1] * (-1.0, 1.0), edge[:1]])


def directions(longitudes: Array, latitudes: Array, east: Array, north: Array) -> tuple[Array, Array]:
    """Return x and y components of vectors on the sphere: the direction of their path on the map, their length kept."""
    step = 1e-5  # [degrees]
    x, y = project(longitudes, latitudes)
    shrink = np.cos(np.radians(latitudes))
    to_east = np.stack(project(longitudes + step, latitudes)) - (x, y)
    to_north = np.stack(project(longitudes, latitudes + step)) - (x, y)
    moved = east / np.maximum(shrink, 1e-6) * to_east + north * to_north
    length = np.hypot(*moved)
    scale = np.hypot(east, north) / np.where(length > 0, length, 1.0)
    return moved[0] * scale, moved[1] * scale


HALF_WIDTH, HALF_HEIGHT = float(project(180.0, 0.0)[0]), float(project(0.0, 90.0)[1])
