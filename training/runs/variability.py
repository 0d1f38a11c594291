"""Internal variability, fitted to what a trained emulator's free rollout leaves of its training part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from emulator.build import TrainedEmulator
from emulator.data.starts import histories
from emulator.fields import Fields
from emulator.forcings import Forcings
from emulator.protocol import Emulator, rollout
from emulator.state import State, predicted_fields
from emulator.task import names_of
from emulator.variability import Variability
from graphs.available_memory import refuse_too_large
from graphs.errors import MeshcastError
from training.preparation.prepared import Prepared

ARRAYS = 6  # as large as the training part that are held at once
Array = NDArray[np.float64]
Index = NDArray[np.int64]


def with_variability(prepared: Prepared, trained: TrainedEmulator) -> TrainedEmulator:
    """Return a trained emulator with the variability of its training part, by row of it."""
    config, part = prepared.config.variability, prepared.part
    assert config is not None
    series = free_series(trained.emulator, part.fields, part.provider, part.available, part.rows)
    found = Variability.of(config, trained.emulator.task.predicted, *series, trained.emulator.mesh.areas)
    return replace(trained, variability=found)


def free_series(
    emulator: Emulator, fields: Fields, forcings: Forcings, available: Index, rows: list[int]
) -> tuple[Index, Array, Array]:
    """Return times [time], the truth and a free rollout [row, time, node, predicted] after its first states.

    available: indices of the fields' times that may be read; the truth is NaN at others.

    Raises MeshcastError where no such time follows a start, and where the rollout ends in no numbers.
    """
    task, names = emulator.task, names_of(emulator.task.predicted)
    index, there = histories(fields, task, fields.times[available])
    starts = np.flatnonzero((there & np.isin(index, available)).all(axis=1))
    if not len(starts):
        raise MeshcastError(f"{fields.source} has no {task.history} states in a row to start from.")
    begin = fields.times[available[starts[0]]]
    span = np.int64(len(fields.times))
    times = task.time_step.advance(np.repeat(begin, span), 1 + np.arange(span))
    times = times[times <= fields.times[available[-1]]]
    if not len(times):
        raise MeshcastError(f"{fields.source} has no time after {fields.time_step.moment(begin)} to learn from.")
    size = 8 * len(rows) * len(times) * fields.mesh.num_nodes * len(names)
    refuse_too_large(ARRAYS * size, "A variability", "Leave `variability` away, or train on fewer nodes or times.")
    values = fields.read(index[starts[0]], task.prognostic)[:, rows]  # [history, row, node, prognostic]
    initial = torch.from_numpy(np.ascontiguousarray(values.swapaxes(0, 1)[:, None]))
    numbers = np.asarray(fields.trajectories, np.int64)[rows]
    state = State(initial, np.repeat(begin, len(rows)), numbers)
    expected = np.empty((len(rows), len(times), fields.mesh.num_nodes, len(names)))
    with torch.no_grad():
        for number, step in enumerate(rollout(emulator, state, forcings, len(times))):
            expected[:, number] = predicted_fields(step)[:, 0].numpy(force=True)
    place = np.searchsorted(fields.times, times).clip(0, len(fields.times) - 1)
    known = (fields.times[place] == times) & np.isin(place, available)
    truth = np.full_like(expected, np.nan)
    truth[:, known] = np.moveaxis(fields.read(place[known], names)[:, rows], 1, 0)
    masked = np.isnan(expected).all(axis=(0, 1), keepdims=True)
    if not (np.isfinite(expected) | masked).all():
        raise MeshcastError(
            "The emulator's free rollout over its training part ends in no numbers, so that its variability is not "
            "known. Train a more stable one, or leave `variability` away."
        )
    return times, truth, expected
