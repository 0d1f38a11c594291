"""Coordinates in files: a mesh from the latitudes and longitudes of its nodes; meshes and time steps as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulator.foundation.time_step import TimeStep
from graphs.errors import MeshcastError
from graphs.mesh import EARTH_RADIUS, Mesh
from graphs.meshes.icosphere import recognised
from graphs.meshes.latlon import grid_axes, latlon
from graphs.meshes.points import points
from graphs.meshes.ring import ring


def mesh_from_coordinates(
    latitudes: NDArray[np.floating], longitudes: NDArray[np.floating], description: str | None = None
) -> Mesh:
    """The mesh whose nodes lie at `latitudes`, `longitudes` [node] in degrees.

    description: the JSON that was stored with the mesh, or None. It says whether the nodes are a ring, and the size; on
    the sphere the structure is read off the coordinates, so that a part of a stored grid is a mesh of its own.
    """
    latitudes, longitudes = np.asarray(latitudes, np.float64), np.asarray(longitudes, np.float64)
    stored: dict[str, Any] = json.loads(description) if description else {}
    kind = stored.get("domain", {}).get("kind")
    size = float(stored.get("domain", {}).get("size", EARTH_RADIUS))
    if kind == "ring":
        expected = np.arange(len(longitudes)) * 360.0 / len(longitudes)
        if not np.allclose((longitudes - expected + 180.0) % 360.0, 180.0, atol=1e-3):
            raise MeshcastError("A part of a ring is no ring: read all its cells, without `area` or `thinning`.")
        return ring(len(longitudes), size)
    if (axes := grid_axes(latitudes, longitudes)) is not None:
        return latlon(*axes, radius=size)
    if (whole_icosphere := recognised(latitudes, longitudes, size)) is not None:
        return whole_icosphere
    whole = kind == "sphere" if kind and math.prod(stored["shape"]) == len(latitudes) else None
    return points(latitudes, longitudes, whole_sphere=whole, radius=size)


def same_places(first: Mesh, second: Mesh, tolerance: float = 1e-4) -> NDArray[np.int64] | None:
    """The order [node] that takes nodes of `second` to those of `first`; None where they are not the same set.

    tolerance: [radians]; 1e-4 is 600 m on Earth, finer than any grid here and coarser than float32 degrees.
    """
    from scipy.spatial import cKDTree

    if first.positions.shape != second.positions.shape:
        return None
    if first.same_nodes(second, tolerance):
        return np.arange(first.num_nodes)
    distance, order = cKDTree(second.positions).query(first.positions)
    if distance.max() > tolerance:
        return None
    # nodes of a pole row differ by their longitude, which geometry.to_xyz keeps even there
    return order.astype(np.int64) if len(np.unique(order)) == len(order) else None


def mesh_to_json(mesh: Mesh) -> str:
    """What latitudes and longitudes do not tell of a mesh: its domain, shape, levels and boundary nodes."""
    about: dict[str, Any] = {
        "domain": asdict(mesh.domain),
        "shape": list(mesh.shape),
        "levels": list(mesh.levels),
    }
    if mesh.boundary is not None:
        about["boundary"] = np.flatnonzero(mesh.boundary).tolist()
    return json.dumps(about)


def boundary_from_json(description: str, num_nodes: int) -> NDArray[np.bool_] | None:
    """[node] the boundary that `mesh_to_json` wrote, None where there is none."""
    nodes = json.loads(description).get("boundary")
    if nodes is None:
        return None
    boundary = np.zeros(num_nodes, dtype=bool)
    boundary[nodes] = True
    return boundary


def time_step_to_json(time_step: TimeStep) -> str:
    """A time step as a text attribute."""
    return json.dumps(asdict(time_step))


def time_step_from_json(text: str) -> TimeStep:
    """The time step that `time_step_to_json` wrote."""
    return TimeStep(**json.loads(text))
