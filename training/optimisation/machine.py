"""The machine an update runs on: its clock, and what some updates took by it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import numpy as np

FEWEST_TIMED = 6  # updates, however long each takes


def working_seconds(on_gpu: bool) -> float:
    """Return seconds of the processor since some moment, all threads together, which a busy machine does not change.

    on_gpu: of the wall clock instead, since the processor only waits there.
    """
    return time.perf_counter() if on_gpu else time.process_time()


@dataclass(frozen=True)
class Seconds:
    """What some work took.

    working: of the processor, all threads together; of the clock on a GPU. clock: of the clock.
    """

    working: float = 0.0
    clock: float = 0.0

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.working + other.working, self.clock + other.clock)

    def __sub__(self, other: Seconds) -> Seconds:
        return Seconds(self.working - other.working, self.clock - other.clock)

    def __mul__(self, times: float) -> Seconds:
        return Seconds(self.working * times, self.clock * times)


def now(on_gpu: bool = False) -> Seconds:
    """Return seconds since some moment."""
    return Seconds(working_seconds(on_gpu), time.perf_counter())


def seconds_of_process() -> Seconds:
    """Return what this process has taken since it was started, the import of libraries included."""
    clock = 0.0
    try:
        with open("/proc/self/stat") as stat, open("/proc/uptime") as uptime:
            begun = int(stat.read().rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")
            clock = float(uptime.read().split()[0]) - begun
    except (OSError, ValueError):  # elsewhere than on Linux
        pass
    return Seconds(time.process_time(), max(clock, 0.0))


@dataclass(frozen=True)
class Rehearsal:
    """What some updates and a validation took, reading included; the first updates are the slowest."""

    updates: tuple[Seconds, ...]
    validation: Seconds

    def update(self, warm_up: int) -> Seconds:
        """Return the mean of the updates behind the first few."""
        laps = self.updates[warm_up:] or self.updates
        return Seconds(*(float(np.mean([getattr(lap, name) for lap in laps])) for name in ("working", "clock")))
