"""A heating that goes round a planet once a day and wanders north and south once a year."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphs.errors import MeshcastError
from graphs.geometry import Array

HOUR = 3600.0  # [s]
Seconds = NDArray[np.integer[Any]] | NDArray[np.floating[Any]]  # since 1970


@dataclass(frozen=True)
class HeatingCycle:
    """Growth of depth on one side of a planet and as much loss on the other, as in planetswe of The Well.

        F = rate cos(λ - 2πt/day) exp(-(φ - declination sin(2πt/year))² / width²)

    (Ohana et al. 2024, arXiv:2412.00568, and the script that made its data); the mean over each latitude is zero, and
    t counts from 1970-01-01, so that day and year are known from a valid time alone.

    metres_per_hour: the rate at the centre. day_hours, year_hours: the periods.
    declination: of the centre at midsummer [radians]. width: from the centre to 1/e [radians].
    """

    metres_per_hour: float = 2.0
    day_hours: float = 24.0
    year_hours: float = 1008.0
    declination: float = 0.4
    width: float = 2 * np.pi / 3

    def __post_init__(self) -> None:
        if min(self.day_hours, self.year_hours, self.width) <= 0:
            raise MeshcastError(
                "A heating cycle needs day_hours, year_hours and width > 0, but they are "
                f"{self.day_hours:g}, {self.year_hours:g} and {self.width:g}."
            )

    def angles(self, time: Seconds) -> tuple[Array, Array]:
        """Return how far day and year have come, as angles [radians], at times in seconds since 1970."""
        moment = np.asarray(time, np.float64)
        return self._angle(moment, self.day_hours), self._angle(moment, self.year_hours)

    def _angle(self, moment: Array, hours: float) -> Array:
        return np.asarray(2 * np.pi * np.mod(moment, HOUR * hours) / (HOUR * hours), np.float64)

    def rate(self, time: Seconds, latitude: Array, longitude: Array) -> Array:
        """Return F [m s-1] at times in seconds since 1970, latitudes and longitudes [radians], all broadcast."""
        day, year = self.angles(time)
        centre = self.declination * np.sin(year)
        return (
            self.metres_per_hour / HOUR * np.cos(longitude - day) * np.exp(-(((latitude - centre) / self.width) ** 2))
        )
