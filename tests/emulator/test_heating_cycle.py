"""The heating that goes round a planet, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from emulator.heating_cycle import HOUR, HeatingCycle
from graphs.errors import MeshcastError

CYCLE = HeatingCycle()


def rate(hours: float, latitude: float, longitude: float) -> float:
    """[m h-1], angles in radians."""
    return HOUR * float(CYCLE.rate(np.array(HOUR * hours), np.array(latitude), np.array(longitude)))


def test_the_heated_longitude_goes_once_round_eastward_in_a_day() -> None:
    assert rate(0, 0.0, 0.0) == pytest.approx(2.0)
    assert rate(6, 0.0, np.pi / 2) == pytest.approx(2.0, rel=1e-3)  # a quarter of a day: hardly any season
    assert rate(0, 0.0, np.pi) == pytest.approx(-2.0)
    assert rate(1008, 0.3, 1.0) == pytest.approx(rate(0, 0.3, 1.0))


def test_the_heated_latitude_wanders_north_and_south_in_a_year() -> None:
    assert rate(252, 0.4, 2 * np.pi * 10.5) == pytest.approx(2.0)  # a quarter of the year, ten days and a half
    assert rate(756, -0.4, 2 * np.pi * 31.5) == pytest.approx(2.0)
    width = 2 * np.pi / 3
    assert rate(252, 0.4 + width, 2 * np.pi * 10.5) == pytest.approx(2.0 / np.e)


def test_it_takes_as_much_as_it_gives_at_every_latitude() -> None:
    longitude = 2 * np.pi * np.arange(36) / 36
    around = CYCLE.rate(np.array(5 * HOUR), np.array([[-1.0], [0.2]]), longitude)
    assert np.abs(around.mean(axis=1)).max() < 1e-18 and np.abs(around).max() > 1e-4


def test_periods_and_width_must_be_positive() -> None:
    with pytest.raises(MeshcastError, match="year_hours and width > 0, but they are 24, 0"):
        HeatingCycle(year_hours=0)
