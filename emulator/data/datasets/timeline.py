"""The dates of a dataset: true ones, and the evenly spaced ones under which Anemoi writes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emulator.foundation.time_step import TimeStep, to_datetime
from graphs.errors import MeshcastError

HOURS_A_MONTH = 730  # nominal: Anemoi knows no months, and twelve of them make its usual year of 8760h


@dataclass(frozen=True, eq=False)
class Timeline:
    """The dates of a series: true ones, and the evenly spaced ones Anemoi needs while it writes.

    true, nominal: [date] int64 seconds since 1970 UTC of every step from first to last, absent ones included.
    present: [time] index of the dates that have fields.
    frequency: nominal, in Anemoi's notation.
    """

    true: NDArray[np.int64]
    nominal: NDArray[np.int64]
    present: NDArray[np.int64]
    frequency: str

    @classmethod
    def of(cls, times: NDArray[np.int64], time_step: TimeStep) -> Timeline:
        """Raises MeshcastError where the times do not increase or do not fall on steps of `time_step`."""
        if len(times) == 0 or np.any(np.diff(times) <= 0):
            raise MeshcastError("A dataset needs at least one time, and its times must increase without duplicates.")
        length = time_step.whole_steps(times[0], times[-1]) + 1
        nominal = time_step.count * (1 if time_step.unit == "second" else 3600 * HOURS_A_MONTH)
        steps = np.arange(length)
        true = time_step.advance(np.full(length, times[0]), steps)
        present = np.searchsorted(true, times).clip(0, length - 1)
        astray = true[present] != times
        if astray.any():
            raise MeshcastError(
                f"The time {to_datetime(times[astray])[0]} is no whole number of steps of {time_step} after the first, "
                f"{to_datetime(times)[0]}. Give the true time step, or leave such times out."
            )
        # where dates are missing, Anemoi holds their number against the one it expects from the frequency
        if len(times) < length and (true[-1] - true[0]) // nominal + 1 != length:
            nominal = int((true[-1] - true[0]) // (length - 1))
        return cls(true, times[0] + nominal * steps, present, f"{nominal}s")
