"""NetCDF files as series: whatever their dimensions are called, with or without CF's attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emulator.data.names import WINDS, canonical_name, conversion, named_standard, split_level
from emulator.data.netcdf_coordinates import (
    INIT_NAMES,
    LEAD_NAMES,
    NAMES,
    Cells,
    find,
    grid_winds,
    horizontal,
    is_time,
    named,
    role,
)
from emulator.data.read_later import BLOCK_BYTES
from emulator.data.series import GREGORIAN, NUMBER, Series, gregorian, refuse_disorder
from emulator.foundation.configuration_faults import nearest
from emulator.foundation.netcdf_limits import refuse_hostile
from emulator.foundation.time_step import to_seconds
from graphs.errors import MeshcastError
from graphs.geometry import Index

if TYPE_CHECKING:
    import xarray as xr

TRAVELLING = {  # what is kept of a file's global attributes, and under which name
    "title": "title", "institution": "institution", "source": "source", "references": "references",
    "license": "licence", "licence": "licence", "attribution": "attribution", "citation": "attribution",
}  # fmt: skip

NEVER_WRITTEN = np.float32(9.9692099683868690e36)  # NC_FILL_FLOAT and NC_FILL_DOUBLE of netcdf.h


def read_netcdf(path: Path, rename: Mapping[str, str], units: Mapping[str, str], later: bool = False) -> list[Series]:
    """Return every variable of a NetCDF file on a grid, levels folded into the names; refuse unknown dimensions.

    later: whether values are read where they are asked for.
    """
    with open_netcdf(path) as file:
        label = ""
        if dimension := next((theirs for theirs, ours in rename.items() if ours == NUMBER), None):
            if dimension in file.attrs and dimension not in file.sizes:
                label = str(file.attrs[dimension])
                rename = {name: to for name, to in rename.items() if name != dimension}
            else:
                file = _numbered(file, dimension, path)
        try:
            series = [replace(one, label=label) for one in _series(file, path, rename, units, later)]
        except (OSError, RuntimeError) as error:  # HDF5 notices a truncated file when it reads
            raise MeshcastError(f"{path} is damaged or truncated: {error}. Fetch it again.") from None
    if not series:
        raise MeshcastError(
            f"{path} holds no variable on latitudes and longitudes; it holds {', '.join(map(str, file.variables))}."
        )
    return series


def open_netcdf(path: Path) -> xr.Dataset:
    """Return the file through xarray, values scaled and masked, times decoded."""
    import xarray as xr

    try:
        refuse_hostile(path)
        times = xr.coders.CFDatetimeCoder(time_unit="s")
        return xr.open_dataset(path, engine="netcdf4", decode_times=times, decode_timedelta=False)
    except MeshcastError:
        raise
    except (OSError, RuntimeError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise MeshcastError(f"{path} is damaged or truncated: {error}. Fetch it again.") from None
    except ValueError as error:
        raise MeshcastError(f"{path} cannot be read, its times least of all: {str(error).splitlines()[0]}") from None


def travelling_attributes(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Return title, licence and attribution of a file."""
    return {
        ours: str(attributes[theirs])
        for theirs, ours in TRAVELLING.items()
        if isinstance(attributes.get(theirs), str) and attributes[theirs]
    }


def levels_of(file: xr.Dataset, array: xr.DataArray, dim: str | None) -> list[tuple[float | None, xr.DataArray]]:
    """Each pressure level [hPa] with its field; None for what is not on pressure levels."""
    if dim is None:
        scalar = [name for name in find(file, "level") if name in array.coords and array.coords[name].ndim == 0]
        pressure = [_pressure(array.coords[name]) for name in scalar]
        return [(next((float(p[0]) for p in pressure if p is not None), None), array)]
    pressure_axis = _pressure(file[dim]) if dim in file.variables else None
    if pressure_axis is not None:
        return [(float(level), array.isel({dim: index})) for index, level in enumerate(pressure_axis)]
    if array.sizes[dim] == 1:
        return [(None, array.isel({dim: 0}))]
    raise MeshcastError(
        f"{array.name} lies on {array.sizes[dim]} levels of {dim} that are not pressures (its units are "
        f"{file[dim].attrs.get('units', 'absent') if dim in file.variables else 'absent'}). Select one level first."
    )


def _series(
    file: xr.Dataset, path: Path, rename: Mapping[str, str], units: Mapping[str, str], later: bool
) -> list[Series]:
    cells = horizontal(file, path, units)
    series: list[Series] = []
    along_grid: list[int] = []
    left_out: list[str] = []
    bounds = {str(file[name].attrs.get("bounds")) for name in file.variables}
    attributes = travelling_attributes(file.attrs) | ({"grid_mapping": cells.mapping} if cells.mapping else {})
    for raw_name in map(str, file.data_vars):
        array = file[raw_name]
        if raw_name in bounds or array.dtype.kind not in "fiu" or role(file, raw_name) is not None:
            continue
        if not set(cells.dims) <= set(array.dims):
            left_out += [raw_name] if array.ndim > 1 else []
            continue
        kinds = {str(dim): role(file, str(dim)) for dim in array.dims if dim not in cells.dims}
        strange = [dim for dim, kind in kinds.items() if kind is None and file.sizes[dim] > 1]
        if strange or len(set(kinds.values())) < len(kinds):
            _refuse_forecast_dimensions(file, raw_name, list(kinds), path)
            raise MeshcastError(
                f"{path}: the dimensions {', '.join(strange or kinds)} of {raw_name} are neither time, member nor "
                "level. Select one of each first, or name them so."
            )
        array = array.squeeze([dim for dim, kind in kinds.items() if kind is None], drop=True)
        dims = {kind: dim for dim, kind in kinds.items() if kind is not None}
        times, calendar = _times(file, raw_name, dims.get("time"), path)
        numbers = _numbers(file, dims.get("number"))
        for level, field in levels_of(file, array, dims.get("level")):
            leading = dims.get("time"), dims.get("number")
            values = _ordered_later(field, leading, cells) if later else _ordered(field, leading, cells)
            name = canonical_name(raw_name, named_standard(raw_name, array.attrs), level)
            folded = raw_name if level is None else f"{raw_name}_{level:g}"
            name = next((rename[key] for key in (folded, raw_name, name) if key in rename), name)
            given = next((units[key] for key in (name, folded, raw_name) if key in units), None)
            if grid_winds(array, name, cells, path):
                along_grid.append(len(series))
            series.append(
                Series(
                    name=name,
                    raw_name=folded,
                    values=values,
                    times=times,
                    numbers=numbers,
                    grid=cells.grid,
                    units=given or str(array.attrs.get("units", "")),
                    path=str(path),
                    calendar=calendar,
                    attributes=attributes,
                    lead_time=_lead_time(file, array, times),
                    coordinates=cells.coordinates,
                )
            )
    if along_grid:
        series = _turned(series, along_grid, cells, path)
    if series and left_out:
        on = " and ".join(cells.coordinates or cells.dims)
        notice = f"{', '.join(left_out)} of {path} left out: not on the cells of {on}"
        series[0] = replace(series[0], notices=(*series[0].notices, notice))
    return series


def _turned(series: list[Series], along_grid: list[int], cells: Cells, path: Path) -> list[Series]:
    """Return the series with winds along the grid's axes turned to the east and the north."""
    assert cells.turn is not None
    cosine, sine = (part if cells.order is None else part[cells.order] for part in cells.turn)
    series, at = list(series), {series[index].name: index for index in along_grid}
    partners = {east: north for east in at if (north := _northward(east))}
    if lonely := sorted({*partners, *partners.values()} ^ set(at)):
        raise MeshcastError(
            f"{path}: winds along the axes of a rotated grid are turned in pairs, and {', '.join(lonely)} would make "
            "one complete or stands alone. Give both components in one file."
        )
    for east, north in partners.items():
        along, across = series[at[east]], series[at[north]]
        if along.values.shape != across.values.shape:
            raise MeshcastError(f"{path}: {east} and {north} have other times or members. Give both at all of them.")
        u, v = along.values.astype(np.float64), across.values.astype(np.float64)
        notice = f"{east} and {north} of {path} were turned from the grid's own axes to the east and the north"
        series[at[east]] = replace(along, values=(cosine * u - sine * v).astype(np.float32), notices=(notice,))
        series[at[north]] = replace(across, values=(sine * u + cosine * v).astype(np.float32))
    return series


def _northward(name: str) -> str | None:
    """Return the northward partner of an eastward wind, with its level; None of others."""
    stem, level = split_level(name)
    return None if stem not in WINDS else WINDS[stem] if level is None else f"{WINDS[stem]}_{level}"


def _refuse_forecast_dimensions(file: xr.Dataset, variable: str, dims: list[str], path: Path) -> None:
    """Raise MeshcastError where a dimension counts lead times or initial times: many forecasts of one time."""
    about = (("forecast_period", LEAD_NAMES, "lead"), ("forecast_reference_time", INIT_NAMES, "initial"))
    for standard_name, names, what in about:
        for dim in dims:
            attributes = file[dim].attrs if dim in file.variables else {}
            if attributes.get("standard_name") == standard_name or dim.lower() in names:
                count = f"{file.sizes[dim]} {what} time{'s' * (file.sizes[dim] > 1)}"
                raise MeshcastError(
                    f"{path} holds forecasts: {variable} has {count} along {dim}, so one valid "
                    "time may stand there several times. `meshcast verify` reads it as a forecast; for a dataset or a "
                    "truth select one of them first."
                )


def _lead_time(file: xr.Dataset, array: xr.DataArray, times: NDArray[np.int64] | None) -> int:
    """Return the longest lead time of a variable [s], 0 of an analysis."""
    longest = 0.0
    lead = named(file, "forecast_period", LEAD_NAMES)
    if lead is not None and file[lead].dtype.kind in "fiu" and _belongs(file, lead, array):
        to_second = conversion(str(file[lead].attrs.get("units", "")) or "hours", "s")
        longest = float(np.nanmax(file[lead].values, initial=0.0)) * (1.0 if to_second is None else to_second.factor)
    init = named(file, "forecast_reference_time", INIT_NAMES)
    if init is not None and times is not None and is_time(file[init]) and _belongs(file, init, array):
        moments = np.atleast_1d(file[init].values).ravel()
        start = to_seconds(moments) if moments.dtype.kind == "M" else gregorian(list(moments))
        if len(start) in (1, len(times)):
            longest = max(longest, float((times - start).max()))
    return int(longest)


def _belongs(file: xr.Dataset, name: str, array: xr.DataArray) -> bool:
    return all(dim in array.dims or file.sizes[dim] == 1 for dim in file[name].dims)


def _numbered(file: xr.Dataset, dimension: str, path: Path) -> xr.Dataset:
    """Return the file with a dimension that counts trajectories, whatever it is called."""
    others = [str(dim) for dim in file.sizes if dim != dimension and role(file, str(dim)) == NUMBER]
    if dimension not in file.sizes:
        if dimension == NUMBER and others:
            return file
        hint = nearest(dimension, map(str, file.sizes)) or "."
        raise MeshcastError(
            f"{path} has no dimension {dimension!r} of trajectories{hint} Its dimensions are "
            f"{', '.join(map(str, file.sizes))}. --trajectories takes one, a global attribute, `files`, or FIRST:STOP."
        )
    if several := [name for name in others if file.sizes[name] > 1]:
        raise MeshcastError(
            f"{path} holds members along {several[0]} of each trajectory along {dimension}. Select one member first."
        )
    return file.squeeze(others, drop=True).assign_coords(
        {dimension: (dimension, _numbers(file, dimension), {"standard_name": "realization"})}
    )


def _numbers(file: xr.Dataset, dimension: str | None) -> NDArray[np.int64]:
    """Return the numbers of members, counted from 0 where the file has none, or names."""
    if dimension is None:
        return np.zeros(1, dtype=np.int64)
    count = np.arange(file.sizes[dimension])
    given = file[dimension].values if dimension in file.variables else count
    if given.dtype.kind not in "iuf" or len(np.unique(given)) < len(count) or not np.all(given % 1 == 0):
        return count
    return given.astype(np.int64)


def _pressure(axis: xr.DataArray) -> NDArray[np.float64] | None:
    """Return pressures [hPa] of a level axis, None where it is no pressure. Without units, names and numbers decide."""
    values = np.atleast_1d(axis.values).astype(np.float64)
    if units := str(axis.attrs.get("units", "")):
        to_hectopascal = conversion(units, "hPa")
        return None if to_hectopascal is None else np.round(values * to_hectopascal.factor, 3)
    named = str(axis.name).lower() in NAMES["level"]
    if not named or str(axis.name).lower() in ("height", "depth") or values.min() < 1 or values.max() > 110_000:
        return None
    return np.asarray(values / 100.0 if values.max() > 1_100 else values, dtype=np.float64)


def _times(file: xr.Dataset, variable: str, dim: str | None, path: Path) -> tuple[NDArray[np.int64] | None, str]:
    coords = file[variable].coords
    along = [name for name in find(file, "time") if _lies_along(file, name, dim) and (dim or name in coords)]
    if dim is None and not along:
        return None, "standard"
    # a forecast that GRIB became keeps its initial time as `time`, beside its valid_time
    ordered = sorted(
        filter(lambda name: is_time(file[name]), along), key=lambda n: (n.lower() != "valid_time", n != dim)
    )
    if not ordered:
        dim = dim or along[0]
        there = f"units {file[dim].attrs.get('units', 'absent')!r}" if dim in file.variables else "no coordinate"
        raise MeshcastError(
            f"{path}: the dimension {dim} of {variable} has no times ({there}). Give it units like "
            "`hours since 1970-01-01`."
        )
    dim = ordered[0]
    moments = np.atleast_1d(file[dim].values).ravel()
    calendar = str(file[dim].encoding.get("calendar", "standard"))
    if moments.dtype.kind == "M":
        if np.isnat(moments).any():
            raise MeshcastError(f"{path}: {int(np.isnat(moments).sum())} times of {dim} are missing. Drop them first.")
        times = to_seconds(moments)
    else:
        times = gregorian(list(moments))
        if len(times) > 1 and np.any(np.diff(times) == 0) and all(np.diff(moments) > np.diff(moments) * 0):
            raise MeshcastError(
                f"{path} counts days of a {calendar} calendar, which has dates the Gregorian one lacks. Daily fields "
                "of such a calendar cannot be mapped; make monthly or annual means first."
            )
    refuse_disorder(times, str(path))
    return times, "standard" if calendar in GREGORIAN else calendar


def _lies_along(file: xr.Dataset, name: str, dim: str | None) -> bool:
    """Return whether a coordinate has this dimension and no other of more than one place."""
    dims = [str(other) for other in file[name].dims if file.sizes[other] > 1 or other == dim]
    return dims == ([] if dim is None else [dim])


def numbers_of(array: xr.DataArray) -> NDArray[np.float32]:
    """Return the values of a variable, NaN where nothing was ever written, which xarray knows where it is declared."""
    return _cleaned(array.values, None)


def _ordered(array: xr.DataArray, leading: tuple[str | None, ...], cells: Cells) -> NDArray[np.float32]:
    """Return values [time, number, cell], dimensions of length one put in where the variable lacks them."""
    array = array.transpose(*(dim for dim in leading if dim is not None), *cells.dims)
    values = numbers_of(array)
    shape = [1 if dim is None else array.sizes[dim] for dim in leading]
    values = values.reshape(*shape, -1)
    return values if cells.order is None else values[..., cells.order]


def _ordered_later(array: xr.DataArray, leading: tuple[str | None, ...], cells: Cells) -> Any:
    """Return what `_ordered` does, read where it is asked for, some times at a go."""
    times = array.sizes[leading[0]] if leading[0] is not None else 1
    at_once = max(1, BLOCK_BYTES // max(1, 4 * array.size // times))
    array = array.transpose(*(dim for dim in leading if dim is not None), *cells.dims)
    values = array.chunk({dim: at_once if dim == leading[0] else -1 for dim in array.dims}).data
    shape = [1 if dim is None else array.sizes[dim] for dim in leading]
    values = values.reshape(*shape, -1)
    count = values.shape[2] if cells.order is None else len(cells.order)
    return values.map_blocks(_cleaned, cells.order, dtype=np.float32, chunks=(*values.chunks[:2], (count,)))


def _cleaned(values: NDArray[np.floating], order: Index | None) -> NDArray[np.float32]:
    """Return values [time, number, cell] in the order of the grid, NaN where nothing was ever written."""
    values = values.astype(np.float32)
    values[values == NEVER_WRITTEN] = np.nan
    return values if order is None else values[..., order]
