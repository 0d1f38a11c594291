"""NetCDF files as series: whatever their dimensions are called, with or without CF's attributes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emulator.data.names import canonical_name, conversion
from emulator.data.series import GREGORIAN, NUMBER, Grid, Series, gregorian, refuse_disorder, settled_grid
from emulator.foundation.configuration_faults import nearest
from emulator.foundation.time_step import to_seconds
from graphs.errors import MeshcastError

if TYPE_CHECKING:
    import xarray as xr

# lower-case names that dimensions and coordinates go by; the CF attributes decide first
NAMES = {
    "latitude": ("latitude", "lat", "lats", "nav_lat", "xlat", "y_lat", "grid_latitude"),
    "longitude": ("longitude", "lon", "lons", "nav_lon", "xlong", "x_lon", "grid_longitude"),
    "time": ("time", "valid_time", "date", "dates", "datetime"),
    "number": ("number", "member", "realization", "ensemble", "ens", "ensemble_member", "members"),
    "level": ("level", "lev", "plev", "pressure", "pressure_level", "isobaricinhpa", "isobaric", "height", "depth"),
}
STANDARD_NAMES = {"realization": "number", "air_pressure": "level", "height": "level", "depth": "level"}
TRAVELLING = {  # what is kept of a file's global attributes, and under which name
    "title": "title", "institution": "institution", "source": "source", "references": "references",
    "license": "licence", "licence": "licence", "attribution": "attribution", "citation": "attribution",
}  # fmt: skip


def read_netcdf(path: Path, rename: Mapping[str, str], units: Mapping[str, str]) -> list[Series]:
    """Return every variable of a NetCDF file on a grid, levels folded into the names; refuse unknown dimensions."""
    with open_netcdf(path) as file:
        if dimension := next((theirs for theirs, ours in rename.items() if ours == NUMBER), None):
            file = _numbered(file, dimension, path)
        try:
            series = _series(file, path, rename, units)
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
        times = xr.coders.CFDatetimeCoder(time_unit="s")
        return xr.open_dataset(path, engine="netcdf4", decode_times=times, decode_timedelta=False)
    except (OSError, RuntimeError) as error:
        raise MeshcastError(f"{path} is damaged or truncated: {error}. Fetch it again.") from None
    except ValueError as error:
        raise MeshcastError(f"{path} cannot be read, its times least of all: {str(error).splitlines()[0]}") from None


def role(file: xr.Dataset, name: str) -> str | None:
    """Return whether a dimension or coordinate is time, number, level, latitude or longitude; None where it is none."""
    attributes: Mapping[str, Any] = file[name].attrs if name in file.variables else {}
    standard_name, axis = str(attributes.get("standard_name", "")), str(attributes.get("axis", "")).upper()
    units = str(attributes.get("units", "")).lower()
    if standard_name in NAMES:
        return standard_name
    if standard_name in STANDARD_NAMES:
        return STANDARD_NAMES[standard_name]
    if units.startswith("degrees_north") or units in ("degree_north", "degreen", "degreesn"):
        return "latitude"
    if units.startswith("degrees_east") or units in ("degree_east", "degreee", "degreese"):
        return "longitude"
    if by_name := next((kind for kind, names in NAMES.items() if name.lower() in names), None):
        return by_name
    by_axis = {"T": "time", "Z": "level", "Y": "latitude", "X": "longitude"}.get(axis)
    if by_axis is None and name in file.variables and _is_time(file[name]):
        return "time"
    return by_axis


def find(file: xr.Dataset, kind: str) -> list[str]:
    """Return names of the coordinates with a role, those along a dimension of their own first."""
    found = [str(name) for name in file.variables if role(file, str(name)) == kind]
    return sorted(found, key=lambda name: name not in file.sizes)


def horizontal(file: xr.Dataset, path: Path) -> tuple[tuple[str, ...], Grid, NDArray[np.int64] | None]:
    """Return the dimensions of the cells, their grid, and the order that takes the file's cells to the grid's."""
    latitudes, longitudes = find(file, "latitude"), find(file, "longitude")
    if not latitudes or not longitudes:
        missing = "latitude" if not latitudes else "longitude"
        raise MeshcastError(
            f"{path} has no {missing}: neither a standard_name, units degrees_{'north' if not latitudes else 'east'} "
            f"nor a name like {', '.join(NAMES[missing][:2])}. Its variables are {', '.join(map(str, file.variables))}."
        )
    latitude, longitude = file[latitudes[0]], file[longitudes[0]]
    if latitude.dims == longitude.dims:
        dims = tuple(map(str, latitude.dims))
        grid, order = settled_grid(latitude.values, longitude.values)
        return dims, grid, order
    if latitude.ndim != 1 or longitude.ndim != 1:
        raise MeshcastError(
            f"{path}: latitude has dimensions {latitude.dims} and longitude {longitude.dims}; they must be two axes, "
            "or share their dimensions."
        )
    rows, columns = np.meshgrid(latitude.values, longitude.values, indexing="ij")
    grid, order = settled_grid(rows, columns)
    return (str(latitude.dims[0]), str(longitude.dims[0])), grid, order


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


def _series(file: xr.Dataset, path: Path, rename: Mapping[str, str], units: Mapping[str, str]) -> list[Series]:
    cell_dims, grid, order = horizontal(file, path)
    series = []
    bounds = {str(file[name].attrs.get("bounds")) for name in file.variables}
    for raw_name in map(str, file.data_vars):
        array = file[raw_name]
        if raw_name in bounds or array.dtype.kind not in "fiu" or not set(cell_dims) <= set(array.dims):
            continue
        if role(file, raw_name) is not None:
            continue
        kinds = {str(dim): role(file, str(dim)) for dim in array.dims if dim not in cell_dims}
        strange = [dim for dim, kind in kinds.items() if kind is None and file.sizes[dim] > 1]
        if strange or len(set(kinds.values())) < len(kinds):
            raise MeshcastError(
                f"{path}: the dimensions {', '.join(strange or kinds)} of {raw_name} are neither time, member nor "
                "level. Select one of each first, or name them so."
            )
        array = array.squeeze([dim for dim, kind in kinds.items() if kind is None], drop=True)
        dims = {kind: dim for dim, kind in kinds.items() if kind is not None}
        times, calendar = _times(file, raw_name, dims.get("time"), path)
        numbers = _numbers(file, dims.get("number"))
        for level, field in levels_of(file, array, dims.get("level")):
            values = _ordered(field, (dims.get("time"), dims.get("number")), cell_dims, order)
            name = canonical_name(raw_name, str(array.attrs.get("standard_name", "")), level)
            folded = raw_name if level is None else f"{raw_name}_{level:g}"
            name = next((rename[key] for key in (folded, raw_name, name) if key in rename), name)
            given = next((units[key] for key in (name, folded, raw_name) if key in units), None)
            series.append(
                Series(
                    name=name,
                    raw_name=folded,
                    values=values,
                    times=times,
                    numbers=numbers,
                    grid=grid,
                    units=given or str(array.attrs.get("units", "")),
                    path=str(path),
                    calendar=calendar,
                    attributes=travelling_attributes(file.attrs),
                )
            )
    return series


def _numbered(file: xr.Dataset, dimension: str, path: Path) -> xr.Dataset:
    """Return the file with a dimension that counts trajectories, whatever it is called."""
    others = [str(dim) for dim in file.sizes if dim != dimension and role(file, str(dim)) == NUMBER]
    if dimension not in file.sizes:
        if dimension == NUMBER and others:
            return file
        raise MeshcastError(
            f"{path} has no dimension {dimension!r}{nearest(dimension, map(str, file.sizes))} of trajectories; its "
            f"dimensions are {', '.join(map(str, file.sizes))}. --trajectories takes one, `files`, or FIRST:STOP."
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
    if dim is None:
        scalar = [name for name in find(file, "time") if name in file[variable].coords and file[name].ndim == 0]
        if not scalar:
            return None, "standard"
        dim = scalar[0]
    if dim not in file.variables or not _is_time(file[dim]):
        there = f"units {file[dim].attrs.get('units', 'absent')!r}" if dim in file.variables else "no coordinate"
        raise MeshcastError(
            f"{path}: the dimension {dim} of {variable} has no times ({there}). Give it units like "
            "`hours since 1970-01-01`."
        )
    moments = np.atleast_1d(file[dim].values)
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


def _is_time(array: xr.DataArray) -> bool:
    if array.dtype.kind == "M":
        return True
    return array.dtype == object and array.size > 0 and hasattr(array.values.ravel()[0], "calendar")


def _ordered(
    array: xr.DataArray, leading: tuple[str | None, ...], cell_dims: tuple[str, ...], order: NDArray[np.int64] | None
) -> NDArray[np.float32]:
    """Return values [time, number, cell], dimensions of length one put in where the variable lacks them."""
    array = array.transpose(*(dim for dim in leading if dim is not None), *cell_dims)
    values = array.values.astype(np.float32)
    shape = [1 if dim is None else array.sizes[dim] for dim in leading]
    values = values.reshape(*shape, -1)
    return values if order is None else values[..., order]
