"""How often bands hold the truth: nine times in ten where it is drawn as members are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from emulator.foundation.time_step import to_seconds
from emulator.task import Variable
from emulator.variability import Variability, VariabilityConfig
from graphs.meshes.icosphere import icosphere
from inference.scenarios.regions import read_regions, region_means
from training.runs.scenario_test import coverage_of

MESH = icosphere(1)
TIMES = to_seconds(np.arange("1850", "2050", dtype="datetime64[Y]"))
MEANS = region_means(read_regions(["global", "land", "sea", "north", "south"]), MESH)
ZERO = np.zeros((3, len(TIMES), MESH.num_nodes, 1))


@pytest.fixture(scope="module")
def weather() -> Variability:
    noise = np.random.default_rng(0).standard_normal(ZERO.shape) + np.random.default_rng(1).standard_normal(
        (*ZERO.shape[:2], 1, 1)
    )
    return Variability.of(
        VariabilityConfig(modes=5, order=1), (Variable("t", "prognostic", "K"),), TIMES, noise, ZERO, MESH.areas
    )


def test_nine_of_ten_years_and_long_means_lie_within(weather: Variability) -> None:
    truth = weather.applied(TIMES, ZERO, weather.draw(len(TIMES), 3, np.random.default_rng(2)))
    truth[0, :5] = np.nan  # missing years count for nothing
    single, long = coverage_of(weather, TIMES, truth, ZERO, MEANS)
    assert single == pytest.approx(0.9, abs=0.03)
    assert long == pytest.approx(0.9, abs=0.08)


def test_what_strays_for_long_is_held_by_single_years_and_not_by_long_means(weather: Variability) -> None:
    truth = weather.applied(TIMES, ZERO, weather.draw(len(TIMES), 3, np.random.default_rng(2)))
    single, long = coverage_of(weather, TIMES, truth + 0.8, ZERO, MEANS)
    assert long is not None and long < 0.5 < 0.75 < single
    narrow = replace(weather, slow=np.zeros_like(weather.slow), patterns=weather.patterns / 2)
    assert coverage_of(narrow, TIMES, truth, ZERO, MEANS)[0] < 0.75


def test_fewer_than_twenty_years_have_no_long_means(weather: Variability) -> None:
    truth = weather.applied(TIMES[:19], ZERO[:, :19], weather.draw(19, 3, np.random.default_rng(2)))
    assert coverage_of(weather, TIMES[:19], truth, ZERO[:, :19], MEANS)[1] is None
