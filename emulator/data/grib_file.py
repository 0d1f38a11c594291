"""GRIB files: analyses and forecasts read as series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulator.data.coordinates import mesh_from_coordinates
from emulator.data.forecast import Forecast, NoForecastError
from emulator.data.grib_messages import GribField, grib_fields, grib_values, moment
from emulator.data.read_later import read_later
from emulator.data.series import NUMBER, Series
from emulator.foundation.time_step import TimeStep
from graphs.errors import MeshcastError
from graphs.geometry import Index


def read_grib(path: Path, rename: Mapping[str, str], units: Mapping[str, str], later: bool = False) -> list[Series]:
    """Return every variable and member of a GRIB file over its valid times; raise MeshcastError where one is twice.

    later: whether values are read where they are asked for.
    """
    if wrong := [theirs for theirs, ours in rename.items() if ours == NUMBER and theirs != NUMBER]:
        raise MeshcastError(f"{path} is GRIB, where only `number` tells fields apart, not {wrong[0]}. Name that.")
    groups: dict[tuple[str, int], dict[int, GribField]] = {}
    for field in grib_fields(path, later=later):
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
        in_order = [group[int(time)] for time in times]
        first = in_order[0]
        name = next((rename[key] for key in (raw_name, first.name) if key in rename), first.name)
        given = next((units[key] for key in (name, raw_name) if key in units), first.units)
        odd = next((field for field in group.values() if not field.grid.equals(first.grid)), None)
        if odd is not None:
            raise MeshcastError(f"{path} holds {raw_name} on two grids: {first.grid} and {odd.grid}. Remap one first.")
        series.append(
            Series(
                name=name,
                raw_name=raw_name,
                values=_later(path, in_order) if later else np.stack([field.values for field in in_order])[:, None],
                times=times,
                numbers=np.array([number]),
                grid=first.grid,
                units=given,
                path=str(path),
                attributes=first.attributes,
                lead_time=max(field.valid_time - field.base_time for field in group.values()),
            )
        )
    return series


def _later(path: Path, fields: Sequence[GribField]) -> Any:
    """Return the values [time, 1, cell] of messages, which are read where they are asked for."""
    offsets = tuple(field.offset for field in fields)
    shape = len(fields), 1, len(fields[0].grid.latitudes)
    return read_later(partial(_piece, path.absolute(), offsets, fields[0].order), shape)


def _piece(path: Path, offsets: Sequence[int], order: Index | None, index: tuple[slice, ...]) -> NDArray[np.float32]:
    return grib_values(path, offsets[index[0]], order)[:, None][:, *index[1:]]


def read_grib_forecast(path: Path) -> Forecast:
    """Return a forecast in GRIB, initial times as cases, steps above 0 as lead times; refuse an incomplete one."""
    fields = {
        (field.name, field.base_time, field.number, field.valid_time - field.base_time): field
        for field in grib_fields(path)
        if field.valid_time > field.base_time
    }
    if not fields:
        raise NoForecastError(f"{path} holds analyses only (no step above 0), so it is no forecast.")
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
