"""Intervals and tests for labels trained with several seeds: blocks of starts drawn again, seeds as the outer level.

A score of seed s on start t is taken as μ + A_s + B_t + C_st: the seed's own skill, weather that is hard for all, and
what a seed makes of one start. Two sources of chance are crossed, so neither drawing seeds nor drawing starts alone
knows the error of the mean over both. No bootstrap draws crossed sources exactly (McCullagh 2000,
doi:10.3150/bj/1081616701); drawing rows and columns independently counts C twice (Owen 2007, "pigeonhole bootstrap",
doi:10.1214/07-AOAS122). So the same blocks of starts are drawn for every seed, the variance is put together from its
parts, and C's is taken off once, as for errors clustered two ways (Cameron, Gelbach and Miller 2011,
doi:10.1198/jbes.2010.07136):

    V = V_starts + max(V_seeds - V_both, 0)
    V_starts  variance over resamples of the mean over seeds, times n / (n - 1) for n blocks, and over 1 - b where
              blocks of this length miss the share b of it, see `Resamples.shortfall`
    V_seeds   variance between seeds / S, with S - 1 below the line; that of both labels where two are compared
    V_both    variance over resamples of what each seed has of its own, over S (S - 1), enlarged in the same way

The interval is the estimate ± t √V. Degrees of freedom of t after Satterthwaite (1946, doi:10.2307/3002019):
ν = V² / (V_starts² / (n - 1) + Σ V_seeds² / (S - 1)), so that with three seeds that differ it is wide, as it should be.
How often, measured by benchmarks/interval_coverage.py with 2000 trials each (results/interval-coverage.jsonl): first
the share [%] of 95 % intervals of a row's score that hold the truth, then how often two rows of one model differ with
p < .05. σ is the standard deviation that seeds give to the mean over that which the starts give to it.

    seeds, σ                                   1         3, 0      3, 1      3, 3      5, 0      5, 1      5, 3
    40 days of hours, lag-1 correlation .5     96  5     96  2     95  3               96  2     95  5
                                        .8     96  4     96  2     95  4               95  2     96  4
                                        .9     96  4     95  2     95  3               95  2     94  5
    20 days of hours, lag-1 correlation .5     95  5     96  2     95  4               96  2     95  4
                                        .8     95  4     96  2     94  4               95  3     94  5
    10 whole trajectories                      95  5     95  2     95  3     93  3     95  2     95  5     95  5
    30 whole trajectories                      95  5     95  2     95  4     92  3     94  2     94  4     94  4
    100 whole trajectories                     95  4     95  2     95  4     92  4     94  3     94  5     94  4
    the exponential of 30 trajectories                             93  4                         92  4

It falls short, at 92 to 93 %, with three seeds whose spread outweighs the starts' but not by far, where t's degrees of
freedom are overrated, and of scores as skewed as a lognormal with unit variance of its logarithm. Rows of one model
differ less often than 5 % where seeds make no difference of their own.

With one seed V_seeds is unknown and left out: the interval then holds for these weights and says nothing of the model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from inference.scores.bootstrap import Resamples

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SeedSamples:
    """Holds a statistic of one label, seed by seed.

    values: [seed, ...] over all cases.
    samples: [seed, resample, ...] over resampled cases, the same cases for every seed and for every label compared.
    """

    values: Array
    samples: Array

    @property
    def num_seeds(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> Array:
        """Return the mean over seeds [...]; NaN where a seed's forecast failed."""
        return np.asarray(self.values.mean(0))

    @property
    def between_seeds(self) -> Array:
        """Return the variance [...] of the mean between seeds, that of seed and start together included."""
        if self.num_seeds < 2:
            return np.zeros_like(self.values[0])
        return np.asarray(self.values.var(0, ddof=1) / self.num_seeds)

    @property
    def of_both(self) -> Array:
        """Return the share [...] of `between_seeds` that finitely many starts cause, which V_starts counts."""
        if self.num_seeds < 2:
            return np.zeros_like(self.values[0])
        departure = self.samples - self.samples.mean(0)
        return np.asarray(departure.var(1).sum(0) / (self.num_seeds * (self.num_seeds - 1)))


@dataclass(frozen=True, eq=False)
class Estimate:
    """Holds a statistic with its interval, all [...].

    p: two-sided, of the statistic being zero.
    degrees: of freedom of Student's t.
    """

    value: Array
    lower: Array
    upper: Array
    p: Array
    standard_error: Array
    degrees: Array

    def exponential(self) -> Estimate:
        """Return the exponential, of a difference of logarithms the ratio; `standard_error` is relative."""
        with np.errstate(over="ignore"):
            value, lower, upper = (np.exp(bound) for bound in (self.value, self.lower, self.upper))
        return Estimate(value, lower, upper, self.p, self.standard_error, self.degrees)


def estimate(one: SeedSamples, draws: Resamples, level: float = 0.95, other: SeedSamples | None = None) -> Estimate:
    """Return the mean over seeds of a statistic of `one`, or its difference to `other`, with interval and p-value.

    draws: of which the samples are; with fewer than two blocks, bounds and p are NaN.
    """
    groups = [one] if other is None else [one, other]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        value = one.mean if other is None else one.mean - other.mean
        num_blocks = draws.num_blocks
        if num_blocks < 2:
            nothing = np.full_like(value, np.nan)
            return Estimate(value, nothing, nothing, nothing, nothing, nothing)
        small = num_blocks / (num_blocks - 1) / (1 - draws.shortfall)
        together = one.samples.mean(0) if other is None else one.samples.mean(0) - other.samples.mean(0)
        variance = starts = small * together.var(0)
        curvature = starts**2 / (num_blocks - 1)
        for group in groups:
            seeds, both = group.between_seeds, small * group.of_both
            beyond = np.maximum(seeds - both, 0.0)
            variance = variance + beyond
            if group.num_seeds > 1:
                curvature = curvature + np.where(beyond > 0, seeds, 0.0) ** 2 / (group.num_seeds - 1)
        error = np.sqrt(variance)
        degrees = np.where(curvature > 0, np.maximum(variance**2 / curvature, 1.0), num_blocks - 1)
        reach = stdtrit(degrees, 0.5 + level / 2) * error
        p = np.where(error > 0, 2 * stdtr(degrees, -np.abs(value) / error), np.where(value == 0, 1.0, 0.0))
    return Estimate(value, value - reach, value + reach, np.where(np.isfinite(value), p, np.nan), error, degrees)


def holm(p: Array, axis: int = 0) -> Array:
    """Return p-values [..., test, ...] adjusted so that one error in all tests along `axis` is as unlikely.

    Step-down (Holm 1979, Scand. J. Statist. 6, 65-70): the k-th smallest of m becomes the largest of (m - j + 1) p₍ⱼ₎,
    j ≤ k, at most 1. It holds however the tests depend on each other, as those of neighbouring lead times do. NaN is no
    test.
    """
    tests = np.moveaxis(np.asarray(p, dtype=np.float64), axis, 0)
    order = np.argsort(tests, axis=0, kind="stable")  # NaN last
    ranked = np.take_along_axis(tests, order, axis=0)
    rank = np.arange(len(tests)).reshape(-1, *[1] * (tests.ndim - 1))
    stepped = (np.isfinite(tests).sum(0) - rank) * ranked
    stepped = np.where(np.isnan(ranked), np.nan, np.minimum(np.maximum.accumulate(stepped, axis=0), 1.0))
    adjusted = np.empty_like(stepped)
    np.put_along_axis(adjusted, order, stepped, axis=0)
    return np.moveaxis(adjusted, 0, axis)


def describe(seeds: int, level: float = 0.95) -> str:
    """Return one sentence for a report on what intervals over `seeds` seeds mean."""
    asked = f"{100 * level:g} %"
    if seeds < 2:
        return (
            f"One seed: intervals ({asked}) come from resampled starts alone. They hold for these weights only and say "
            "nothing of the model; another seed may lie outside them."
        )
    return (
        f"Intervals ({asked}) of the mean over {seeds} seeds: blocks of starts drawn again, the same for all, with the "
        "variance between seeds as the outer level, Student's t with Satterthwaite's degrees of freedom."
    )
