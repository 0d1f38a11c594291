"""Where the cells of a NetCDF file lie, by the names, units and grid mapping of its coordinates."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emulator.data.names import WINDS, canonical_name, conversion, split_level
from emulator.data.series import Grid, settled_grid
from graphs.errors import MeshcastError
from graphs.geometry import Array, Index, great_circle_distance, tangent_displacement, to_xyz

if TYPE_CHECKING:
    import xarray as xr

# lower-case names that dimensions and coordinates go by; the CF attributes decide first
NAMES = {
    "latitude": ("latitude", "lat", "lats", "nav_lat", "xlat", "y_lat", "clat", "tlat"),
    "longitude": ("longitude", "lon", "lons", "nav_lon", "xlong", "x_lon", "clon", "tlon", "tlong"),
    "time": ("time", "valid_time", "date", "dates", "datetime", "time_counter", "xtime"),
    "number": ("number", "member", "realization", "ensemble", "ens", "ensemble_member", "members"),
    "level": ("level", "lev", "plev", "pressure", "pressure_level", "isobaricinhpa", "isobaric", "height", "depth"),
}
STANDARD_NAMES = {"realization": "number", "air_pressure": "level", "height": "level", "depth": "level"}
# the two axes of a rotated or projected grid, which are no latitudes and longitudes
GRID_AXES = {
    "y": ("grid_latitude", "projection_y_coordinate", "rlat"),
    "x": ("grid_longitude", "projection_x_coordinate", "rlon"),
}
INIT_NAMES = (
    "init_time", "initialization_time", "initialisation_time", "forecast_reference_time", "reference_time", "init",
    "base_time", "analysis_time", "start_time",
)  # fmt: skip
LEAD_NAMES = (
    "prediction_timedelta", "step", "lead_time", "leadtime", "lead", "forecast_period", "forecast_hour", "fhour",
)  # fmt: skip

DEGREES = re.compile(r"(deg(ree)?s?|°)[ _]?(n(orth)?|e(ast)?)?")
RADIANS = re.compile(r"rad(ian)?s?")
NO_UNITS = ("", "1", "none", "unknown", "dimensionless")
SAME_PLACE = 1e-3  # [radians], 6 km: to which a grid mapping must give the latitudes and longitudes beside it
WIND_NAMES = ("eastward", "northward")  # standard names of what does not follow the grid begin so


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of a file.

    dims: their dimensions.
    order: takes the file's cells to those of `grid`; None where they are in its order.
    coordinates: names of the latitudes and longitudes.
    mapping: attributes of the grid mapping as JSON, empty on latitudes and longitudes.
    curved: whether the file's own rows and columns are no latitudes and longitudes.
    turn: cosine and sine [cell], in the file's order, of the angle from the east to the file's x axis; None if unknown.
    """

    dims: tuple[str, ...]
    grid: Grid
    order: Index | None
    coordinates: tuple[str, ...] = ()
    mapping: str = ""
    curved: bool = False
    turn: tuple[Array, Array] | None = None


def role(file: xr.Dataset, name: str) -> str | None:
    """Return whether a dimension or coordinate is time, number, level, latitude or longitude; None where it is none."""
    attributes: Mapping[str, Any] = file[name].attrs if name in file.variables else {}
    standard_name, axis = str(attributes.get("standard_name", "")), str(attributes.get("axis", "")).upper()
    units, lower = str(attributes.get("units", "")).lower(), name.lower()
    if standard_name in NAMES:
        return standard_name
    if standard_name in STANDARD_NAMES:
        return STANDARD_NAMES[standard_name]
    if _grid_axis(file, name) or standard_name == "forecast_reference_time" or lower in INIT_NAMES:
        return None
    if units.startswith("degrees_north") or units in ("degree_north", "degreen", "degreesn"):
        return "latitude"
    if units.startswith("degrees_east") or units in ("degree_east", "degreee", "degreese"):
        return "longitude"
    if by_name := next((kind for kind, names in NAMES.items() if lower in names), None):
        return by_name
    by_axis = {"T": "time", "Z": "level", "Y": "latitude", "X": "longitude"}.get(axis)
    if by_axis is None and name in file.variables and is_time(file[name]):
        return "time"
    return by_axis


def is_time(array: xr.DataArray) -> bool:
    """Return whether a coordinate holds dates, of any calendar."""
    if array.dtype.kind == "M":
        return True
    return array.dtype == object and array.size > 0 and hasattr(array.values.ravel()[0], "calendar")


def find(file: xr.Dataset, kind: str) -> list[str]:
    """Return names of the coordinates with a role, those along a dimension of their own first."""
    found = [str(name) for name in file.variables if role(file, str(name)) == kind]
    return sorted(found, key=lambda name: name not in file.sizes)


def named(file: xr.Dataset, standard_name: str, names: tuple[str, ...]) -> str | None:
    """Return the first variable with a standard name, else the first with one of these lower-case names."""
    for name in map(str, file.variables):
        if file[name].attrs.get("standard_name") == standard_name:
            return name
    lower = {str(name).lower(): str(name) for name in file.variables}
    return next((lower[name] for name in names if name in lower), None)


def horizontal(file: xr.Dataset, path: Path, units: Mapping[str, str] | None = None) -> Cells:
    """Return where the cells of a file lie; raise MeshcastError where it does not say, or not in a known unit.

    units: of latitudes and longitudes, by their names, where the file does not say.
    """
    latitudes, longitudes = find(file, "latitude"), find(file, "longitude")
    axes = [next((str(dim) for dim in file.sizes if _grid_axis(file, str(dim)) == axis), "") for axis in "yx"]
    inverse = _inverse(file, axes, path) if all(axes) else None
    if inverse is not None and not (latitudes and longitudes):
        latitude, longitude = inverse(*np.meshgrid(*(file[axis].values for axis in axes), indexing="ij"))
        dims: tuple[str, ...] = (axes[0], axes[1])
        names: tuple[str, ...] = ()
    else:
        latitude, longitude, dims, names = _places(file, path, latitudes, longitudes, units or {})
    grid, order = settled_grid(latitude, longitude)
    curved = len(dims) == 2 and len(grid.shape) == 1
    turn = _turn(file, axes, latitude, longitude, inverse) if curved and dims == tuple(axes) and inverse else None
    return Cells(dims, grid, order, names, _mapping_of(file)[1] if curved else "", curved, turn)


def grid_winds(array: xr.DataArray, name: str, cells: Cells, path: Path) -> bool:
    """Return whether a variable is a wind along the axes of a curved grid, which can be turned.

    Raises MeshcastError where it cannot be, or where the file does not say along which axes it is.
    """
    standard_name = str(array.attrs.get("standard_name", ""))
    known = canonical_name(split_level(name)[0]) in {*WINDS, *WINDS.values()}
    if not cells.curved or not known or standard_name.startswith(WIND_NAMES):
        return False
    if standard_name.startswith(("grid_eastward", "grid_northward", "x_wind", "y_wind")) and cells.turn is not None:
        return True
    raise MeshcastError(
        f"{path}: {array.name} would be read as {name}, eastward or northward, but lies on a rotated or curved grid "
        f"and its standard_name is {standard_name or 'absent'}, so it may follow the grid's own axes. Turn it first "
        "(cdo rotuvb, or WRF's sinalpha and cosalpha) and set the standard_name eastward_wind or northward_wind; or "
        f"keep it along the grid with --rename {array.name}=..., under a name that is no eastward or northward wind's."
    )


def _places(
    file: xr.Dataset, path: Path, latitudes: list[str], longitudes: list[str], units: Mapping[str, str]
) -> tuple[Array, Array, tuple[str, ...], tuple[str, ...]]:
    """Return latitudes and longitudes of all cells [degrees], the cells' dimensions, and the coordinates' names."""
    if not latitudes or not longitudes:
        missing = "latitude" if not latitudes else "longitude"
        axes = [name for name in map(str, file.sizes) if _grid_axis(file, name)]
        rotated = f" {' and '.join(axes)} count along a grid whose mapping is not given or not known." if axes else ""
        raise MeshcastError(
            f"{path} has no {missing}: neither a standard_name, units degrees_{'north' if not latitudes else 'east'} "
            f"nor a name like {', '.join(NAMES[missing][:2])}.{rotated} Its variables are "
            f"{', '.join(map(str, file.variables))}."
        )
    pairs = [(one, other) for one in latitudes for other in longitudes if file[one].dims == file[other].dims]
    pairs += [(one, other) for one in latitudes for other in longitudes if file[one].ndim == file[other].ndim == 1]
    # two axes where there are such: a longitude of its own dimension stands before one of many
    names = min(pairs, key=lambda pair: (pair[0] not in file.sizes, pair[1] not in file.sizes), default=None)
    if names is None:
        latitude, longitude = file[latitudes[0]], file[longitudes[0]]
        raise MeshcastError(
            f"{path}: latitude has dimensions {latitude.dims} and longitude {longitude.dims}; they must be two axes, "
            "or share their dimensions."
        )
    latitude, longitude = (_at_one_time(file, name, path) for name in names)
    degrees_north, degrees_east = _degrees(latitude, longitude, path, units)
    if latitude.dims == longitude.dims:
        return degrees_north.ravel(), degrees_east.ravel(), tuple(map(str, latitude.dims)), names
    rows, columns = np.meshgrid(degrees_north, degrees_east, indexing="ij")
    return rows.ravel(), columns.ravel(), (str(latitude.dims[0]), str(longitude.dims[0])), names


def _at_one_time(file: xr.Dataset, name: str, path: Path) -> xr.DataArray:
    """Return a coordinate without the time that some models repeat it along; refuse one that moves."""
    array = file[name]
    for dim in [str(dim) for dim in array.dims if role(file, str(dim)) == "time" and array.ndim > 1]:
        first = array.isel({dim: 0}, drop=True)
        if array.sizes[dim] > 1 and float(np.abs(array - first).max()) > 1e-4:
            raise MeshcastError(
                f"{path}: {name} changes along {dim}. Fields on a moving grid cannot be read; remap them."
            )
        array = first
    return array


def _degrees(
    latitude: xr.DataArray, longitude: xr.DataArray, path: Path, units: Mapping[str, str]
) -> tuple[Array, Array]:
    """Return both coordinates in degrees, by their units; without, degrees if they cannot be radians."""
    values = [np.asarray(one.values, np.float64) for one in (latitude, longitude)]
    for array, coordinate in zip(values, (latitude, longitude), strict=True):
        if strange := int((~np.isfinite(array)).sum()):
            raise MeshcastError(
                f"{path}: {strange} of {array.size} values of {coordinate.name} are missing or not finite, so nothing "
                "says where these cells are. Leave such cells out of the file first."
            )
    factors = [_factor(one, path, units) for one in (latitude, longitude)]
    known = next((factor for factor in factors if factor is not None), None)
    if known is None:
        if np.abs(values[0]).max() <= np.pi / 2 + 1e-6 and np.abs(values[1]).max() <= 2 * np.pi + 1e-6:
            raise MeshcastError(
                f"{path}: {latitude.name} and {longitude.name} have no units, and their values (up to "
                f"{np.abs(values[0]).max():.4g} and {np.abs(values[1]).max():.4g}) could be radians of the globe as "
                f"well as degrees of a small area. Say --units {latitude.name}=radians or --units "
                f"{latitude.name}=degrees, or give them a units attribute."
            )
        known = 1.0
    degrees = [array * (known if factor is None else factor) for array, factor in zip(values, factors, strict=True)]
    if (worst := np.abs(degrees[0]).max()) > 90.0 + 1e-3:
        raise MeshcastError(
            f"{path}: {latitude.name} reaches {worst:g} degrees by its units ({_units_of(latitude, units) or 'none'}), "
            "beyond a pole. Correct its values or its units attribute; degrees and radians are read."
        )
    return np.clip(degrees[0], -90.0, 90.0), degrees[1]


def _units_of(coordinate: xr.DataArray, given: Mapping[str, str]) -> str:
    return str(given.get(str(coordinate.name), coordinate.attrs.get("units", ""))).strip()


def _factor(coordinate: xr.DataArray, path: Path, given: Mapping[str, str]) -> float | None:
    """Return how many degrees the unit of a coordinate has, None where it has no unit."""
    units = _units_of(coordinate, given)
    if units.lower() in NO_UNITS:
        return None
    if DEGREES.fullmatch(units.lower()):
        return 1.0
    if RADIANS.fullmatch(units.lower()):
        return float(np.degrees(1.0))
    raise MeshcastError(
        f"{path}: {coordinate.name} has units {units!r}, but latitudes and longitudes are read in degrees "
        "(degrees_north, degrees_east) and radians. Convert it, or say --units "
        f"{coordinate.name}=degrees where the attribute is wrong."
    )


def _grid_axis(file: xr.Dataset, name: str) -> str:
    """Return `y` or `x` where a coordinate is an axis of a rotated or projected grid, else nothing."""
    standard_name = str(file[name].attrs.get("standard_name", "")) if name in file.variables else ""
    return next((axis for axis, names in GRID_AXES.items() if standard_name in names or name.lower() in names), "")


def _mapping_of(file: xr.Dataset) -> tuple[dict[str, Any], str]:
    """Return the attributes of the file's grid mapping, and as JSON; empty where there is none."""
    named_by = {str(array.attrs.get("grid_mapping", "")).split(":")[0].strip() for array in file.data_vars.values()}
    for name in map(str, file.variables):
        attributes = dict(file[name].attrs)
        if "grid_mapping_name" in attributes and (name in named_by or named_by == {""}):
            plain = {key: np.asarray(value).tolist() for key, value in attributes.items() if not key.startswith("_")}
            return plain, json.dumps(plain)
    return {}, ""


def _inverse(file: xr.Dataset, axes: list[str], path: Path) -> Callable[[Array, Array], tuple[Array, Array]] | None:
    """Return a function from places on the grid's axes (y, x) to latitudes and longitudes [degrees], by its mapping."""
    from pyproj import CRS, Transformer
    from pyproj.exceptions import ProjError

    mapping = _mapping_of(file)[0]
    if not mapping or any(axis not in file.variables for axis in axes):
        return None
    try:
        crs = CRS.from_cf(mapping)
        to_degrees = Transformer.from_crs(crs, crs.source_crs, always_xy=True)
    except (ProjError, KeyError, TypeError, ValueError):
        return None
    scales = []
    for axis in axes:
        if mapping["grid_mapping_name"] == "rotated_latitude_longitude":
            scales.append(_factor(file[axis], path, {}) or 1.0)
        else:
            to_metres = conversion(str(file[axis].attrs.get("units", "m")), "m")
            if to_metres is None:
                return None
            scales.append(to_metres.factor)

    def inverse(y: Array, x: Array) -> tuple[Array, Array]:
        longitude, latitude = to_degrees.transform(np.ravel(x) * scales[1], np.ravel(y) * scales[0])
        return np.asarray(latitude), np.asarray(longitude)

    return inverse


def _turn(
    file: xr.Dataset,
    axes: list[str],
    latitude: Array,
    longitude: Array,
    inverse: Callable[[Array, Array], tuple[Array, Array]],
) -> tuple[Array, Array] | None:
    """Return cosine and sine of the angle from the east to the x axis; None where mapping and places disagree."""
    rows, columns = np.meshgrid(*(np.asarray(file[axis].values, np.float64) for axis in axes), indexing="ij")
    here = to_xyz(latitude, longitude)
    if great_circle_distance(here, to_xyz(*inverse(rows, columns))).max() > SAME_PLACE:
        return None
    little = 1e-3 * float(np.abs(np.diff(columns[0])).mean())
    ahead, behind = (tangent_displacement(here, to_xyz(*inverse(rows, columns + step))) for step in (little, -little))
    east, north = ahead[0] - behind[0], ahead[1] - behind[1]
    length = np.hypot(east, north)
    return east / length, north / length
