"""Files of The Well as one series of fields: their trajectories side by side, their parts one after another."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emulator.data.coordinates import mesh_from_coordinates, remarks_on
from emulator.data.read_later import read_later
from emulator.data.series import FILES, NUMBER, Series, joined_attributes, refuse_unused, settle_dates
from emulator.data.the_well.well_file import WellFile, open_well
from emulator.fields import Fields
from emulator.foundation.time_step import TimeStep, to_datetime
from graphs.available_memory import refuse_too_large
from graphs.errors import MeshcastError
from graphs.geometry import Index

TIMES_AT_ONCE = 32


def read_well(path: Path, rename: Mapping[str, str], units: Mapping[str, str], later: bool = False) -> list[Series]:
    """Return every variable of a file of The Well; `number` counts independent trajectories.

    later: whether values are read where they are asked for; else whole, and refused where memory does not hold them.
    """
    file = open_well(path, rename, units)
    cells, times, numbers = len(file.grid.latitudes), len(file.times), np.arange(file.num_trajectories)
    shapes = [(times if one.in_time else 1, len(numbers), cells) for one in file.variables]
    values = (
        [read_later(partial(_piece, file, column), shape, TIMES_AT_ONCE) for column, shape in enumerate(shapes)]
        if later
        else _whole(file, shapes)
    )
    return [
        Series(
            name=variable.name,
            raw_name=variable.raw_name,
            values=values[column],
            times=file.times if variable.in_time else None,
            numbers=numbers,
            grid=file.grid,
            units=variable.units,
            path=file.path,
            attributes=file.attributes,
            notices=file.notices if column == 0 else (),
            independent=True,
        )
        for column, variable in enumerate(file.variables)
    ]


def _piece(file: WellFile, column: int, index: tuple[slice, ...]) -> NDArray[np.float32]:
    """Return a piece of the values [time, number, cell] of a variable."""
    variable, (times, numbers, cells) = file.variables[column], index
    rows = range(*numbers.indices(file.num_trajectories))
    times = times if variable.in_time else slice(0, 1)
    return np.stack([file.read([variable], times, row)[:, cells, 0] for row in rows], axis=1)


def _whole(file: WellFile, shapes: Sequence[tuple[int, int, int]]) -> list[NDArray[np.float32]]:
    """Return the values of every variable."""
    refuse_too_large(
        4 * sum(int(np.prod(shape)) for shape in shapes),
        f"All of {file.path}",
        "Where data are wanted, in a configuration or at the command line, name the file: it is read time by time.",
    )
    values = [np.empty(shape, np.float32) for shape in shapes]
    for trajectory in range(file.num_trajectories):
        for start in range(0, len(file.times), TIMES_AT_ONCE):
            block = file.read(file.variables, slice(start, start + TIMES_AT_ONCE), trajectory)
            for column, variable in enumerate(file.variables):
                if variable.in_time or start == 0:
                    rows = len(block) if variable.in_time else 1
                    values[column][start : start + rows, trajectory] = block[:rows, :, column]
    return values


def numbered(series: Sequence[Series]) -> list[Series]:
    """Return series whose independent trajectories are counted over all files; see `first_numbers`."""
    counts = {one.path: len(one.numbers) for one in series if one.independent}
    first = first_numbers(counts)
    return [replace(one, numbers=one.numbers + first[one.path]) if one.independent else one for one in series]


def first_numbers(counts: Mapping[str, int], by_file: bool = False) -> dict[str, int]:
    """Return the number of the first trajectory of each file, from how many each has, counted in the order given.

    Files that are named alike but for a last `_s1`, `_s2`, as planetswe_IC36_s1.hdf5, are parts of the same
    trajectories, one after another in time, unless `by_file` says that each has its own.
    """
    numbers: dict[str, int] = {}
    following = 0
    for path, count in counts.items():
        whole = path if by_file else _without_part(path)
        if whole not in numbers:
            numbers[whole] = following
            following += count
    return {path: numbers[path if by_file else _without_part(path)] for path in counts}


def _without_part(path: str) -> str:
    return str(Path(path).with_name(re.sub(r"_s\d+$", "", Path(path).stem)))


def open_well_fields(
    paths: Sequence[Path], rename: Mapping[str, str], units: Mapping[str, str], trajectories: str | None = None
) -> WellFields:
    """Return the fields of one or several files of The Well, whose values are read when they are asked for.

    rename, units: by a file's name of a variable, or ours.
    trajectories: `files`, where each file holds trajectories of its own, however it is named.
    """
    dimension = {} if trajectories in (None, FILES) else {trajectories: NUMBER}
    files = [open_well(path, {**rename, **dimension}, units) for path in paths]
    variables = [variable for file in files for variable in file.variables]
    refuse_unused(rename, variables, "rename")
    refuse_unused(units, variables, "units")
    return WellFields(files, trajectories == FILES)


class WellFields(Fields):
    """`Fields` over files of The Well.

    places: [time, row, 3] the file, its time, and its trajectory where the values of a time and row stand.
    """

    def __init__(self, files: Sequence[WellFile], by_file: bool = False) -> None:
        _refuse_differences(files)
        self.files, grid = files, files[0].grid
        self.source = ", ".join(file.path for file in files)
        self.mesh = mesh_from_coordinates(grid.latitudes, grid.longitudes)
        self.variables = tuple(variable.name for variable in files[0].variables)
        self.units = tuple(variable.units for variable in files[0].variables)
        self.attributes = joined_attributes(file.attributes for file in files)
        first = first_numbers({file.path: file.num_trajectories for file in files}, by_file)
        self.times, self.places = _arranged(files, [first[file.path] for file in files])
        self.time_step = settle_dates(self.times)[1] or TimeStep(1)
        self.missing = frozenset[int]()
        self.ensemble_axis = "trajectory"
        self.ensemble_size = self.places.shape[1]
        self.trajectories = range(self.ensemble_size)
        notices = (notice for file in files for notice in file.notices)
        self.notices = (*dict.fromkeys(notices), *remarks_on(self.mesh))

    def _read(self, times: Index, rows: Index, columns: list[int]) -> NDArray[np.floating]:
        values = np.empty((len(times), len(rows), self.mesh.num_nodes, len(columns)), dtype=np.float32)
        for place, row in enumerate(rows.tolist()):
            for run in _runs(self.places[times, row]):
                file, start, trajectory = self.places[times[run.start], row].tolist()
                wanted = [self.files[file].variables[column] for column in columns]
                block = slice(start, start + run.stop - run.start)
                values[run, place] = self.files[file].read(wanted, block, trajectory)
        return values


def _runs(places: Index) -> Iterator[slice]:
    """Yield runs of places [time, 3] that are consecutive times of one file: one read each."""
    breaks = np.flatnonzero(np.any(np.diff(places, axis=0) != [0, 1, 0], axis=1)) + 1
    for start, stop in pairwise([0, *breaks.tolist(), len(places)]):
        if stop > start:
            yield slice(start, stop)


def _arranged(files: Sequence[WellFile], first: Sequence[int]) -> tuple[Index, Index]:
    """Return all times, and where the values of each time and trajectory stand; see `WellFields.places`."""
    times = np.unique(np.concatenate([file.times for file in files]))
    size = max(number + file.num_trajectories for number, file in zip(first, files, strict=True))
    places = np.full((len(times), size, 3), -1, dtype=np.int64)
    for index, (number, file) in enumerate(zip(first, files, strict=True)):
        at = np.searchsorted(times, file.times)
        for trajectory in range(file.num_trajectories):
            row = number + trajectory
            if (twice := places[at, row, 0] >= 0).any():
                moment, other = to_datetime(file.times[twice])[0], files[int(places[at, row, 0][twice][0])].path
                raise MeshcastError(
                    f"{file.path} is given twice."
                    if other == file.path
                    else f"{other} and {file.path} are named as parts of one trajectory, but both have the time "
                    f"{moment}. Say --trajectories files where each is a trajectory of its own."
                )
            places[at, row, 0], places[at, row, 1] = index, np.arange(len(at))
            places[at, row, 2] = trajectory
    if (absent := places[..., 0] < 0).any():
        time, row = (int(found[0]) for found in np.nonzero(absent))
        there = files[int(places[:, row, 0].max())].path
        raise MeshcastError(
            f"Trajectory {row}, of {there}, has no fields at {to_datetime(times)[time]}, which others have "
            f"({int(absent.sum())} fields lack). Give files of the same times; parts of one trajectory are named "
            "NAME_s1.hdf5, NAME_s2.hdf5, as planetswe's are."
        )
    return times, places


def _refuse_differences(files: Sequence[WellFile]) -> None:
    """Raise MeshcastError where files lie on different grids or hold different variables."""
    first = files[0]
    for file in files[1:]:
        if not file.grid.equals(first.grid):
            raise MeshcastError(
                f"The files lie on different grids: {first.path} has {first.grid}, {file.path} {file.grid}. Read them "
                "apart."
            )
        ours, theirs = ([(one.name, one.units) for one in of.variables] for of in (first, file))
        if ours != theirs:
            raise MeshcastError(
                f"The files hold different variables: {first.path} has {_listed(ours)}, {file.path} {_listed(theirs)}. "
                "Read them apart, or --rename."
            )


def _listed(variables: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{name} [{units}]" for name, units in variables)
