"""The formats in which data come: how each is recognised, and what can be read from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from emulator.data.arrays import open_arrays
from emulator.data.datasets.dataset_fields import open_dataset_fields
from emulator.data.forecast import Forecast
from emulator.data.forecast_netcdf import read_netcdf_forecast
from emulator.data.forecast_zarr import read_zarr_forecast
from emulator.data.grib_file import read_grib, read_grib_forecast
from emulator.data.netcdf_file import read_netcdf
from emulator.data.series import Series
from emulator.data.the_well.well_fields import open_well_fields, read_well
from emulator.data.the_well.well_file import is_well
from emulator.fields import Fields
from emulator.forcings import TabulatedForcings
from emulator.foundation.configuration_faults import nearest
from emulator.foundation.fetched_files import is_plain_path
from graphs.errors import MeshcastError, refuse_damaged


@dataclass(frozen=True)
class DataFormat:
    """A format of datasets or files.

    endings: of the paths that are of this format.
    begins: whether a file that begins with these bytes, at most 1024, is of this format.
    holds: whether a file that begins so is of this format, where its first bytes alone do not say.
    open_fields: the fields of a dataset that stands alone, from what the user named.
    open_files: the fields of one or several files of this format alone, read when they are asked for, from their paths,
        new names by old, units, and what tells trajectories apart (see `emulator.data.sources.open_fields`).
    read_series: the variables of a file that may be merged with others, from its path, new names by old, and units.
    read_series_later: the same, but that their values are read where they are asked for, as `read_later` does it.
    read_forecast: the forecast of a file.
    read_forecast_later: the same, but that large values are read where they are asked for.
    read_table: the global forcings, by date, that a file holds.
    """

    endings: tuple[str, ...] = ()
    begins: Callable[[bytes], bool] = lambda start: False
    holds: Callable[[Path], bool] = lambda path: True
    open_fields: Callable[[Any], Fields] | None = None
    open_files: Callable[[Sequence[Path], Mapping[str, str], Mapping[str, str], str | None], Fields] | None = None
    read_series: Callable[[Path, Mapping[str, str], Mapping[str, str]], list[Series]] | None = None
    read_series_later: Callable[[Path, Mapping[str, str], Mapping[str, str]], list[Series]] | None = None
    read_forecast: Callable[[Path], Forecast] | None = None
    read_forecast_later: Callable[[Path], Forecast] | None = None
    read_table: Callable[[Path], TabulatedForcings] | None = None


def _refusing_damaged(read: Callable[..., Any]) -> Callable[..., Any]:
    """Return a reader that raises MeshcastError where a file is damaged, whatever its library raises."""

    def reader(path: Any, *options: Any) -> Any:
        with refuse_damaged(path):
            return read(path, *options)

    return reader


ANEMOI = DataFormat(
    endings=(".zarr", ".zip"), open_fields=open_dataset_fields, read_forecast=_refusing_damaged(read_zarr_forecast)
)
FETCHED = DataFormat()  # known once it is on this machine
# by name, the package's and those of plug-in files, which are asked first
FORMATS = {
    "anemoi dataset": ANEMOI,
    ".npy array": DataFormat(endings=(".npy",), open_fields=_refusing_damaged(open_arrays)),
    "CSV table": DataFormat(endings=(".csv",), read_table=_refusing_damaged(TabulatedForcings.read)),
    "GRIB": DataFormat(
        begins=lambda start: b"GRIB" in start,  # a bulletin header may come first
        read_series=_refusing_damaged(read_grib),
        read_series_later=_refusing_damaged(partial(read_grib, later=True)),
        read_forecast=_refusing_damaged(read_grib_forecast),
    ),
    "NetCDF": DataFormat(
        begins=lambda start: start.startswith((b"CDF", b"\x89HDF\r\n\x1a\n")),
        read_series=_refusing_damaged(read_netcdf),
        read_series_later=_refusing_damaged(partial(read_netcdf, later=True)),
        read_forecast=_refusing_damaged(read_netcdf_forecast),
        read_forecast_later=_refusing_damaged(partial(read_netcdf_forecast, later=True)),
    ),
    "The Well": DataFormat(
        begins=lambda start: start.startswith(b"\x89HDF\r\n\x1a\n"),  # as NetCDF-4 does: asked first
        holds=is_well,
        open_files=open_well_fields,
        read_series=_refusing_damaged(read_well),
        read_series_later=_refusing_damaged(partial(read_well, later=True)),
    ),
}


def named_format(source: str | Path) -> DataFormat | None:
    """Return the format that the ending of a path says, None where it says none."""
    name = str(source).rstrip("/")
    return next((known for known in reversed(FORMATS.values()) if name.endswith(known.endings)), None)


def format_of(source: str | Path) -> DataFormat:
    """Return the format of a path by its ending or the first bytes of the file; raise MeshcastError where none fits."""
    if named := named_format(source):
        return named
    if not is_plain_path(source):
        return FETCHED
    path = Path(source)
    if "://" in str(source) or not (path.suffix or path.exists()):  # anemoi-datasets has registered names of its own
        return ANEMOI
    return file_format(path)


def file_format(path: Path) -> DataFormat:
    """Return the format of a file by its first bytes alone; raise MeshcastError where it is absent or of none."""
    if not path.exists():
        near = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        raise MeshcastError(f"There is no file {path}{nearest(path.name, near) or '.'}")
    if path.is_dir():
        raise MeshcastError(f"{path} is a folder; expected a GRIB or NetCDF file.")
    try:
        with path.open("rb") as file:
            start = file.read(1024)
    except OSError as error:
        raise MeshcastError(f"Cannot read {path}: {error.strerror}.") from None
    if found := next((one for one in reversed(FORMATS.values()) if one.begins(start) and one.holds(path)), None):
        return found
    what = "is empty" if not start else f"begins with {start[:8]!r}"
    raise MeshcastError(f"{path} {what}: it is neither GRIB nor NetCDF. Give a file of either format.")
