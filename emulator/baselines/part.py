"""The training part: all that a closed-form emulator may see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from emulator.data.fields import Fields
from emulator.forcings import ComputedForcings, Forcings
from emulator.task import Task, Variable
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

    @property
    def available(self) -> NDArray[np.int64]:
        """Indices of the training times that can be read, rising."""
        index = np.unique(np.arange(len(self.fields.times))[self.times])
        index = index[~np.isin(index, list(self.fields.missing))]
        if len(index) == 0:
            raise MeshcastError(f"The training part of {self.fields.source} has no date that can be read.")
        return index

    @property
    def rows(self) -> list[int]:
        """Indices of the training rows of the ensemble axis."""
        return np.arange(self.fields.ensemble_size)[self.ensemble].tolist()

    @property
    def provider(self) -> Forcings:
        """The forcings, never None."""
        return self.forcings or Forcings(ComputedForcings(self.fields.mesh))


def without_inputs(task: Task, *forcing: str) -> Task:
    """The task of a baseline that looks at nothing but the predicted variables, and at the named forcings."""
    return replace(task, variables=(*task.predicted, *(Variable(name, "forcing") for name in forcing)))
