"""GRIB files: analyses and forecasts read as series, forecasts written on regular grids."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from emulator.data.coordinates import mesh_from_coordinates
from emulator.data.forecast import Forecast
from emulator.data.forecast_netcdf import ForecastHeading
from emulator.data.grib_messages import MISSING, GribField, grib_fields, moment
from emulator.data.names import Conversion, conversion, split_level
from emulator.data.series import NUMBER, Series
from emulator.foundation.time_step import TimeStep
from graphs.atomic_file import atomic_file, refuse_existing
from graphs.errors import MeshcastError
from graphs.mesh import Mesh

BITS_PER_VALUE = 24


def read_grib(path: Path, rename: Mapping[str, str], units: Mapping[str, str]) -> list[Series]:
    """Return every variable and member of a GRIB file over its valid times; raise MeshcastError where one is twice."""
    if wrong := [theirs for theirs, ours in rename.items() if ours == NUMBER and theirs != NUMBER]:
        raise MeshcastError(f"{path} is GRIB, where only `number` tells fields apart, not {wrong[0]}. Name that.")
    groups: dict[tuple[str, int], dict[int, GribField]] = {}
    for field in grib_fields(path):
        group = groups.setdefault((field.raw_name, field.number), {})
        if (other := group.setdefault(field.valid_time, field)) is not field:
            detail = "" if other.base_time == field.base_time else " from forecasts of different initial times"
            raise MeshcastError(
                f"{path} holds {field.raw_name} at {moment(field.valid_time)} twice{detail}. Keep one of each "
                " (grib_copy -w selects)."
            )
    series = []
    for (raw_name, number), group in groups.items():
        times = np.array(sorted(group), dtype=np.int64)
        first = group[int(times[0])]
        name = next((rename[key] for key in (raw_name, first.name) if key in rename), first.name)
        given = next((units[key] for key in (name, raw_name) if key in units), first.units)
        odd = next((field for field in group.values() if not field.grid.equals(first.grid)), None)
        if odd is not None:
            raise MeshcastError(f"{path} holds {raw_name} on two grids: {first.grid} and {odd.grid}. Remap one first.")
        series.append(
            Series(
                name=name,
                raw_name=raw_name,
                values=np.stack([group[int(time)].values for time in times])[:, None],
                times=times,
                numbers=np.array([number]),
                grid=first.grid,
                units=given,
                path=str(path),
                attributes=first.attributes,
            )
        )
    return series


def read_grib_forecast(path: Path) -> Forecast:
    """Return a forecast in GRIB, initial times as cases, steps above 0 as lead times; refuse an incomplete one."""
    fields = {
        (field.name, field.base_time, field.number, field.valid_time - field.base_time): field
        for field in grib_fields(path)
        if field.valid_time > field.base_time
    }
    if not fields:
        raise MeshcastError(f"{path} holds analyses only (no step above 0), so it is no forecast.")
    names = list(dict.fromkeys(key[0] for key in fields))
    cases, members = sorted({key[1] for key in fields}), sorted({key[2] for key in fields})
    leads = sorted({key[3] for key in fields})
    first = next(iter(fields.values()))
    values = np.full((len(cases), len(members), len(leads), len(first.grid.latitudes), len(names)), np.nan, np.float32)
    for row, column, depth, layer in np.ndindex(len(cases), len(members), len(leads), len(names)):
        case, member, lead, name = cases[row], members[column], leads[depth], names[layer]
        field = fields.get((name, case, member, lead))
        if field is None or not field.grid.equals(first.grid):
            raise MeshcastError(
                f"{path} has no field of {name} from {moment(case)}, member {member}, {lead / 3600:g} h ahead on the "
                "grid of the others. Give the same for every case."
            )
        values[row, column, depth, :, layer] = field.values
    step = int(np.gcd.reduce(leads))
    return Forecast(
        name=first.attributes.get("institution", path.stem),
        values=values,
        variables=tuple(names),
        units=tuple(next(field.units for key, field in fields.items() if key[0] == name) for name in names),
        mesh=mesh_from_coordinates(first.grid.latitudes, first.grid.longitudes),
        time_step=TimeStep(step),
        init_time=np.array(cases, dtype=np.int64),
        trajectory=np.full(len(cases), -1, dtype=np.int64),
        lead_steps=np.array(leads, dtype=np.int64) // step,
        attributes=first.attributes,
    )


def write_grib(forecast: Forecast, path: str | Path, overwrite: bool = False) -> Path:
    """Write a forecast as GRIB 2 on a regular latitude-longitude grid, one message a field.

    Values are packed to `BITS_PER_VALUE`; NaN becomes missing. Where the forecast's units are not GRIB's they are
    converted. Raises MeshcastError where the mesh, a variable or its units have no place in GRIB.
    """
    import eccodes

    path = Path(path)
    refuse_existing(path, overwrite)
    refuse_ungribbable(forecast)
    grid, members, valid_time = _regular_grid(forecast.mesh), forecast.values.shape[1], forecast.valid_time
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        for column, name in enumerate(forecast.variables):
            template = _template(eccodes, name, grid, members)
            convert = _to_grib_units(eccodes, template, name, forecast.units[column])
            for case, member, lead in np.ndindex(forecast.values.shape[:3]):
                message = eccodes.codes_clone(template)
                if members > 1:
                    eccodes.codes_set(message, "perturbationNumber", member)
                _set_times(eccodes, message, int(forecast.init_time[case]), int(valid_time[case, lead]))
                eccodes.codes_set(message, "missingValue", MISSING)  # a clone forgets it
                values = convert(forecast.values[case, member, lead, :, column]).astype(np.float64)
                eccodes.codes_set_values(message, np.where(np.isfinite(values), values, MISSING))
                eccodes.codes_write(message, file)
                eccodes.codes_release(message)
            eccodes.codes_release(template)
    return path


def refuse_ungribbable(forecast: Forecast | ForecastHeading) -> None:
    """Raise MeshcastError where the mesh, a variable, its units or the cases have no place in GRIB."""
    import eccodes

    grid = _regular_grid(forecast.mesh)
    if len(np.unique(forecast.init_time)) < len(forecast.init_time):
        raise MeshcastError("GRIB cannot tell trajectories of one initial time apart. Write NetCDF (.nc) instead.")
    for name, unit in zip(forecast.variables, forecast.units, strict=True):
        template = _template(eccodes, name, grid, 1)
        try:
            _to_grib_units(eccodes, template, name, unit)
        finally:
            eccodes.codes_release(template)


def _regular_grid(mesh: Mesh) -> dict[str, float | int]:
    if not mesh.structured:
        raise MeshcastError(
            f"GRIB needs a regular latitude-longitude grid, but this is a {mesh.describe()}, which has no place "
            "in GRIB. Write NetCDF (.nc) instead."
        )
    rows, columns = mesh.latitudes.reshape(mesh.shape)[:, 0], mesh.longitudes.reshape(mesh.shape)[0]
    downward, eastward = np.diff(rows), np.diff(columns) % 360.0
    if np.ptp(downward) > 1e-4 or np.ptp(eastward) > 1e-4:
        raise MeshcastError("GRIB needs an evenly spaced grid, but these rows are uneven. Write NetCDF (.nc) instead.")
    return {
        "Ni": mesh.shape[1],
        "Nj": mesh.shape[0],
        "jScansPositively": int(downward[0] > 0),
        "latitudeOfFirstGridPointInDegrees": round(float(rows[0]), 6),
        "latitudeOfLastGridPointInDegrees": round(float(rows[-1]), 6),
        "longitudeOfFirstGridPointInDegrees": round(float(columns[0]), 6),
        "longitudeOfLastGridPointInDegrees": round(float(columns[-1]), 6),
        "iDirectionIncrementInDegrees": round(float(eastward.mean()), 6),
        "jDirectionIncrementInDegrees": round(float(np.abs(downward).mean()), 6),
    }


def _template(eccodes: Any, name: str, grid: Mapping[str, float | int], members: int) -> Any:
    stem, level = split_level(name)
    message = eccodes.codes_grib_new_from_samples("regular_ll_pl_grib2" if level else "regular_ll_sfc_grib2")
    keys: dict[str, float | int | str] = {
        "tablesVersion": 30,
        "centre": 255,  # missing: no centre made it
        "productDefinitionTemplateNumber": 1 if members > 1 else 0,  # an ensemble member, or a single forecast
        "typeOfGeneratingProcess": 4 if members > 1 else 2,
        "dataType": "pf" if members > 1 else "fc",
        **grid,
        "bitsPerValue": BITS_PER_VALUE,
        "bitmapPresent": 1,
    }
    if members > 1:
        keys["numberOfForecastsInEnsemble"] = members
    try:
        for key, value in keys.items():
            eccodes.codes_set(message, key, value)
        eccodes.codes_set(message, "shortName", stem)
        if level:
            eccodes.codes_set(message, "typeOfLevel", "isobaricInhPa")
            eccodes.codes_set(message, "level", level)
    except eccodes.CodesInternalError as error:
        eccodes.codes_release(message)
        raise MeshcastError(
            f"GRIB cannot hold the variable {name} ({error}). Name it as the ECMWF parameter database does (2t, z_500, "
            "...), or write NetCDF (.nc) instead."
        ) from None
    return message


def _to_grib_units(eccodes: Any, template: Any, name: str, units: str) -> Conversion:
    theirs = eccodes.codes_get(template, "units")
    convert = conversion(units, theirs)
    if convert is None:
        raise MeshcastError(
            f"GRIB keeps {name} in {theirs}, but the forecast has it in {units}, which cannot be converted. Write "
            "NetCDF (.nc) instead."
        )
    return convert


def _set_times(eccodes: Any, message: Any, init_time: int, valid_time: int) -> None:
    start, lead = datetime(1970, 1, 1) + timedelta(seconds=init_time), valid_time - init_time
    if lead % 60 or start.second:
        raise MeshcastError("GRIB counts whole minutes here, but this forecast seconds. Write NetCDF (.nc) instead.")
    eccodes.codes_set(message, "dataDate", int(f"{start:%Y%m%d}"))
    eccodes.codes_set(message, "dataTime", start.hour * 100 + start.minute)
    seconds, unit = (3600, "h") if lead % 3600 == 0 else (60, "m")
    eccodes.codes_set(message, "stepUnits", unit)
    eccodes.codes_set(message, "step", lead // seconds)
