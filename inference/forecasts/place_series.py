"""Series of a forecast at places: a table or a NetCDF file of the nodes nearest to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import cKDTree

from emulator.data.forecast import Forecast
from emulator.data.forecast_netcdf import ForecastHeading, write_netcdf
from graphs.atomic_file import atomic_file, refuse_existing
from graphs.errors import MeshcastError
from graphs.geometry import to_xyz
from graphs.mesh import Domain, Mesh
from graphs.meshes.limited_area import refuse_bad_place

if TYPE_CHECKING:
    import pandas as pd

Place = tuple[float, ...]  # latitude and longitude [degrees], or the position on a ring
REACH = 0.75  # of the distance to a node's fourth neighbour: beyond half the diagonal of a cell


def parse_place(text: str, mesh: Mesh) -> Place:
    """Return `LAT,LON` in degrees, or the position on a ring; raise MeshcastError where the text is neither."""
    on_ring = mesh.domain.kind == "ring"
    try:
        place = tuple(float(number) for number in text.split(","))
    except ValueError:
        place = ()
    if len(place) != (1 if on_ring else 2) or not np.all(np.isfinite(place)):
        form = "a position on the ring, e.g. 0.5" if on_ring else "LAT,LON in degrees, e.g. 48.1,11.6"
        raise MeshcastError(f"--place takes {form}, but got {text!r}.")
    if not on_ring:
        refuse_bad_place("A place", [(place[0], place[1])])
    return place


def node_at(mesh: Mesh, place: Place) -> int:
    """Return the node nearest to a place; raise MeshcastError where it lies outside the mesh."""
    if mesh.domain.kind == "ring":
        angle = 2 * np.pi * place[0] / mesh.domain.size
        where = np.array([np.cos(angle), np.sin(angle)])
    else:
        where = to_xyz(place[0], place[1])
    tree = cKDTree(mesh.positions)
    distance, node = tree.query(where)
    neighbours = tree.query(mesh.positions[node], k=min(5, mesh.num_nodes))[0]
    if mesh.domain.kind == "limited_area" and distance > REACH * neighbours[-1]:
        raise MeshcastError(
            f"The place {place[0]:g} N, {place[1]:g} E lies outside this {mesh.describe()}, "
            f"{distance * mesh.domain.size / 1e3:.0f} km from its nearest node at {mesh.latitudes[node]:.2f} N, "
            f"{mesh.longitudes[node]:.2f} E. Choose a place inside."
        )
    return int(node)


def refuse_series_file(path: Path, overwrite: bool) -> None:
    """Raise MeshcastError where the series cannot be written under this name; worth asking before the forecast."""
    if path.suffix.lower() not in (".csv", ".nc"):
        raise MeshcastError(f"Series are written as a table (.csv) or NetCDF (.nc), but the name is {path}.")
    refuse_existing(path, overwrite)


def write_series(forecast: Forecast, places: Sequence[Place], path: Path) -> Path:
    """Write the forecast at the nodes nearest to some places, by the ending of the name as CSV or NetCDF.

    A row of the table is one case, member, lead time and place, the initial value first where it is known; each
    variable is a column. Latitude and longitude are the node's. Raises MeshcastError where a place lies outside.
    """
    nodes = [node_at(forecast.mesh, place) for place in places]
    with atomic_file(path) as temporary:
        if path.suffix.lower() == ".nc":
            _write_netcdf(forecast, nodes, temporary)
        else:
            _table(forecast.with_initial(), nodes).to_csv(temporary, index=False)
    return path


def _write_netcdf(forecast: Forecast, nodes: Sequence[int], path: Path) -> None:
    mesh = forecast.mesh
    areas = mesh.areas[nodes]
    domain = mesh.domain if mesh.domain.kind == "ring" else Domain("limited_area", mesh.domain.size)
    there = Mesh(mesh.positions[nodes], areas / areas.sum(), (len(nodes),), domain)
    every = int(forecast.lead_steps[0])
    heading = ForecastHeading(
        name=forecast.name,
        mesh=there,
        time_step=forecast.time_step,
        variables=forecast.variables,
        units=forecast.units,
        init_time=forecast.init_time,
        trajectory=forecast.trajectory,
        num_members=forecast.values.shape[1],
        attributes=forecast.attributes,
        every=every,
    )
    initial = None if forecast.initial is None else forecast.initial[:, :, nodes]
    write_netcdf(path, heading, np.moveaxis(forecast.values[:, :, :, nodes], 2, 0), initial)


def _table(forecast: Forecast, nodes: Sequence[int]) -> pd.DataFrame:
    import pandas as pd

    mesh, step = forecast.mesh, forecast.time_step
    values = forecast.values[:, :, :, nodes]
    case, member, lead, place = (index.ravel() for index in np.indices(values.shape[:4]))
    lead_times, unit = step.lead_times(forecast.lead_steps)
    node = np.asarray(nodes)[place]
    columns: dict[str, Any] = {
        "init_time": np.array([step.moment(time) for time in forecast.init_time])[case],
        "trajectory": forecast.trajectory[case],
        "member": member,
        f"lead_time [{unit}]" if unit else "lead_time": np.round(lead_times, 9)[lead],
        "valid_time": [step.moment(time) for time in forecast.valid_time[case, lead]],
    }
    if mesh.domain.kind == "ring":
        columns["position"] = np.round(mesh.longitudes / 360.0 * mesh.domain.size, 9)[node]
    else:
        columns["latitude"] = np.round(mesh.latitudes, 6)[node]
        columns["longitude"] = np.round((mesh.longitudes + 180.0) % 360.0 - 180.0, 6)[node]
    for column, (name, units) in enumerate(zip(forecast.variables, forecast.units, strict=True)):
        columns[f"{name} [{units}]"] = values[..., column].ravel()
    return pd.DataFrame(columns)
