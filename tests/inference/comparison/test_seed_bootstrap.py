"""Intervals over seeds and starts: how often they hold the truth, and Holm's steps by hand."""

import numpy as np
import pytest

from benchmarks.interval_coverage import coverage
from inference.comparison.seed_bootstrap import SeedSamples, describe, estimate, holm
from inference.scores.bootstrap import Resamples, resample_cases, resampled_mean

HOUR = 3600


@pytest.mark.parametrize("num_seeds", [3, 5])
def test_intervals_cover_what_they_claim_and_seeds_of_one_model_seldom_differ(num_seeds: int) -> None:
    """Bounds are three standard errors of 300 trials wider than what the slow test asks."""
    found = coverage(cases=24 * 40, phi=0.5, num_seeds=num_seeds, seeds=1.0, trials=300, num_resamples=150)
    assert 91.3 <= found["covered"] <= 98.7
    assert found["false"] <= 9


@pytest.mark.slow
@pytest.mark.parametrize("num_seeds", [1, 3, 5])
@pytest.mark.parametrize("phi", [0.5, 0.8])
def test_intervals_cover_93_to_97_percent_and_at_most_6_differ(phi: float, num_seeds: int) -> None:
    found = coverage(cases=24 * 40, phi=phi, num_seeds=num_seeds, seeds=float(num_seeds > 1), trials=4000)
    assert 93 <= found["covered"] <= 97
    assert found["false"] <= 6


def test_intervals_over_whole_trajectories_cover_what_they_claim() -> None:
    found = coverage(cases=40, trajectories=True, num_seeds=3, seeds=1.0, trials=1500, num_resamples=300)
    assert 92 <= found["covered"] <= 97.5 and found["false"] <= 6.5


def test_without_the_outer_level_seeds_of_one_model_differ_far_too_often() -> None:
    """The planted fault: starts alone are drawn, as if the seeds at hand were all there are."""
    random = np.random.default_rng(0)
    time, trajectory = np.arange(480) * HOUR, np.full(480, -1)
    draws = resample_cases(time, trajectory, random, num_resamples=300)
    wrong = right = 0
    for _ in range(60):
        one, two = (0.5 * random.normal(size=(3, 1)) + random.normal(size=(3, 480)) for _ in range(2))
        groups = [SeedSamples(x.mean(1), x @ draws.counts.T / 480) for x in (one, two)]
        pooled = [SeedSamples(g.values.mean(0)[None], g.samples.mean(0)[None]) for g in groups]
        right += bool(estimate(groups[0], draws, other=groups[1]).p < 0.05)
        wrong += bool(estimate(pooled[0], draws, other=pooled[1]).p < 0.05)
    assert right <= 9 < 30 < wrong


def test_the_parts_of_the_variance_by_hand() -> None:
    """Two seeds and two blocks: the formulas of the module on numbers that fit a margin."""
    values, samples = np.array([1.0, 3.0]), np.array([[0.0, 2.0], [2.0, 4.0]])
    draws = Resamples(np.ones((2, 2)), 2.0, "halves")
    found = estimate(SeedSamples(values, samples), draws)
    starts = 2 / 1 * 1.0  # of means 1 and 3 about 2, times n / (n - 1)
    seeds = 2.0 / 2  # between 1 and 3, over two seeds; both seeds change alike, so nothing is counted twice
    assert found.value == 2.0 and found.standard_error == pytest.approx((starts + seeds) ** 0.5)
    assert found.degrees == pytest.approx((starts + seeds) ** 2 / (starts**2 / 1 + seeds**2 / 1))


def test_what_a_seed_makes_of_a_start_is_counted_once() -> None:
    random = np.random.default_rng(1)
    scores = random.normal(size=(5, 400, 300))  # [seed, case, trial], no effect of seed or start alone
    draws = resample_cases(np.zeros(400, int), np.arange(400), random, num_resamples=400)
    samples = np.einsum("sct,rc->srt", scores, draws.counts) / 400
    found = estimate(SeedSamples(scores.mean(1), samples), draws)
    assert np.mean(found.standard_error**2) == pytest.approx(1 / (5 * 400), rel=0.35)


def test_an_interval_and_its_p_value_say_the_same() -> None:
    random = np.random.default_rng(2)
    draws = resample_cases(np.arange(240) * HOUR, np.full(240, -1), random, num_resamples=200)
    one, two = random.normal(size=(3, 240, 40)), 0.1 + random.normal(size=(5, 240, 40))
    groups = [
        SeedSamples(x.mean(1), np.stack([resampled_mean(s, np.ones(s.shape, bool), draws.counts) for s in x]))
        for x in (one, two)
    ]
    found = estimate(groups[0], draws, 0.9, other=groups[1])
    outside = (found.lower > 0) | (found.upper < 0)
    assert (outside == (found.p < 0.1)).all() and 0 < outside.sum() < 40
    ratio = found.exponential()
    assert (((ratio.lower > 1) | (ratio.upper < 1)) == outside).all()


def test_a_label_equals_itself_and_a_failed_seed_has_no_interval() -> None:
    random = np.random.default_rng(3)
    draws = resample_cases(np.zeros(8, int), np.arange(8), random, num_resamples=50)
    x = random.normal(size=(1, 8))
    own = SeedSamples(x.mean(1), x @ draws.counts.T / 8)
    assert estimate(own, draws, other=own).p == 1.0
    failed = SeedSamples(np.array([np.nan, 1.0]), np.repeat(own.samples, 2, axis=0))
    found = estimate(failed, draws)
    assert np.isnan([found.value, found.lower, found.p]).all()
    alone = resample_cases(np.zeros(1, int), np.zeros(1, int), random, num_resamples=5)
    assert np.isnan(estimate(SeedSamples(np.ones(3), np.ones((3, 5))), alone).lower)


def test_holm_by_hand() -> None:
    # Sorted: .01, .02, .03, .04 times 4, 3, 2, 1 is .04, .06, .06, .04; the last may not fall below those before it.
    np.testing.assert_allclose(holm(np.array([0.04, 0.01, 0.03, 0.02])), [0.06, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(holm(np.array([0.5, 0.9])), [1.0, 1.0])
    np.testing.assert_allclose(holm(np.array([0.01, np.nan, 0.04])), [0.02, np.nan, 0.04])
    columns = np.array([[0.04, 0.2], [0.01, 0.001]])
    np.testing.assert_allclose(holm(columns), [[0.04, 0.2], [0.02, 0.002]])
    np.testing.assert_allclose(holm(columns.T, axis=1), holm(columns).T)


def test_a_report_says_what_one_seed_is_worth() -> None:
    assert "these weights only" in describe(1) and "outer level" in describe(3)
