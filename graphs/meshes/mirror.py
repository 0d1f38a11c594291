"""The mirror images of a mesh: north for south, and east for west."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from graphs.geometry import Index
from graphs.mesh import Mesh

SAME_PLACE = 1e-6  # [radians]
LOOKED_AT = 50  # nodes that decide whether a mirror is looked at further


def mirrored_nodes(mesh: Mesh) -> Index | None:
    """Return the node [node] that lies as far on the other side of the equator, a half turn to the east where need be.

    The half turn is that of an icosphere, which inversion through the centre takes to itself. None where the mesh has
    no such symmetry, as a limited area or a ring.
    """
    if mesh.domain.kind != "sphere":
        return None
    tree = cKDTree(mesh.positions)
    for turn in (1.0, -1.0):
        nodes = _images(tree, mesh.positions * (turn, turn, -1.0))
        if nodes is not None:
            return nodes
    return None


def nodes_east_for_west(mesh: Mesh) -> Index | None:
    """Return the node [node] that lies as far to the other side of some meridian, or of a ring's first node.

    None where no meridian takes the mesh to itself.
    """
    if mesh.domain.kind == "ring":
        return -np.arange(mesh.num_nodes) % mesh.num_nodes
    if mesh.domain.kind != "sphere":
        return None
    tree, longitudes = cKDTree(mesh.positions), np.radians(mesh.longitudes)
    latitudes, circle, counts = np.unique(np.round(mesh.latitudes, 6), return_inverse=True, return_counts=True)
    fewest = np.argmin(np.where(np.abs(latitudes) < 89.0, counts, mesh.num_nodes + 1))
    first, *_ = others = np.flatnonzero(circle == fewest)
    some = slice(None, None, -(-mesh.num_nodes // LOOKED_AT))
    for other in others:  # one of these is what the first is taken to
        image = _reflected(mesh.positions, longitudes[first] + longitudes[other])
        if _images(tree, image[some]) is not None and (nodes := _images(tree, image)) is not None:
            return nodes
    return None


def _reflected(positions: NDArray[np.float64], twice: float) -> NDArray[np.float64]:
    """Return positions on the other side of the meridian of half the longitude `twice` [radians]."""
    x, y, z = positions.T
    cosine, sine = np.cos(twice), np.sin(twice)
    return np.stack([cosine * x + sine * y, sine * x - cosine * y, z], axis=1)


def _images(tree: cKDTree, positions: NDArray[np.float64]) -> Index | None:
    """Return the node at each position, every one at most once; None where some position has no node."""
    distance, nodes = tree.query(positions)
    if distance.max() < SAME_PLACE and len(np.unique(nodes)) == len(positions):
        return np.asarray(nodes, dtype=np.int64)
    return None
