"""Writing anemoi datasets, through anemoi-datasets' own creation tasks."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from emulator.data.arrays import ALWAYS_KEPT
from emulator.data.coordinates import mesh_to_json, time_step_to_json
from emulator.data.datasets.anemoi_tasks import as_netcdf, describe, quiet, run
from emulator.data.datasets.dataset_fields import NOT_CARRIED
from emulator.data.datasets.scalar_store import write_scalars
from emulator.data.datasets.store_parts import (
    PART_BYTES,
    StorePart,
    Summary,
    pack,
    statistics_arrays,
    summary_of,
    write_part,
)
from emulator.data.datasets.timeline import Timeline
from emulator.foundation.progress import Progress, no_progress
from emulator.foundation.threads import Notice
from emulator.foundation.time_step import TimeStep, to_datetime, to_seconds
from emulator.foundation.workers import OneByOne, Workers
from emulator.global_scalars import GlobalScalars
from graphs.atomic_file import recover, refuse_other, refuse_unwritable
from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from graphs.output_lock import output_lock
from graphs.partial_folder import PartialFolder, partial_folder

if TYPE_CHECKING:
    import xarray as xr

log = logging.getLogger(__name__)

BEFORE, AFTER = (
    ("init",),
    "finalise init_additions load_additions finalise_additions patch cleanup verify".split(),
)  # Anemoi's tasks around our loading
RESERVED = frozenset(  # what Anemoi writes beside those that do not travel
    """chunks constant_fields data_request dimensions field_shape missing_dates order_by proj_string provenance_load
    recipe remapping shape statistics total_number_of_files variables variables_metadata""".split()
)
MAX_CHUNK_DATES, CHUNK_BYTES = 24, 2**22  # windows of 5 steps read fastest between 6 and 24 dates a chunk
LEAST_CHUNK_BYTES = 2**16  # below that a file takes longer to open than to read


def create_dataset(
    output: Path,
    fields: xr.Dataset,
    *,
    mesh: Mesh,
    time_step: TimeStep,
    ensemble_axis: Literal["trajectory", "member"],
    attributes: Mapping[str, str],
    overwrite: bool = False,
    scalars: GlobalScalars | None = None,
    workers: Workers | None = None,
    inputs: str | None = None,
    notice: Notice = log.info,
    progress: Progress = no_progress,
) -> None:
    """Write fields as an anemoi dataset that `open_dataset` and `anemoi-datasets inspect` accept.

    fields: dims (time, number, cell), variables of float32 or float64 with `units`, `time` the true dates, increasing;
        a date absent from the series becomes one of Anemoi's missing dates. NaN marks masked places. Arrays of Dask are
        computed part by part, and never held as a whole.
    ensemble_axis: whether `number` counts independent trajectories of a solver or members of one ensemble.
    attributes: licence, attribution, title, calendar and what else travels with the data.
    scalars: numbers of the whole globe that force the rows of `number`, kept as an array of their own.
    workers: who writes the parts; this process alone by default. The result is the same.
    inputs: a digest of all that the values come from. Where there are several parts, those that are done then outlive
        a killed process, and a call with the same digest goes on with them.
    notice: takes a line on such parts.

    Beside Anemoi's own attributes and those given, the store carries `ensemble_axis`, the numbers of `trajectories`
    that do not count from 0, `calendar`, `calendar_step` (where a step is months), `time_step` and `mesh` (JSON).
    Months and years keep their true dates under a nominal frequency of 730h a month (nearly so where dates are
    missing). It is written beside its final name and renamed when complete; what `overwrite` replaces stays until then.
    Raises MeshcastError where the output exists, cannot be written, is written by another process or is nothing of
    ours, where the disk is full, and where times or values do not fit.
    """
    output = Path(output)
    if fields.sizes["cell"] != mesh.num_nodes:
        raise MeshcastError(f"The fields have {fields.sizes['cell']} cells, but lie on a {mesh.describe()}.")
    timeline = Timeline.of(to_seconds(fields["time"].values), time_step)
    check_output(output, overwrite)
    chunks = _chunks(fields, len(timeline.nominal), ensemble_axis)
    several = len(list(_parts(fields, timeline, chunks))) > 1
    with (
        output_lock(output),
        dataset_folder(output, inputs if several else None, overwrite, notice) as folder,
    ):
        write_dataset(
            folder,
            fields,
            mesh=mesh,
            time_step=time_step,
            ensemble_axis=ensemble_axis,
            attributes=attributes,
            scalars=scalars,
            workers=workers,
            progress=progress,
        )


def dataset_folder(
    output: Path, inputs: str | None, overwrite: bool, notice: Notice = log.info
) -> AbstractContextManager[PartialFolder]:
    """Return where a dataset is made, part by part, until it takes its final name; see `partial_folder`."""
    return partial_folder(output, inputs, _is_dataset, overwrite, notice)


def write_dataset(
    folder: PartialFolder,
    fields: xr.Dataset,
    *,
    mesh: Mesh,
    time_step: TimeStep,
    ensemble_axis: Literal["trajectory", "member"],
    attributes: Mapping[str, str],
    scalars: GlobalScalars | None = None,
    workers: Workers | None = None,
    progress: Progress = no_progress,
) -> None:
    """Write fields where a dataset is made, those parts alone that are not done; see `create_dataset`."""
    timeline = Timeline.of(to_seconds(fields["time"].values), time_step)
    chunks = _chunks(fields, len(timeline.nominal), ensemble_axis)
    source = folder.folder / "fields.nc"
    recipe = _recipe(source, timeline, attributes, chunks)
    if folder.found("store") is None:
        shutil.rmtree(folder.output, ignore_errors=True)
        few = timeline.present[:2]  # Anemoi looks at the first alone, and at one time that stands alone otherwise
        as_netcdf(fields.isel(time=slice(0, 2)), mesh, timeline.nominal[few], source)
        run(BEFORE, recipe, folder.output)
        folder.finish("store", {})
    whole = _written(folder, fields, timeline, chunks, workers or OneByOne(), progress)
    for name, one in whole.items():
        if one.seen == 0:
            raise MeshcastError(
                f"{name} has no value: all {one.size:,} are missing. Leave it out, by naming the others with "
                "--select, or correct its source."
            )
    _add_statistics(folder.output, whole)
    run(AFTER, recipe, folder.output)
    ours = {"ensemble_axis": ensemble_axis, "time_step": time_step_to_json(time_step), "mesh": mesh_to_json(mesh)}
    numbers = fields["number"].values.tolist() if "number" in fields.coords else []
    if ensemble_axis == "trajectory" and numbers != list(range(len(numbers))):
        ours["trajectories"] = json.dumps(numbers)
    if time_step.unit == "month":
        ours["calendar_step"] = str(time_step)
    describe(folder.output, fields, timeline, {"calendar": "standard", **attributes}, ours)
    if scalars is not None:
        write_scalars(folder.output, scalars)


def _parts(fields: xr.Dataset, timeline: Timeline, chunks: Mapping[str, int]) -> Iterator[slice]:
    """Yield the dates of each part: whole chunks, and no more than a worker holds."""
    of_a_date = 4 * fields.sizes["cell"] * fields.sizes["number"] * len(fields.data_vars)
    dates = chunks["dates"] * max(1, PART_BYTES // (of_a_date * chunks["dates"]))
    for first in range(0, len(timeline.nominal), dates):
        yield slice(first, min(first + dates, len(timeline.nominal)))


def _written(
    folder: PartialFolder,
    fields: xr.Dataset,
    timeline: Timeline,
    chunks: Mapping[str, int],
    workers: Workers,
    progress: Progress,
) -> dict[str, Summary]:
    """Write the parts that are not done; return what is known of the values of each variable."""
    import zarr

    store = zarr.open(str(folder.output), "r")
    names, last = tuple(store.attrs["variables"]), store.attrs["statistics_end_date"]
    counted = int(np.searchsorted(to_datetime(timeline.nominal), np.datetime64(last, "s"), side="right"))
    parts = {f"dates-{part.start:09d}": part for part in _parts(fields, timeline, chunks)}
    found = {name: known for name in parts if (known := folder.found(name)) is not None}

    def missing() -> Iterator[StorePart]:
        for name, dates in parts.items():
            if name not in found:
                first, stop = np.searchsorted(timeline.present, [dates.start, dates.stop])
                yield StorePart(
                    store=str(folder.output.absolute()),
                    first=dates.start,
                    stop=dates.stop,
                    present=timeline.present[first:stop],
                    names=names,
                    counted=counted,
                    dates=chunks["dates"],
                    rows=chunks["ensembles"],
                    fields=pack(fields.isel(time=slice(first, stop))),
                )

    with progress("writing parts", len(parts)) as done:
        done(len(found))
        for part, result in workers.results(write_part, missing()):
            name = f"dates-{part.first:09d}"
            found[name] = {"summaries": result["summaries"]}
            folder.finish(name, found[name], result["files"])
            done(len(found))
    return summary_of((found[name] for name in parts), names)


def _add_statistics(path: Path, whole: Mapping[str, Summary]) -> None:
    """Add to a store what Anemoi's own loading would: statistics, and which variables never change."""
    from anemoi.datasets.create.dataset import Dataset

    with quiet():
        store = Dataset(str(path), update=True)
        names = store.get_metadata("variables")
        for name, array in statistics_arrays([whole[variable] for variable in names]).items():
            store.add_array(name=name, data=array, dimensions=("variable",), overwrite=True)
        constant = sorted(name for name, one in whole.items() if one.constant != "")
        metadata = store.get_metadata("variables_metadata")
        for name in constant:
            metadata[name]["constant_in_time"] = True
        store.update_metadata(constant_fields=constant, variables_metadata=metadata)
        store.add_provenance(name="provenance_load")


def refuse_reserved(attributes: Mapping[str, str]) -> None:
    """Raise MeshcastError where an attribute is one that a dataset writes itself, and so would not be honoured."""
    for name, value in attributes.items():
        if name == "ensemble_axis":
            raise MeshcastError(
                f"The attribute ensemble_axis={value} is written by the dataset itself. Independent trajectories are "
                "named by --trajectories number (a dimension) or --trajectories files (a file each)."
            )
        if name in NOT_CARRIED | RESERVED:
            raise MeshcastError(
                f"The attribute {name}={value} cannot be given: a dataset writes its own. Choose another name."
            )


def check_output(output: Path, overwrite: bool = False) -> None:
    """Raise MeshcastError where no dataset may be written under this name; worth asking before long work."""
    if output.suffix != ".zarr":
        raise MeshcastError(
            f"A dataset's name must end in .zarr, or in .hdf5 for a file of The Well, but the output is {output}."
        )
    with output_lock(output):
        recover(output)
        refuse_other(output, _is_dataset, overwrite)
        refuse_unwritable(output)


def _is_dataset(folder: Path) -> bool:
    """Return whether a folder holds a dataset that Meshcast has written; a file may be replaced, as any output."""
    if folder.is_file():
        return True
    try:
        attributes = json.loads((folder / ".zattrs").read_text(encoding="utf-8"))
        return (folder / ".zgroup").is_file() and "ensemble_axis" in attributes and "mesh" in attributes
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return False


def _chunks(fields: xr.Dataset, dates: int, ensemble_axis: Literal["trajectory", "member"]) -> dict[str, int]:
    """Return how many dates, variables and rows of the ensemble axis share a chunk.

    All rows do, but trajectories that together take more memory than is kept of a dataset: a training window reads one
    of them, and would read all others from disk with it. Each variable has chunks of its own, so that who asks for five
    of fifty reads a tenth; only small ones share them.
    """
    rows, of_a_row = fields.sizes["number"], 4 * fields.sizes["cell"] * len(fields.data_vars)  # bytes a date
    together = 1 if ensemble_axis == "trajectory" and rows * dates * of_a_row > ALWAYS_KEPT else rows
    fitting = int(np.clip(CHUNK_BYTES // (together * of_a_row), 1, MAX_CHUNK_DATES))
    of_a_variable = 4 * fields.sizes["cell"] * together * min(fitting, dates)
    variables = min(len(fields.data_vars), -(-LEAST_CHUNK_BYTES // of_a_variable))
    return {"dates": min(fitting, dates), "variables": variables, "ensembles": together}


def _recipe(
    source: Path, timeline: Timeline, attributes: Mapping[str, str], chunks: Mapping[str, int]
) -> dict[str, Any]:
    """Return Anemoi's recipe of a store whose first date stands in the NetCDF file `source`."""
    dates = to_datetime(timeline.nominal)
    return {
        "description": attributes.get("title", "fields written by meshcast"),
        "licence": attributes.get("licence", "unknown"),
        "attribution": attributes.get("attribution", "unknown"),
        "dates": {
            "start": str(dates[0]),
            "end": str(dates[-1]),
            "frequency": timeline.frequency,
            "missing": [str(date) for date in np.delete(dates, timeline.present)],
        },
        # a rename of nothing keeps each field once it is read; without it they are read seven times, and loading
        # takes three times as long
        "input": {"pipe": [{"netcdf": {"path": str(source)}}, {"rename": {"param": {}}}]},
        "build": {"allow_nans": True, "group_by": 10 * chunks["dates"]},
        # one chunk holds a few dates: a training window reads few chunks
        "output": {"chunking": dict(chunks)},
    }
