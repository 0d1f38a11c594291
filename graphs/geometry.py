"""Geometry of the unit sphere: coordinates, distances, tangent frames, parallel transport, triangles, areas."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import ConvexHull

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]
EDGE = 1e-4  # [degrees]: coordinates stored in float32 must not push a row on the edge of a box outside


def to_xyz(latitudes: ArrayLike, longitudes: ArrayLike) -> Array:
    """Return unit vectors [..., 3] of points given by latitude and longitude [degrees].

    At a pole cos(latitude) is 6e-17 and not zero, so the longitude survives the way there and back; the tangent
    frames of a pole row lean on that.
    """
    phi, lam = np.broadcast_arrays(np.radians(latitudes), np.radians(longitudes))
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=-1)


def to_latlon(xyz: Array) -> tuple[Array, Array]:
    """Return latitude and longitude in [0, 360) [degrees] of vectors [..., 3] of any length."""
    x, y, z = np.moveaxis(np.asarray(xyz, dtype=np.float64), -1, 0)
    longitude = np.degrees(np.arctan2(y, x)) % 360.0
    return np.degrees(np.arctan2(z, np.hypot(x, y))), np.where(longitude >= 360.0, 0.0, longitude)


def east_of(longitudes: Array, west: float) -> Array:
    """Return how far longitudes lie east of a meridian [degrees], where zero is `EDGE` west of it."""
    return (longitudes - west + EDGE) % 360.0


def between_meridians(longitudes: Array, west: float, width: float) -> Mask:
    """Return which longitudes lie from a meridian to `width` degrees east of it, the edges within `EDGE` included."""
    return east_of(longitudes, west) <= width + 2.0 * EDGE


def great_circle_distance(a: Array, b: Array) -> Array:
    """Return angle [radians] between unit vectors [..., 3], accurate for near, far and antipodal points alike.

    θ = 2 atan2(|a - b|, |a + b|); the arccos of a · b loses half the digits at small angles.
    """
    apart, across = a - b, a + b
    return 2.0 * np.arctan2(np.sqrt(_dot(apart, apart)), np.sqrt(_dot(across, across)))


def tangent_frames(xyz: Array) -> tuple[Array, Array]:
    """Return unit vectors east and north [..., 3] at points [..., 3]; at a pole, along the point's own meridian."""
    x, y, z = np.moveaxis(xyz, -1, 0)
    flat = np.hypot(x, y)
    length = np.hypot(flat, z)
    # Quotients in place of angles and their sines: the same digits, even 6e-17 from a pole, in a fifth of the time.
    cos_lam = np.divide(x, flat, out=np.ones_like(flat), where=flat > 0)
    sin_lam = np.divide(y, flat, out=np.zeros_like(flat), where=flat > 0)
    sin_phi, cos_phi = z / length, flat / length
    east = np.stack([-sin_lam, cos_lam, np.zeros_like(flat)], axis=-1)
    north = np.stack([-sin_phi * cos_lam, -sin_phi * sin_lam, cos_phi], axis=-1)
    return east, north


def tangent_displacement(origin: Array, target: Array) -> tuple[Array, Array]:
    """Return components east and north [radians] of the great-circle arc from `origin` to `target`, seen at `origin`.

    The logarithmic map: its length is the great-circle distance, its direction the bearing at which the arc leaves.
    """
    east, north = tangent_frames(origin)
    # The chord's tangential part; s - r keeps the digits of near points, s - (s · r) r would not.
    chord = target - origin
    u, v = _dot(chord, east), _dot(chord, north)
    flat = np.hypot(u, v)
    stretch = np.divide(great_circle_distance(origin, target), flat, out=np.ones_like(flat), where=flat > 0)
    return u * stretch, v * stretch


def parallel_transport(source: Array, target: Array) -> tuple[Array, Array]:
    """Return cosine and sine of the angle by which components turn on the way from `source` to `target`.

    A tangent vector (u, v) in the east-north frame at `source`, carried along the great circle, reads at `target`
    (cos u - sin v, sin u + cos v). Between antipodes, where no great circle is singled out, the vector stays as it is
    in space.
    """
    east_source, _ = tangent_frames(source)
    east, north = tangent_frames(target)
    # Rodrigues' rotation that takes source to target, on a vector at right angles to the source:
    # R e = e - (e · r) (s + r) / (1 + s · r).
    along, denominator = _dot(east_source, target), 1.0 + _dot(source, target)
    share = np.divide(along, denominator, out=np.zeros_like(along), where=denominator > 1e-14)
    carried = east_source - share[..., None] * (source + target)
    cosine, sine = _dot(carried, east), _dot(carried, north)
    norm = np.hypot(cosine, sine)
    return cosine / norm, sine / norm


def band_areas(latitude_bounds: Array) -> Array:
    """Return areas |sin φ₂ - sin φ₁| [band] per radian of longitude between consecutive latitudes [degrees]."""
    return np.abs(np.diff(np.sin(np.radians(latitude_bounds))))


def triangle_areas(a: Array, b: Array, c: Array) -> Array:
    """Return areas [...] of triangles on the unit sphere, positive where a, b, c turn anticlockwise from outside.

    tan(E / 2) = a · (b × c) / (1 + a · b + b · c + c · a) (Van Oosterom and Strackee 1983,
    https://doi.org/10.1109/TBME.1983.325207).
    """
    volume = np.sum(a * np.cross(b - a, c - a), axis=-1)  # a · (b × c), with the digits of small triangles
    return 2.0 * np.arctan2(volume, 1.0 + np.sum(a * b, axis=-1) + np.sum(b * c, axis=-1) + np.sum(c * a, axis=-1))


def delaunay(positions: Array) -> Index:
    """Return the spherical Delaunay triangulation of nodes [node, 3]: the convex hull, seen from outside.

    Faces turn anticlockwise. Four nodes on one circle, as on every grid, are cut in two either way.
    Raises scipy's QhullError for fewer than four nodes, or all in one plane.
    """
    hull = ConvexHull(positions)
    faces = hull.simplices.astype(np.int64)
    a, b, c = np.moveaxis(positions[faces], 1, 0)
    inward = np.sum(np.cross(b - a, c - a) * hull.equations[:, :3], axis=1) < 0
    faces[inward] = faces[inward][:, ::-1]
    return faces


def face_sides(faces: Index) -> Index:
    """Return the two ends [side, 2] of the three sides of every face; a side between two faces comes twice."""
    return np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2)


def voronoi_areas(positions: Array, faces: Index) -> Array:
    """Return areas [node] of the spherical Voronoi cells [steradian], from the circumcentres of Delaunay faces.

    Each side of a face and its circumcentre make two mirrored right triangles, one for the cell at either end; they
    count as negative where the circumcentre lies beyond the side.
    """
    corners = positions[faces]  # [face, corner, xyz]
    centre = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(centre, axis=1, keepdims=True)
    # Corners on one line have no circumcentre, and no area.
    centre = np.divide(centre, length, out=corners[:, 0].copy(), where=length > 1e-30)
    areas = np.zeros(len(positions))
    for side in range(3):
        start, end = corners[:, side], corners[:, (side + 1) % 3]
        middle = start + end
        middle /= np.linalg.norm(middle, axis=1, keepdims=True)
        half = triangle_areas(start, middle, centre)
        for corner in (side, (side + 1) % 3):
            areas += np.bincount(faces[:, corner], weights=half, minlength=len(positions))
    return areas


def _dot(a: Array, b: Array) -> Array:
    return np.einsum("...x,...x->...", a, b)
