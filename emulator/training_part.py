"""The training part: all that a closed-form emulator may see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulator.fields import Fields
from emulator.forcings import ComputedForcings, Forcings
from emulator.normalise import Statistics, partners_of
from emulator.task import Task, Variable, names_of
from graphs.errors import MeshcastError


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
    _statistics: dict[Any, Statistics] = field(default_factory=dict, init=False, repr=False)

    def frames(self, task: Task) -> int:
        """Return how many frames of the fields lie from one step of the task to the next."""
        return task.time_step.frames(self.fields.time_step)

    def statistics(self, task: Task) -> Statistics:
        """Return the statistics of the predicted variables, from one pass however often they are asked for."""
        key = (names_of(task.predicted), tuple(partners_of(task).items()), self.frames(task))
        if key not in self._statistics:
            self._statistics[key] = Statistics.of(
                self.fields, key[0], partners_of(task), self.available, self.rows, stride=key[2]
            )
        return self._statistics[key]

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

    @property
    def provider(self) -> Forcings:
        """Return the forcings, never None."""
        return self.forcings or Forcings(ComputedForcings(self.fields.mesh))


def without_inputs(task: Task, *forcing: str) -> Task:
    """Return the task of a baseline that sees the newest predicted variables and the named forcings only."""
    return replace(task, variables=(*task.predicted, *(Variable(name, "forcing") for name in forcing)), history=1)
