"""GRIB and NetCDF files brought to one form: dims (time, number, cell), one name and one unit a variable."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emulator.data.arrays import ArrayFields
from emulator.data.coordinates import mesh_from_coordinates, remarks_on, time_step_from_json, time_step_to_json
from emulator.data.formats import DataFormat, file_format, format_of
from emulator.data.series import (
    FILES,
    NUMBER,
    Grid,
    Series,
    joined,
    joined_attributes,
    needed,
    paths_of,
    refuse_forecasts,
    refuse_unused,
    selected,
    settle_dates,
    timeless,
    with_constants,
)
from emulator.data.the_well.well_fields import numbered
from emulator.foundation.fetched_files import local_files, named_source
from emulator.foundation.time_step import Times, TimeStep, to_datetime, to_seconds
from graphs.errors import MeshcastError
from graphs.geometry import Index

if TYPE_CHECKING:
    import xarray as xr

Values = NDArray[np.float32]
Texts = Mapping[str, str]  # by a variable's name


def read_files(
    paths: str | Path | Sequence[str | Path],
    rename: Texts | None = None,
    units: Texts | None = None,
    trajectories: str | None = None,
    select: Sequence[str] | None = None,
    static: Collection[str] = (),
    forecasts: bool = False,
    later: bool = False,
) -> xr.Dataset:
    """Return the fields of GRIB and NetCDF files, merged by variable, time and member.

    paths: one or several files, or what else `local_files` brings onto this machine: standard input (`-`), addresses,
        patterns, requests in YAML, earthkit FieldLists and xarray Datasets.
    rename: from a file's name of a variable (or ours) to the name wanted, before the table of names is asked.
    units: of variables whose file does not say, or says wrongly.
    trajectories: what tells independent trajectories apart, which `number` then counts: `files`, where each file holds
        one; the name of a dimension; or that of a global attribute of NetCDF files, such as CMIP's `variant_label`,
        where files that say the same are parts of one. By default `number` counts members of one ensemble.
    select: variables to read, by our names; the others take part in nothing.
    static: variables that never change, by our names, whatever time they bear.
    forecasts: whether forecasts are taken at their valid times, as analyses are.
    later: whether values are arrays of Dask, which read the files where they are computed. What `local_files` fetches
        for this call alone is gone by then.

    Returns variables [time, number, cell] float32 with attribute `units` (empty where no file says); coordinates
    `time` (datetime64[s], Gregorian), `number`, `latitude` and `longitude` (0 to 360) of the cells, rows from north to
    south, columns eastward. Its attributes are texts: `shape` of the grid (JSON); `time_step` (JSON, empty where there
    is none: a single time, or uneven ones, of which `irregular` says what is wrong); `calendar`; `ensemble_axis`;
    `notices`, a line for each thing that was converted, moved or assumed; title, licence and attribution. A variable
    without time is repeated at every time.

    Raises MeshcastError where a file is missing, damaged or neither format, where several do not fit together, and
    where a field is a forecast.
    """
    series = _series_of(paths, rename, units, trajectories, later)
    series = series if select is None else selected(series, select)
    if not forecasts:
        refuse_forecasts(series)
    return merge(with_constants(series, static), trajectories)


def _series_of(
    paths: str | Path | Sequence[str | Path],
    rename: Texts | None,
    units: Texts | None,
    trajectories: str | None,
    later: bool = False,
) -> list[Series]:
    with local_files(paths) as files:
        return _series_of_files(files, dict(rename or {}), dict(units or {}), trajectories, later)


def _series_of_files(
    files: Sequence[Path], rename: Texts, units: Texts, trajectories: str | None, later: bool
) -> list[Series]:
    series: list[Series] = []
    for place, path in enumerate(files):
        known = next((one for one in (format_of(path), file_format(path)) if one.read_series), DataFormat())
        read = (later and known.read_series_later) or known.read_series
        if read is None:
            raise MeshcastError(f"{path} is no file of fields; expected a GRIB or NetCDF file.")
        dimension = {} if trajectories in (None, FILES) else {trajectories: NUMBER}
        found = read(path, {**rename, **dimension}, units)
        series += [_of_trajectory(one, place, FILES) for one in found] if trajectories == FILES else found
    if trajectories != FILES:
        series = numbered(_numbered_by_label(series, str(trajectories)))
    refuse_unused(rename, series, "rename")
    coordinates = {name for one in series for name in one.coordinates}
    refuse_unused(units, series, "units", coordinates)
    return series


def _numbered_by_label(series: list[Series], attribute: str) -> list[Series]:
    """Return series of files whose attribute says which run they are of, numbered in the order of appearance."""
    labels = _labels(series)
    if not labels:
        return series
    if strangers := [one for one in series if not one.label]:
        raise MeshcastError(
            f"{strangers[0].path} has no attribute {attribute}, which says of the other files what trajectory they "
            "are of."
        )
    numbered = [_of_trajectory(one, labels.index(one.label), attribute) for one in series]
    told = ", ".join(f"{number} {label}" for number, label in enumerate(labels))
    notice = f"{attribute} tells trajectories apart: {told}"
    return [replace(numbered[0], notices=(*numbered[0].notices, notice)), *numbered[1:]]


def fields_of_files(
    paths: Sequence[str | Path],
    rename: Texts,
    units: Texts,
    trajectories: str | None = None,
    names: Collection[str] = (),
    forecasts: bool = False,
) -> ArrayFields:
    """Return the fields of GRIB and NetCDF files; see `read_files`.

    names: of the variables that are needed, by any of their names; where all are there, the others are not read.
    """
    series = _series_of(paths, rename, units, trajectories)
    series = needed(series, names) if names else series
    if not forecasts:
        refuse_forecasts(series)
    return _array_fields(merge(series, trajectories), paths)


def static_fields_of_files(paths: Sequence[str | Path]) -> ArrayFields:
    """Return fields that never change, with time or without, at one time that says nothing."""
    series = [replace(timeless(one), times=np.zeros(1, np.int64)) for one in _series_of(paths, None, None, None)]
    return _array_fields(merge(series), paths)


def _array_fields(read: xr.Dataset, paths: Sequence[str | Path]) -> ArrayFields:
    names, source = tuple(map(str, read.data_vars)), ", ".join(map(named_source, paths))
    try:
        mesh = mesh_from_coordinates(read["latitude"].values, read["longitude"].values)
    except MeshcastError as error:
        raise MeshcastError(f"The nodes of {source} cannot be: {error}") from None
    kept = ("title", "institution", "source", "references", "licence", "attribution", "calendar", "notices")
    return ArrayFields(
        values=np.stack([read[name].values for name in names], axis=-1),
        variables=names,
        units=tuple(str(read[name].attrs["units"]) for name in names),
        mesh=mesh,
        time_step=time_step_of(read) or TimeStep(1),
        times=to_seconds(read["time"].values),
        ensemble_axis=read.attrs["ensemble_axis"],
        trajectories=read["number"].values.tolist(),
        attributes={name: read.attrs[name] for name in kept if read.attrs.get(name)},
        source=source,
        # what a file lacks in units is a fault of the variables a task needs, reported with them
        notices=(
            *(line for line in read.attrs["notices"].split("\n") if line and " has no units " not in line),
            *remarks_on(mesh),
        ),
    )


def merge(series: Sequence[Series], trajectories: str | None = None) -> xr.Dataset:
    """Return series of several files, times and members as one dataset; see `read_files`."""
    import xarray as xr

    notices = [notice for one in series for notice in one.notices]
    if trajectories == FILES:
        paths = list(dict.fromkeys(one.path for one in series if one.times is not None))
        notices.append(f"each file is a trajectory of its own: {', '.join(f'{n} {p}' for n, p in enumerate(paths))}")
    grid = _one_grid(series)
    by_name: dict[str, list[Series]] = {}
    for one in series:
        by_name.setdefault(one.name, []).append(one)
    if all(one.times is None for one in series):
        raise MeshcastError(
            f"{paths_of(series)}: no time. {', '.join(by_name)} {'has' if len(by_name) == 1 else 'have'} neither a "
            "time dimension nor a time coordinate, so nothing says when the fields are valid. Add one (units like "
            "`hours since 1970-01-01`); give what never changes together with the files of what does, or to a training "
            "as data.statics."
        )
    blocks = {name: joined(name, pieces, notices) for name, pieces in by_name.items()}
    times = _common_times({name: block[1] for name, block in blocks.items()}, notices)
    labels = _labels(series)
    if trajectories == FILES or labels:
        _refuse_other_variables({name: block[2] for name, block in blocks.items() if block[1] is not None}, labels)
    numbers = _common_numbers({name: block[2] for name, block in blocks.items()}, notices)
    variables = {}
    for name, (values, stored_times, _) in blocks.items():
        if stored_times is not None and len(stored_times) != len(times):
            values = values[np.searchsorted(stored_times, times)]
        values = np.broadcast_to(values, (len(times), len(numbers), values.shape[2]))
        units = by_name[name][0].units
        if not units:
            notices.append(f"{name} has no units in {by_name[name][0].path}; say what they are with --units {name}=...")
        variables[name] = (("time", "number", "cell"), values, {"units": units})
    time_step, remark, irregular = None, "", ""
    try:
        times, time_step, remark = settle_dates(times)
    except MeshcastError as error:
        irregular = str(error)
    calendars = {one.calendar for one in series if one.times is not None}
    calendar = calendars.pop() if len(calendars) == 1 else "mixed"
    if calendar != "standard":
        notices.append(
            f"dates of the {calendar} calendar became the Gregorian dates of the same year and month "
            f"({to_datetime(times)[0]} to {to_datetime(times)[-1]})"
        )
    if remark:
        notices.append(remark)
    return xr.Dataset(
        variables,
        {
            "time": to_datetime(times),
            "number": numbers,
            "latitude": ("cell", grid.latitudes, {"standard_name": "latitude", "units": "degrees_north"}),
            "longitude": ("cell", grid.longitudes, {"standard_name": "longitude", "units": "degrees_east"}),
        },
        {
            **joined_attributes(one.attributes for one in series),
            "shape": json.dumps(grid.shape),
            "time_step": "" if time_step is None else time_step_to_json(time_step),
            "irregular": irregular,
            "calendar": calendar,
            "ensemble_axis": "trajectory" if trajectories or any(one.independent for one in series) else "member",
            "notices": "\n".join(dict.fromkeys(notices)),
        },
    )


def time_step_of(fields: xr.Dataset) -> TimeStep | None:
    """Return the step between the times of what `read_files` gave; None where they keep none."""
    text = fields.attrs["time_step"]
    return time_step_from_json(text) if text else None


def _one_grid(series: Sequence[Series]) -> Grid:
    first = series[0]
    other = [one for one in series if not one.grid.equals(first.grid)]
    if other:
        lines = [f"  {one.name} in {one.path}: {one.grid}" for one in (first, *other)]
        raise MeshcastError(
            "The variables lie on different grids:\n" + "\n".join(lines) + "\nRead them apart, or remap them to one "
            "grid first."
        )
    return first.grid


def _labels(series: Iterable[Series]) -> list[str]:
    """Return the labels of trajectories that are told apart by an attribute, in the order of their numbers."""
    return list(dict.fromkeys(one.label for one in series if one.label))


def _of_trajectory(one: Series, number: int, trajectories: str) -> Series:
    if one.values.shape[1] > 1:
        raise MeshcastError(
            f"{one.path} holds {one.values.shape[1]} members or trajectories of {one.name}, but --trajectories "
            f"{trajectories} takes each file as one. Name the dimension in its place, or select one of each file first."
        )
    return replace(one, numbers=np.array([number]))


def _refuse_other_variables(numbers: Mapping[str, Index], labels: Sequence[str]) -> None:
    """Raise MeshcastError where one trajectory has a variable in time that another has not.

    labels: of trajectories that are told apart by an attribute, by number; empty where each file is one.
    """
    every = np.unique(np.concatenate(list(numbers.values())))
    for name, those in numbers.items():
        if len(those) < len(every):
            absent = int(np.setdiff1d(every, those)[0])
            where = f"{labels[absent]}," if labels else f"file number {absent}, from 0,"
            raise MeshcastError(
                f"{name} is not in {where} which is a trajectory of its own. Give files that hold the same variables, "
                "each all of one trajectory; where one has another name for it, --rename THEIRS=OURS."
            )


def _common_times(times: Mapping[str, Times | None], notices: list[str]) -> Times:
    given = {name: one for name, one in times.items() if one is not None}
    common = next(iter(given.values()))
    for one in given.values():
        common = np.intersect1d(common, one)
    if len(common) == 0:
        lines = [f"  {name}: {to_datetime(one)[0]} to {to_datetime(one)[-1]}" for name, one in given.items()]
        raise MeshcastError(
            "The variables have no time in common:\n"
            + "\n".join(lines)
            + "\nSelect those that do, or say --static NAME "
            "of one that never changes."
        )
    for name, one in given.items():
        if len(one) > len(common):
            shortest = min(given, key=lambda other: len(given[other]))
            alone = len(given[shortest]) == 1
            notices.append(
                f"{len(one) - len(common)} times of {name} are left out: other variables lack them"
                + f" ({shortest} has one time; if it never changes, say --static {shortest})" * alone
            )
    return common


def _common_numbers(numbers: Mapping[str, Index], notices: list[str]) -> Index:
    """Return members that every variable has; a variable with one serves all."""
    most = max(numbers.values(), key=len)
    for name, one in numbers.items():
        if len(one) > 1 and not np.array_equal(one, most):
            raise MeshcastError(
                f"{name} has the members {one.tolist()}, but others have {most.tolist()}. Give the same members of "
                "every variable."
            )
        if len(one) == 1 < len(most):
            notices.append(f"{name} has one member, which serves all {len(most)}")
    return most
