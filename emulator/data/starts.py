"""Starts: states of a series at given times and trajectories, and start times spread over it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from emulator.data.init_times import histories
from emulator.data.initial import InitialConditions
from emulator.fields import Fields
from emulator.state import State
from emulator.task import Task
from graphs.errors import MeshcastError


def states_at(
    fields: Fields, task: Task, init_time: NDArray[np.int64], trajectory: NDArray[np.int64] | None = None
) -> InitialConditions:
    """Return states of `fields` at `init_time` [case], each with the task's history before it.

    trajectory: [case] rows of the ensemble axis, for simulated data; real data keep all members of each time.
    Raises MeshcastError where a time, its history or a trajectory is not there.
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
            raise MeshcastError(
                f"{fields.source} holds trajectories 0 to {fields.ensemble_size - 1}, not {trajectory}."
            )
        values = values[np.arange(len(init_time)), trajectory][:, None]
    else:
        trajectory = np.full(len(init_time), -1, dtype=np.int64)
    state = State(torch.from_numpy(np.ascontiguousarray(values)), np.asarray(init_time, dtype=np.int64))
    return InitialConditions(state, trajectory, dict(fields.attributes))


def spread_starts(
    fields: Fields, task: Task, steps: int, most: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return initial times and trajectories of cases for which the series holds history and `steps` of truth.

    Trajectories start at their first possible time; a real series at every time. At most `most`, evenly spread.
    Returns init_time [case] and trajectory [case], -1 for real data.
    """
    within = task.time_step.advance(fields.times, steps) <= fields.times[-1]
    now = np.flatnonzero(histories(fields, task, fields.times)[1].all(axis=1) & within)
    if len(now) == 0:
        raise MeshcastError(
            f"{fields.source} has {len(fields.times)} times, too few for {task.history} of history and {steps} steps "
            f"of {task.time_step} without a gap before the start. Forecast fewer steps, or give longer series."
        )
    if fields.ensemble_axis == "trajectory":
        rows = np.arange(fields.ensemble_size)
        rows = rows[_evenly(len(rows), most)]
        return np.full(len(rows), fields.times[now[0]]), rows
    now = now[_evenly(len(now), most)]
    return fields.times[now], np.full(len(now), -1, dtype=np.int64)


def _evenly(count: int, most: int | None) -> NDArray[np.int64]:
    chosen = np.arange(count) if most is None or most >= count else np.linspace(0, count - 1, most).round()
    return chosen.astype(np.int64)
