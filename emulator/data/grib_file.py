"""GRIB files: analyses and forecasts read as series, forecasts written on regular grids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulator.data.names import canonical_name
from emulator.data.series import Grid, Series, settled_grid
from emulator.time_step import to_datetime, to_seconds
from graphs.errors import MeshcastError

ERA5 = {
    "title": "ERA5 reanalysis",
    "institution": "European Centre for Medium-Range Weather Forecasts",
    "attribution": "Contains modified Copernicus Climate Change Service information (ERA5, Hersbach et al. 2020, "
    "doi:10.1002/qj.3803)",
    "licence": "Copernicus",
}


@dataclass(frozen=True, eq=False)
class GribField:
    """One message.

    name: canonical, with its pressure level; raw_name: short name and level as the message says.
    base_time, valid_time: seconds since 1970 UTC.
    values: [cell] float32 in the order of `grid`, NaN where missing.
    """

    name: str
    raw_name: str
    units: str
    number: int
    base_time: int
    valid_time: int
    values: NDArray[np.float32]
    grid: Grid
    attributes: dict[str, str]


def read_grib(path: Path, rename: Mapping[str, str], units: Mapping[str, str]) -> list[Series]:
    """Every variable and member of a GRIB file over its valid times, one series each.

    Raises MeshcastError where the file is truncated, or holds a field twice.
    """
    groups: dict[tuple[str, int], dict[int, GribField]] = {}
    for field in grib_fields(path):
        group = groups.setdefault((field.raw_name, field.number), {})
        if (other := group.setdefault(field.valid_time, field)) is not field:
            detail = "" if other.base_time == field.base_time else " from forecasts of different initial times"
            raise MeshcastError(
                f"{path} holds {field.raw_name} at {to_datetime(np.int64(field.valid_time))} twice{detail}. Keep one of "
                "each (grib_copy -w selects)."
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


def grib_fields(path: Path) -> Iterator[GribField]:
    """The messages of a GRIB file, in order.

    Raises MeshcastError where the file is truncated or damaged.
    """
    eccodes = load_eccodes()
    import earthkit.data

    grids: dict[str, tuple[Grid, NDArray[np.int64] | None]] = {}
    count = 0
    try:
        source = earthkit.data.from_source("file", str(path))
        for count, message in enumerate(source):  # noqa: B007 - counts for the message below
            yield _field(message, grids)
    except (eccodes.CodesInternalError, EOFError, OSError, TypeError, AssertionError) as error:
        raise MeshcastError(
            f"{path} is truncated or damaged: message {count + 1} of it ends early or cannot be decoded "
            f"({type(error).__name__}). Fetch the file again; its size is {path.stat().st_size} bytes."
        ) from None


def load_eccodes() -> Any:
    """The eccodes module, with pyproj loaded before it.

    Both bring a libproj of their own; pyproj loaded second is bound to eccodes' one, finds no database and crashes the
    interpreter at exit (eckitlib 2.5, pyproj 3.7).
    """
    import pyproj  # noqa: F401, I001
    import eccodes

    return eccodes


def _field(message: Any, grids: dict[str, tuple[Grid, NDArray[np.int64] | None]]) -> GribField:
    short_name = str(message.metadata("shortName"))
    if short_name in ("unknown", "~"):
        short_name = f"param{message.metadata('paramId')}"
    level = _pressure_level(message)
    key = str(message.metadata("md5GridSection"))
    if key not in grids:
        places = message.to_latlon(flatten=True)
        grids[key] = settled_grid(places["lat"], places["lon"])
    grid, order = grids[key]
    values = message.to_numpy(flatten=True).astype(np.float32)
    times = message.datetime()
    return GribField(
        name=canonical_name(short_name, level=level),
        raw_name=short_name if level is None else f"{short_name}_{level:g}",
        units=str(message.metadata("units", default="") or ""),
        number=int(message.metadata("number", default=0) or 0),
        base_time=_seconds(times["base_time"]),
        valid_time=_seconds(times["valid_time"]),
        values=values if order is None else values[order],
        grid=grid,
        attributes=_attributes(message),
    )


def _pressure_level(message: Any) -> float | None:
    """The level [hPa], None where the field is not on a pressure level."""
    match str(message.metadata("typeOfLevel", default="")):
        case "isobaricInhPa":
            return float(message.metadata("level"))
        case "isobaricInPa":
            return float(message.metadata("level")) / 100.0
        case _:
            return None


def _seconds(moment: Any) -> int:
    return int(to_seconds(np.datetime64(moment)))


def _attributes(message: Any) -> dict[str, str]:
    if message.metadata("class", default="") == "ea":
        return dict(ERA5)
    centre = message.metadata("centre", default=None)
    return {"institution": str(centre)} if centre else {}
