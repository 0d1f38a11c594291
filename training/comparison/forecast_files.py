"""Forecast files as rows: their names, units, nodes and dates become ours, scored where all of them start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emulator.data.coordinates import nodes_among
from emulator.data.forecast import Forecast
from emulator.data.forecast_file import read_forecast
from emulator.data.names import canonical_name, conversion
from emulator.fields import Fields
from emulator.foundation.configuration_faults import nearest
from emulator.foundation.time_step import TimeStep
from emulator.foundation.winds import winds
from emulator.task import Task
from graphs.errors import MeshcastError
from graphs.interpolation.conservative import conservative
from graphs.interpolation.interpolate import bilinear
from graphs.interpolation.weights import Interpolation
from graphs.mesh import Mesh
from training.comparison.configuration import RowConfig
from training.comparison.starts import Starts

MUCH_FINER = 2  # times as many nodes: their values are averaged over ours, where interpolation would pick some


def read_row(label: str, row: RowConfig, test: Fields, task: Task) -> tuple[Forecast, list[str]]:
    """Return a row's forecast file with our names, units and nodes, on its dates, and what was changed for that.

    Raises MeshcastError where it holds no variable of the task, units that cannot be converted, or other places.
    """
    assert row.forecast_file is not None
    forecast, notices = read_forecast(Path(row.forecast_file)), []
    units = {variable.name: variable.units for variable in task.predicted}
    converted = {}
    for name, wanted in units.items():
        column = _column(forecast, name, row.rename)
        if column is None:
            notices.append(f"{label} does not forecast {name}, which no row is scored on")
            continue
        given = forecast.units[column]
        convert = conversion(given, wanted)
        if convert is None:
            raise MeshcastError(
                f"{label}: {row.forecast_file} has {name} in {given or 'no units'}, which cannot become {wanted}. "
                f"Correct the file's units, or rename another of its variables: {', '.join(forecast.variables)}."
            )
        if convert.needed:
            notices.append(f"{label}: {name} was converted from {given} to {wanted}")
        converted[name] = convert(forecast.values[..., column])
    if not converted:
        raise MeshcastError(
            f"{label}: {row.forecast_file} holds {', '.join(forecast.variables)}, none of {', '.join(units)}"
            f"{nearest(next(iter(units)), forecast.variables)}. Name what is ours with rename: {{THEIRS: OURS}}."
        )
    names, units_found = tuple(converted), tuple(units[name] for name in converted)
    stacked = np.stack(list(converted.values()), axis=-1)
    values, regridding = _on_our_nodes(label, stacked, forecast.mesh, test.mesh, names, units_found)
    trajectory = forecast.trajectory
    if test.ensemble_axis == "trajectory" and test.ensemble_size == 1:
        trajectory = np.zeros_like(trajectory)  # there is but one that it can be
    elif test.ensemble_axis == "trajectory":
        trajectory = test.rows_of(trajectory)
    else:
        trajectory = np.full_like(trajectory, -1)
    placed = replace(
        forecast,
        name=label,
        values=values,
        variables=names,
        units=units_found,
        mesh=test.mesh,
        trajectory=trajectory,
        attributes={**forecast.attributes, **regridding},
    )
    return placed, notices


def common_starts(forecasts: Sequence[Forecast], starts: Starts, time_step: TimeStep) -> tuple[Starts, list[str]]:
    """Return the starts and lead times that every forecast has too, and a sentence for each that lacks some.

    All rows are then scored on these. Raises MeshcastError where a forecast has none.
    """
    common_cases = np.ones(len(starts), dtype=bool)
    common_leads = np.ones(len(starts.lead_steps), dtype=bool)
    notices = []
    for forecast in forecasts:
        cases, leads = _found(forecast, starts, time_step)
        if not cases.any() or not leads.any():
            ours = _dates(starts.init_time, time_step, starts.lead_steps)
            theirs = _dates(forecast.init_time, forecast.time_step, forecast.lead_steps)
            no_lead = ", but no lead time from them" if cases.any() else ""
            raise MeshcastError(
                f"The dates of {forecast.name} do not meet ours: its forecasts begin {theirs}, the comparison's "
                f"{ours}; {cases.sum()} of {len(starts)} starts meet{no_lead}. Give forecasts from our starts, "
                "or choose data.test, forecast.every and task.time_step to meet theirs."
            )
        if not (cases.all() and leads.all()):
            notices.append(
                f"{forecast.name} has {cases.sum()} of {len(starts)} starts and {leads.sum()} of "
                f"{len(starts.lead_steps)} lead times: every row is scored on those"
            )
        common_cases &= cases
        common_leads &= leads
        if not common_cases.any() or not common_leads.any():
            raise MeshcastError(
                f"{forecast.name} and the forecast files before it have no start and lead time in common. Compare them "
                "one at a time."
            )
    common = Starts(starts.init_time[common_cases], starts.trajectory[common_cases], starts.lead_steps[common_leads])
    return common, notices


def at_starts(forecast: Forecast, starts: Starts, time_step: TimeStep) -> Forecast:
    """Return the forecast in the order of our starts and lead times, all of which it has."""
    cases = _cases_of(forecast, starts)
    wanted = time_step.advance(starts.init_time[:1], starts.lead_steps)
    leads = np.searchsorted(forecast.valid_time[cases[0]], wanted)
    values = np.ascontiguousarray(forecast.values[cases][:, :, leads])
    return replace(forecast, values=values, time_step=time_step, **vars(starts))


def _column(forecast: Forecast, name: str, rename: Mapping[str, str]) -> int | None:
    matches = (
        [rename.get(theirs) == name for theirs in forecast.variables],
        [theirs == name for theirs in forecast.variables],
        [canonical_name(theirs) == canonical_name(name) for theirs in forecast.variables],
    )
    return next((match.index(True) for match in matches if True in match), None)


def _on_our_nodes(
    label: str, values: NDArray[np.float32], theirs: Mesh, ours: Mesh, names: Sequence[str], units: Sequence[str]
) -> tuple[NDArray[np.float32], dict[str, str]]:
    """Return values [..., node, variable] on our nodes, and the attribute that says how they were regridded, if any."""
    if theirs.same_nodes(ours):
        return values, {}
    if (among := nodes_among(theirs, ours)) is not None:
        return values[..., among, :], {}
    try:
        remapping = _remapping(theirs, ours)
    except MeshcastError as error:
        raise MeshcastError(f"{label} cannot come to the nodes of the test data: {error}") from None
    placed = remapping.apply_known(values)
    for east, north in winds(names, units):
        placed[..., [east]], placed[..., [north]] = remapping.apply_vector(values[..., [east]], values[..., [north]])
    return placed.astype(np.float32), {"regridding": remapping.describe()}


def _remapping(theirs: Mesh, ours: Mesh) -> Interpolation:
    if theirs.num_nodes >= MUCH_FINER * ours.num_nodes:
        with suppress(MeshcastError):
            return conservative(theirs, ours)
    return bilinear(theirs, ours)


def _cases_of(forecast: Forecast, starts: Starts) -> NDArray[np.int64]:
    """Return the forecast's case of each start [case], -1 where it has none."""
    cases = {key: case for case, key in enumerate(_keys(forecast))}
    return np.array([cases.get(key, -1) for key in _keys(starts)])


def _keys(cases: Forecast | Starts) -> list[tuple[int, int]]:
    return list(zip(cases.init_time.tolist(), cases.trajectory.tolist(), strict=True))


def _found(forecast: Forecast, starts: Starts, time_step: TimeStep) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which of our starts [case] a forecast has, and which lead times [lead] from all of these."""
    case = _cases_of(forecast, starts)
    found = case >= 0
    wanted = time_step.advance(starts.init_time[found, None], starts.lead_steps)
    leads = (wanted[:, :, None] == forecast.valid_time[case[found], None, :]).any(axis=2).all(axis=0)
    return found, leads


def _dates(init_time: NDArray[np.int64], time_step: TimeStep, lead_steps: NDArray[np.int64]) -> str:
    times = np.unique(init_time)
    span = f"{time_step.moment(times[0])} to {time_step.moment(times[-1])}"
    between = "" if len(times) < 2 else f" every {_spacing(times, time_step)}"
    values, unit = time_step.lead_times(lead_steps[[0, -1]])
    return f"{span}{between} ({len(times)} times) with lead times {values[0]:g} to {values[1]:g} {unit}"


def _spacing(times: NDArray[np.int64], time_step: TimeStep) -> str:
    usual = int(np.median(np.diff(times)))
    if time_step.true_length is not None:
        return f"{usual / time_step.count * time_step.true_length:g}"
    return str(TimeStep(usual)) if time_step.unit == "second" else f"{usual / 86_400:.0f} days"
