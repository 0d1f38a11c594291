"""Where the sun stands above the equator, and how far it is, in the course of the year."""

from __future__ import annotations

import numpy as np

from graphs.geometry import Array


def declination(year_angle: Array) -> Array:
    """Return the sun's declination [radians], from 2π × the share of the year since 1 January 00 UTC.

    Spencer (1971), as printed in Iqbal (1983), An Introduction to Solar Radiation, eq. 1.3.1: within .0006 radians.
    """
    g = year_angle
    return np.asarray(
        0.006918
        - 0.399912 * np.cos(g)
        + 0.070257 * np.sin(g)
        - 0.006758 * np.cos(2 * g)
        + 0.000907 * np.sin(2 * g)
        - 0.002697 * np.cos(3 * g)
        + 0.00148 * np.sin(3 * g),
        np.float64,
    )


def equation_of_time(year_angle: Array) -> Array:
    """Return how far the sun is before the mean sun [radians]; Iqbal (1983), eq. 1.4.1."""
    g = year_angle
    return np.asarray(
        0.000075 + 0.001868 * np.cos(g) - 0.032077 * np.sin(g) - 0.014615 * np.cos(2 * g) - 0.04089 * np.sin(2 * g),
        np.float64,
    )


def nearness(year_angle: Array) -> Array:
    """Return (mean distance / distance)² of the sun; Spencer (1971), as printed in Iqbal (1983), eq. 1.2.1."""
    g = year_angle
    return np.asarray(
        1.00011 + 0.034221 * np.cos(g) + 0.00128 * np.sin(g) + 0.000719 * np.cos(2 * g) + 0.000077 * np.sin(2 * g),
        np.float64,
    )
