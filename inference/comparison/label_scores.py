"""Scores of a comparison's rows, the seeds of a row together: means, ratios to another row, tests by lead time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emulator.scores import ROUNDING
from inference.comparison.seed_bootstrap import Estimate, SeedSamples, estimate, holm
from inference.comparison.story import ComparisonStory
from inference.scores.bootstrap import Resamples, resample_cases
from inference.scores.metrics import METRICS
from inference.scores.scorecard import ForecastScores, Verification, common_cases

Array = NDArray[np.float64]
Kind = Literal["nrmse", "rmse"]
Statistic = Callable[[ForecastScores, Array | None], Array]


@dataclass(frozen=True, eq=False)
class Contrast:
    """A row's metric over another row's, paired: both scored on the same cases in every resample.

    ratio: [lead, variable] of geometric means over seeds, with interval and p of its being 1.
    adjusted: [lead, variable] p after Holm over the lead times of each variable.
    """

    label: str
    other: str
    lead_steps: NDArray[np.int64]
    ratio: Estimate
    adjusted: Array
    level: float

    @property
    def better(self) -> NDArray[np.bool_]:
        """[lead, variable] significantly smaller than the other's, Holm's adjustment made."""
        return np.asarray((self.adjusted < 1 - self.level) & (self.ratio.value < 1))

    @property
    def worse(self) -> NDArray[np.bool_]:
        return np.asarray((self.adjusted < 1 - self.level) & (self.ratio.value > 1))


@dataclass(frozen=True, eq=False)
class LabelScores:
    """The rows of a comparison over all their seeds.

    members: scores of each row's seeds by its label, for rows that forecast; the same cases for all seeds of a row.
    kind: of the score that ranks.

    Errors are averaged over seeds as logarithms, and compared as ratios: a seed twice as bad and one half as bad are
    equally far, and rows may differ by decades. Other metrics have their plain mean.
    """

    verification: Verification
    members: Mapping[str, Sequence[ForecastScores]]
    kind: Kind
    num_resamples: int = 1000
    _means: dict[tuple[str, str], Estimate] = field(default_factory=dict, init=False, repr=False)
    _contrasts: dict[tuple[str, str, str], Contrast] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, verification: Verification, story: ComparisonStory) -> LabelScores:
        return cls(verification, story.groups(verification), story.score)

    @property
    def labels(self) -> list[str]:
        return list(self.members)

    def lead_steps(self, label: str) -> NDArray[np.int64]:
        return self.members[label][0].lead_steps

    def holds(self, label: str, metric: str) -> bool:
        """Whether a row that forecast has a metric."""
        return label in self.members and metric in self.members[label][0].metrics

    def mean(self, label: str, metric: str) -> Estimate:
        """A metric over all cases and seeds, [lead, variable]."""
        if (label, metric) not in self._means:
            own = self.members[label]
            draws = self._draws(own)
            samples = _samples(own, draws, self._statistic(metric))
            found = estimate(samples, draws, self.verification.level)
            self._means[label, metric] = found.exponential() if METRICS[metric].geometric else found
        return self._means[label, metric]

    def contrast(self, label: str, other: str, metric: str = "rmse") -> Contrast:
        """The ratio of two rows' errors by lead time; see `Contrast`."""
        assert METRICS[metric].geometric
        if (label, other, metric) not in self._contrasts:
            own, theirs = _on_common_cases(self.members[label], self.members[other])
            ratio = self._ratio(own, theirs, self._statistic(metric))
            level = self.verification.level
            adjusted = holm(ratio.p)
            self._contrasts[label, other, metric] = Contrast(label, other, own[0].lead_steps, ratio, adjusted, level)
        return self._contrasts[label, other, metric]

    def by_seed(self, label: str) -> Array:
        """[seed] the score that ranks."""
        return np.exp([self._ranking(scores, None) for scores in self.members[label]])

    def ranking(self, label: str) -> Estimate:
        """The score that ranks, geometric mean over seeds, see `ranking_score`."""
        if (label, "ranking") not in self._means:
            own = self.members[label]
            draws = self._draws(own)
            found = estimate(_samples(own, draws, self._ranking), draws, self.verification.level)
            self._means[label, "ranking"] = found.exponential()
        return self._means[label, "ranking"]

    def ranking_ratio(self, label: str, other: str) -> Estimate:
        """The score that ranks over another row's, paired on the cases both have."""
        return self._ratio(*_on_common_cases(self.members[label], self.members[other]), self._ranking)

    def ranked(self) -> list[str]:
        """Labels, best first, those without a finite score last."""
        scores = {label: float(np.exp(np.log(self.by_seed(label)).mean())) for label in self.members}
        return sorted(scores, key=lambda label: scores[label] if np.isfinite(scores[label]) else np.inf)

    def share_stable(self, label: str) -> tuple[NDArray[np.int64], Array]:
        """Lead steps from 0, and [lead, variable] the share of cases and seeds whose error was within the threshold."""
        own = self.members[label]
        stable = np.concatenate([scores.stable_steps for scores in own])  # [case of a seed, variable]
        steps = np.concatenate([[0], own[0].lead_steps[own[0].verified.any((0, 2))]])
        there = np.isfinite(stable)
        alive = there & (stable >= steps[:, None, None])
        with np.errstate(invalid="ignore"):
            return steps, alive.sum(1) / there.sum(0)

    def draws_of(self, label: str) -> Resamples:
        """The resamples of a row's cases, for what the report says of them."""
        return self._draws(self.members[label])

    def _ratio(self, own: Sequence[ForecastScores], theirs: Sequence[ForecastScores], of: Statistic) -> Estimate:
        draws = self._draws(own, theirs)
        samples = [_samples(group, draws, of) for group in (own, theirs)]
        return estimate(samples[0], draws, self.verification.level, samples[1]).exponential()

    def _draws(self, own: Sequence[ForecastScores], theirs: Sequence[ForecastScores] = ()) -> Resamples:
        series = _mean_error(own) - _mean_error(theirs) if theirs else _mean_error(own)
        return resample_cases(
            own[0].init_time,
            own[0].trajectory,
            np.random.default_rng(self.verification.bootstrap_seed),
            series=series,
            block_cases=self.verification.block_cases,
            num_resamples=self.num_resamples,
        )

    def _statistic(self, metric: str) -> Statistic:
        if not METRICS[metric].geometric:
            return lambda scores, counts: scores.mean(metric, counts)
        floor = ROUNDING * (self.verification.magnitude if METRICS[metric].dimensional else 1.0)
        return lambda scores, counts: _log(np.maximum(scores.mean(metric, counts), floor))

    def _ranking(self, scores: ForecastScores, counts: Array | None) -> Array:
        return _log(ranking_score(scores, self.verification.scale, self.kind, counts))


def ranking_score(scores: ForecastScores, scale: Array, kind: Kind, counts: Array | None = None) -> Array:
    """Geometric mean over lead times and variables of nRMSE, or of RMSE over the truth's std `scale` [variable].

    Errors below float32's rounding count as that: where a wave has come round, persistence is exact, and one perfect
    lead time would else outweigh all others. A number, or [resample] with `counts` [resample, case]. Leads that no case
    is verified at are left out.
    """
    errors = scores.mean("nrmse", counts) if kind == "nrmse" else scores.mean("rmse", counts) / scale
    errors = errors[..., scores.verified.any((0, 2)), :]
    return np.asarray(np.exp(np.log(np.maximum(errors, ROUNDING)).mean(axis=(-2, -1))))


def _samples(own: Sequence[ForecastScores], draws: Resamples, of: Statistic) -> SeedSamples:
    return SeedSamples(np.stack([of(scores, None) for scores in own]), np.stack([of(s, draws.counts) for s in own]))


def _mean_error(own: Sequence[ForecastScores]) -> Array:
    """[case, lead, variable] over seeds, whose memory in time decides how long blocks are."""
    return np.asarray(np.mean([scores.case_values("rmse") for scores in own], axis=0))


def _on_common_cases(
    own: Sequence[ForecastScores], theirs: Sequence[ForecastScores]
) -> tuple[Sequence[ForecastScores], Sequence[ForecastScores]]:
    every = common_cases(*own, *theirs)
    return every[: len(own)], every[len(own) :]


def _log(values: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(values))
