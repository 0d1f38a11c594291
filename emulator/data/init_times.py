"""Initial times as a user writes them: dates, ranges of dates, or times counted by the equation itself."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from emulator.fields import Fields
from emulator.foundation.time_step import TimeStep
from emulator.task import Task
from graphs.errors import MeshcastError

GRAMMAR = "Use `T, T`, `START/END/STEP` (2019-03-25T00/2019-03-31T00/6h), `latest` or `all`."


def parse_init_times(text: str, fields: Fields) -> NDArray[np.int64]:
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
            moment, before = start, len(times)
            while moment <= end:
                times.append(moment)
                moment = int(step.advance(np.array(start), len(times) - before))
        else:
            raise MeshcastError(f"Cannot read the initial times {entry.strip()!r}. {GRAMMAR}")
    return np.unique(np.array(times, dtype=np.int64))


def histories(fields: Fields, task: Task, init_time: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return where in the series each start's history stands [case, history], and whether it is there [case, history].

    By time and not by index: the series may be finer than the task's step.
    """
    history = task.time_step.advance(init_time[:, None], np.arange(1 - task.history, 1)[None])
    index = np.searchsorted(fields.times, history).clip(0, len(fields.times) - 1)
    return index, (fields.times[index] == history) & ~np.isin(index, sorted(fields.missing))


def _parse_time(text: str, fields: Fields) -> int:
    time_step = fields.time_step
    if time_step.true_length is not None and re.fullmatch(r"[\d.]+([eE][+-]?\d+)?", text):
        steps = float(text) / time_step.true_length
        if abs(steps - round(steps)) > 1e-6 * max(abs(steps), 1.0):
            near = ", ".join(f"{time_step.true_length * whole:g}" for whole in (int(steps), int(steps) + 1))
            raise MeshcastError(
                f"The initial time {text} is no multiple of the time step {time_step}; nearest are {near}."
            )
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
