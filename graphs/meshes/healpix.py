"""HEALPix: points on rings of latitude, each for an equal share of the sphere."""

from __future__ import annotations

import numpy as np

from graphs.errors import MeshcastError
from graphs.geometry import to_xyz
from graphs.mesh import EARTH_RADIUS, Domain, Mesh


def healpix(nside: int, radius: float = EARTH_RADIUS) -> Mesh:
    """Return the 12 · nside² pixel centres of HEALPix in ring order, from north to south, all of one area.

    Górski et al. (2005), https://doi.org/10.1086/427976, equations 2 to 9.

    nside: pixels along a side of one of the twelve base pixels; a power of two for the nested order of others.
    """
    if nside < 1:
        raise MeshcastError(f"HEALPix needs an nside of at least 1, not {nside}.")
    ring = np.arange(1, 4 * nside)
    polar = np.minimum(ring, 4 * nside - ring)  # rings from the nearer pole
    in_cap = polar < nside
    z = np.where(in_cap, 1.0 - polar**2 / (3.0 * nside**2), 4.0 / 3.0 - 2.0 * polar / (3.0 * nside))
    z = np.where(ring <= 2 * nside, z, -z)
    count = np.where(in_cap, 4 * polar, 4 * nside)
    # every second ring between the caps begins on the Greenwich meridian, all others half a pixel east of it
    start = np.where(in_cap | ((polar - nside) % 2 == 0), 0.5, 0.0)
    place = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)  # [node] number within its ring
    longitude = 360.0 * (place + np.repeat(start, count)) / np.repeat(count, count)
    latitude = np.repeat(np.degrees(np.arcsin(z)), count)
    areas = np.full(latitude.size, 1.0 / latitude.size)
    return Mesh(to_xyz(latitude, longitude), areas, (latitude.size,), Domain("sphere", float(radius)))
