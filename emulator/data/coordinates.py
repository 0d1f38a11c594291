"""Coordinates in files: a mesh from the latitudes and longitudes of its nodes; meshes and time steps as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from emulator.foundation.time_step import TimeStep
from emulator.foundation.typed_json import typed_json
from graphs.errors import MeshcastError
from graphs.interpolation.weights import uncovered
from graphs.mesh import EARTH_RADIUS, Domain, Mesh
from graphs.meshes.points import mesh_at

HOLE_WORTH_SAYING = 0.02  # share of the globe; grids that leave out both poles lack less
SAME_PLACE = 1e-4  # [radians], 600 m on Earth: coarser than float32 degrees, finer than any grid here


def mesh_from_coordinates(
    latitudes: NDArray[np.floating], longitudes: NDArray[np.floating], description: str | None = None
) -> Mesh:
    """Return the mesh whose nodes lie at `latitudes`, `longitudes` [node] in degrees.

    description: the JSON that was stored with the mesh, or None. It says whether the nodes are a ring, and the size; on
    the sphere the structure is read off the coordinates, so that a part of a stored grid is a mesh of its own.
    """
    if lost := int(np.sum(~np.isfinite(latitudes) | ~np.isfinite(longitudes))):
        raise MeshcastError(f"{lost} of {len(latitudes)} nodes have a latitude or longitude that is no number.")
    kind, size = None, EARTH_RADIUS
    if description:
        stored = typed_json(StoredMesh, description)
        kind, size = stored.domain.kind, stored.domain.size
        if kind != "ring" and math.prod(stored.shape) != len(latitudes):
            kind = None
    return mesh_at(np.asarray(latitudes, np.float64), np.asarray(longitudes, np.float64), kind, size)


def nodes_among(mesh: Mesh, area: Mesh) -> NDArray[np.int64] | None:
    """Return which nodes [node] of `mesh` are those of `area`; None where one is not there."""
    if mesh.positions.shape[1] != area.positions.shape[1]:
        return None
    if mesh.same_nodes(area, SAME_PLACE):
        return np.arange(mesh.num_nodes)
    distance, nodes = cKDTree(mesh.positions).query(area.positions)
    return nodes.astype(np.int64) if distance.max() < SAME_PLACE and len(np.unique(nodes)) == len(nodes) else None


def remarks_on(mesh: Mesh) -> tuple[str, ...]:
    """Return a line for what is suspicious of where nodes lie: holes around the globe, or radians read as degrees."""
    if mesh.domain.kind == "ring":
        return ()
    remarks = []
    east = (mesh.longitudes + 180.0) % 360.0 - 180.0
    east = east if np.abs(east).max() < np.pi + 0.01 else mesh.longitudes
    spans = float(np.ptp(mesh.latitudes)), float(np.ptp(east))
    if np.abs(mesh.latitudes).max() < np.pi / 2 + 0.01 and spans[0] > 2.0 and 4.0 < spans[1] < 2 * np.pi + 0.01:
        remarks.append(
            f"all {mesh.num_nodes} nodes lie within {spans[0]:.2f} degrees of latitude and {spans[1]:.2f} of "
            "longitude: are these radians of the globe? Give the coordinates their unit, and make the dataset anew"
        )
    if mesh.domain.kind == "sphere" and (share := uncovered(mesh)) > HOLE_WORTH_SAYING:
        remarks.append(
            f"the nodes go around the globe but leave {share:.0%} of it without any (the {mesh.describe()}): what is "
            "called global lacks that, and nothing is interpolated there"
        )
    return tuple(remarks)


def mesh_to_json(mesh: Mesh) -> str:
    """Return what coordinates do not say of a mesh: its domain, shape, levels and boundary nodes."""
    about = {"domain": asdict(mesh.domain), "shape": list(mesh.shape), "levels": list(mesh.levels)}
    if mesh.boundary is not None:
        about["boundary"] = np.flatnonzero(mesh.boundary).tolist()
    return json.dumps(about)


@dataclass(frozen=True)
class StoredMesh:
    """What `mesh_to_json` wrote.

    boundary: its nodes, None where there is none.
    """

    domain: Domain
    shape: tuple[int, ...]
    levels: tuple[int, ...] = ()
    boundary: list[int] | None = None

    def boundary_of(self, num_nodes: int) -> NDArray[np.bool_] | None:
        """Return which nodes are the boundary [node], None where there is none. Raises ValueError for others."""
        if self.boundary is None:
            return None
        if self.boundary and not 0 <= min(self.boundary) <= max(self.boundary) < num_nodes:
            raise ValueError(f"its boundary has nodes beyond the {num_nodes} of the mesh")
        return np.isin(np.arange(num_nodes), self.boundary)


def time_step_to_json(time_step: TimeStep) -> str:
    """Return a time step as a text attribute."""
    return json.dumps(asdict(time_step))


def time_step_from_json(text: str) -> TimeStep:
    """Return the time step that `time_step_to_json` wrote. Raises ValueError for anything else."""
    try:
        found: TimeStep = typed_json(TimeStep, text)
    except ValueError as error:
        raise ValueError(f"{text!r:.60} is no time step: {error}") from None
    return found
