"""Nested levels of a part of an icosphere: which nodes of each level are neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from graphs.triangulation import face_sides

SIDE = 1.1071487177940904  # [radians] of an icosahedron: arctan 2
REACH = 1.3  # sides of level n span 1 to 1.195 · SIDE / 2ⁿ, second neighbours more than 1.35, at levels 0 to 6


def side_length(level: int) -> float:
    """Return the shortest side of a level of an icosphere [radians]; the longest are 1.195 times as long."""
    return SIDE / 2**level


def sides_by_level(mesh: Mesh) -> list[NDArray[np.int64]]:
    """Return the pairs of neighbours [pair, 2] of every level, coarsest first; for windows and stretched meshes.

    Neighbours of level n are its nodes one side of level n apart; those of the whole mesh, last, are besides the
    corners of its faces, so that a stretched mesh is joined where its levels meet. `mesh.levels` begins at level 0.
    Raises MeshcastError where the mesh has no levels.
    """
    if mesh.faces is None or not mesh.levels:
        raise MeshcastError(
            f"Levels belong to an icosphere or a part of one, but this is a {mesh.describe()} without them. Use kind: "
            "nearest or radius, or put messages on a mesh of their own: mesh: {kind: icosphere, level: 4}."
        )
    levels = []
    for level, count in enumerate(mesh.levels):
        chord = 2.0 * np.sin(REACH * side_length(level) / 2.0)
        levels.append(cKDTree(mesh.positions[:count]).query_pairs(chord, output_type="ndarray").astype(np.int64))
    levels[-1] = np.unique(np.concatenate([levels[-1], np.sort(face_sides(mesh.faces), axis=1)]), axis=0)
    return levels
