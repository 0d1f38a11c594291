"""A series: one variable of one file, on one grid, at dates of one calendar, as all files are brought to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emulator.data.names import canonical_name, conversion
from emulator.data.read_later import joined_values
from emulator.foundation.configuration_faults import nearest
from emulator.foundation.time_step import Times, TimeStep, to_datetime, to_seconds
from graphs.errors import MeshcastError
from graphs.geometry import Array, Index
from graphs.meshes.latlon import grid_axes

GREGORIAN = ("standard", "gregorian", "proleptic_gregorian")
DAY = 86_400
LONGEST_FORECAST = 15 * 365 * 86_400  # [s] decadal ones reach 10 years; what counts further is a climate simulation
SAME_VALUE = 1e-4  # relative, to which packing may change what never changes
NUMBER = "number"  # what a dimension of trajectories is renamed to
FILES = "files"  # each a trajectory of its own


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the cells of a file lie.

    latitudes, longitudes: [cell] degrees, longitudes in [0, 360).
    shape: (latitude, longitude) of a grid, (cell,) without one.
    """

    latitudes: Array
    longitudes: Array
    shape: tuple[int, ...]

    def equals(self, other: Grid) -> bool:
        """Return whether every cell lies at the same place, to 0.005 degrees: half the last digit of GRIB 1."""
        if self.shape != other.shape:
            return False
        east = (self.longitudes - other.longitudes + 180.0) % 360.0 - 180.0
        return bool(np.abs(self.latitudes - other.latitudes).max() < 5e-3 and np.abs(east).max() < 5e-3)

    def __str__(self) -> str:
        north, south = self.latitudes.max(), self.latitudes.min()
        return f"{' x '.join(map(str, self.shape))} cells from {south:g} to {north:g} degrees north"


@dataclass(frozen=True, eq=False)
class Series:
    """One variable over time and members on one grid.

    name: as the project calls it; `raw_name` as the file does.
    values: [time, number, cell] float32; an array of Dask where they are read later.
    times: [time] int64 seconds since 1970 UTC, or None for a field without time.
    numbers: [number] member numbers.
    calendar: the file's, where it is not Gregorian.
    attributes: title, licence and attribution of the file.
    notices: a line for each thing converted or left out. lead_time: of forecasts the longest [s], 0 of analyses.
    coordinates: names of the file's latitudes and longitudes, whose units may be given.
    independent: whether the file says that `numbers` count independent trajectories.
    label: of the trajectory that the whole file is of.
    """

    name: str
    raw_name: str
    values: NDArray[np.float32]
    times: NDArray[np.int64] | None
    numbers: NDArray[np.int64]
    grid: Grid
    units: str
    path: str
    calendar: str = "standard"
    attributes: dict[str, str] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    lead_time: int = 0
    coordinates: tuple[str, ...] = ()
    independent: bool = False
    label: str = ""


def joined_attributes(given: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return the attributes of several files; different values of one name are joined by a semicolon."""
    collected: dict[str, dict[str, None]] = {}
    for attributes in given:
        for name, value in attributes.items():
            collected.setdefault(name, {})[value] = None
    return {name: "; ".join(values) for name, values in collected.items()}


def selected(series: Sequence[Series], names: Sequence[str]) -> list[Series]:
    """Return the series of these variables, by our names; raise MeshcastError where one is not there."""
    known = list(dict.fromkeys(one.name for one in series))
    if absent := [name for name in names if name not in known]:
        hints = ", ".join(f"{name}{nearest(name, known)}" for name in absent)
        raise MeshcastError(f"The files have no variable {hints}. They have {', '.join(known)}.")
    return [one for one in series if one.name in names]


def needed(series: Sequence[Series], names: Collection[str]) -> list[Series]:
    """Return the series of these variables, by any of their names; all series where one of them is not there.

    What nobody needs must not take times from what is needed.
    """
    wanted = {canonical_name(name) for name in names}
    kept = [one for one in series if one.name in names or canonical_name(one.name) in wanted]
    return kept if wanted <= {canonical_name(one.name) for one in kept} else list(series)


def refuse_forecasts(series: Sequence[Series]) -> None:
    """Raise MeshcastError where a field was computed ahead of its time instead of analysed at it."""
    ahead = [one for one in series if 0 < one.lead_time <= LONGEST_FORECAST]
    if not ahead:
        return
    names = ", ".join(dict.fromkeys(f"{one.name} of {one.path}" for one in ahead[:5]))
    raise MeshcastError(
        f"These are forecasts, up to {max(one.lead_time for one in ahead) / 3600:g} h ahead of their initial time, and "
        f"no analyses: {names}{' and others' * (len(ahead) > 5)}. Select step 0 first, or say --forecasts-as-analyses "
        "to take them at their valid times all the same (`meshcast dataset` makes training data of them so)."
    )


def with_constants(series: Sequence[Series], names: Collection[str]) -> list[Series]:
    """Return the series, those of these names without time: what never changes stands at every time of the others."""
    if absent := [name for name in names if name not in {one.name for one in series}]:
        raise MeshcastError(
            f"--static names {', '.join(absent)}, but the files have "
            f"{', '.join(dict.fromkeys(one.name for one in series))}."
        )
    return [timeless(one) if one.name in names else one for one in series]


def timeless(one: Series) -> Series:
    """Return a series without its time; raise MeshcastError where its values change."""
    if not np.allclose(one.values, one.values[:1], rtol=SAME_VALUE, equal_nan=True):
        raise MeshcastError(f"{one.name} of {one.path} changes in time, so it is no static variable.")
    return replace(one, values=one.values[:1], times=None, lead_time=0)


def joined(name: str, pieces: Sequence[Series], notices: list[str]) -> tuple[NDArray[np.float32], Times | None, Index]:
    """Return one variable's values [time, number, cell], times and members, put together from its pieces."""
    pieces = [_in_units(piece, pieces[0], notices) for piece in pieces]
    _refuse_two_meanings(name, pieces)
    if len(pieces) == 1:
        return pieces[0].values, pieces[0].times, pieces[0].numbers
    without = [piece for piece in pieces if piece.times is None]
    if len(without) == len(pieces):
        if all(np.array_equal(piece.values, pieces[0].values, equal_nan=True) for piece in pieces):
            return pieces[0].values, None, pieces[0].numbers[:1]
        numbers = np.concatenate([piece.numbers for piece in pieces])
        if len(np.unique(numbers)) == len(numbers):
            return np.concatenate([piece.values for piece in pieces], axis=1), None, numbers
    if without:
        raise MeshcastError(
            f"{name} stands in {paths_of(pieces)}, but in {without[0].path} without time. Give it once; if it never "
            f"changes, say --static {name}."
        )
    times = np.unique(np.concatenate([piece.times for piece in pieces if piece.times is not None]))
    numbers = np.unique(np.concatenate([piece.numbers for piece in pieces]))
    filled: NDArray[np.object_] = np.full((len(times), len(numbers)), None, dtype=object)
    for piece in pieces:
        assert piece.times is not None
        at = np.ix_(np.searchsorted(times, piece.times), np.searchsorted(numbers, piece.numbers))
        if (twice := filled[at] != None).any():  # noqa: E711 - elementwise
            moment = to_datetime(piece.times)[np.nonzero(twice)[0][0]]
            raise MeshcastError(
                f"{name} at {moment} stands twice, in {filled[at][twice][0]} and in {piece.path}. Give each time "
                "once, --rename one of them, or say --trajectories files where each is a trajectory of its own."
            )
        filled[at] = piece.path
    if (absent := filled == None).any():  # noqa: E711
        row, column = (int(index[0]) for index in np.nonzero(absent))
        raise MeshcastError(
            f"{name} has member {numbers[column]} at other times, but not at {to_datetime(times)[row]} "
            f"({int(absent.sum())} fields lack). Give files that hold every member at every time."
        )
    values = joined_values([(piece.values, piece.times, piece.numbers) for piece in pieces], times, numbers)
    return values, times, numbers


def _in_units(piece: Series, first: Series, notices: list[str]) -> Series:
    if piece.units == first.units:
        return piece
    convert = conversion(piece.units, first.units)
    if convert is None:
        raise MeshcastError(
            f"{piece.name} has units {first.units or 'absent'!r} in {first.path}, but {piece.units or 'absent'!r} in "
            f"{piece.path}, which cannot be converted. Say --units {piece.name}=... or --rename one of them."
        )
    if convert.needed:
        notices.append(f"{piece.name} in {piece.path} was converted from {piece.units} to {first.units}")
    return replace(piece, values=convert(piece.values), units=first.units)


def _refuse_two_meanings(name: str, pieces: Sequence[Series]) -> None:
    """Two variables of one file must not become one."""
    seen: dict[str, str] = {}
    for piece in pieces:
        if seen.setdefault(piece.path, piece.raw_name) != piece.raw_name:
            raise MeshcastError(
                f"{piece.path} holds {seen[piece.path]} and {piece.raw_name}, both of which mean {name}. Give one of "
                f"them a name of its own with --rename {piece.raw_name}=..."
            )


class NamedVariable(Protocol):
    """What has a name in a file, and one of ours."""

    @property
    def name(self) -> str: ...
    @property
    def raw_name(self) -> str: ...


def refuse_unused(
    wanted: Mapping[str, str], variables: Sequence[NamedVariable], option: str, further: Collection[str] = ()
) -> None:
    """Raise MeshcastError where an option names a variable that no file has.

    further: names that may be there beside those of variables.
    """
    raw, ours = {one.raw_name for one in variables}, {one.name for one in variables}
    known = raw | ours | set(further)
    stems = {name.rsplit("_", 1)[0] for name in known}
    for key, value in wanted.items():
        if key not in known | stems and (option != "rename" or value not in known):
            raise MeshcastError(
                f"--{option} {key}={value}: no file has a variable {key}{nearest(key, known)}. There are "
                f"{', '.join(sorted(raw))}."
            )


def paths_of(series: Sequence[Series]) -> str:
    return ", ".join(dict.fromkeys(one.path for one in series))


def settled_grid(latitudes: NDArray[np.floating], longitudes: NDArray[np.floating]) -> tuple[Grid, Index | None]:
    """Return a grid with rows from north to south and columns eastward, from 0 if they go around.

    latitudes, longitudes: [cell] degrees, in the file's order, any convention.
    Returns the grid and the order [cell] that takes the file's cells to it, or None where nothing moves. A column
    that closes the circle twice (0 and 360) is dropped.
    """
    north: Array = np.asarray(latitudes, np.float64).ravel()
    east: Array = np.asarray(longitudes, np.float64).ravel() % 360.0
    east = np.where(east > 360.0 - 1e-6, 0.0, east)
    cells = _rows_and_columns(north, east)
    if cells is None:
        return Grid(north, east, (len(north),)), None
    if north[cells[0, 0]] < north[cells[-1, 0]]:
        cells = cells[::-1]
    columns = east[cells[0]]
    steps = np.diff(columns) % 360.0
    if len(columns) > 2 and 360.0 - steps.sum() < 1.01 * steps.max():
        cells = np.roll(cells, -int(np.argmin(columns)), axis=1)
    order = cells.ravel()
    moved = len(order) != len(north) or bool(np.any(np.diff(order) != 1))
    return Grid(north[order], east[order], (cells.shape[0], cells.shape[1])), order if moved else None


def _rows_and_columns(latitudes: Array, longitudes: Array) -> Index | None:
    """Return the cells [row, column] of a grid stored by rows, eastward, without a last column that is the first."""
    changes = np.flatnonzero(np.abs(np.diff(latitudes)) > 1e-6)
    columns = int(changes[0]) + 1 if len(changes) else len(latitudes)
    if columns < 2 or columns == len(latitudes) or len(latitudes) % columns:
        return None
    cells = np.arange(len(latitudes)).reshape(-1, columns)
    if abs(longitudes[0] - longitudes[columns - 1]) < 1e-6:
        cells = cells[:, :-1]
    if np.all(np.diff(longitudes[cells[0]]) % 360.0 > 180.0):
        cells = cells[:, ::-1]
    return None if grid_axes(latitudes[cells], longitudes[cells]) is None else cells


def gregorian(dates: Sequence[Any]) -> NDArray[np.int64]:
    """Return seconds since 1970 UTC of dates of any calendar, by year and month, at most the month's last day."""
    months = np.array([f"{date.year:04d}-{date.month:02d}" for date in dates], dtype="datetime64[M]")
    length = ((months + 1).astype("datetime64[D]") - months.astype("datetime64[D]")).astype(np.int64)
    days = np.minimum([date.day for date in dates], length) - 1
    seconds = [date.hour * 3600 + date.minute * 60 + date.second for date in dates]
    return to_seconds(months) + days * DAY + np.array(seconds, dtype=np.int64)


def refuse_disorder(times: NDArray[np.int64], where: str) -> None:
    """Raise MeshcastError where times descend or repeat."""
    wrong = np.flatnonzero(np.diff(times) <= 0)
    if len(wrong):
        before, after = to_datetime(times[wrong[0] : wrong[0] + 2])
        what = "repeats a time" if before == after else "has descending times"
        raise MeshcastError(
            f"{where} {what}: {before} is followed by {after} ({len(wrong)} such place{'s' * (len(wrong) > 1)}). Times "
            "must increase; sort the file or drop the duplicates first (ncks, cdo sorttimestamp, xarray's sortby)."
        )


def settle_dates(times: NDArray[np.int64]) -> tuple[NDArray[np.int64], TimeStep | None, str]:
    """Return the times, their step and a remark; None where a single time has no step.

    Months and years are calendar steps. Where their day of the month wanders (mid-month stamps; years of 365 days
    counted on) the times are set to one day, and the remark says so. Gaps are whole steps that are missing.
    Raises MeshcastError where the times keep no step.
    """
    if len(times) < 2:
        return times, None, ""
    moments = to_datetime(times)
    months = moments.astype("datetime64[M]").astype(np.int64)
    gaps, lengths = np.diff(months), np.diff(times)
    if lengths.min() >= 28 * DAY:
        yearly = lengths.min() >= 359 * DAY
        step = int(np.gcd.reduce(gaps)) if not yearly else 12 * int(np.gcd.reduce(np.diff(months // 12)))
        counted = not yearly and len(set(lengths)) == 1 and len(lengths) > 3 and len(set(_within_month(times))) > 1
        if gaps.min() > 0 and step > 0 and not counted:  # counted: every 30 days, say
            settled, remark = _settle_months(times, yearly)
            return settled, TimeStep(step, "month"), remark
    step = int(np.gcd.reduce(lengths))
    if step < lengths.min():
        place = int(np.flatnonzero(lengths % lengths.min())[0])
        raise MeshcastError(
            f"The times keep no fixed step: the shortest is {TimeStep(int(lengths.min()))}, but {moments[place]} is "
            f"followed by {moments[place + 1]}. Select times that are evenly spaced, or give --frequency."
        )
    return times, TimeStep(step), ""


def _settle_months(times: NDArray[np.int64], yearly: bool) -> tuple[NDArray[np.int64], str]:
    """Return the times moved to one day and time of the month (of the year, where the step is years)."""
    moments = to_datetime(times)
    months = moments.astype("datetime64[M]")
    within = _within_month(times)
    if np.all(within == within[0]) and not yearly:
        return times, ""
    if yearly:
        years = months.astype("datetime64[Y]")
        first_month = months[0] - years[0].astype("datetime64[M]")
        settled = to_seconds(years.astype("datetime64[M]") + first_month) + within[0]
    else:
        settled = to_seconds(months)
    if np.array_equal(settled, times):
        return times, ""
    return settled, (
        f"dates of one {'year' if yearly else 'month'} each lay on different days (such as {moments[0]} and "
        f"{moments[-1]}); they are set to {to_datetime(settled)[0]} and {to_datetime(settled)[-1]}"
    )


def _within_month(times: NDArray[np.int64]) -> NDArray[np.int64]:
    return times - to_seconds(to_datetime(times).astype("datetime64[M]"))
