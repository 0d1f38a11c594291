"""Coordinates in files: a mesh from latitudes and longitudes, and meshes and time steps as JSON attributes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulator.time_step import TimeStep
from graphs.errors import MeshcastError
from graphs.latlon import latlon
from graphs.mesh import Mesh
from graphs.points import points
from graphs.ring import ring


def mesh_to_json(mesh: Mesh) -> str:
    """What latitudes and longitudes alone do not say: the domain's kind and size, and the shape."""
    return json.dumps({"kind": mesh.domain.kind, "size": mesh.domain.size, "shape": list(mesh.shape)})


def mesh_from_coordinates(
    latitudes: NDArray[np.floating],
    longitudes: NDArray[np.floating],
    description: str | Mapping[str, Any] | None = None,
) -> Mesh:
    """The mesh whose nodes lie at `latitudes`, `longitudes` [node] in degrees.

    description: what `mesh_to_json` wrote, or None; it says whether the nodes are a ring. On the sphere the structure
    is read off the coordinates, so that a part of a stored grid (an area, every other point) is a mesh of its own.
    """
    latitudes, longitudes = np.asarray(latitudes, np.float64), np.asarray(longitudes, np.float64)
    kind, size = _domain(description)
    if kind == "ring":
        expected = np.arange(len(longitudes)) * 360.0 / len(longitudes)
        if not np.allclose(longitudes % 360.0, expected, atol=1e-3):
            raise MeshcastError("A part of a ring is no ring: read all its cells, without `area` or `thinning`.")
        return ring(len(longitudes), size)
    if (axes := grid_axes(latitudes, longitudes)) is not None:
        return latlon(*axes)
    return points(latitudes, longitudes)


def grid_axes(
    latitudes: NDArray[np.float64], longitudes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Latitudes [row] and longitudes [column] whose product, row by row, gives the nodes; None where there are none."""
    num_nodes = len(latitudes)
    changes = np.flatnonzero(np.diff(latitudes))
    columns = int(changes[0]) + 1 if len(changes) else num_nodes
    if columns < 2 or columns == num_nodes or num_nodes % columns:
        return None
    rows = latitudes.reshape(-1, columns)
    columns_of_rows = longitudes.reshape(-1, columns)
    if np.ptp(rows, axis=1).max() > 0 or np.ptp(columns_of_rows, axis=0).max() > 0:
        return None
    return rows[:, 0], columns_of_rows[0]


def _domain(description: str | Mapping[str, Any] | None) -> tuple[str, float]:
    if not description:
        return "sphere", 1.0
    content = json.loads(description) if isinstance(description, str) else dict(description)
    domain = content.get("domain", content)
    if isinstance(domain, str):
        domain = {"kind": domain, "size": content.get("size", 1.0)}
    return str(domain["kind"]), float(domain["size"])


def time_step_to_json(time_step: TimeStep) -> str:
    """A time step as a JSON attribute."""
    return json.dumps(asdict(time_step))


def time_step_from_json(text: str | Mapping[str, Any]) -> TimeStep:
    """The time step that `time_step_to_json` wrote."""
    return TimeStep(**(json.loads(text) if isinstance(text, str) else text))
