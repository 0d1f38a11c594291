"""Forecasts of others as rows: their names, units, nodes and dates made ours, and the starts where all of them meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emulator.data.forecast import Forecast
from emulator.data.forecast_file import read_forecast
from emulator.data.names import canonical_name, conversion, nearest
from emulator.data.window import nodes_among
from emulator.fields import Fields
from emulator.foundation.time_step import TimeStep
from emulator.task import Task
from graphs.errors import MeshcastError
from graphs.interpolation.bilinear import bilinear
from graphs.interpolation.conservative import conservative
from graphs.interpolation.weights import Interpolation
from graphs.mesh import Mesh
from inference.scores.flow import winds
from training.comparison.configuration import RowConfig

MUCH_FINER = 2  # times as many nodes: their values are averaged over ours, where interpolation would pick some


@dataclass(frozen=True, eq=False)
class Starts:
    """Initial times and trajectories [case] of a comparison's forecasts, and their lead times [lead] in steps."""

    init_time: NDArray[np.int64]
    trajectory: NDArray[np.int64]
    lead_steps: NDArray[np.int64]

    @property
    def steps(self) -> int:
        """Steps a rollout must take."""
        return int(self.lead_steps[-1])

    def __len__(self) -> int:
        return len(self.init_time)


@dataclass(frozen=True, eq=False)
class ForeignRow:
    """Another's forecast with our names, units and nodes, on its own dates.

    regridding: how its fields came to our nodes, empty where they are there.
    notices: what was renamed, converted or left out, a sentence each.
    """

    label: str
    forecast: Forecast
    regridding: str
    notices: tuple[str, ...]


def read_row(label: str, row: RowConfig, test: Fields, task: Task) -> ForeignRow:
    """Return a row's forecast file as the comparison's truth and task have it.

    Raises MeshcastError where it holds no variable of the task, units that cannot be converted, or other places.
    """
    assert row.forecast_file is not None
    forecast, notices = read_forecast(Path(row.forecast_file)), []
    columns, names, factors = [], [], []
    ours = {variable.name: variable for variable in task.predicted}
    for name in ours:
        theirs = _column(forecast, name, row.rename)
        if theirs is None:
            notices.append(f"{label} does not forecast {name}, which no row is scored on")
            continue
        units = forecast.units[theirs]
        convert = conversion(units, ours[name].units)
        if convert is None:
            raise MeshcastError(
                f"{label}: {row.forecast_file} has {name} in {units or 'no units'}, which cannot become "
                f"{ours[name].units}. Correct the file's units, or rename another of its variables: "
                f"{', '.join(forecast.variables)}."
            )
        if convert.needed:
            notices.append(f"{label}: {name} was converted from {units} to {ours[name].units}")
        columns.append(theirs)
        names.append(name)
        factors.append(convert)
    if not columns:
        raise MeshcastError(
            f"{label}: {row.forecast_file} holds {', '.join(forecast.variables)}, none of {', '.join(ours)}"
            f"{nearest(next(iter(ours)), forecast.variables)}. Name what is ours with rename: {{THEIRS: OURS}}."
        )
    values = np.stack(
        [convert(forecast.values[..., column]) for column, convert in zip(columns, factors, strict=True)], axis=-1
    )
    values, remapping = _on_our_nodes(
        label, values, forecast.mesh, test.mesh, names, [ours[name].units for name in names]
    )
    trajectory = forecast.trajectory
    if test.ensemble_axis == "trajectory" and test.ensemble_size == 1:
        trajectory = np.zeros_like(trajectory)  # there is but one that it can be
    elif test.ensemble_axis != "trajectory":
        trajectory = np.full_like(trajectory, -1)
    placed = replace(
        forecast,
        name=label,
        values=values,
        variables=tuple(names),
        units=tuple(ours[name].units for name in names),
        mesh=test.mesh,
        trajectory=trajectory,
        attributes={**forecast.attributes, **({"regridding": remapping} if remapping else {})},
    )
    return ForeignRow(label, placed, remapping, tuple(notices))


def common_starts(rows: Sequence[ForeignRow], starts: Starts, time_step: TimeStep) -> tuple[Starts, list[str]]:
    """The starts and lead times that every foreign forecast has too, and a sentence for each that lacks some.

    All rows are then scored on these. Raises MeshcastError where a forecast has none.
    """
    met, notices = starts, []
    for row in rows:
        cases, leads = _met(row.forecast, starts, time_step)
        if not cases.any() or not leads.any():
            raise MeshcastError(_apart(row, starts, cases, time_step))
        if not (cases.all() and leads.all()):
            notices.append(
                f"{row.label} has {cases.sum()} of {len(starts)} starts and {leads.sum()} of {len(starts.lead_steps)} "
                "lead times: every row is scored on those"
            )
        key = np.isin(_keys(met), _keys(starts)[cases])
        met = Starts(met.init_time[key], met.trajectory[key], np.intersect1d(met.lead_steps, starts.lead_steps[leads]))
        if len(met) == 0 or len(met.lead_steps) == 0:
            raise MeshcastError(
                f"{row.label} and the forecast files before it have no start and lead time in common. Compare them one "
                "at a time."
            )
    return met, notices


def at_starts(row: ForeignRow, starts: Starts, time_step: TimeStep) -> Forecast:
    """The forecast in the order of our starts and leads, all of which it has."""
    forecast = row.forecast
    place = {key: case for case, key in enumerate(_keys(forecast).tolist())}
    cases = np.array([place[key] for key in _keys(starts).tolist()])
    wanted = time_step.advance(starts.init_time[:1], starts.lead_steps)
    leads = np.searchsorted(forecast.valid_time[cases[0]], wanted)
    return replace(
        forecast,
        values=np.ascontiguousarray(forecast.values[cases][:, :, leads]),
        time_step=time_step,
        init_time=starts.init_time,
        trajectory=starts.trajectory,
        lead_steps=starts.lead_steps,
    )


def _column(forecast: Forecast, name: str, rename: Mapping[str, str]) -> int | None:
    for column, theirs in enumerate(forecast.variables):
        if rename.get(theirs) == name:
            return column
    if name in forecast.variables:
        return forecast.variables.index(name)
    canonical = [canonical_name(theirs) for theirs in forecast.variables]
    return canonical.index(canonical_name(name)) if canonical_name(name) in canonical else None


def _on_our_nodes(
    label: str, values: NDArray[np.float32], theirs: Mesh, ours: Mesh, names: Sequence[str], units: Sequence[str]
) -> tuple[NDArray[np.float32], str]:
    """Values [..., node, variable] on our nodes, and how they came there."""
    if theirs.same_nodes(ours):
        return values, ""
    if (among := nodes_among(theirs, ours)) is not None:
        return values[..., among, :], ""
    try:
        remapping = _remapping(theirs, ours)
    except MeshcastError as error:
        raise MeshcastError(f"{label} cannot come to the nodes of the test part: {error}") from None
    placed = remapping.apply_known(values)
    for east, north in winds(names, units):
        placed[..., [east]], placed[..., [north]] = remapping.apply_vector(values[..., [east]], values[..., [north]])
    return placed.astype(np.float32), remapping.describe()


def _remapping(theirs: Mesh, ours: Mesh) -> Interpolation:
    if theirs.num_nodes >= MUCH_FINER * ours.num_nodes:
        try:
            return conservative(theirs, ours)
        except MeshcastError:
            pass
    return bilinear(theirs, ours)


def _keys(cases: Forecast | Starts) -> NDArray[np.str_]:
    """[case] what tells a start from another."""
    pairs = zip(cases.init_time.tolist(), cases.trajectory.tolist(), strict=True)
    return np.array([f"{start} {trajectory}" for start, trajectory in pairs])


def _met(forecast: Forecast, starts: Starts, time_step: TimeStep) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """[case], [lead] which of our starts, and of our lead times from all of these, a forecast has."""
    keys = _keys(forecast)
    cases = np.isin(_keys(starts), keys)
    place = {key: case for case, key in enumerate(keys.tolist())}
    leads = np.ones(len(starts.lead_steps), dtype=bool)
    for start, key in zip(starts.init_time[cases], _keys(starts)[cases].tolist(), strict=True):
        leads &= np.isin(time_step.advance(start, starts.lead_steps), forecast.valid_time[place[key]])
    return cases, leads


def _apart(row: ForeignRow, starts: Starts, cases: NDArray[np.bool_], time_step: TimeStep) -> str:
    """Both ranges, steps, and how many starts meet."""
    forecast = row.forecast
    ours = _described(starts.init_time, time_step, time_step, starts.lead_steps)
    theirs = _described(forecast.init_time, forecast.time_step, forecast.time_step, forecast.lead_steps)
    return (
        f"The dates of {row.label} do not meet ours: its forecasts begin {theirs}, the comparison's {ours}; "
        f"{cases.sum()} of {len(starts)} starts meet{', but no lead time from them' if cases.any() else ''}. Give "
        "forecasts from our starts, or choose data.test, forecast.every and task.time_step to meet theirs."
    )


def _described(
    init_time: NDArray[np.int64], clock: TimeStep, time_step: TimeStep, lead_steps: NDArray[np.int64]
) -> str:
    times = np.unique(init_time)
    span = f"{clock.moment(times[0])} to {clock.moment(times[-1])}"
    between = "" if len(times) < 2 else f" every {_spacing(times, clock)}"
    values, unit = time_step.lead_times(lead_steps[[0, -1]])
    return f"{span}{between} ({len(times)} times) with lead times {values[0]:g} to {values[1]:g} {unit}"


def _spacing(times: NDArray[np.int64], clock: TimeStep) -> str:
    usual = int(np.median(np.diff(times)))
    if clock.true_length is not None:
        return f"{usual / clock.count * clock.true_length:g}"
    return str(TimeStep(usual)) if clock.unit == "second" else f"{usual / 86_400:.0f} days"
