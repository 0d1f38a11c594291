"""Fields on some of the nodes of others: a window of a global dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from emulator.data.forecast import Forecast
from emulator.fields import Fields
from emulator.foundation.time_step import TimeStep
from graphs.mesh import Mesh
from graphs.meshes.limited_area import Window, limited_area

SAME_PLACE = 1e-4  # [radians], 600 m on Earth: coarser than float32 degrees, finer than any grid here


def in_window(fields: Fields, window: Window) -> Fields:
    """The fields within a window and the boundary around it; see `graphs.meshes.limited_area`."""
    mesh, nodes = limited_area(fields.mesh, window)
    return NodeFields(fields, nodes, mesh)


def on_area(fields: Fields, area: Mesh) -> Fields:
    """The fields on the nodes of a limited area with a boundary, where they have these among more; else as they are.

    An emulator or a forecast of a window thus meets the global data it was cut out of.
    """
    if area.boundary is None or fields.mesh.same_nodes(area):
        return fields
    nodes = nodes_among(fields.mesh, area)
    return fields if nodes is None else NodeFields(fields, nodes, area)


def forecast_on_area(forecast: Forecast, area: Mesh) -> Forecast:
    """A forecast on the nodes of a limited area with a boundary, where it has these among more; else as it is."""
    nodes = None if area.boundary is None else nodes_among(forecast.mesh, area)
    if nodes is None:
        return forecast
    return replace(forecast, values=np.ascontiguousarray(forecast.values[..., nodes, :]), mesh=area)


def nodes_among(mesh: Mesh, area: Mesh) -> NDArray[np.int64] | None:
    """[node] which nodes of `mesh` are those of `area`; None where one is not there."""
    if mesh.positions.shape[1] != area.positions.shape[1]:
        return None
    distance, nodes = cKDTree(mesh.positions).query(area.positions)
    return nodes.astype(np.int64) if distance.max() < SAME_PLACE and len(np.unique(nodes)) == len(nodes) else None


class NodeFields:
    """`Fields` on `nodes` [node] of others, which lie on `mesh`."""

    def __init__(self, fields: Fields, nodes: NDArray[np.int64], mesh: Mesh) -> None:
        self.fields, self.nodes, self.mesh = fields, nodes, mesh

    @property
    def variables(self) -> tuple[str, ...]:
        return self.fields.variables

    @property
    def units(self) -> tuple[str, ...]:
        return self.fields.units

    @property
    def time_step(self) -> TimeStep:
        return self.fields.time_step

    @property
    def times(self) -> NDArray[np.int64]:
        return self.fields.times

    @property
    def missing(self) -> frozenset[int]:
        return self.fields.missing

    @property
    def ensemble_axis(self) -> Literal["trajectory", "member"]:
        return self.fields.ensemble_axis

    @property
    def ensemble_size(self) -> int:
        return self.fields.ensemble_size

    @property
    def trajectories(self) -> Sequence[int]:
        return getattr(self.fields, "trajectories", None) or range(self.ensemble_size)

    @property
    def attributes(self) -> Mapping[str, str]:
        return self.fields.attributes

    @property
    def source(self) -> str:
        return self.fields.source

    def read(
        self,
        times: slice | NDArray[np.int64],
        variables: Sequence[str],
        ensemble: slice | Sequence[int] | int = slice(None),
    ) -> NDArray[np.float32]:
        """[time, ensemble, node, variable]."""
        return np.ascontiguousarray(self.fields.read(times, variables, ensemble)[:, :, self.nodes])
