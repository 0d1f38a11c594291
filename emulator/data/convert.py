"""Files to an anemoi dataset, and whatever holds fields to a file of The Well: what `meshcast dataset` does."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emulator.data.arrays import ArrayFields
from emulator.data.coordinates import mesh_from_coordinates, remarks_on, time_step_to_json
from emulator.data.datasets.create import check_output, create_dataset, refuse_reserved
from emulator.data.files import read_files, static_fields_of_files, time_step_of
from emulator.data.forecast import Forecast
from emulator.data.read_later import STREAMED_BYTES, read_later
from emulator.data.sources import open_fields, open_source, rows_or_dimension
from emulator.data.the_well.well_coordinates import NOMINAL_START
from emulator.data.the_well.well_output import ENDINGS, write_well
from emulator.fields import Fields
from emulator.foundation.fetched_files import digest_of_files, local_files, named_source
from emulator.foundation.lineage import as_attribute, noting_fetched_files, records_of
from emulator.foundation.progress import Progress, no_progress
from emulator.foundation.threads import Notice
from emulator.foundation.time_step import TimeStep, to_datetime, to_seconds
from emulator.foundation.winds import winds
from emulator.foundation.workers import Workers
from emulator.harmonic_fields import HarmonicFields, HarmonicsConfig
from graphs.errors import MeshcastError
from graphs.geometry import Index

if TYPE_CHECKING:
    import xarray as xr

log = logging.getLogger(__name__)

TIMES_AT_ONCE = 24
NOT_CARRIED = ("shape", "time_step", "irregular", "ensemble_axis")  # the store has its own


def convert(
    sources: Sequence[str | Path],
    output: str | Path,
    *,
    rename: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    select: Sequence[str] | None = None,
    frequency: str | None = None,
    overwrite: bool = False,
    attributes: Mapping[str, str] | None = None,
    trajectories: str | None = None,
    static: Sequence[str] = (),
    forecasts: bool = False,
    harmonics: HarmonicsConfig | None = None,
    workers: Workers | None = None,
    notice: Notice = log.info,
    progress: Progress = no_progress,
) -> dict[str, Any]:
    """Write files as one anemoi dataset, values as the source has them, and return what was written, by name.

    output: ends in `.zarr`; or in `.hdf5`, a file of The Well, to which any fields and forecasts are written.
    rename, units, trajectories, select, static, forecasts: see `read_files`.
    frequency: keep times this far apart, counted from the first (`6h`, `1 month`).
    attributes: licence, attribution, title and whatever else the files do not say or say wrongly.
    harmonics: to another mesh, see `HarmonicsConfig`; the sources are then read time by time, and its winds found by
        their names. With `static`, files with time or without are read for these variables alone.
    workers: who reads and writes the parts of a dataset, this process alone by default. The result is the same.
    notice: takes a line on parts of an earlier call that are gone on with.

    Files that take more than `STREAMED_BYTES` are read part by part. The same call goes on with the parts that are
    done where an earlier one was killed, as far as the sources are the same.
    """
    if Path(output).suffix in ENDINGS:
        makes_datasets = {"frequency": frequency, "static": static, "truncation": harmonics}
        if asked := [name for name, given in makes_datasets.items() if given]:
            raise MeshcastError(
                f"--{asked[0]} makes datasets, but {output} is a file of The Well. Write "
                "a dataset (.zarr) with it first, and give that."
            )
        opened = _opened(sources, rename or {}, units or {}, trajectories, forecasts)
        return _as_well(opened, Path(output), select, attributes or {}, overwrite)
    check_output(Path(output), overwrite)
    refuse_reserved(attributes or {})
    with noting_fetched_files(), local_files(sources) as files:
        inputs = digest_of_files(
            files, [rename, units, select, frequency, attributes, trajectories, static, forecasts, repr(harmonics)]
        )
        scalars = None
        if harmonics is None:
            later = sum(path.stat().st_size for path in files if path.is_file()) > STREAMED_BYTES
            fields = read_files(files, rename, units, trajectories, select, static, forecasts, later)
        else:
            if static:
                opened, select = _static(files, rename or {}, units or {}), static
            else:
                opened = _opened(files, rename or {}, units or {}, trajectories, forecasts)
            fields, scalars = _remapped(opened, harmonics, select), opened.scalars
        if select is not None:
            fields = fields[list(select)]
        fields, time_step = _at_frequency(fields, frequency)
        for name in fields.data_vars:
            fields[name].attrs["units"] = fields[name].attrs["units"] or "unknown"
        made_of = as_attribute(records_of(sources))
        mesh = mesh_from_coordinates(fields["latitude"].values, fields["longitude"].values)
        names = ", ".join(Path(named_source(source)).name for source in sources)
        carried = {name: value for name, value in fields.attrs.items() if name not in NOT_CARRIED and value}
        create_dataset(
            Path(output),
            fields,
            mesh=mesh,
            time_step=time_step,
            ensemble_axis=fields.attrs["ensemble_axis"],
            attributes={**carried, "files": names, **made_of, **(attributes or {})},
            overwrite=overwrite,
            scalars=scalars,
            workers=workers,
            inputs=inputs,
            notice=notice,
            progress=progress,
        )
    first, last = map(str, fields["time"].values[[0, -1]].astype("datetime64[s]"))
    return {
        "output": str(output),
        "variables": tuple(map(str, fields.data_vars)),
        "units": tuple(str(fields[name].attrs["units"]) for name in fields.data_vars),
        "mesh": mesh.describe(),
        "time_step": str(time_step),
        "num_times": fields.sizes["time"],
        "first": first,
        "last": last,
        "ensemble_size": fields.sizes["number"],
        "ensemble_axis": fields.attrs["ensemble_axis"],
        "notices": (*(line for line in fields.attrs["notices"].split("\n") if line), *remarks_on(mesh)),
    }


def _static(sources: Sequence[str | Path], rename: Mapping[str, str], units: Mapping[str, str]) -> Fields:
    """Return files of fields that never change, at one time that says nothing."""
    fields = static_fields_of_files(sources)
    if unknown := sorted({*rename, *units} - {*fields.variables}):
        raise MeshcastError(f"{fields.source} has no variable {unknown[0]}, but {', '.join(fields.variables)}.")
    return replace(
        fields,
        variables=tuple(rename.get(name, name) for name in fields.variables),
        units=tuple(units.get(*pair) for pair in zip(fields.variables, fields.units, strict=True)),
    )


def _remapped(stored: Fields, harmonics: HarmonicsConfig, select: Sequence[str] | None) -> xr.Dataset:
    """Return fields on another mesh as `read_files` does, which are read and analysed where they are asked for."""
    import xarray as xr

    names = stored.variables if select is None else tuple(select)
    if unknown := [name for name in names if name not in stored.variables]:
        raise MeshcastError(f"{stored.source} has no variable {unknown[0]}, but {', '.join(stored.variables)}.")
    units = dict(zip(stored.variables, stored.units, strict=True))
    pairs = winds(names, [units[name] for name in names])
    config = replace(harmonics, winds=tuple((names[east], names[north]) for east, north in pairs))
    fields = HarmonicFields(stored, config, cached=False)
    there = np.setdiff1d(np.arange(len(fields.times)), sorted(fields.missing))
    shape = len(there), fields.ensemble_size, fields.mesh.num_nodes, len(names)
    values = read_later(partial(_piece, fields, there, names), shape, TIMES_AT_ONCE)
    carried = {name: str(value) for name, value in fields.attributes.items() if name not in NOT_CARRIED}
    found = xr.Dataset(
        {
            name: (("time", "number", "cell"), values[..., column], {"units": units[name]})
            for column, name in enumerate(names)
        },
        {
            "time": to_datetime(fields.times[there]),
            "number": np.asarray(fields.trajectories),
            "latitude": ("cell", fields.mesh.latitudes),
            "longitude": ("cell", fields.mesh.longitudes),
        },
    )
    found.attrs = {
        **carried,
        "ensemble_axis": fields.ensemble_axis,
        "time_step": time_step_to_json(fields.time_step),
        "notices": "\n".join(fields.notices),
        "irregular": "",
    }
    return found


def _piece(fields: HarmonicFields, there: Index, names: Sequence[str], index: tuple[slice, ...]) -> NDArray[np.float32]:
    """Return a piece of the values [time, row, node, variable] of fields at the times that are there."""
    times, rows, nodes, columns = index
    numbers = range(*rows.indices(fields.ensemble_size))
    return np.stack([fields.read(there[times], names, row)[:, 0, nodes, columns] for row in numbers], axis=1)


def describe(dataset: Mapping[str, Any]) -> str:
    """Return what `convert` wrote in a few lines for a person."""
    named = ", ".join(f"{name} [{units}]" for name, units in zip(dataset["variables"], dataset["units"], strict=True))
    rows, hint = dataset["ensemble_size"], " of one ensemble (independent trajectories are named by --trajectories)"
    kinds = {"member": f"members{hint}", "trajectory": "independent trajectories"}
    members = f", {rows} {kinds[dataset['ensemble_axis']]}" if rows > 1 else ""
    times = f"{dataset['num_times']} times every {dataset['time_step']}, {dataset['first']} to {dataset['last']}"
    notices = (f"note: {notice}" for notice in dataset["notices"])
    return "\n".join([f"{named} on a {dataset['mesh']}{members}", times, *notices])


def _opened(
    sources: Sequence[str | Path],
    rename: Mapping[str, str],
    units: Mapping[str, str],
    trajectories: str | None,
    forecasts: bool,
) -> Fields:
    """Return the fields of datasets, files or a forecast file."""
    if len(sources) == 1 and not (rename or units or trajectories or forecasts):
        opened = open_source(sources[0])
        return fields_of_forecast(opened, str(sources[0])) if isinstance(opened, Forecast) else opened
    chosen = rows_or_dimension(trajectories)
    fields = open_fields(list(sources), chosen, rename=rename, units=units, forecasts=forecasts)
    for theirs, ours in rename.items():
        if ours not in fields.variables:
            raise MeshcastError(
                f"--rename {theirs}={ours}: {fields.source} is a dataset, whose variables keep their names: "
                f"{', '.join(fields.variables)}."
            )
    return fields


def fields_of_forecast(forecast: Forecast, source: str) -> Fields:
    """Return a forecast as fields from its initial time on, every case and member a trajectory.

    Where cases start at different times, the dates count from a nominal start, and a notice says so.
    """
    whole = forecast.with_initial()
    cases, members, leads, nodes, variables = whole.values.shape
    steps = np.diff(whole.lead_steps)
    together = bool(np.all(whole.init_time == whole.init_time[0]))
    start = whole.init_time[:1] if together else np.array([NOMINAL_START])
    notices = []
    if not together:
        first, last = to_datetime(np.array([whole.init_time.min(), whole.init_time.max()]))
        notices.append(
            f"{cases} forecasts start at different times, {first} to {last}; they count from their own start"
        )
    if members > 1:
        notices.append(f"the {members} members of each forecast became trajectories")
    return ArrayFields(
        values=whole.values.transpose(2, 0, 1, 3, 4).reshape(leads, cases * members, nodes, variables),
        variables=whole.variables,
        units=whole.units,
        mesh=whole.mesh,
        time_step=whole.time_step.times(int(steps[0]) if len(steps) else 1),
        times=whole.time_step.advance(start, whole.lead_steps),
        attributes=whole.attributes,
        source=source,
        notices=tuple(notices),
    )


def _as_well(
    fields: Fields, output: Path, select: Sequence[str] | None, attributes: Mapping[str, str], overwrite: bool
) -> dict[str, Any]:
    """Write a file of The Well, and return what was written, as `convert` does."""
    names = tuple(fields.variables if select is None else select)
    written = write_well(fields, output, variables=names, attributes=attributes, overwrite=overwrite)
    units = dict(zip(fields.variables, fields.units, strict=True))
    notices = list(fields.notices)
    if fields.ensemble_axis == "member" and fields.ensemble_size > 1:
        notices.append(f"The Well knows no members: the {fields.ensemble_size} of each time became trajectories")
    if fields.scalars is not None:
        notices.append(f"{', '.join(fields.scalars.names)}, one number a time for the globe, are left out")
    first, last = to_datetime(fields.times[[0, -1]])
    return {
        "output": str(output),
        "variables": names,
        "units": tuple(units[name] for name in names),
        "mesh": fields.mesh.describe(),
        "time_step": str(fields.time_step),
        "num_times": len(fields.times),
        "first": str(first),
        "last": str(last),
        "ensemble_size": fields.ensemble_size,
        "ensemble_axis": "trajectory",
        "fields": written,
        "notices": tuple(notices),
    }


def _at_frequency(fields: xr.Dataset, frequency: str | None) -> tuple[xr.Dataset, TimeStep]:
    stored = time_step_of(fields)
    if frequency is None:
        if stored is not None:
            return fields, stored
        single = (
            f"The files hold one time, {fields['time'].values[0]}: give more files, or --frequency to say how far "
            "apart the times of the dataset are."
        )
        raise MeshcastError(fields.attrs["irregular"] or single)
    wanted = TimeStep.parse(frequency)
    times = to_seconds(fields["time"].values)
    steps = np.arange(wanted.whole_steps(times[0], times[-1]) + 1)
    keep = np.isin(times, wanted.advance(times[0], steps))
    if len(times) > 1 and keep.sum() < 2:
        raise MeshcastError(
            f"No time is {wanted} after the first, {to_datetime(times)[0]}; the files' times are "
            f"{stored or 'uneven'} apart. Choose a --frequency that is a multiple of that."
        )
    return fields.isel(time=np.flatnonzero(keep)), wanted
