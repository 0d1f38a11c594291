"""Data sources: whatever a user names as data is opened here, by its format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emulator.data.arrays import in_memory
from emulator.data.dataset_fields import Source, describe, open_dataset_fields
from emulator.data.files import fields_of_files
from emulator.data.forecast import Forecast
from emulator.data.forecast_file import partial_file, read_forecast
from emulator.data.formats import format_of
from emulator.data.window import FieldsView, in_window
from emulator.fields import Fields
from graphs.errors import MeshcastError
from graphs.meshes.limited_area import Window


def open_fields(
    source: Any,
    trajectories: slice | None = None,
    keep_in_memory: bool = False,
    window: Window | None = None,
    rename: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> Fields:
    """Return the fields of whatever a user names as data.

    source: an anemoi dataset (a path, or a list or dict as `anemoi.datasets.open_dataset` takes: join, select, cutout,
        dates ...), an array (.npy) of a benchmark protocol, one or several GRIB or NetCDF files, or whatever is of a
        registered format (`emulator.data.formats`).
    trajectories: some rows of the ensemble axis.
    keep_in_memory: read everything once, where it takes less than a gigabyte.
    window: the part of the sphere to keep, and the boundary around it.
    rename, units: of the variables of files; see `read_files`.
    """
    fields = _whole(source, rename or {}, units or {})
    if trajectories is not None:
        _refuse_outside(trajectories, fields.ensemble_size, source)
        fields = FieldsView(fields, rows=range(fields.ensemble_size)[trajectories])
    if window is not None:
        fields = in_window(fields, window)
    return in_memory(fields) if keep_in_memory else fields


def open_source(path: str | Path) -> Fields | Forecast:
    """Return the forecast that a file holds, or the fields of any other source.

    Raises MeshcastError where the source is not there, is damaged, or is a forecast that is not complete.
    """
    unfinished = partial_file(path).exists() and not Path(path).exists()
    if unfinished or format_of(path).read_forecast is not None:
        try:
            return read_forecast(path)
        except MeshcastError:
            if unfinished:
                raise
    return open_fields(str(path))


def _whole(source: Any, rename: Mapping[str, str], units: Mapping[str, str]) -> Fields:
    listed = list(source) if isinstance(source, (list, tuple)) else [source]
    if not listed:
        raise MeshcastError("No source of data is given. Name a dataset or files.")
    if not all(isinstance(one, (str, Path)) for one in listed):
        return open_dataset_fields(source)
    formats = [format_of(one) for one in listed]
    if all(one.open_fields is None for one in formats):
        return fields_of_files(listed, rename, units)
    paths = [str(one) for one in listed]
    if len(paths) == 1 and formats[0].open_fields is not None:
        return formats[0].open_fields(paths[0])
    return open_dataset_fields(paths)


def _refuse_outside(trajectories: slice, size: int, source: Source) -> None:
    first, stop = trajectories.start or 0, size if trajectories.stop is None else trajectories.stop
    if not 0 <= first < stop <= size:
        raise MeshcastError(
            f"The trajectories {first}:{stop} are not all in {describe(source)}, whose ensemble axis holds {size}. "
            f"Count from 0, the last is not included: 0:{size} is all."
        )
