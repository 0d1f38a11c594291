"""The refined icosahedron: nearly even nodes on the sphere, in nested levels; its triangles' centres; cut-outs of it.

Level 0 is the icosahedron; each level cuts every triangle of the one before into four at its edges' midpoints, moved
out to the sphere (Baumgardner and Frederickson 1985, https://doi.org/10.1137/0722066). A face's centre lies at each
pole, so no node does, and rotations by 120 degrees about the axis take every level to itself, as does the inversion of
every point through the centre.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

from graphs.available_memory import refuse_too_large
from graphs.errors import MeshcastError
from graphs.geometry import Array, Index, Mask, face_sides, to_xyz, triangle_areas, voronoi_areas
from graphs.mesh import EARTH_RADIUS, Domain, Mesh

BYTES_PER_NODE = 700  # peak while areas are computed, measured at levels 7 and 8
SAME_PLACE = 1e-4  # [radians], 600 m on Earth: coarser than float32 degrees, finer than any mesh here
SIDE = 1.1071487177940904  # [radians] of an icosahedron: arctan 2
REACH = 1.3  # sides of level n span 1 to 1.195 · SIDE / 2ⁿ, second neighbours more than 1.35, at levels 0 to 6


@dataclass(frozen=True)
class IcosphereMesh:
    """The nodes of an icosphere, 10 · 4^level + 2; where messages pass on limited-area data, those that these reach."""

    kind: Literal["icosphere"] = "icosphere"
    level: int = 4


def icosphere(level: int, radius: float = EARTH_RADIUS) -> Mesh:
    """Return the icosahedron refined `level` times: 10 · 4^level + 2 nodes, 20 · 4^level faces.

    The nodes of level n are the first nodes of level n + 1. Areas are those of the spherical Voronoi cells. Children
    of face f are the faces 4 f to 4 f + 3: one at each of its corners, in order, and the one between them.
    Raises MeshcastError where the memory left is too little.
    """
    check_level(level)
    what = f"An icosphere of level {level}, {num_nodes(int(level)):,} nodes,"
    refuse_too_large(memory_estimate(int(level)), what, "Choose a lower level; each has a quarter of the nodes.")
    positions, faces, levels = _refined(level)
    cells = voronoi_areas(positions, faces)
    domain = Domain("sphere", float(radius))
    return Mesh(positions.copy(), cells / cells.sum(), (len(positions),), domain, faces.copy(), levels)


def num_nodes(level: int) -> int:
    """Return nodes of a level: 10 · 4^level + 2."""
    return 10 * 4**level + 2


def memory_estimate(level: int) -> int:
    """Return bytes needed while an icosphere of this level is built, at the peak."""
    return BYTES_PER_NODE * num_nodes(level)


def check_level(level: int) -> None:
    """Raise MeshcastError where `level` is no level of an icosphere on Earth."""
    if isinstance(level, bool) or not isinstance(level, int | np.integer) or level < 0:
        raise MeshcastError(f"The level of an icosphere is a whole number from 0 (12 nodes), not {level!r}.")
    if level > 20:  # 30 m on Earth; numbers beyond would not fit a message, let alone a memory
        raise MeshcastError(f"An icosphere of level {level} is finer than 10 m on Earth. Choose a level of at most 12.")


def recognised(latitudes: ArrayLike, longitudes: ArrayLike, radius: float = EARTH_RADIUS) -> Mesh | None:
    """Return the icosphere whose nodes these are, in its own order, with faces and levels; None where they are others.

    latitudes, longitudes: of every node [node], in degrees; they may be off by 1e-4 radians, as from float32.
    """
    latitude, longitude = np.asarray(latitudes, np.float64).ravel(), np.asarray(longitudes, np.float64).ravel()
    level = _level_of(latitude.size)
    if level is None or longitude.size != latitude.size:
        return None
    for depth in (min(level, 2), level):  # the first nodes tell most other meshes before all are built
        expected = _refined(depth)[0]
        offset = to_xyz(latitude[: len(expected)], longitude[: len(expected)]) - expected
        if not np.all(np.linalg.norm(offset, axis=1) < SAME_PLACE):  # NaN is no match
            return None
    return icosphere(level, radius)


def _level_of(count: int) -> int | None:
    level = next(level for level in range(32) if num_nodes(level) >= count)
    return level if num_nodes(level) == count else None


def is_icosphere(mesh: Mesh) -> bool:
    """Return whether faces and levels of a mesh are those of an icosphere, in its own order."""
    level = _level_of(mesh.num_nodes)
    return (
        level is not None
        and mesh.faces is not None
        and mesh.faces.shape == (20 * 4**level, 3)
        and mesh.levels == tuple(num_nodes(depth) for depth in range(level + 1))
    )


def faces_by_level(mesh: Mesh) -> list[Index]:
    """Return the faces [face, 3] of every level of an icosphere, coarsest first."""
    assert mesh.faces is not None
    levels = [mesh.faces]
    while len(levels[0]) > 20:
        children = levels[0].reshape(-1, 4, 3)
        levels.insert(0, np.ascontiguousarray(children[:, [0, 1, 2], 0]))  # child k holds its parent's corner k first
    return levels


def side_length(level: int) -> float:
    """Return the shortest side of a level of an icosphere [radians]; the longest are 1.195 times as long."""
    return SIDE / 2**level


def sides_by_level(mesh: Mesh) -> list[Index]:
    """Return the pairs of neighbours [pair, 2] of every level, coarsest first, of a window or a stretched mesh.

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


def icon(level: int, radius: float = EARTH_RADIUS) -> Mesh:
    """Return the circumcentres of the 20 · 4^level triangles of an icosphere; areas are the triangles'.

    As the cells of ICON's grids R1B`level` (Zängl et al. 2015, https://doi.org/10.1002/qj.2378), but turned so that
    one lies on each pole, and without the optimisation that evens them out.
    """
    sphere = icosphere(level, radius)
    assert sphere.faces is not None
    a, b, c = np.moveaxis(sphere.positions[sphere.faces], 1, 0)
    centres = np.cross(b - a, c - a)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    areas = triangle_areas(a, b, c)
    return Mesh(centres, areas / areas.sum(), (len(areas),), Domain("sphere", float(radius)))


def trim(mesh: Mesh, keep: Mask) -> Mesh:
    """Return the nodes of a mesh where `keep` [node] is true, as a limited area, with their faces and levels."""
    number = np.cumsum(keep) - 1
    faces = None if mesh.faces is None else number[mesh.faces[keep[mesh.faces].all(axis=1)]]
    return Mesh(
        mesh.positions[keep],
        mesh.areas[keep] / mesh.areas[keep].sum(),
        (int(keep.sum()),),
        Domain("limited_area", mesh.domain.size),
        faces,
        tuple(int(keep[:count].sum()) for count in mesh.levels),
    )


@lru_cache(maxsize=2)
def _refined(level: int) -> tuple[Array, Index, tuple[int, ...]]:
    """Return positions [node, 3], faces [face, 3], anticlockwise from outside, and the nodes of each level."""
    positions, faces = _icosahedron()
    levels = [len(positions)]
    for _ in range(level):
        positions, faces = _refine(positions, faces)
        levels.append(len(positions))
    return positions, faces, tuple(levels)


def _icosahedron() -> tuple[Array, Index]:
    """Return the twelve corners, in four rings of three from north to south, and the twenty faces."""
    # Rings of an icosahedron that stands on a face: sin²φ = (5 ± 2 √5) / 15.
    high, low = np.sqrt((5.0 + 2.0 * np.sqrt(5.0)) / 15.0), np.sqrt((5.0 - 2.0 * np.sqrt(5.0)) / 15.0)
    turn = np.radians([0.0, 120.0, 240.0])
    rings = []
    for z, shift in ((high, 0.0), (low, np.pi / 3.0)):
        flat = np.sqrt(1.0 - z * z)
        rings.append(np.stack([np.cos(turn + shift) * flat, np.sin(turn + shift) * flat, 0 * turn + z], 1))
    north = np.concatenate(rings)
    positions = np.concatenate([north, -north])  # corner i + 6 is the antipode of corner i, to the last bit
    around_pole = [[0, 1, 2], [0, 3, 1], [1, 4, 2], [2, 5, 0]]
    below = [[0, 10, 3], [0, 5, 10], [1, 11, 4], [1, 3, 11], [2, 9, 5], [2, 4, 9]]
    upper = np.array(around_pole + below)
    return positions, np.concatenate([upper, (upper[:, ::-1] + 6) % 12])


def _refine(positions: Array, faces: Index) -> tuple[Array, Index]:
    """Return every face cut into four; the midpoints become the new nodes, in the order of their edges' ends."""
    count = len(positions)
    ends = np.stack([faces, np.roll(faces, -1, axis=1)])  # [2, face, side]; side k runs from corner k to the next
    key = ends.min(axis=0) * count + ends.max(axis=0)
    edges, side = np.unique(key, return_inverse=True)
    first, second = np.divmod(edges, count)
    middle = positions[first] + positions[second]
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    (a, b, c), (ab, bc, ca) = faces.T, (side.reshape(faces.shape) + count).T
    children = np.stack([a, ab, ca, b, bc, ab, c, ca, bc, ab, bc, ca], axis=1)
    return np.concatenate([positions, middle]), children.reshape(-1, 3)
