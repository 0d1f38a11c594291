"""How often intervals of scores over starts and seeds hold the truth, on synthetic scores, a JSON object a line.

    python benchmarks/interval_coverage.py > results/interval-coverage.jsonl

Hourly scores of seed s at hour t are A_s + B_t + C_st: normal seed effects A, AR(1) effects B of the hour, the same for
all, and AR(1) effects C of half B's size. Or whole trajectories: B and C white, one number each. `seeds` is the
standard deviation of A over that of the mean of B over all hours, each for the mean over seeds. `covered` is how often
[%] the 95 % interval of a label's mean score holds the truth, zero, and `false` how often [%] two labels with seeds of
one model differ with p < .05; `covered_difference` is 100 minus that. One standard error is .5 % with 2000 trials.
`skewed` takes the exponential of every score, and the logarithm of its mean: errors are such numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from inference.comparison.seed_bootstrap import SeedSamples, estimate
from inference.scores.bootstrap import Resamples, resample_cases

HOUR, TOGETHER = 3600, 10  # trials that share one set of draws


def autoregressive(shape: tuple[int, ...], phi: float, random: np.random.Generator) -> NDArray[np.float64]:
    """AR(1) noise of unit variance along the last axis."""
    noise = random.normal(size=(*shape[:-1], shape[-1] + 300)) * np.sqrt(1 - phi**2)
    return np.asarray(lfilter([1], [1, -phi], noise, axis=-1)[..., 300:])


def coverage(
    *,
    cases: int,
    phi: float = 0.0,
    num_seeds: int = 3,
    seeds: float = 1.0,
    own: float = 0.5,
    skewed: bool = False,
    trajectories: bool = False,
    trials: int = 2000,
    num_resamples: int = 400,
    seed: int = 0,
) -> dict[str, float]:
    """Shares [%] of trials for one setting, see the module.

    cases: hours, or trajectories. own: size of C over that of B.
    """
    random = np.random.default_rng(seed)
    of_mean = np.sqrt((1 + phi) / (1 - phi) / cases)
    time, trajectory = np.arange(cases) * HOUR, np.full(cases, -1)
    if trajectories:
        time, trajectory = np.zeros(cases, dtype=np.int64), np.arange(cases)
    covered = false = 0
    for _ in range(trials // TOGETHER):
        common = autoregressive((1, TOGETHER, cases), phi, random)

        def label(common: NDArray[np.float64] = common) -> NDArray[np.float64]:
            """[seed, trial, case]"""
            effect = seeds * of_mean * np.sqrt(num_seeds) * random.normal(size=(num_seeds, TOGETHER, 1))
            scores = effect + common + own * autoregressive((num_seeds, TOGETHER, cases), phi, random)
            return np.exp(scores) if skewed else scores

        one, two = label(), label()
        series = (one.mean(0).T, (one - two).mean(0).T)  # [case, trial]
        alone, paired = (
            resample_cases(time, trajectory, random, series=own_series, num_resamples=num_resamples)
            for own_series in series
        )
        # Of a skewed score the mean of exp(B + C) is known, seed by seed; A stays a normal effect of its logarithm.
        truth = 0.5 * (1 + own**2) if skewed else 0.0
        found = estimate(_samples(one, alone, skewed), alone)
        covered += int(((found.lower <= truth) & (found.upper >= truth)).sum())
        found = estimate(_samples(one, paired, skewed), paired, other=_samples(two, paired, skewed))
        false += int((found.p < 0.05).sum())
    share = 100 / (trials // TOGETHER * TOGETHER)
    return {"covered": covered * share, "covered_difference": 100 - false * share, "false": false * share}


def _samples(scores: NDArray[np.float64], draws: Resamples, skewed: bool) -> SeedSamples:
    values, samples = scores.mean(-1), scores @ draws.counts.T / scores.shape[-1]
    samples = np.moveaxis(samples, -1, 1)  # [seed, resample, trial]
    return SeedSamples(np.log(values), np.log(samples)) if skewed else SeedSamples(values, samples)


def settings() -> Iterator[dict[str, Any]]:
    """What the table in inference/comparison/seed_bootstrap.py shows."""
    sizes = ((1, 0.0), (3, 0.0), (3, 1.0), (5, 0.0), (5, 1.0))
    for days in (40, 20, 10):
        for phi in (0.5, 0.8, 0.9, 0.95):
            for num_seeds, seeds in sizes:
                yield {"cases": 24 * days, "phi": phi, "num_seeds": num_seeds, "seeds": seeds}
    for cases in (10, 30, 100):
        for num_seeds, seeds in (*sizes, (3, 3.0), (5, 3.0)):
            yield {"cases": cases, "trajectories": True, "num_seeds": num_seeds, "seeds": seeds}
    for num_seeds in (3, 5):
        yield {"cases": 960, "phi": 0.8, "num_seeds": num_seeds, "seeds": 1.0, "skewed": True}
        yield {"cases": 30, "trajectories": True, "num_seeds": num_seeds, "seeds": 1.0, "skewed": True}


if __name__ == "__main__":
    for setting in settings():
        print(json.dumps({**setting, **coverage(**setting)}), flush=True)
