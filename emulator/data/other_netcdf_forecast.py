"""Other centres' forecasts in CF NetCDF, whatever they call initial time, lead time and member."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emulator.data.coordinates import mesh_from_coordinates
from emulator.data.forecast import Forecast, NoForecastError
from emulator.data.names import canonical_name, conversion, named_standard
from emulator.data.netcdf_coordinates import INIT_NAMES, LEAD_NAMES, Cells, find, grid_winds, horizontal, named, role
from emulator.data.netcdf_file import levels_of, numbers_of, open_netcdf, travelling_attributes
from emulator.foundation.time_step import TimeStep, to_seconds
from graphs.errors import MeshcastError

if TYPE_CHECKING:
    import xarray as xr


def read_other_netcdf_forecast(path: Path) -> Forecast:
    """Return a forecast over initial time, lead time, member and place, in any order and by any names."""
    with open_netcdf(path) as file:
        cells = horizontal(file, path)
        init = named(file, "forecast_reference_time", (*INIT_NAMES, "time"))
        lead = named(file, "forecast_period", LEAD_NAMES)
        if lead is None:
            file, init, lead = _valid_to_lead(file, path, init)
        if init is None:
            raise MeshcastError(
                f"{path} has lead times ({lead}) but no initial time. Give it a coordinate forecast_reference_time or "
                "init_time."
            )
        init_time = to_seconds(np.atleast_1d(file[init].values))
        steps, time_step = _lead_steps(file, lead, path)
        fields = dict(_fields(file, init, lead, cells, path))
        if not fields:
            raise MeshcastError(f"{path} holds no variable over {init}, {lead} and {', '.join(cells.dims)}.")
        keep = steps > 0  # the analysis is no forecast
        members = max(values.shape[1] for values, _ in fields.values())
        values = [np.broadcast_to(one, (one.shape[0], members, *one.shape[2:])) for one, _ in fields.values()]
        stacked = np.stack(values, axis=-1)[:, :, keep]
        if cells.order is not None:
            stacked = stacked[:, :, :, cells.order]
        return Forecast(
            name=str(file.attrs.get("model", file.attrs.get("source", path.stem)))[:60],
            values=np.ascontiguousarray(stacked),
            variables=tuple(fields),
            units=tuple(units for _, units in fields.values()),
            mesh=mesh_from_coordinates(cells.grid.latitudes, cells.grid.longitudes),
            time_step=time_step,
            init_time=init_time,
            trajectory=np.full(len(init_time), -1, dtype=np.int64),
            lead_steps=steps[keep],
            attributes=travelling_attributes(file.attrs),
        )


def _valid_to_lead(file: xr.Dataset, path: Path, init: str | None) -> tuple[xr.Dataset, str, str]:
    """Return one forecast stored over valid time: lead times from its one reference time."""
    times = [name for name in find(file, "time") if name in file.sizes and name != init]
    if init is None or not times or file[init].size != 1:
        raise NoForecastError(
            f"{path} does not say which times are initial and which lead times: expected a coordinate with "
            f"standard_name forecast_period or a name like {', '.join(LEAD_NAMES[:3])}; it has "
            f"{', '.join(map(str, file.variables))}."
        )
    valid = to_seconds(file[times[0]].values)
    seconds = valid - to_seconds(np.atleast_1d(file[init].values))[0]
    file = file.assign_coords({times[0]: (times[0], seconds.astype(np.float64), {"units": "seconds"})})
    return file, init, times[0]


def _lead_steps(file: xr.Dataset, lead: str, path: Path) -> tuple[NDArray[np.int64], TimeStep]:
    """Return lead times as whole steps of the longest step they share."""
    axis = file[lead]
    units = str(axis.attrs.get("units", axis.encoding.get("units", "")))
    values = np.atleast_1d(axis.values)
    if values.dtype.kind == "m":
        amounts, unit = values.astype("timedelta64[s]").astype(np.int64), "second"
    elif units.rstrip("s") in ("month", "year"):
        amounts, unit = np.round(values * (12 if units.startswith("year") else 1)).astype(np.int64), "month"
    else:
        to_second = conversion(units or ("hours" if "hour" in lead.lower() else ""), "s")
        if to_second is None:
            raise MeshcastError(f"{path}: the lead times {lead} have units {units or 'absent'!r}, not hours or days.")
        amounts, unit = np.round(values.astype(np.float64) * to_second.factor).astype(np.int64), "second"
    if not np.any(amounts):
        raise NoForecastError(f"{path} holds analyses only (no {lead} above 0), so it is no forecast.")
    if np.any(amounts < 0) or len(np.unique(amounts)) < len(amounts):
        raise MeshcastError(f"{path}: the lead times {lead} must be positive and different, but are {values.tolist()}.")
    step = int(np.gcd.reduce(amounts))
    return amounts // step, TimeStep(step, "month" if unit == "month" else "second")


def _fields(
    file: xr.Dataset, init: str, lead: str, cells: Cells, path: Path
) -> Iterator[tuple[str, tuple[NDArray[np.float32], str]]]:
    """Canonical name, values [case, member, lead, cell] and units of each forecast variable."""
    init_dim, lead_dim = (file[name].dims[0] if file[name].ndim else None for name in (init, lead))
    for raw_name in map(str, file.data_vars):
        array = file[raw_name]
        wanted = {dim for dim in (lead_dim, *cells.dims) if dim is not None}
        if array.dtype.kind not in "fiu" or not wanted <= set(array.dims):
            continue
        level_dim = member_dim = None
        for dim in map(str, array.dims):
            if dim in (init_dim, lead_dim, *cells.dims):
                continue
            kind = role(file, dim)
            if kind == "level":
                level_dim = dim
            elif kind == "number":
                member_dim = dim
            elif array.sizes[dim] == 1:
                array = array.isel({dim: 0})
            else:
                raise MeshcastError(f"{path}: the dimension {dim} of {raw_name} is no time, member, level or place.")
        for level, field in levels_of(file, array, level_dim):
            for dim, present in (("_case", init_dim), ("_member", member_dim), ("_lead", lead_dim)):
                field = field.expand_dims(dim) if present not in field.dims else field.rename({present: dim})
            values = numbers_of(field.transpose("_case", "_member", "_lead", *cells.dims))
            name = canonical_name(raw_name, named_standard(raw_name, array.attrs), level)
            if grid_winds(array, name, cells, path):
                raise MeshcastError(
                    f"{path}: {raw_name} follows the axes of a rotated grid. Turn it to the east and north first (cdo "
                    "rotuvb)."
                )
            yield name, (values.reshape(*values.shape[:3], -1), str(array.attrs.get("units", "") or "unknown"))
