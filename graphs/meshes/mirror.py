"""The mirror image of a mesh at the equator."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from graphs.geometry import Index
from graphs.mesh import Mesh

SAME_PLACE = 1e-6  # [radians]


def mirrored_nodes(mesh: Mesh) -> Index | None:
    """Return the node [node] that lies as far on the other side of the equator, a half turn to the east where need be.

    The half turn is that of an icosphere, which inversion through the centre takes to itself. None where the mesh has
    no such symmetry, as a limited area or a ring.
    """
    if mesh.domain.kind != "sphere":
        return None
    tree = cKDTree(mesh.positions)
    for turn in (1.0, -1.0):
        distance, nodes = tree.query(mesh.positions * (turn, turn, -1.0))
        if distance.max() < SAME_PLACE and len(np.unique(nodes)) == mesh.num_nodes:
            return np.asarray(nodes, dtype=np.int64)
    return None
