"""Where the lateral boundary of a forecast comes from: a dataset, or a forecast of a larger area."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from emulator.boundary import BoundaryForcings, BoundarySeries
from emulator.data.coordinates import nodes_among
from emulator.data.forecast import Forecast
from emulator.data.names import Conversion, canonical_name, conversion
from emulator.fields import Fields
from emulator.forcings import ForcingWindows
from emulator.foundation.configuration_faults import nearest
from emulator.foundation.time_step import Times, TimeStep
from emulator.state import State
from emulator.task import Task, wind_pairs
from graphs.errors import MeshcastError
from graphs.geometry import Index
from graphs.interpolation.interpolate import bilinear
from graphs.mesh import Mesh
from graphs.meshes.icosphere import trim

TIMES_AT_ONCE = 16  # whole fields of a source in memory at a time
Values = NDArray[np.float32]


def boundary_forcings(
    forcings: ForcingWindows,
    source: Fields | Forecast,
    task: Task,
    mesh: Mesh,
    state: State,
    trajectory: Index,
    steps: int,
) -> tuple[BoundaryForcings, list[str]]:
    """Return the forcings of forecasts with the boundary that a source gives them, and notices of what was done.

    Everything is read and checked here, before a step is taken. The source has the nodes of the boundary among its own,
    or is interpolated to them, winds as vectors. Of a dataset, each case takes its own trajectory; of a forecast, the
    case of its trajectory that began last, not after it. Between the times of the source the boundary is linear.

    state, trajectory: the initial states, [case, ...], and the row of a simulated dataset each is of, -1 for real data.
    Raises MeshcastError where the source lacks a variable, a trajectory, or a time that the forecast needs.
    """
    if not task.boundary or mesh.boundary is None:
        raise MeshcastError(f"This emulator lives on a {mesh.describe()} without a boundary. Leave its source away.")
    nodes = np.flatnonzero(mesh.boundary)
    given = _ForecastSource(source) if isinstance(source, Forecast) else _FieldsSource(source)
    several = f"The boundary is the first of {given.members} members of {given.name}."
    notices = [several] if given.members > 1 else []
    _refuse_other_time(given.time_step, task.time_step, given.name)
    read = _reader(given, task, mesh, notices)
    now = state.now[:, 0].cpu().numpy()[:, nodes]  # [case, boundary node, prognostic]
    known_series: dict[tuple[int, ...], BoundarySeries] = {}
    series, between = [], False
    for case, start in enumerate(state.valid_time):
        targets = task.time_step.advance(np.full(steps, start), np.arange(1, steps + 1))
        row, times, from_start = given.row_of(int(trajectory[case]), int(start))
        needed = _around(times, targets[0], targets[-1])
        key = (row, int(needed[0]), int(needed[-1])) if len(needed) else (row,)
        key = (*key, case) if from_start else key
        if key not in known_series:
            values = read(row, needed) if len(needed) else now[:0]
            whole = np.isfinite(values).all(axis=(1, 2)) | ~np.isfinite(now[case]).all()
            known, values = times[needed][whole], values[whole]
            if from_start:  # a forecast file begins one step after its start, which is ours too
                known, values = np.r_[start, known], np.concatenate([now[case][None], values])
            known_series[key] = BoundarySeries(known, values)
        _refuse_short(known_series[key].times, targets, given.name, task.time_step, int(start))
        between |= not np.isin(targets, known_series[key].times).all()
        series.append(known_series[key])
    if between:
        notices.append(
            f"The boundary is interpolated linearly in time: {given.name} comes every {given.time_step}, the forecast "
            f"steps by {task.time_step}."
        )
    return BoundaryForcings(forcings, nodes, tuple(series)), notices


class _FieldsSource:
    """A dataset or files: one row a trajectory, the first member of an ensemble."""

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self.name, self.mesh, self.time_step = fields.source, fields.mesh, fields.time_step
        self.variables, self.units = fields.variables, fields.units
        self.times = np.delete(fields.times, sorted(fields.missing))
        self.index = np.delete(np.arange(len(fields.times)), sorted(fields.missing))
        self.members = fields.ensemble_size if fields.ensemble_axis == "member" else 1

    def row_of(self, trajectory: int, start: int) -> tuple[int, Times, bool]:
        """Return the row of a case, the times known of it, and whether it begins at `start` from the same state."""
        size = self.fields.ensemble_size
        if self.fields.ensemble_axis == "member" or (size == 1 and trajectory < 0):
            return 0, self.times, False
        if not 0 <= trajectory < size:
            raise MeshcastError(
                f"The boundary {self.name} has no trajectory {trajectory}; it holds 0 to {size - 1}. Give the boundary "
                "of the same simulations."
            )
        return trajectory, self.times, False

    def read(self, row: int, times: Index, names: Sequence[str]) -> Values:
        """Return values [time, node, variable]."""
        return self.fields.read(self.index[times], names, row)[:, 0]


class _ForecastSource:
    """A forecast: each row a case, the first member; of the cases of a trajectory, the one that began last."""

    def __init__(self, forecast: Forecast) -> None:
        self.forecast = forecast
        self.name, self.mesh, self.time_step = f"the forecast by {forecast.name}", forecast.mesh, forecast.time_step
        self.variables, self.units = forecast.variables, forecast.units
        self.members = forecast.values.shape[1]

    def row_of(self, trajectory: int, start: int) -> tuple[int, Times, bool]:
        forecast = self.forecast
        mine = (forecast.trajectory == trajectory) & (forecast.init_time <= start)
        if not mine.any():
            what = "" if trajectory < 0 else f" of trajectory {trajectory}"
            raise MeshcastError(
                f"The boundary, {self.name}, has no case{what} that began by {self.time_step.moment(start)}, where "
                "this forecast begins. Make it from the same starts, or earlier ones."
            )
        row = int(np.flatnonzero(mine)[np.argmax(forecast.init_time[mine])])
        return row, forecast.valid_time[row], bool(forecast.init_time[row] == start)

    def read(self, row: int, times: Index, names: Sequence[str]) -> Values:
        columns = [self.forecast.variables.index(name) for name in names]
        return np.asarray(self.forecast.values[row, 0, times][..., columns], dtype=np.float32)


_Source = _FieldsSource | _ForecastSource


def _reader(source: _Source, task: Task, mesh: Mesh, notices: list[str]) -> Callable[[int, Index], Values]:
    """Return a function from a row and indices of times to [time, boundary node, prognostic], in the task's units."""
    columns, conversions = _columns(source, task, notices)
    place = _placement(source, task, mesh, notices)

    def read(row: int, times: Index) -> Values:
        pieces = []
        for some in np.array_split(times, -(-len(times) // TIMES_AT_ONCE)):
            values = source.read(row, some, columns)
            for column, convert in enumerate(conversions):
                values[..., column] = convert(values[..., column])
            pieces.append(place(values).astype(np.float32))
        return np.concatenate(pieces)

    return read


def _columns(source: _Source, task: Task, notices: list[str]) -> tuple[list[str], list[Conversion]]:
    """Return the source's names of the prognostic variables, and the conversions of their units."""
    canonical = {canonical_name(name): name for name in source.variables}
    columns, conversions, faults = [], [], []
    for variable in task.with_role("prognostic"):
        name = variable.name if variable.name in source.variables else canonical.get(canonical_name(variable.name))
        if name is None:
            faults.append(f"it lacks {variable.name}{nearest(variable.name, source.variables)}")
            continue
        theirs = source.units[source.variables.index(name)]
        convert = conversion(theirs, variable.units)
        if convert is None:
            faults.append(f"its {name} is in {theirs or 'no units'}, which cannot become {variable.units}")
            continue
        if convert.needed:
            notices.append(f"The boundary's {name} was converted from {theirs} to {variable.units}.")
        columns.append(name)
        conversions.append(convert)
    if faults:
        raise MeshcastError(
            f"{source.name} cannot be the boundary: {'; '.join(faults)}. It holds {', '.join(source.variables)}."
        )
    return columns, conversions


def _placement(source: _Source, task: Task, mesh: Mesh, notices: list[str]) -> Callable[[Values], Values]:
    """Return a function from the source's nodes [time, node, prognostic] to the boundary's."""
    assert mesh.boundary is not None
    boundary = trim(replace(mesh, boundary=None), mesh.boundary)
    among = nodes_among(source.mesh, boundary)
    if among is not None:
        return lambda values: values[:, among]
    try:
        remapping = bilinear(source.mesh, boundary)
    except MeshcastError as error:
        raise MeshcastError(f"The boundary, {source.name}, does not surround the area: {error}") from None
    winds = wind_pairs(task)
    notices.append(f"The boundary was remapped: {remapping.describe()}.")

    def place(values: Values) -> Values:
        placed = remapping.apply(values)
        for east, north in winds:
            components = remapping.apply_vector(values[..., [east]], values[..., [north]])
            placed[..., [east]], placed[..., [north]] = components
        return placed

    return place


def _around(times: Times, first: np.int64, last: np.int64) -> Index:
    """Return the indices of the times from the last one not after `first` to the first one not before `last`."""
    begin = max(int(np.searchsorted(times, first, side="right")) - 1, 0)
    end = int(np.searchsorted(times, last)) + 1
    return np.arange(begin, min(end, len(times)))


def _refuse_short(known: Times, targets: Times, name: str, time_step: TimeStep, start: int) -> None:
    if len(known) and known[0] <= targets[0] and targets[-1] <= known[-1]:
        return
    asked = f"the forecast from {time_step.moment(start)} needs it until {time_step.moment(targets[-1])}"
    if len(known) == 0 or known[-1] < targets[0]:
        raise MeshcastError(f"The boundary, {name}, has no values for this forecast: {asked}. Give one that covers it.")
    if known[0] > targets[0]:
        raise MeshcastError(
            f"The boundary, {name}, begins too late, at {time_step.moment(known[0])}: {asked}, from "
            f"{time_step.moment(targets[0])} on. Give one that begins earlier."
        )
    steps = int((targets <= known[-1]).sum())
    raise MeshcastError(
        f"The boundary, {name}, ends too early, at {time_step.moment(known[-1])}: {asked}. Give a longer one, or "
        f"forecast {steps} step{'s' * (steps != 1)} of {time_step}."
    )


def _refuse_other_time(theirs: TimeStep, ours: TimeStep, name: str) -> None:
    """Raise where one keeps a time of its own and the other another."""
    seconds = [step.true_length and round(step.true_length / step.count, 9) for step in (theirs, ours)]
    if seconds[0] != seconds[1]:
        raise MeshcastError(
            f"The boundary, {name}, steps by {theirs} and the emulator by {ours}: different kinds of time. Give a "
            "boundary of the same data."
        )
