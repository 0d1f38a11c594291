"""Intervals: how often they hold the truth, measured."""

import numpy as np
import pytest
from scipy.signal import lfilter

from inference.scores.bootstrap import (
    _lag_one,
    _multiplicity,
    block_length,
    interval,
    resample_cases,
    resampled_mean,
)

HOUR = 3600


def autoregressive(series: int, hours: int, phi: float, seed: int) -> np.ndarray:
    """[hour, series] of AR(1) noise with unit variance and mean zero."""
    noise = np.random.default_rng(seed).normal(size=(hours + 500, series)) * np.sqrt(1 - phi**2)
    return lfilter([1], [1, -phi], noise, axis=0)[500:]


def coverage(days: int, phi: float, block_cases: int | None = None, num_series: int = 400) -> float:
    """Share of intervals for the mean that hold zero; each series its own draws would give the same on average."""
    scores = autoregressive(num_series, 24 * days, phi, seed=days)
    time = np.arange(24 * days) * HOUR
    draws = resample_cases(
        time,
        np.full(len(time), -1),
        np.random.default_rng(0),
        series=scores,
        block_cases=block_cases,
        num_resamples=1500,
    )
    means = resampled_mean(scores, np.ones(scores.shape, bool), draws.counts)
    lower, upper = interval(means, draws.num_blocks)
    return float(((lower <= 0) & (upper >= 0)).mean())


def test_intervals_cover_what_they_claim_with_enough_blocks() -> None:
    assert 0.92 <= coverage(days=40, phi=0.8) <= 0.98
    assert 0.92 <= coverage(days=30, phi=0.5) <= 0.98


def test_one_week_of_daily_blocks_covers_about_its_name_where_days_are_nearly_independent() -> None:
    assert 0.90 <= coverage(days=7, phi=0.8) <= 0.98


def test_single_cases_in_place_of_blocks_cover_far_too_little() -> None:
    """The planted fault: neighbours err together, so drawing them singly makes intervals too short."""
    assert coverage(days=20, phi=0.8, block_cases=1) < 0.65


def test_blocks_cover_a_day_and_grow_with_memory() -> None:
    hourly = np.arange(24 * 40) * HOUR
    assert block_length(hourly) == 24
    assert block_length(hourly, autoregressive(20, len(hourly), 0.5, seed=0)) == 24
    assert 24 < block_length(hourly, autoregressive(20, len(hourly), 0.97, seed=0)) <= 24 * 5
    assert block_length(hourly[: 24 * 7], autoregressive(20, 24 * 7, 0.97, seed=0)) == 24
    assert block_length(np.arange(10) * 86_400) == 1


def test_pairs_give_shorter_intervals_than_unpaired() -> None:
    """Both emulators err more in hard weather; drawing the same cases for both takes that out of the difference."""
    common = autoregressive(1, 24 * 20, 0.8, seed=1)
    one = 2 + common + 0.1 * autoregressive(1, 24 * 20, 0.8, seed=2)
    two = 1.9 + common + 0.1 * autoregressive(1, 24 * 20, 0.8, seed=3)
    time, trajectory = np.arange(24 * 20) * HOUR, np.full(24 * 20, -1)
    draws = [resample_cases(time, trajectory, np.random.default_rng(seed)) for seed in (0, 1)]
    there = np.ones(one.shape, bool)
    first, again = (resampled_mean(one, there, d.counts) for d in draws)
    paired = interval(first - resampled_mean(two, there, draws[0].counts), draws[0].num_blocks)
    unpaired = interval(again - resampled_mean(two, there, draws[0].counts), draws[0].num_blocks)
    assert paired[0] > 0, "the paired interval finds the difference"
    assert (paired[1] - paired[0]) < 0.2 * (unpaired[1] - unpaired[0])


def test_trajectories_are_drawn_whole() -> None:
    trajectory = np.repeat(np.arange(5), 4)
    draws = resample_cases(np.tile(np.arange(4), 5), trajectory, np.random.default_rng(0), num_resamples=50)
    grouped = draws.counts.reshape(50, 5, 4)
    assert (grouped == grouped[:, :, :1]).all() and (draws.counts.sum(1) == 20).all()
    assert draws.num_blocks == 5 and draws.unit == "whole trajectories"


def test_blocks_are_consecutive_in_time_whatever_the_order_of_cases() -> None:
    order = np.random.default_rng(0).permutation(48)
    draws = resample_cases(
        np.arange(48)[order] * HOUR, np.full(48, -1), np.random.default_rng(1), num_resamples=20, block_cases=12
    )
    in_time = np.empty_like(draws.counts)
    in_time[:, order] = draws.counts
    changes = (np.diff(in_time, axis=1, append=in_time[:, :1]) != 0).sum(1)
    assert (changes <= 8).all() and (draws.counts.sum(1) == 48).all()


def test_a_failed_case_spoils_only_the_means_that_draw_it() -> None:
    values, there = np.array([1.0, np.nan, 3.0]), np.array([True, True, False])
    counts = _multiplicity(np.array([[0, 0, 2], [0, 1, 2]]))
    mean = resampled_mean(values, there, counts)
    assert mean[0] == 1.0 and np.isnan(mean[1])


def test_gaps_in_the_scores_do_not_hide_their_memory() -> None:
    series = autoregressive(20, 24 * 20, 0.8, seed=4)
    with_gaps = np.where(np.random.default_rng(0).random(series.shape) < 0.1, np.nan, series)
    assert _lag_one(with_gaps) == pytest.approx(_lag_one(series), abs=0.03)
    assert _lag_one(np.ones((9, 2))) == 0.0


def test_scores_that_are_never_neighbours_have_no_memory_to_measure() -> None:
    series = autoregressive(1, 20, 0.8, seed=4)
    series[::2] = np.nan  # starts every six hours, verified every twelve
    assert _lag_one(series) == 0.0
    assert block_length(np.arange(20) * 6 * HOUR, series) == 4


def test_one_block_has_no_interval_and_says_so() -> None:
    time = np.arange(12) * HOUR
    draws = resample_cases(time, np.full(12, -1), np.random.default_rng(0), num_resamples=10)
    assert draws.num_blocks == 1 and "too few" in draws.describe()
    assert np.isnan(interval(np.zeros((10, 2)), draws.num_blocks)).all()


def test_the_same_seed_draws_the_same_cases() -> None:
    time = np.arange(48) * HOUR
    one, two = (resample_cases(time, np.full(48, -1), np.random.default_rng(7), num_resamples=9) for _ in range(2))
    assert (one.counts == two.counts).all()
    assert "cover" in resample_cases(
        np.arange(240) * HOUR, np.full(240, -1), np.random.default_rng(0), series=autoregressive(3, 240, 0.5, 0)
    ).describe() or pytest.fail("the report must say what the interval is worth")
