"""Forecasts in CF NetCDF as this package writes them: the dimensions, coordinates and attributes of the file."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulator.data import coordinates
from emulator.data.forecast import Forecast, accumulated
from emulator.data.forecast_values import INITIAL, initial_values, values_later
from emulator.data.names import cf_units, conversion, split_level, standard_name_of
from emulator.data.other_netcdf_forecast import read_other_netcdf_forecast
from emulator.data.read_later import STREAMED_BYTES
from emulator.foundation.netcdf_limits import refuse_hostile
from emulator.foundation.time_step import TimeStep
from emulator.foundation.typed_json import typed_json
from graphs.errors import refuse_damaged
from graphs.mesh import Mesh

CF_ATTRIBUTES = ("title", "institution", "source", "history", "references", "comment", "licence", "attribution")
PREFIX = "meshcast_"
UNSTATED = {"precision": "float32"}  # attributes of forecasts by versions that did not write them
PARTS = "parts_of_a_step"  # attribute: lead times in a step of the emulator, where states between them are among those
CHUNK_BYTES = 2**20  # of a field over cases and members: one case can be read without unpacking thousands
# Smallest level: 40 % off a smooth field at 13 ms a MB; level 4 takes 2 % more off in a third more time.
COMPRESSION = {"compression": "zlib", "complevel": 1, "shuffle": True}
EPOCH = "seconds since 1970-01-01 00:00:00"


@dataclass(frozen=True, eq=False)
class ForecastHeading:
    """All of a forecast but its values and lead times; each name means what it means in `Forecast`.

    threads: of the processor that it is computed on, so that it is resumed bit for bit; None where nobody knows.
    every: time steps from one lead time to the next.
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
    every: int = 1


def write_netcdf(
    path: Path,
    forecast: ForecastHeading,
    leads: Iterable[NDArray[np.float32]],
    initial: NDArray[np.float32] | None = None,
) -> None:
    """Write a forecast of leads [case, member, node, variable], on latitude and longitude where these are axes.

    initial: [case, member, node, variable] at the initial times, NaN where unknown, as of what is only predicted.
    """
    import netCDF4

    mesh, time_step = forecast.mesh, forecast.time_step
    with netCDF4.Dataset(path, "w", format="NETCDF4") as file:
        file.set_auto_mask(False)
        known = () if initial is None else np.flatnonzero(np.isfinite(initial).any(axis=(0, 1, 2))).tolist()
        _write_header(file, forecast, [forecast.variables[column] for column in known])
        for lead, values in enumerate(leads):
            for column, name in enumerate(forecast.variables):
                field = values[..., column]
                file[name][:, :, lead] = field.reshape(*field.shape[:2], *mesh.shape)
            step = (lead + 1) * forecast.every
            file["lead_step"][lead] = step
            file["lead_time"][lead] = _lead_axis(time_step, np.array([step]))[0][0]
            if "lead_time_bounds" in file.variables:
                file["lead_time_bounds"][lead] = _lead_axis(time_step, np.array([step - forecast.every, step]))[0]
            file["valid_time"][:, lead] = time_step.advance(forecast.init_time, step)
            if "interpolated" in file.variables:
                file["interpolated"][lead] = step % int(forecast.attributes[PARTS]) != 0
        for column, name in enumerate(forecast.variables):
            if f"{name}{INITIAL}" in file.variables and initial is not None:
                file[f"{name}{INITIAL}"][:] = initial[..., column].reshape(*initial.shape[:2], *mesh.shape)


def conventions() -> dict[str, str]:
    """Return what CF asks of every file: the version it follows, and when it was written."""
    return {"Conventions": "CF-1.11", "history": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} written by meshcast"}


def read_netcdf_forecast(path: Path, later: bool = False) -> Forecast:
    """Return a forecast in NetCDF, ours or another centre's; raise MeshcastError where it is damaged or none.

    later: whether values of ours that take much memory are read where they are asked for, as arrays of Dask.
    """
    import netCDF4

    with refuse_damaged(path):
        refuse_hostile(path)
        with netCDF4.Dataset(path) as file:
            if PREFIX + "mesh" in file.ncattrs():
                large = later and path.stat().st_size > STREAMED_BYTES
                return _read_ours(file, path.absolute() if large else None)
        return read_other_netcdf_forecast(path)


def differences(path: Path, heading: ForecastHeading, steps: int) -> list[str]:
    """Return what tells a file from the whole forecast of a heading over so many steps, by name; no value is read."""
    import netCDF4

    with refuse_damaged(path):
        refuse_hostile(path)
        with netCDF4.Dataset(path) as file:
            file.set_auto_mask(False)
            wanted = _texts(heading)
            found = {PREFIX + name: text for name, text in UNSTATED.items()}
            found |= {name: str(file.getncattr(name)) for name in file.ncattrs()}
            names = [name for name in wanted if found.get(name) != wanted[name]]
            names += [PREFIX + "output_choice"] * (PREFIX + "output_choice" in set(found) - set(wanted))
            if PREFIX + "mesh" not in found:
                return ["kind"]
            mesh = _read_places(file.variables, "latitude" in file.dimensions, str(file.getncattr(PREFIX + "mesh")))
            of, leads = heading, np.arange(heading.every, steps + 1, heading.every)
            arrays = {"init_time": of.init_time, "trajectory": of.trajectory, "lead_step": leads}
            names += [name for name, values in arrays.items() if not np.array_equal(file[name][:], values)]
            names += ["member"] * (len(file.dimensions["member"]) != of.num_members)
            names += ["nodes"] * (not mesh.same_nodes(of.mesh))
            units = tuple(str(file[name].units) for name in of.variables if name in file.variables)
            names += ["units"] * (units != tuple(map(cf_units, of.units)))
    return [name.removeprefix(PREFIX) for name in names if name != "history"]


def _read_ours(file: Any, later: Path | None = None) -> Forecast:
    file.set_auto_mask(False)
    texts = {name: str(file.getncattr(name)) for name in file.ncattrs()}
    units = {name: str(getattr(variable, "units", "1")) for name, variable in file.variables.items()}
    return forecast_from(texts, file.variables, units, set(file.dimensions), later)


def forecast_from(
    texts: Mapping[str, str],
    arrays: Mapping[str, Any],
    units: Mapping[str, str],
    dimensions: Collection[str],
    later: Path | None = None,
) -> Forecast:
    """Return the forecast of a file of ours: its attributes, its variables with their units, and its dimensions.

    later: the NetCDF file that its values are read from where they are asked for; None where they are read now.
    """
    variables: tuple[str, ...] = typed_json(tuple[str, ...], texts[PREFIX + "variables"])
    internal = {PREFIX + name for name in ("emulator", "mesh", "time_step", "variables")}
    attributes = {name: texts[name] for name in CF_ATTRIBUTES if name in texts}
    for name, value in texts.items():
        if name.startswith(PREFIX) and name not in internal:
            attributes[name.removeprefix(PREFIX)] = value
    fields = [arrays[name] if later else np.asarray(arrays[name][:]) for name in variables]
    if not fields or any(len(field.shape) < 4 or not field.size or field.shape != fields[0].shape for field in fields):
        raise ValueError("its fields have no cases, members or lead times, or several shapes")
    if any(field.dtype.kind not in "fiu" for field in fields):
        raise ValueError("its fields are no numbers")
    init_time, trajectory, lead_steps = (_integers(arrays, name) for name in ("init_time", "trajectory", "lead_step"))
    if (np.diff(lead_steps, prepend=0) < 1).any():
        raise ValueError(f"its lead_step must rise from 1 on, but is {lead_steps.tolist()[:9]}")
    if len(np.unique([init_time, trajectory], axis=1).T) < len(init_time):
        raise ValueError("two of its cases have the same init_time and trajectory")
    if later:
        whole, initial = values_later(later, variables, fields[0].shape, set(arrays))
    else:
        whole = np.stack([field.reshape(*field.shape[:3], -1) for field in fields], axis=-1)
        initial = initial_values(arrays, variables, fields[0].shape)
    return Forecast(
        name=texts[PREFIX + "emulator"],
        values=whole,
        variables=variables,
        units=tuple(units[name] for name in variables),
        mesh=_read_places(arrays, "latitude" in dimensions, texts[PREFIX + "mesh"]),
        time_step=coordinates.time_step_from_json(texts[PREFIX + "time_step"]),
        init_time=init_time,
        trajectory=trajectory,
        lead_steps=lead_steps,
        attributes=attributes,
        initial=initial,
    )


def _integers(arrays: Mapping[str, Any], name: str) -> NDArray[np.int64]:
    found = np.asarray(arrays[name][:])
    with np.errstate(invalid="ignore"):
        whole = found.astype(np.int64)
    if np.any(whole != found):
        raise ValueError(f"{name} holds {found[whole != found][0]}, which is no whole number")
    return whole


def _write_header(file: Any, forecast: ForecastHeading, with_start: Sequence[str]) -> None:
    mesh, cases = forecast.mesh, len(forecast.init_time)
    together = max(1, min(cases, CHUNK_BYTES // (4 * forecast.num_members * mesh.num_nodes)))
    file.createDimension("case", cases)
    file.createDimension("member", forecast.num_members)
    file.createDimension("lead_time", None)
    cell_dims = ("latitude", "longitude") if mesh.structured else ("cell",)
    for name, length in zip(cell_dims, mesh.shape, strict=True):
        file.createDimension(name, length)
    sums = accumulated(forecast.attributes)
    _write_times(file, forecast, bounded=bool(sums))
    _write_places(file, mesh)
    where = "" if mesh.structured else " latitude longitude"
    chunk = (together, forecast.num_members)
    for name, units in zip(forecast.variables, forecast.units, strict=True):
        about = {"coordinates": f"init_time valid_time trajectory{where}"}
        if sums:
            about["cell_methods"] = "lead_time: sum" if name in sums else "lead_time: point"
        _field(file, name, units, ("case", "member", "lead_time", *cell_dims), (*chunk, 1, *mesh.shape), about)
        if name in with_start:
            start = {"coordinates": f"init_time trajectory{where}"}
            dims = ("case", "member", *cell_dims)
            _field(file, name, units, dims, (*chunk, *mesh.shape), start, INITIAL)
    file.setncatts(_texts(forecast))


def _texts(forecast: ForecastHeading) -> dict[str, str]:
    """Return the attributes of the whole file."""
    given = forecast.attributes
    texts = {
        **conventions(),
        "title": f"Forecast by {forecast.name}",
        "institution": "not stated",
        "source": f"emulator {forecast.name}, run by meshcast",
        **{name if name in CF_ATTRIBUTES else PREFIX + name: value for name, value in given.items()},
        PREFIX + "emulator": forecast.name,
        PREFIX + "mesh": coordinates.mesh_to_json(forecast.mesh),
        PREFIX + "time_step": coordinates.time_step_to_json(forecast.time_step),
        PREFIX + "variables": json.dumps(forecast.variables),
    }
    return {name: str(value) for name, value in texts.items()}


def _field(
    file: Any,
    name: str,
    units: str,
    dims: tuple[str, ...],
    chunk: tuple[int, ...],
    about: Mapping[str, str],
    ending: str = "",
) -> None:
    """Declare one variable over cases, members and places, with what CF knows of it."""
    variable = file.createVariable(
        name + ending, "f4", dims, fill_value=np.float32(np.nan), chunksizes=chunk, **COMPRESSION
    )
    stem, level = split_level(name)
    long_name = stem if level is None else f"{stem} at {level} hPa"
    about = {"long_name": long_name + (", initial value" if ending else ""), "units": cf_units(units), **about}
    if standard_name := standard_name_of(name, units):
        about["standard_name"] = standard_name
        if conversion(units, "K"):
            about["units_metadata"] = "temperature: on_scale"
    variable.setncatts(about)


def _write_times(file: Any, forecast: ForecastHeading, bounded: bool) -> None:
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
    if bounded:
        file.createDimension("bound", 2)
        period = {**period, "bounds": "lead_time_bounds"}
        file.createVariable("lead_time_bounds", "f8", ("lead_time", "bound"))
    _coordinate(file, "lead_time", "f8", ("lead_time",), None, units=lead_units,
                long_name="time since the initial time", **period)  # fmt: skip
    _coordinate(file, "lead_step", "i4", ("lead_time",), None, units="1", long_name="time steps since the initial time")
    if PARTS in forecast.attributes:
        _coordinate(file, "interpolated", "i1", ("lead_time",), None, flag_values=np.array([0, 1], np.int8),
                    flag_meanings="step_of_the_emulator between_its_steps",
                    long_name="whether a second network gave this lead time, from the steps around it")  # fmt: skip
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


def _read_places(arrays: Mapping[str, Any], structured: bool, description: str) -> Mesh:
    latitudes, longitudes = np.asarray(arrays["latitude"][:]), np.asarray(arrays["longitude"][:])
    if structured:
        rows, columns = np.meshgrid(latitudes, longitudes, indexing="ij")
        latitudes, longitudes = rows.ravel(), columns.ravel()
    mesh = coordinates.mesh_from_coordinates(latitudes, longitudes, description)
    stored = typed_json(coordinates.StoredMesh, description)
    return replace(
        mesh,
        areas=np.asarray(arrays["area"][:], dtype=np.float64).ravel(),
        levels=stored.levels,
        boundary=stored.boundary_of(mesh.num_nodes),
    )


def _coordinate(file: Any, name: str, kind: str, dims: tuple[str, ...], values: Any, **attributes: Any) -> None:
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
