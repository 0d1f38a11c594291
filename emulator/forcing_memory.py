"""What a slow system still knows of its forcing: exact exponential filters of global scalars."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from emulator.foundation.time_step import YEAR
from emulator.global_scalars import GlobalScalars

Array = NDArray[np.float64]
Index = NDArray[np.int64]


def remembered(times: Index, values: Array, seconds: float, at: Index) -> Array:
    """Return y [k, ...] at times `at` [k], where dy/dt = (f - y) / τ for a forcing f, linear between its times.

    It starts in balance with the first value, and is exact, however far apart the times are.

    times: [t] seconds, increasing. values: [t, ...]. seconds: τ. at: within the times.
    """
    return _between(times, values, seconds, _at_its_times(times, values, seconds), at)


def _at_its_times(times: Index, values: Array, seconds: float) -> Array:
    """Return y [t, ...] at the times of the forcing."""
    lengths = np.diff(times).astype(np.float64)
    kept = np.exp(-lengths / seconds)
    memory = np.empty_like(values)
    memory[0] = values[0]
    for step, length in enumerate(lengths):
        lag = (values[step + 1] - values[step]) / length * seconds  # behind a forcing that rises so for ever
        memory[step + 1] = values[step + 1] - lag + (memory[step] - values[step] + lag) * kept[step]
    return memory


def _between(times: Index, values: Array, seconds: float, memory: Array, at: Index) -> Array:
    """Return y [k, ...] at times `at` from that at the times of the forcing."""
    if len(times) == 1:
        return memory[np.zeros(len(at), np.int64)]
    shape = (-1, *(1,) * (values.ndim - 1))
    last = np.clip(np.searchsorted(times, at, side="right") - 1, 0, len(times) - 2)
    since = (at - times[last]).reshape(shape)
    slope = (values[last + 1] - values[last]) / (times[last + 1] - times[last]).reshape(shape)
    behind = values[last] - slope * seconds
    return np.asarray(behind + slope * since + (memory[last] - behind) * np.exp(-since / seconds), np.float64)


@dataclass(frozen=True, eq=False)
class ForcingMemory:
    """The memory of one global scalar, as a forcing of its own.

    name: of the memory. of: the scalar that it is of. years: the time in which it falls to 1/e.
    of_trajectories: whether the scalars are those of trajectories; else they serve all states alike.
    """

    name: str
    of: str
    years: float
    scalars: GlobalScalars
    of_trajectories: bool

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    @cached_property
    def _series(self) -> tuple[Array, Array]:
        """Return the scalar and its memory [time, row]: every step of a rollout asks for them."""
        values = self.scalars.values[:, :, self.scalars.names.index(self.of)]
        return values, _at_its_times(self.scalars.times, values, self.years * YEAR)

    def at(self, valid_time: Index, trajectory: Index | None) -> Array:
        """Return values [k, 1] at times [k] of trajectories [k]; see `GlobalScalars.at`."""
        rows = self.scalars.rows_at(valid_time, trajectory if self.of_trajectories else None)
        values, memory = self._series
        found = np.empty((len(valid_time), 1))
        for row in np.unique(rows):
            here = rows == row
            series = values[:, row], self.years * YEAR, memory[:, row]
            found[here, 0] = _between(self.scalars.times, *series, valid_time[here])
        return found
