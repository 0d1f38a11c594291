"""What a slow system still knows of its forcing: exact exponential filters of global scalars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emulator.global_scalars import GlobalScalars

Array = NDArray[np.float64]
Index = NDArray[np.int64]

YEAR = 365.2425 * 86_400.0  # seconds


def remembered(times: Index, values: Array, seconds: float, at: Index) -> Array:
    """Return y [k, ...] at times `at` [k], where dy/dt = (f - y) / τ for a forcing f, linear between its times.

    It starts in balance with the first value, and is exact, however far apart the times are.

    times: [t] seconds, increasing. values: [t, ...]. seconds: τ. at: within the times.
    """
    shape = (-1, *(1,) * (values.ndim - 1))
    lengths = np.diff(times).astype(np.float64)
    slopes = np.diff(values, axis=0) / lengths.reshape(shape)
    kept = np.exp(-lengths / seconds)
    memory = np.empty_like(values)
    memory[0] = values[0]
    for step, slope in enumerate(slopes):
        behind = values[step] - slope * seconds  # where y would settle beside a forcing that rises for ever
        memory[step + 1] = values[step + 1] - slope * seconds + (memory[step] - behind) * kept[step]
    if not len(slopes):
        return memory[np.zeros(len(at), np.int64)]
    last = np.clip(np.searchsorted(times, at, side="right") - 1, 0, len(slopes) - 1)
    since = (at - times[last]).reshape(shape)
    behind = values[last] - slopes[last] * seconds
    return np.asarray(behind + slopes[last] * since + (memory[last] - behind) * np.exp(-since / seconds), np.float64)


@dataclass(frozen=True)
class ForcingMemory:
    """Memories of one source's scalars, as forcings of their own.

    names: of the memories. of: the scalar that each is of. years: the time in which each falls to 1/e.
    of_trajectories: whether the scalars are those of trajectories; else they serve all states alike.
    """

    names: tuple[str, ...]
    of: tuple[str, ...]
    years: tuple[float, ...]
    scalars: GlobalScalars
    of_trajectories: bool

    def at(self, valid_time: Index, trajectory: Index | None) -> Array:
        """Return values [k, name] at times [k] of trajectories [k]; see `GlobalScalars.at`."""
        rows = self.scalars.rows_at(valid_time, trajectory if self.of_trajectories else None)
        found = np.empty((len(valid_time), len(self.names)))
        for row in np.unique(rows):
            here = rows == row
            for column, (name, years) in enumerate(zip(self.of, self.years, strict=True)):
                series = self.scalars.values[:, row, self.scalars.names.index(name)]
                found[here, column] = remembered(self.scalars.times, series, years * YEAR, valid_time[here])
        return found
