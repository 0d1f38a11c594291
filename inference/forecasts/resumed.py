"""Where a forecast that was broken off goes on: its state, which members do, and why the others were stopped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from emulator.data.forecast_file import ForecastWriter
from emulator.state import State
from emulator.task import Task
from inference.forecasts.forecast import GuardedRollout
from inference.forecasts.guard import Stop


def state_after(writer: ForecastWriter, leads: int, initial: State, task: Task, parts: int) -> State:
    """Return the state at the last whole step of so many leads of a partial file, `parts` of them a step.

    Its history reaches back into the initial state.
    """
    done = leads // parts
    count = min(task.history, done)
    if count == 0:
        return initial
    ends = [step * parts for step in range(done - count + 1, done + 1)]
    written = np.concatenate([writer.leads(end - 1, end) for end in ends], axis=2)
    values = torch.cat([initial.values[:, :, count:], torch.from_numpy(written[..., : len(task.prognostic)])], dim=2)
    return State(values, task.time_step.advance(initial.valid_time, done), initial.trajectory)


def going_on(writer: ForecastWriter, leads: int) -> NDArray[np.bool_]:
    """Return which members [case, member] had not been stopped after so many leads of a partial file."""
    if leads == 0:
        return np.ones(writer.lead_shape[:2], dtype=bool)
    return np.asarray(np.isfinite(writer.leads(leads - 1, leads)).any(axis=(2, 3, 4)))


def stored_stops(writer: ForecastWriter, initial: State, device: str, rolled: GuardedRollout) -> list[Stop]:
    """Return why members had been stopped before: each step that stopped some is taken again."""
    stops: list[Stop] = []
    before = 0
    for step in range(1, writer.leads_done + 1):
        gone = int((~going_on(writer, step)).sum())
        if gone > before:
            state = state_after(writer, step - 1, initial, rolled.emulator.task, rolled.parts).to(device)
            again = replace(rolled, state=state, start=step - 1, generator=None, stops=[])
            again.alive &= going_on(writer, step - 1)
            list(again.steps(1))
            stops += again.stops
        before = gone
    return stops
