"""Views of fields: a window of a global dataset, some trajectories of a simulated one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from emulator.data.coordinates import nodes_among
from emulator.data.forecast import Forecast
from emulator.fields import Fields
from graphs.mesh import Mesh
from graphs.meshes.limited_area import Window, limited_area


def in_window(fields: Fields, window: Window) -> Fields:
    """Return the fields within a window and the boundary around it; see `graphs.meshes.limited_area`."""
    mesh, nodes = limited_area(fields.mesh, window)
    return FieldsView(fields, mesh, nodes)


def on_area(fields: Fields, area: Mesh) -> Fields:
    """Return fields on the nodes of a limited area with a boundary, where they have these; else as they are.

    An emulator or a forecast of a window thus meets the global data it was cut out of.
    """
    if area.boundary is None or fields.mesh.same_nodes(area):
        return fields
    nodes = nodes_among(fields.mesh, area)
    return fields if nodes is None else FieldsView(fields, area, nodes)


def forecast_on_area(forecast: Forecast, area: Mesh) -> Forecast:
    """Return a forecast on the nodes of a limited area with a boundary, where it has these; else as it is."""
    nodes = None if area.boundary is None else nodes_among(forecast.mesh, area)
    if nodes is None:
        return forecast
    return replace(forecast, values=np.ascontiguousarray(forecast.values[..., nodes, :]), mesh=area)


class FieldsView(Fields):
    """`Fields` on some of the nodes, or of some of the rows of the ensemble axis, of others.

    nodes: [node] of `fields`, which lie on `mesh`; all where None.
    rows: of the ensemble axis of `fields`; all where None.
    """

    def __init__(
        self,
        fields: Fields,
        mesh: Mesh | None = None,
        nodes: NDArray[np.int64] | None = None,
        rows: Sequence[int] | None = None,
    ) -> None:
        self.fields, self.mesh, self.nodes = fields, mesh or fields.mesh, nodes
        self.variables, self.units, self.attributes = fields.variables, fields.units, fields.attributes
        self.time_step, self.times, self.missing = fields.time_step, fields.times, fields.missing
        self.source, self.notices = fields.source, fields.notices
        self.ensemble_axis = fields.ensemble_axis
        self.rows = np.arange(fields.ensemble_size) if rows is None else np.asarray(rows)
        self.ensemble_size = len(self.rows)
        self.trajectories = [fields.trajectories[row] for row in self.rows.tolist()]

    def _read(self, times: NDArray[np.int64], rows: NDArray[np.int64], columns: list[int]) -> NDArray[np.floating]:
        names = [self.variables[column] for column in columns]
        values = self.fields.read(times, names, self.rows[rows].tolist())
        return values if self.nodes is None else values[:, :, self.nodes]
