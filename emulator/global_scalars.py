"""Numbers of the whole globe by time, such as a radiative forcing, of each trajectory its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from emulator.foundation.time_step import to_datetime
from graphs.errors import MeshcastError

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class GlobalScalars:
    """Scalars beside the fields of a dataset, never copied to its nodes; linear in time between its times.

    names, units: one a scalar. times: [time] int64 seconds since 1970 UTC, increasing.
    trajectories: [row] numbers of the trajectories that they force.
    values: [time, row, scalar].
    source: what they were read from, for messages.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    times: Index
    trajectories: tuple[int, ...]
    values: Array
    source: str = "the dataset"

    def __post_init__(self) -> None:
        shape = (len(self.times), len(self.trajectories), len(self.names))
        if self.values.shape != shape or len(self.units) != len(self.names):
            raise MeshcastError(
                f"Global scalars must have shape [time, trajectory, scalar] = {list(shape)} and a unit each, but those "
                f"of {self.source} have shape {list(self.values.shape)} and {len(self.units)} units."
            )
        if len(self.times) == 0 or np.any(np.diff(self.times) <= 0):
            raise MeshcastError(f"The times of the global scalars of {self.source} must increase.")
        if not np.isfinite(self.values).all():
            time, row, column = np.argwhere(~np.isfinite(self.values))[0]
            raise MeshcastError(
                f"{self.names[column]} of trajectory {self.trajectories[row]} of {self.source} has no value at "
                f"{to_datetime(self.times[time])}. Fill the gap first."
            )

    def at(self, valid_time: Index, trajectory: Index | None) -> Array:
        """Return values [k, scalar] at times [k] of trajectories [k] by number, -1 or None for one that has none.

        Raises MeshcastError as `rows_at` does.
        """
        rows = self.rows_at(valid_time, trajectory)
        found = np.empty((len(valid_time), len(self.names)))
        for row in np.unique(rows):
            here = rows == row
            for column in range(len(self.names)):
                found[here, column] = np.interp(valid_time[here], self.times, self.values[:, row, column])
        return found

    def rows_at(self, valid_time: Index, trajectory: Index | None) -> Index:
        """Return the rows [k] of `values` that force trajectories [k] at times [k].

        Raises MeshcastError beyond the times, for a trajectory that is not there, and for one without a number where
        the scalars differ from one to another.
        """
        if len(valid_time) and (valid_time.min() < self.times[0] or valid_time.max() > self.times[-1]):
            first, last = to_datetime(self.times[[0, -1]])
            asked = to_datetime(np.array([valid_time.min(), valid_time.max()]))
            raise MeshcastError(
                f"{', '.join(self.names)} of {self.source} cover {first} to {last}, but {asked[0]} to {asked[1]} are "
                "needed. Shorten the lead time, or give later values with --forcing."
            )
        return self._rows(np.full(len(valid_time), -1) if trajectory is None else trajectory)

    def of_rows(self, rows: Sequence[int]) -> GlobalScalars:
        """Return those of some rows."""
        chosen = list(rows)
        kept = tuple(self.trajectories[row] for row in chosen)
        return replace(self, trajectories=kept, values=self.values[:, chosen])

    @property
    def alike(self) -> bool:
        """Return whether all trajectories have the same."""
        return bool((self.values == self.values[:, :1]).all())

    def _rows(self, trajectory: Index) -> Index:
        places = {number: row for row, number in enumerate(self.trajectories)}
        unknown = sorted(set(trajectory.tolist()) - set(places) - {-1})
        if unknown:
            raise MeshcastError(
                f"{self.source} has no {', '.join(self.names)} of trajectory {unknown[0]}; it has those of "
                f"{', '.join(map(str, self.trajectories))}."
            )
        if (trajectory == -1).any() and not self.alike:
            raise MeshcastError(
                f"{', '.join(self.names)} of {self.source} differ from trajectory to trajectory, and this state is of "
                "none of them. Give the values with --forcing TABLE.csv."
            )
        return np.array([places.get(number, 0) for number in trajectory.tolist()], dtype=np.int64)
