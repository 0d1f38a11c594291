"""The stretched mesh: an icosphere refined further around one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from graphs.errors import MeshcastError
from graphs.geometry import delaunay, great_circle_distance, to_xyz, voronoi_areas
from graphs.mesh import EARTH_RADIUS, Domain, Mesh
from graphs.meshes.icosphere import icosphere, side_length
from graphs.meshes.limited_area import refuse_bad_place

TRANSITION = 2.0  # sides of a level that it reaches beyond the next finer one


@dataclass(frozen=True)
class StretchedMesh:
    """An icosphere whose inner levels lie only around one place: fine inside, coarse around.

    level: of the whole sphere.
    inner_level: within `radius_km` of the centre; the levels between reach two of their sides further each.
    centre: latitude and longitude [degrees].
    """

    level: int
    inner_level: int
    centre: tuple[float, float]
    radius_km: float
    kind: Literal["stretched"] = "stretched"

    def __post_init__(self) -> None:
        if not 0 <= self.level < self.inner_level:
            raise MeshcastError(
                f"A stretched mesh's inner_level must be finer than its level, but they are {self.inner_level} and "
                f"{self.level}. Without a finer part use kind: icosphere."
            )
        refuse_bad_place("A stretched mesh", [self.centre], radius_km=self.radius_km)


def stretched(config: StretchedMesh, radius: float = EARTH_RADIUS) -> Mesh:
    """Return the nodes of all levels of an icosphere that the configuration keeps, with the triangles they span.

    Nodes of level n are the first of level n + 1, as on the icosphere. Faces are the convex hull's, which is the
    spherical Delaunay triangulation (Brown 1979, https://doi.org/10.1016/0020-0190(79)90074-7): no node hangs on the
    side of a coarser face. Areas are those of the spherical Voronoi cells.
    """
    fine = icosphere(config.inner_level, radius)
    angle = great_circle_distance(fine.positions, to_xyz(*config.centre))
    kept = angle <= _reach(config, config.inner_level, radius)
    for level in range(config.level, config.inner_level):
        kept[: fine.levels[level]] |= angle[: fine.levels[level]] <= _reach(config, level, radius)
    nodes = np.flatnonzero(kept)
    positions = fine.positions[nodes]
    if len(nodes) == fine.levels[config.level]:
        raise MeshcastError(
            f"A radius of {config.radius_km:g} km holds no node of level {config.level + 1}: nothing is finer. Make "
            "radius_km wider, or inner_level higher."
        )
    faces = delaunay(positions)
    areas = voronoi_areas(positions, faces)
    levels = tuple(np.searchsorted(nodes, fine.levels).tolist())
    return Mesh(positions, areas / areas.sum(), (len(nodes),), Domain("sphere", float(radius)), faces, levels)


def _reach(config: StretchedMesh, level: int, radius: float) -> float:
    """Return the angle [radians] from the centre to which a level's nodes are kept."""
    if level <= config.level:
        return np.pi
    further = sum(side_length(coarser) for coarser in range(level, config.inner_level))
    return config.radius_km * 1e3 / radius + TRANSITION * further
