"""The training part: all that a closed-form emulator may see."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emulator.fields import Fields
from emulator.forcings import ComputedForcings, Forcings
from emulator.normalise import Statistics, partners_of, read_in_chunks
from emulator.state import State
from emulator.task import Task, Variable, names_of
from graphs.errors import MeshcastError


class Survey:
    """What the pass for the statistics finds beside them: where values are missing now and then, and a digest of all.

    first_hole: [node, variable] index of the first time without a value in some row, -1 where there always is one.
    first_empty: [variable] index of the first time without any value in some row, -1 where there is none.
    """

    def __init__(self, num_nodes: int, num_variables: int) -> None:
        self._ever = np.zeros((num_nodes, num_variables), dtype=bool)
        self.first_hole = np.full((num_nodes, num_variables), -1)
        self.first_empty = np.full(num_variables, -1)
        self._digest = hashlib.sha256()

    def take(self, index: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Take values [time, ensemble, node, variable] at further times."""
        self._digest.update(np.ascontiguousarray(values, dtype=np.float32).data)
        missing = np.isnan(values)
        if not missing.any():
            self._ever[:] = True
            return
        self._ever |= (~missing).any(axis=(0, 1))
        empty = np.any(np.all(missing, axis=2), axis=1)
        for first, found in ((self.first_hole, missing.any(axis=1)), (self.first_empty, empty)):
            fresh = found.any(axis=0) & (first < 0)
            first[fresh] = index[found.argmax(axis=0)[fresh]]

    @property
    def holes(self) -> NDArray[np.bool_]:
        """Return where [node, variable] there is a value at some times and none at others."""
        return self._ever & (self.first_hole >= 0)

    @property
    def digest(self) -> str:
        """Return a digest of all values, in the order of the pass."""
        return self._digest.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class TrainingPart:
    """Fields, and which of their times and ensemble rows are for training.

    times: indices on the fields' time axis; missing dates among them are skipped.
    ensemble: rows of the ensemble axis.
    forcings: of the task, at any valid time; those computed from time and place where None.
    """

    fields: Fields
    times: slice | NDArray[np.int64] = field(default_factory=lambda: slice(None))
    ensemble: slice | Sequence[int] = field(default_factory=lambda: slice(None))
    forcings: Forcings | None = None
    _statistics: dict[Any, tuple[Statistics, Survey]] = field(default_factory=dict, init=False, repr=False)

    def frames(self, task: Task) -> int:
        """Return how many frames of the fields lie from one step of the task to the next."""
        return task.time_step.frames(self.fields.time_step)

    def statistics(self, task: Task) -> Statistics:
        """Return the statistics of the predicted variables, from one pass however often they are asked for."""
        return self._surveyed(task)[0]

    def survey(self, task: Task) -> Survey:
        """Return what the same pass finds beside the statistics."""
        return self._surveyed(task)[1]

    def _surveyed(self, task: Task) -> tuple[Statistics, Survey]:
        key = (names_of(task.predicted), tuple(partners_of(task).items()), self.frames(task))
        if key not in self._statistics:
            survey = Survey(self.fields.mesh.num_nodes, len(key[0]))
            statistics = Statistics.of(
                self.fields, key[0], partners_of(task), self.available, self.rows, stride=key[2], also=survey.take
            )
            self._statistics[key] = statistics, survey
        return self._statistics[key]

    def chunks(
        self, task: Task, names: Sequence[str], overlap: int = 1
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64], int]]:
        """Yield what `read_in_chunks` does of the part, a step of the task from time to time."""
        stride = self.frames(task)
        chunk = max(24, overlap)  # else a long overlap is read many times over
        return read_in_chunks(self.fields, names, self.available, self.rows, chunk, overlap, stride)

    def steps(self, task: Task) -> Iterator[tuple[State, Tensor]]:
        """Yield states [time, member, history, node, prognostic], and what followed [time, member, node, predicted]."""
        history, count = task.history, len(task.prognostic)
        groups = self.differently_forced(task.forcing)
        for index, block, known in self.chunks(task, names_of(task.predicted), overlap=history):
            values = torch.from_numpy(block)  # [time, member, node, predicted]
            now = np.arange(max(known, history), len(values)) - 1
            if not len(now):
                continue
            windows = torch.stack([values[now - back] for back in reversed(range(history))], dim=2)[..., :count]
            times, following = self.fields.times[index[now]], values[now + 1]
            for number, rows in groups.items():
                yield State(windows[:, rows], times, np.full(len(now), number)), following[:, rows]

    @property
    def available(self) -> NDArray[np.int64]:
        """Return indices of the training times that can be read, rising."""
        index = np.unique(np.arange(len(self.fields.times))[self.times])
        index = index[~np.isin(index, list(self.fields.missing))]
        if len(index) == 0:
            raise MeshcastError(f"The training part of {self.fields.source} has no date that can be read.")
        return index

    @property
    def rows(self) -> list[int]:
        """Return indices of the training rows of the ensemble axis."""
        return np.arange(self.fields.ensemble_size)[self.ensemble].tolist()

    def differently_forced(self, names: Sequence[str]) -> dict[int, list[int] | slice]:
        """Return which of the training rows share some forcings, by the number of a trajectory of theirs."""
        numbers = [self.fields.trajectories[row] for row in self.rows]
        if all(scalars.of_rows(self.rows).alike for scalars in self.provider.of_trajectories(names)):
            return {numbers[0]: slice(None)}
        return {number: [place] for place, number in enumerate(numbers)}

    def forcing_ranges(self, task: Task) -> dict[str, tuple[float, float]]:
        """Return the lowest and highest value over the training times of each forcing that is a number of the globe."""
        names = [name for name in task.forcing if name in self.provider.of_the_globe]
        if not names:
            return {}
        times = self.fields.times[self.available]
        given = [
            self.provider.at(times, names, 1, trajectory=np.full(len(times), number))[:, 0]
            for number in self.differently_forced(names)
        ]
        low, high = np.min(given, axis=(0, 1)), np.max(given, axis=(0, 1))
        return {name: (float(low[k]), float(high[k])) for k, name in enumerate(names)}

    @property
    def provider(self) -> Forcings:
        """Return the forcings, never None."""
        return self.forcings or Forcings(ComputedForcings(self.fields.mesh))


def without_inputs(task: Task, *forcing: str) -> Task:
    """Return the task of a baseline that sees the newest predicted variables and the named forcings only."""
    known = {variable.name: variable for variable in task.with_role("forcing")}
    kept = [known.get(name, Variable(name, "forcing")) for name in forcing]
    return replace(task, variables=(*task.predicted, *kept), history=1)
