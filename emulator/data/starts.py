"""Starts of forecasts: initial times as a user writes them, or spread over a series, and its states there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from emulator.fields import Fields
from emulator.foundation.time_step import Times, TimeStep
from emulator.state import State
from emulator.task import Task
from graphs.errors import MeshcastError
from graphs.geometry import Index, Mask

MOST_HISTORY = 1_000  # that a series too short for it may be asked for, to be told which of its times are absent
MOST_STARTS = 1_000_000  # that a range may stand for
GRAMMAR = "Use `T, T`, `START/END/STEP` (2019-03-25T00/2019-03-31T00/6h), `latest` or `all`."


@dataclass(frozen=True, eq=False)
class InitialConditions:
    """States to start from, one a case.

    state: values [case, member, history, node, prognostic], on the nodes and in the units of the emulator.
    trajectory: [case] index of the simulated trajectory, -1 for real data.
    attributes: licence, attribution and what else travels with the data.
    notices: a line for each thing that was converted, reordered or left out.
    """

    state: State
    trajectory: Index
    attributes: Mapping[str, str]
    notices: tuple[str, ...] = ()


def states_at(fields: Fields, task: Task, init_time: Times, trajectory: Index | None = None) -> InitialConditions:
    """Return states of `fields` at `init_time` [case] with the task's history; raise MeshcastError where one is absent.

    trajectory: [case] rows of the ensemble axis, for simulated data; real data keep all members of each time.
    """
    index, there = histories(fields, task, init_time)
    found = there.all(axis=1)
    if not found.all():
        raise MeshcastError(
            f"{fields.source} has no state with {task.history} times of history at "
            f"{fields.time_step.moment(init_time[~found][0])}; it covers {fields.time_step.moment(fields.times[0])} to "
            f"{fields.time_step.moment(fields.times[-1])}."
        )
    used, place = np.unique(index, return_inverse=True)
    values = fields.read(used, task.prognostic)[place.reshape(index.shape)]  # [case, history, row, node, variable]
    values = values.transpose(0, 2, 1, 3, 4)
    if fields.ensemble_axis == "trajectory":
        if trajectory is None or trajectory.min() < 0 or trajectory.max() >= fields.ensemble_size:
            raise MeshcastError(f"{fields.source} has trajectories 0 to {fields.ensemble_size - 1}, not {trajectory}.")
        values = values[np.arange(len(init_time)), trajectory][:, None]
    else:
        trajectory = np.full(len(init_time), -1, dtype=np.int64)
    numbers = np.append(np.asarray(fields.trajectories, np.int64), -1)[trajectory]  # -1 stays so
    state = State(torch.from_numpy(np.ascontiguousarray(values)), np.asarray(init_time, dtype=np.int64), numbers)
    return InitialConditions(state, trajectory, dict(fields.attributes))


def spread_starts(fields: Fields, task: Task, steps: int, most: int | None = None) -> tuple[Times, Index]:
    """Return initial times and trajectories [case], -1 of real data, with history and `steps` of truth in the series.

    Trajectories start at their first possible time; a real series at `most` times, evenly spread.
    """
    within = task.time_step.advance(fields.times, steps) <= fields.times[-1]
    now = np.flatnonzero(histories(fields, task, fields.times)[1].all(axis=1) & within)
    if len(now) == 0:
        raise MeshcastError(
            f"{fields.source} has {len(fields.times)} times, too few for {task.history} of history and {steps} steps "
            f"of {task.time_step} without a gap before the start. Forecast fewer steps, or give longer series."
        )
    if fields.ensemble_axis == "trajectory":
        rows = _evenly(fields.ensemble_size, most)
        return np.full(len(rows), fields.times[now[0]]), rows
    now = now[_evenly(len(now), most)]
    return fields.times[now], np.full(len(now), -1, dtype=np.int64)


def _evenly(count: int, most: int | None) -> Index:
    chosen = np.arange(count) if most is None or most >= count else np.linspace(0, count - 1, most).round()
    return chosen.astype(np.int64)


def histories(fields: Fields, task: Task, init_time: Times) -> tuple[Index, Mask]:
    """Return where each start's history stands in the series [case, history], by time, and whether it is there."""
    if task.history > max(len(fields.times), MOST_HISTORY):
        raise MeshcastError(
            f"A start needs {task.history:,} fields of history, but {fields.source} has {len(fields.times)} times."
        )
    history = task.time_step.advance(init_time[:, None], np.arange(1 - task.history, 1)[None])
    index = np.searchsorted(fields.times, history).clip(0, len(fields.times) - 1)
    return index, (fields.times[index] == history) & ~np.isin(index, sorted(fields.missing))


def parse_init_times(text: str, fields: Fields) -> Times:
    """Return seconds since 1970 UTC of `T, T` or `START/END/STEP`; see `emulator.data.initial.initial_conditions`."""
    times: list[int] = []
    for entry in text.split(","):
        pieces = [piece.strip() for piece in entry.split("/")]
        if len(pieces) == 1:
            times.append(_parse_time(pieces[0], fields))
        elif len(pieces) == 3:
            start, end = _parse_time(pieces[0], fields), _parse_time(pieces[1], fields)
            step = _parse_step(pieces[2], fields)
            if end < start:
                raise MeshcastError(f"The initial times {entry.strip()} end before they start. Write START/END/STEP.")
            count = step.whole_steps(np.int64(start), np.int64(end)) + 1
            if count > MOST_STARTS:
                raise MeshcastError(f"The initial times {entry.strip()} are {count:,}. Write fewer, or a longer step.")
            moments = step.advance(np.array(start), np.arange(count))
            times += moments[moments <= end].tolist()
        else:
            raise MeshcastError(f"Cannot read the initial times {entry.strip()!r}. {GRAMMAR}")
    return np.unique(np.array(times, dtype=np.int64))


def _parse_time(text: str, fields: Fields) -> int:
    time_step = fields.time_step
    if time_step.true_length is not None and re.fullmatch(r"[\d.]+([eE][+-]?\d+)?", text):
        steps = float(text) / time_step.true_length
        if abs(steps - round(steps)) > 1e-6 * max(abs(steps), 1.0):
            near = ", ".join(f"{time_step.true_length * whole:g}" for whole in (int(steps), int(steps) + 1))
            raise MeshcastError(f"Initial time {text} is no multiple of the time step {time_step}; nearest are {near}.")
        return round(steps) * time_step.count
    try:
        moment: np.datetime64 = np.datetime64(text.removesuffix("Z"), "s")
    except ValueError:
        moment = np.datetime64("NaT", "s")
    if np.isnat(moment):
        raise MeshcastError(f"Cannot read {text!r} as a date (like 2019-03-25 or 2019-03-25T06). {GRAMMAR}")
    return int(moment.astype(np.int64))


def _parse_step(text: str, fields: Fields) -> TimeStep:
    time_step = fields.time_step
    if time_step.true_length is not None and re.fullmatch(r"[\d.]+([eE][+-]?\d+)?", text):
        return TimeStep(max(1, round(float(text) / time_step.true_length)) * time_step.count)
    return TimeStep.parse(text)
