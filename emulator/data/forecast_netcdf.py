"""Forecasts in CF NetCDF as this package writes them: the dimensions, coordinates and attributes of the file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulator.data import coordinates
from emulator.data.forecast import Forecast
from emulator.data.names import cf_units, conversion, split_level, standard_name_of
from emulator.data.other_netcdf_forecast import read_other_netcdf_forecast
from emulator.foundation.time_step import TimeStep
from graphs.errors import readable
from graphs.mesh import Mesh

CF_ATTRIBUTES = ("title", "institution", "source", "history", "references", "comment", "licence", "attribution")
PREFIX = "meshcast_"
CHUNK_BYTES = 2**20  # of a field over cases and members: one case can be read without unpacking thousands
# Smallest level: 40 % off a smooth field at 13 ms a MB; level 4 takes 2 % more off in a third more time.
COMPRESSION = {"compression": "zlib", "complevel": 1, "shuffle": True}
EPOCH = "seconds since 1970-01-01 00:00:00"


@dataclass(frozen=True, eq=False)
class ForecastHeading:
    """All of a forecast but its values and lead times; each name means what it means in `Forecast`.

    threads: of the processor that it is computed on, so that it is resumed bit for bit; None where nobody knows.
    """

    name: str
    mesh: Mesh
    time_step: TimeStep
    variables: tuple[str, ...]
    units: tuple[str, ...]
    init_time: NDArray[np.int64]
    trajectory: NDArray[np.int64]
    num_members: int
    attributes: Mapping[str, str]
    threads: int | None = None


def write_netcdf(path: Path, forecast: ForecastHeading, leads: Iterable[NDArray[np.float32]]) -> None:
    """Write a forecast of leads [case, member, node, variable], on latitude and longitude where these are axes."""
    import netCDF4

    mesh, time_step = forecast.mesh, forecast.time_step
    with netCDF4.Dataset(path, "w", format="NETCDF4") as file:
        file.set_auto_mask(False)
        _write_header(file, forecast)
        for lead, values in enumerate(leads):
            for column, name in enumerate(forecast.variables):
                field = values[..., column]
                file[name][:, :, lead] = field.reshape(*field.shape[:2], *mesh.shape)
            file["lead_step"][lead] = lead + 1
            file["lead_time"][lead] = _lead_axis(time_step, np.array([lead + 1]))[0][0]
            file["valid_time"][:, lead] = time_step.advance(forecast.init_time, lead + 1)


def conventions() -> dict[str, str]:
    """Return what CF asks of every file: the version it follows, and when it was written."""
    return {"Conventions": "CF-1.11", "history": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} written by meshcast"}


def read_netcdf_forecast(path: Path) -> Forecast:
    """Return a forecast in NetCDF, ours or another centre's; raise MeshcastError where it is damaged or none."""
    import netCDF4

    with readable(path):
        with netCDF4.Dataset(path) as file:
            if PREFIX + "mesh" in file.ncattrs():
                return _read_ours(file)
        return read_other_netcdf_forecast(path)


def _read_ours(file: Any) -> Forecast:
    file.set_auto_mask(False)
    texts = {name: str(file.getncattr(name)) for name in file.ncattrs()}
    variables = tuple(json.loads(texts[PREFIX + "variables"]))
    internal = {PREFIX + name for name in ("emulator", "mesh", "time_step", "variables")}
    attributes = {name: texts[name] for name in CF_ATTRIBUTES if name in texts}
    for name, value in texts.items():
        if name.startswith(PREFIX) and name not in internal:
            attributes[name.removeprefix(PREFIX)] = value
    fields = [np.asarray(file[name][:]) for name in variables]
    return Forecast(
        name=texts[PREFIX + "emulator"],
        values=np.stack([field.reshape(*field.shape[:3], -1) for field in fields], axis=-1),
        variables=variables,
        units=tuple(str(file[name].units) for name in variables),
        mesh=_read_places(file, texts[PREFIX + "mesh"]),
        time_step=coordinates.time_step_from_json(texts[PREFIX + "time_step"]),
        init_time=np.asarray(file["init_time"][:], dtype=np.int64),
        trajectory=np.asarray(file["trajectory"][:], dtype=np.int64),
        lead_steps=np.asarray(file["lead_step"][:], dtype=np.int64),
        attributes=attributes,
    )


def _write_header(file: Any, forecast: ForecastHeading) -> None:
    mesh, cases = forecast.mesh, len(forecast.init_time)
    together = max(1, min(cases, CHUNK_BYTES // (4 * forecast.num_members * mesh.num_nodes)))
    file.createDimension("case", cases)
    file.createDimension("member", forecast.num_members)
    file.createDimension("lead_time", None)
    cell_dims = ("latitude", "longitude") if mesh.structured else ("cell",)
    for name, length in zip(cell_dims, mesh.shape, strict=True):
        file.createDimension(name, length)
    _write_times(file, forecast)
    _write_places(file, mesh)
    where = "" if mesh.structured else " latitude longitude"
    for name, units in zip(forecast.variables, forecast.units, strict=True):
        variable = file.createVariable(
            name,
            "f4",
            ("case", "member", "lead_time", *cell_dims),
            fill_value=np.float32(np.nan),
            chunksizes=(together, forecast.num_members, 1, *mesh.shape),
            **COMPRESSION,
        )
        stem, level = split_level(name)
        variable.long_name = stem if level is None else f"{stem} at {level} hPa"
        variable.units = cf_units(units)
        variable.coordinates = f"init_time valid_time trajectory{where}"
        if standard_name := standard_name_of(name, units):
            variable.standard_name = standard_name
            if conversion(units, "K"):
                variable.units_metadata = "temperature: on_scale"
    given = forecast.attributes
    texts = {
        **conventions(),
        "title": f"Forecast by {forecast.name}",
        "institution": "not stated",
        "source": f"emulator {forecast.name}, run by meshcast",
        **{name if name in CF_ATTRIBUTES else PREFIX + name: value for name, value in given.items()},
        PREFIX + "emulator": forecast.name,
        PREFIX + "mesh": coordinates.mesh_to_json(mesh),
        PREFIX + "time_step": coordinates.time_step_to_json(forecast.time_step),
        PREFIX + "variables": json.dumps(forecast.variables),
    }
    file.setncatts({name: str(value) for name, value in texts.items()})


def _write_times(file: Any, forecast: ForecastHeading) -> None:
    clock = {"units": EPOCH, "calendar": "proleptic_gregorian", "units_metadata": "leap_seconds: none"}
    if forecast.time_step.true_length is not None:
        clock["comment"] = f"nominal: one step of {forecast.time_step} is stored as {forecast.time_step.count} s"
    _, lead_units = _lead_axis(forecast.time_step, np.array([1]))
    period = {"standard_name": "forecast_period"} if conversion(lead_units, "s") else {}  # not an equation's own
    _coordinate(file, "init_time", "i8", ("case",), forecast.init_time,
                standard_name="forecast_reference_time", long_name="initial time", **clock)  # fmt: skip
    _coordinate(file, "trajectory", "i8", ("case",), forecast.trajectory,
                long_name="index of the simulated trajectory, -1 for real data")  # fmt: skip
    _coordinate(file, "member", "i4", ("member",), np.arange(forecast.num_members), standard_name="realization",
                long_name="member of the ensemble", units="1")  # fmt: skip
    _coordinate(file, "lead_time", "f8", ("lead_time",), None, units=lead_units,
                long_name="time since the initial time", **period)  # fmt: skip
    _coordinate(file, "lead_step", "i4", ("lead_time",), None, units="1", long_name="time steps since the initial time")
    _coordinate(file, "valid_time", "i8", ("case", "lead_time"), None, standard_name="time",
                long_name="initial time + lead time", **clock)  # fmt: skip


def _write_places(file: Any, mesh: Mesh) -> None:
    latitudes, longitudes = np.round(mesh.latitudes, 10), np.round(mesh.longitudes, 10)
    axes: tuple[dict[str, str], dict[str, str]] = ({}, {})
    dims: tuple[tuple[str, ...], ...] = (("cell",),) * 3
    if mesh.structured:
        latitudes, longitudes = latitudes.reshape(mesh.shape)[:, 0], longitudes.reshape(mesh.shape)[0]
        longitudes = longitudes[0] + (longitudes - longitudes[0]) % 360.0  # CF: an axis must be monotonic
        if longitudes[-1] >= 360.0:
            longitudes = longitudes - 360.0
        dims, axes = (("latitude",), ("longitude",), ("latitude", "longitude")), ({"axis": "Y"}, {"axis": "X"})
    _coordinate(file, "latitude", "f8", dims[0], latitudes, standard_name="latitude", units="degrees_north", **axes[0])
    _coordinate(
        file, "longitude", "f8", dims[1], longitudes, standard_name="longitude", units="degrees_east", **axes[1]
    )
    areas = mesh.areas.reshape(mesh.shape)
    _coordinate(file, "area", "f8", dims[2], areas, long_name="share of the domain; sums to one", units="1")


def _read_places(file: Any, description: str) -> Mesh:
    latitudes, longitudes = np.asarray(file["latitude"][:]), np.asarray(file["longitude"][:])
    if "latitude" in file.dimensions:
        rows, columns = np.meshgrid(latitudes, longitudes, indexing="ij")
        latitudes, longitudes = rows.ravel(), columns.ravel()
    mesh = coordinates.mesh_from_coordinates(latitudes, longitudes, description)
    levels = tuple(json.loads(description).get("levels", ()))
    boundary = coordinates.boundary_from_json(description, mesh.num_nodes)
    return replace(mesh, areas=np.asarray(file["area"][:], dtype=np.float64).ravel(), levels=levels, boundary=boundary)


def _coordinate(file: Any, name: str, kind: str, dims: tuple[str, ...], values: Any, **attributes: str) -> None:
    variable = file.createVariable(name, kind, dims)
    variable.setncatts(attributes)
    if values is not None:
        variable[:] = values


def _lead_axis(time_step: TimeStep, steps: NDArray[np.int64]) -> tuple[NDArray[np.float64], str]:
    if time_step.true_length is not None:
        return np.asarray(steps * time_step.true_length, np.float64), time_step.true_units or "1"
    if time_step.unit == "month":
        return steps.astype(np.float64) * time_step.count, "months"
    for seconds, name in ((3600, "hours"), (60, "minutes")):
        if time_step.count % seconds == 0:
            return np.asarray(steps * (time_step.count / seconds), np.float64), name
    return steps.astype(np.float64) * time_step.count, "seconds"
