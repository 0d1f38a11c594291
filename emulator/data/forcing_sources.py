"""Where the forcings of a task come from: tables, a dataset, or the time and the place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emulator.data.fields import Fields
from emulator.forcings import ComputedForcings, Forcings, ForcingSource, GivenForcings, TabulatedForcings
from emulator.task import Task
from graphs.mesh import Mesh


def forcings_of(task: Task, mesh: Mesh, fields: Fields | None = None, tables: Sequence[str | Path] = ()) -> Forcings:
    """The forcings of a task: first the tables, then the fields that hold them, then what can be computed.

    fields: a dataset that may hold some of the task's forcings, on the same mesh.
    tables: CSV files, see `TabulatedForcings.read`.
    """
    sources: list[ForcingSource] = [TabulatedForcings.read(path) for path in tables]
    held = tuple(name for name in task.forcing if fields is not None and name in fields.variables)
    if fields is not None and held:

        def read(index: NDArray[np.int64]) -> NDArray[np.float64]:
            return fields.read(index, held, 0)[:, 0].astype(np.float64)

        sources.append(GivenForcings(held, fields.times, read, fields.source))
    return Forcings(*sources, ComputedForcings(mesh, task.forcing))
