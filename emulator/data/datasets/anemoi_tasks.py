"""Anemoi's own tasks of creation, and what they read and leave out."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emulator.data.datasets.dataset_fields import report_from_a_thread
from emulator.data.datasets.timeline import Timeline
from emulator.foundation.time_step import to_datetime
from graphs.atomic_file import system_errors
from graphs.errors import MeshcastError
from graphs.mesh import Mesh

if TYPE_CHECKING:
    import xarray as xr

DESCRIPTIVE = ("licence", "attribution", "description")  # what Anemoi writes of these is a filler


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Anemoi's log, progress bars and floating-point traps kept to itself."""
    levels = {logger: logger.level for logger in map(logging.getLogger, ("anemoi", "earthkit"))}
    try:
        for logger in levels:
            logger.setLevel(logging.CRITICAL)
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
            np.errstate(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


def as_netcdf(fields: xr.Dataset, mesh: Mesh, times: NDArray[np.int64], path: Path) -> None:
    """Write fields in the form that anemoi-datasets' netcdf source reads, at nominal times [s since 1970]."""
    import dask
    import xarray as xr

    (fields,) = dask.compute(fields, scheduler="synchronous")
    arrays = {str(name): array.transpose("time", "number", "cell") for name, array in fields.data_vars.items()}
    with np.errstate(over="ignore"):
        variables = {
            name: (array.dims, array.values.astype(np.float32), {"units": array.attrs.get("units", "1")})
            for name, array in arrays.items()
        }
    latitude, longitude = _places(fields, mesh)
    coordinates = {
        "time": to_datetime(times),
        "number": ("number", np.arange(fields.sizes["number"]), {"standard_name": "realization"}),
        "latitude": ("cell", latitude, {"standard_name": "latitude", "units": "degrees_north"}),
        "longitude": ("cell", longitude, {"standard_name": "longitude", "units": "degrees_east"}),
    }
    with system_errors(path, sum(array.nbytes for array in arrays.values())):
        xr.Dataset(variables, coordinates).to_netcdf(path, engine="netcdf4")


def _places(fields: xr.Dataset, mesh: Mesh) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return latitudes and longitudes of the cells [degrees], as the fields give them where they do."""
    if "latitude" in fields.coords and "longitude" in fields.coords:
        return fields["latitude"].values.astype(np.float64), fields["longitude"].values.astype(np.float64)
    return np.round(mesh.latitudes, 10), np.round(mesh.longitudes, 10)


def run(tasks: Iterable[str], recipe: Mapping[str, Any], path: Path) -> None:
    """Run some of Anemoi's tasks on the store at `path`."""
    from anemoi.datasets.create.recipe import Recipe
    from anemoi.datasets.create.tasks import run_task

    report_from_a_thread()
    for task in tasks:
        try:
            with quiet():
                run_task(task, Recipe(**recipe), path=str(path))
        except (OSError, MeshcastError, MemoryError):
            raise
        except Exception as error:  # zarr says KeyError where it could not make a folder
            reason = f"{type(error).__name__} {error}, or the disk was full or failing"
            raise OSError(errno.EIO, reason, str(path)) from error


def describe(
    path: Path, fields: xr.Dataset, timeline: Timeline, given: Mapping[str, str], ours: Mapping[str, str]
) -> None:
    """Add what Anemoi does not record, and put the true dates where it wrote nominal ones."""
    import zarr

    store = zarr.open(str(path), "r+")
    for name, value in given.items():
        if name not in store.attrs or name in DESCRIPTIVE:  # never over what Anemoi reads
            store.attrs[name] = str(value)
    store.attrs.update(ours)
    metadata = dict(store.attrs["variables_metadata"])
    for variable, array in fields.data_vars.items():
        metadata[str(variable)] = {**metadata[str(variable)], "units": array.attrs.get("units", "1")}
    store.attrs["variables_metadata"] = metadata
    if "calendar_step" in ours:
        store["dates"][:] = to_datetime(timeline.true)
        for name in ("start_date", "end_date", "last_date", "statistics_start_date", "statistics_end_date"):
            store.attrs[name] = _true_date(store.attrs[name], timeline)
        store.attrs["missing_dates"] = [_true_date(date, timeline) for date in store.attrs["missing_dates"]]


def _true_date(nominal: str, timeline: Timeline) -> str:
    index = np.searchsorted(timeline.nominal, np.datetime64(nominal, "s").astype(np.int64))
    return str(to_datetime(timeline.true)[index])
