"""Triangles between nodes on the sphere, and the cells around them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from graphs.geometry import Array, triangle_areas

Faces = NDArray[np.int64]


def delaunay(positions: Array) -> Faces:
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


def face_sides(faces: Faces) -> NDArray[np.int64]:
    """Return the two ends [side, 2] of the three sides of every face; a side between two faces comes twice."""
    return np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2)


def voronoi_areas(positions: Array, faces: Faces) -> Array:
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
