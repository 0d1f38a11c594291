"""Scores of climates, by hand: ClimateBench's errors, late means, trends, regions, and where it rains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from graphs.meshes.icosphere import icosphere
from inference.scenarios.regions import read_regions, region_means
from inference.scenarios.scenario import yearly
from inference.scenarios.scores import WET, ClimateTruth
from inference.scenarios.sea_ice import cold_sea, northern_sea

MESH = icosphere(2)
YEARS = np.arange(2061, 2101)
MEANS = region_means(read_regions(["global", "north"]), MESH)
NORTH = np.where(MESH.latitudes > 0, 1.0, 0.0)


def truth(values: np.ndarray, years: np.ndarray = YEARS, **options: object) -> ClimateTruth:
    base = np.full(MESH.num_nodes, 280.0)
    return ClimateTruth(years, values, base, MESH, MEANS, **options)  # type: ignore[arg-type]


@pytest.fixture
def runs() -> np.ndarray:
    """Two runs that have warmed by 1.5 and 2.5 K, everywhere alike."""
    return 280 + np.stack([np.full((40, MESH.num_nodes), change) for change in (1.5, 2.5)])


def test_a_constant_error_counts_once_in_space_and_five_times_for_the_globe(runs: np.ndarray) -> None:
    found = truth(runs).of(np.full((1, 40, MESH.num_nodes), 282.5))
    assert (found.nrmse_spatial, found.nrmse_global) == (pytest.approx(0.25), pytest.approx(0.25))
    assert found.nrmse_total == pytest.approx(0.25 + 5 * 0.25)
    assert found.late_rmse == pytest.approx(0.5) and found.late_bias == pytest.approx(0.5)
    assert found.yearly_rmse == pytest.approx(np.sqrt((1.0**2 + 0.0**2) / 2))  # of each run by itself
    assert found.region_rmse == pytest.approx(0.5) and found.trend_error == pytest.approx(0)
    assert found.wet_area_bias is None and "csi" not in found.plain()


def test_a_pattern_that_is_wrong_is_no_error_of_the_globe(runs: np.ndarray) -> None:
    wrong = NORTH - NORTH @ MESH.areas
    found = truth(runs).of(282 + np.broadcast_to(wrong, (1, 40, MESH.num_nodes)))
    assert found.nrmse_global == pytest.approx(0, abs=1e-9)
    assert found.nrmse_spatial == pytest.approx(np.sqrt(wrong**2 @ MESH.areas) / 2)


def test_years_that_swing_about_the_truth_err_in_the_global_mean_alone(runs: np.ndarray) -> None:
    swing = np.where(np.arange(40) % 2 == 0, 0.4, -0.4)[None, :, None]
    found = truth(runs).of(282 + swing * np.ones((1, 40, MESH.num_nodes)))
    assert found.nrmse_spatial == pytest.approx(0, abs=1e-9) and found.nrmse_global == pytest.approx(0.2)


def test_only_late_years_count_but_for_the_trend(runs: np.ndarray) -> None:
    early = 282 + np.where(np.arange(40) < 20, -1.0, 0.0)[None, :, None] * np.ones((1, 40, MESH.num_nodes))
    found = truth(runs).of(early)
    assert found.late_rmse == pytest.approx(0, abs=1e-9) and found.trend_error > 0.1
    assert replace(truth(runs), late=40).of(early).late_rmse == pytest.approx(0.5)


def test_months_are_averaged_over_years_first() -> None:
    months = np.repeat([2000, 2001], 12)
    values = np.tile(np.linspace(-11, 11, 12), 2)[None, :, None] * np.ones((1, 24, MESH.num_nodes)) + 283
    years, means = yearly(months, values)
    assert years.tolist() == [2000, 2001] and np.allclose(means, 283)
    assert truth(values, months, late=2).of(np.full_like(values, 283.0)).nrmse_total == pytest.approx(0, abs=1e-9)


def test_masked_nodes_do_not_count(runs: np.ndarray) -> None:
    half = np.where(NORTH > 0, runs, np.nan)
    forecast = 282 + np.where(NORTH > 0, 0.5, 9.0) * np.ones((1, 40, MESH.num_nodes))
    assert replace(truth(half), means=region_means(read_regions(["north"]), MESH)).of(forecast).late_rmse == (
        pytest.approx(0.5)
    )


def test_where_it_rains() -> None:
    rains = np.where(NORTH > 0, 2 * WET, 0.0) * np.ones((1, 40, 1))
    wider = np.where((NORTH > 0) | (MESH.longitudes > 0), 2 * WET, 0.0) * np.ones((1, 40, 1))
    one = replace(truth(rains), base=np.zeros(MESH.num_nodes), units="kg m-2 s-1")
    north, wide = (float((field[0, 0] > 0) @ MESH.areas) for field in (rains, wider))
    found = one.of(wider)
    assert found.wet_area_bias == pytest.approx(wide / north - 1)
    assert found.csi == pytest.approx(north / wide)  # every hit, and false alarms
    assert one.of(rains).csi == pytest.approx(1)


def test_intervals_are_of_years(runs: np.ndarray) -> None:
    noise = np.random.default_rng(0).standard_normal((1, 40, 1)) * np.ones((1, 40, MESH.num_nodes))
    found = truth(runs).resampled(282 + noise, 200)
    low, high = np.percentile(found["late_bias"], (2.5, 97.5))
    assert low < truth(runs).of(282 + noise).late_bias < high and 0.2 < high - low < 2
    again = truth(runs).resampled(282 + noise, 200)
    assert np.array_equal(again["late_bias"], found["late_bias"])


def warming(each_year: float) -> np.ndarray:
    return 280 + each_year * np.arange(40)[None, :, None] * np.ones((1, 40, MESH.num_nodes))


def test_levels_are_passed_too_early_or_late_by_so_many_years() -> None:
    """Warming of .1 K a year passes 1 to 2.5 K in its 20-year means; half as fast it passes 1 K, ten years late."""
    known = truth(warming(0.1))
    assert known.of(warming(0.1)).threshold_years == 0
    levels = np.array([1.0, 1.5, 2.0, 2.5])
    at = 2071 + np.round((levels - 0.95) / 0.1 + 0.499)  # the means are .95, 1.05 ... from the middle year 2071 on
    late = np.array([2082 if level == 1.0 else 2092 for level in levels])  # the last is 2091
    assert known.of(warming(0.05)).threshold_years == pytest.approx(np.mean(late - at))
    assert known.of(warming(0.1) + 0.1).threshold_years == pytest.approx(1.0)
    assert truth(warming(0.0) + 1.7).of(warming(0.1)).threshold_years is None
    assert replace(known, units="kg m-2 s-1").of(warming(0.1)).threshold_years is None


def test_the_north_is_free_of_ice_once_its_sea_is_warmer_than_ten_degrees_of_frost() -> None:
    """Here ice covers all of the northern sea and leaves it in one year, so that 20 years later no mean has any."""
    rising = np.where(np.arange(40) < 15, 255.0, 270.0)[None, :, None] * np.ones((1, 40, MESH.num_nodes))
    area = cold_sea(northern_sea(MESH), rising[0], "K")
    assert area[0] == pytest.approx(155, rel=0.05) and area[-1] == 0  # of the northern hemisphere's sea
    assert cold_sea(northern_sea(MESH), rising[0] - 273.15, "degC")[0] == area[0]
    later = np.where(np.arange(40) < 17, 255.0, 270.0)[None, :, None] * np.ones((1, 40, MESH.num_nodes))
    assert truth(rising).of(rising).threshold_years == 0
    assert truth(rising).of(later).threshold_years == 2
