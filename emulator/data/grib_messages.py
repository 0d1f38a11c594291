"""GRIB messages, one by one, through eccodes."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from emulator.data.names import WINDS, canonical_name
from emulator.data.series import Grid, settled_grid
from graphs.available_memory import refuse_too_large
from graphs.errors import MeshcastError, refuse_damaged

STRAIGHT = ("regular_ll", "reduced_ll", "regular_gg", "reduced_gg", "healpix")  # whose own axes are east and north
MISSING = 9.999e20  # stands for NaN on the way in and out of eccodes, which takes any number no field holds
BYTES_PER_POINT = 64  # while it is decoded: value, latitude and longitude in double precision, with copies
ALWAYS_FEW = 2 * 10**8  # points of a field on a grid of two kilometres, which may be one number packed to no bits
ERA5 = {
    "title": "ERA5 reanalysis",
    "institution": "European Centre for Medium-Range Weather Forecasts",
    "attribution": "Contains modified Copernicus Climate Change Service information (ERA5, Hersbach et al. 2020, "
    "doi:10.1002/qj.3803)",
    "licence": "Copernicus",
}


@dataclass(frozen=True, eq=False)
class GribField:
    """One message, its values [cell] in the order of `grid`, NaN where missing; times are seconds since 1970 UTC.

    name: canonical, with its pressure level; raw_name: short name and level as the message says.
    values: none where they are read later. offset: of the message in its file [byte]. order: [cell] that takes the
    message's values to those of `grid`; None where nothing moves.
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
    offset: int = 0
    order: NDArray[np.int64] | None = None


@cache
def eccodes_quietly() -> ModuleType:
    """Return eccodes, which says nothing of its own: what it refuses, a message of ours explains."""
    import eccodes

    eccodes.codes_context_set_logging(_nowhere())
    return eccodes


@cache
def _nowhere() -> TextIO:
    """Return a file that swallows all; eccodes keeps writing to it, so that it is never closed."""
    return open(os.devnull, "w")


def grib_fields(path: Path, later: bool = False) -> Iterator[GribField]:
    """Yield the messages of a GRIB file, in order; raise MeshcastError where the file is truncated or damaged.

    later: whether their values are left out, for `grib_values` to read.
    """
    eccodes = eccodes_quietly()
    refuse_truncated(path)
    grids: dict[str, tuple[Grid, NDArray[np.int64] | None, int]] = {}
    count = 0
    with path.open("rb") as file:
        try:
            while (message := eccodes.codes_grib_new_from_file(file)) is not None:
                count += 1
                try:
                    with _silent():
                        _refuse_too_many_points(eccodes, message, f"{path}: message {count}")
                        _refuse_grid_winds(eccodes, message, f"{path}: message {count}")
                        field = _field(eccodes, message, grids, later)
                finally:
                    eccodes.codes_release(message)
                yield field
        except MeshcastError as error:
            raise error if str(path) in str(error) else MeshcastError(f"{path}: message {count}: {error}.") from None
        except (eccodes.CodesInternalError, ValueError, TypeError, OverflowError, MemoryError) as error:
            reason = str(error) or type(error).__name__
            raise MeshcastError(
                f"{path} is damaged: message {count} or the one after cannot be decoded ({reason}). Fetch it again."
            ) from None


@contextmanager
def _silent() -> Iterator[None]:
    """Send what eccodes, libpng and OpenJPEG write to standard error nowhere: what they refuse we explain."""
    try:
        kept = os.dup(2)
    except OSError:  # no standard error
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def refuse_truncated(path: Path) -> None:
    """Raise MeshcastError where a message is longer than what is left of the file, or lacks its closing `7777`.

    The length of a message stands in its section 0 (WMO FM 92): 3 bytes from the fifth in edition 1, 8 bytes from the
    ninth in edition 2.
    """
    size, start, count = path.stat().st_size, 0, 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        while (found := content.find(b"GRIB", start)) >= 0:
            count += 1
            head = content[found : found + 16]
            if len(head) == 16 and head[7] == 1 and head[4] & 0x80:
                return  # edition 1 beyond 8 MB counts otherwise: left to eccodes
            length = int.from_bytes(head[4:7] if len(head) > 7 and head[7] == 1 else head[8:16], "big")
            end = found + length
            if len(head) < 16 or length < len(head) or end > size or content[end - 4 : end] != b"7777":
                raise MeshcastError(
                    f"{path} is truncated or damaged: message {count} begins at byte {found} and should be {length} "
                    f"bytes long, ending in 7777, but the file has {size} bytes. Fetch it again."
                )
            start = end
        if content[start:].strip(b"\0\r\n\x03 "):
            raise MeshcastError(
                f"{path} is truncated or damaged: {size - start} bytes follow message {count} that are no message. "
                "Fetch it again."
            )


def _refuse_too_many_points(eccodes: Any, message: Any, where: str) -> None:
    """Raise MeshcastError where a header declares more values than the message or memory can hold, or two sizes.

    Nothing is decoded: a picture's decoder (JPEG 2000, PNG) writes as many values as the picture declares, wherever.
    """
    points = max(eccodes.codes_get(message, "numberOfDataPoints"), eccodes.codes_get_size(message, "values"))
    length = eccodes.codes_get(message, "totalLength")
    if points > ALWAYS_FEW + 8 * length:
        raise MeshcastError(f"{where} declares {points:,} values in {length:,} bytes. It is damaged; fetch it again.")
    if points * BYTES_PER_POINT > 2**28:
        refuse_too_large(points * BYTES_PER_POINT, f"{where}, {points:,} values,", "Cut an area out of it first.")
    if str(eccodes.codes_get(message, "packingType")) in ("grid_jpeg", "grid_png"):
        section = eccodes.codes_get_message(message)[eccodes.codes_get(message, "offsetSection7") + 5 :]
        declared, coded = _picture_size(section), eccodes.codes_get(message, "numberOfValues")
        if declared != coded:
            raise MeshcastError(
                f"{where} packs {coded:,} values as a picture of {declared:,} points. It is damaged; fetch it again."
            )


def _picture_size(section: bytes) -> int:
    """Return the points of the JPEG 2000 (ISO 15444-1, A.5.1) or PNG (W3C, 11.2.2) that is packed; 0 for another."""
    if section.startswith(b"\xff\x4f\xff\x51"):
        right, bottom, left, top = (int.from_bytes(section[at : at + 4], "big") for at in (8, 12, 16, 20))
        components, subsampled = int.from_bytes(section[40:42], "big"), section[43:45]
        return (right - left) * (bottom - top) if components == 1 and subsampled == b"\1\1" else 0
    if section.startswith(b"\x89PNG\r\n\x1a\n"):
        width, height = (int.from_bytes(section[at : at + 4], "big") for at in (16, 20))
        return width * height
    return 0


def _refuse_grid_winds(eccodes: Any, message: Any, which: str) -> None:
    """Raise MeshcastError where a wind follows the axes of a rotated or projected grid."""
    if not eccodes.codes_is_defined(message, "uvRelativeToGrid") or not eccodes.codes_get(message, "uvRelativeToGrid"):
        return
    name, grid = (str(eccodes.codes_get(message, key)) for key in ("shortName", "gridType"))
    if name in {*WINDS, *WINDS.values()} and grid not in STRAIGHT:
        raise MeshcastError(
            f"{which} holds {name} along the axes of a {grid} grid, not eastward or northward. Turn the winds first "
            "(cdo rotuvb, or wgrib2 -new_grid_winds earth)."
        )


def _field(
    eccodes: Any, message: Any, grids: dict[str, tuple[Grid, NDArray[np.int64] | None, int]], later: bool
) -> GribField:
    def get(key: str, default: Any = None) -> Any:
        return eccodes.codes_get(message, key) if eccodes.codes_is_defined(message, key) else default

    # before eccodes is asked for a date that cannot be, of which it complains where nothing can silence it
    date(max(1, int(get("year", 2000))), int(get("month", 1)), int(get("day", 1)))
    short_name = str(get("shortName"))
    if short_name in ("unknown", "~"):
        short_name = f"param{get('paramId')}"
    level = {"isobaricInhPa": 1.0, "isobaricInPa": 0.01}.get(str(get("typeOfLevel")))
    if level is not None:
        level *= float(get("level"))
    key = str(get("md5GridSection"))
    if key not in grids:
        places = [eccodes.codes_get_array(message, axis) for axis in ("latitudes", "longitudes")]
        grids[key] = (*settled_grid(*places), len(places[0]))
    grid, order, points = grids[key]
    values = np.empty(0, np.float32) if later else _values(eccodes, message, points, get("bitmapPresent", 0))
    centre = str(get("centre", ""))
    institution = {} if centre in ("", "255", "missing", "unknown") else {"institution": centre}
    return GribField(
        name=canonical_name(short_name, level=level),
        raw_name=short_name if level is None else f"{short_name}_{level:g}",
        units=str(get("units", "")),
        number=int(get("number", 0)),
        base_time=_seconds(get("dataDate"), get("dataTime")),
        valid_time=_seconds(get("validityDate"), get("validityTime")),
        values=values if order is None or later else values[order],
        grid=grid,
        attributes=dict(ERA5) if get("class") == "ea" else institution,
        offset=int(eccodes.codes_get_message_offset(message)),
        order=order,
    )


def grib_values(path: Path, offsets: Sequence[int], order: NDArray[np.int64] | None) -> NDArray[np.float32]:
    """Return the values [message, cell] of messages at some offsets of a file, which are all on one grid."""
    eccodes, found = eccodes_quietly(), []
    with refuse_damaged(path), path.open("rb") as file:
        for offset in offsets:
            file.seek(offset)
            message = eccodes.codes_grib_new_from_file(file)
            try:
                with _silent():
                    points = eccodes.codes_get(message, "numberOfDataPoints")
                    bitmap = eccodes.codes_is_defined(message, "bitmapPresent")
                    bitmap = bool(bitmap and eccodes.codes_get(message, "bitmapPresent"))
                    values = _values(eccodes, message, points, bitmap)
            finally:
                eccodes.codes_release(message)
            found.append(values if order is None else values[order])
    return np.stack(found)


def _values(eccodes: Any, message: Any, points: int, bitmap: bool) -> NDArray[np.float32]:
    """Return the values of a message, in its own order; raise MeshcastError where its grid has another number."""
    eccodes.codes_set(message, "missingValue", MISSING)
    values = eccodes.codes_get_values(message)
    if bitmap:
        values = np.where(values == MISSING, np.nan, values)
    if len(values) != points:
        raise MeshcastError(f"its grid has {points:,} points, but it holds {len(values):,} values")
    return np.asarray(values, np.float32)


def _seconds(day: int, time: int) -> int:
    """Return seconds since 1970 UTC of GRIB's yyyymmdd and hhmm."""
    midnight = np.datetime64(f"{day // 10000:04d}-{day // 100 % 100:02d}-{day % 100:02d}", "s")
    return int(midnight.astype(np.int64)) + time // 100 * 3600 + time % 100 * 60


def moment(seconds: int) -> str:
    """Return a date for a person, of seconds since 1970 UTC."""
    return str(np.datetime64(seconds, "s"))
