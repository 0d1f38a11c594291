"""Insolation of a planet's top, by latitude and season."""

from __future__ import annotations

from typing import Literal

import numpy as np

from emulator.solar_position import declination, nearness
from graphs.geometry import Array

Insolation = Literal["annual", "seasonal"]
SLOPE = -0.477  # of the annual mean; North & Coakley (1979), doi:10.1175/1520-0469(1979)036<1189:DBSAMA>2.0.CO;2


def annual_mean(solar_constant: float, sin_latitude: Array) -> Array:
    """Return the annual mean [W m-2], S₀/4 (1 + s P₂(sin latitude)), for the sine of latitudes."""
    return np.asarray(solar_constant / 4 * (1.0 + SLOPE * (1.5 * sin_latitude**2 - 0.5)), np.float64)


def daily_mean(solar_constant: float, sin_latitude: Array, time: Array) -> Array:
    """Return the mean over a day [W m-2], at shares of the year since 1 January 00 UTC; all broadcast.

    S₀/π (d₀/d)² (h sin φ sin δ + cos φ cos δ sin h), h the sun's hour angle as it sets; Iqbal (1983), eq. 4.2.18.
    """
    angle = 2 * np.pi * np.asarray(time, np.float64)
    sun, cos_latitude = declination(angle), np.sqrt(1.0 - sin_latitude**2)
    sunset = np.arccos(np.clip(-sin_latitude * np.tan(sun) / np.maximum(cos_latitude, 1e-12), -1.0, 1.0))
    mean = sunset * sin_latitude * np.sin(sun) + cos_latitude * np.cos(sun) * np.sin(sunset)
    return np.asarray(solar_constant / np.pi * nearness(angle) * mean, np.float64)
