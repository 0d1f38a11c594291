"""Scores of the rows of a comparison, the seeds of a row together: means, ratios of rows, tests by lead time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from emulator.scores import ROUNDING
from inference.comparison.seed_bootstrap import Estimate, SeedSamples, estimate, holm
from inference.scores.bootstrap import Resamples
from inference.scores.metrics import METRICS
from inference.scores.scorecard import ForecastScores, Verification, common_cases

Array = NDArray[np.float64]
Kind = Literal["nrmse", "rmse"]
Found = TypeVar("Found")
P = ParamSpec("P")
Statistic = Callable[[ForecastScores, Array | None], Array]


@dataclass(frozen=True, eq=False)
class Contrast:
    """Compares a metric of two rows, the one over the other, paired: both scored on the same cases in every resample.

    ratio: [lead, variable] of geometric means over seeds, with interval and p of its being 1.
    adjusted: [lead, variable] p after Holm over the lead times of each variable.
    """

    lead_steps: NDArray[np.int64]
    ratio: Estimate
    adjusted: Array
    level: float

    @property
    def better(self) -> NDArray[np.bool_]:
        """Return whether [lead, variable] is significantly smaller than the other's after Holm's adjustment."""
        return np.asarray((self.adjusted < 1 - self.level) & (self.ratio.value < 1))

    @property
    def worse(self) -> NDArray[np.bool_]:
        return np.asarray((self.adjusted < 1 - self.level) & (self.ratio.value > 1))


def _once(estimate: Callable[Concatenate[RowScores, P], Found]) -> Callable[Concatenate[RowScores, P], Found]:
    """Keep what a method returns for its arguments."""

    @wraps(estimate)
    def kept(self: RowScores, *labels: P.args, **named: P.kwargs) -> Found:
        key = (estimate.__name__, *labels, *named.items())
        if key not in self._found:
            self._found[key] = estimate(self, *labels, **named)
        return cast(Found, self._found[key])

    return kept


@dataclass(frozen=True, eq=False)
class RowScores:
    """Holds the scores of the rows of a comparison over all their seeds.

    members: scores of each row's seeds by its label, for rows that forecast; the same cases for all seeds of a row.
    kind: of the score that ranks.

    Errors are averaged over seeds as logarithms, and compared as ratios: a seed twice as bad and one half as bad are
    equally far, and rows may differ by decades. Other metrics have their plain mean. Every estimate is computed once.
    """

    verification: Verification
    members: Mapping[str, Sequence[ForecastScores]]
    kind: Kind
    num_resamples: int = 1000
    _found: dict[tuple[object, ...], Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def labels(self) -> list[str]:
        return list(self.members)

    def lead_steps(self, label: str) -> NDArray[np.int64]:
        return self.members[label][0].lead_steps

    def leads(self, label: str) -> Array:
        """Return the lead times of a row, in the unit of the time step's `lead_axis`."""
        return self.verification.time_step.lead_axis(self.lead_steps(label))[0]

    @_once
    def mean(self, label: str, metric: str) -> Estimate:
        """Return a metric over all cases and seeds, [lead, variable]."""
        found = self._estimate(label, self._statistic(metric))
        return found.exponential() if METRICS[metric].geometric else found

    @_once
    def contrast(self, label: str, other: str, metric: str) -> Contrast:
        """Return the ratio of two rows' errors by lead time; see `Contrast`."""
        assert METRICS[metric].geometric
        ratio = self._ratio(label, other, self._statistic(metric))
        leads = np.intersect1d(self.lead_steps(label), self.lead_steps(other))
        return Contrast(leads, ratio, holm(ratio.p), self.verification.level)

    @_once
    def ranking(self, label: str) -> Estimate:
        """Return the score that ranks, geometric mean over seeds, see `ranking_score`."""
        return self._estimate(label, self._ranking).exponential()

    @_once
    def ranking_ratio(self, label: str, other: str) -> Estimate:
        """Return the score that ranks over another row's, paired on the cases both have."""
        return self._ratio(label, other, self._ranking)

    def share_stable(self, label: str) -> tuple[NDArray[np.int64], Array]:
        """Return lead steps from 0, and the share of cases and seeds within the threshold, [lead, variable]."""
        members = self.members[label]
        stable = np.concatenate([scores.stable_steps for scores in members])  # [case of a seed, variable]
        steps = np.concatenate([[0], members[0].lead_steps[members[0].verified.any((0, 2))]])
        there = np.isfinite(stable)
        alive = there & (stable >= steps[:, None, None])
        with np.errstate(invalid="ignore"):
            return steps, alive.sum(1) / there.sum(0)

    @_once
    def draws_of(self, *labels: str) -> Resamples:
        """Return the resamples of a row's cases, or of those that two rows have in common."""
        groups = self._in_common(*labels)
        first, *other = [np.mean([scores.case_values("rmse") for scores in members], axis=0) for members in groups]
        return self.verification.draw(groups[0][0], first - other[0] if other else first, self.num_resamples)

    def _estimate(self, label: str, of: Statistic) -> Estimate:
        draws = self.draws_of(label)
        return estimate(_samples(self.members[label], draws, of), draws, self.verification.level)

    def _ratio(self, label: str, other: str, of: Statistic) -> Estimate:
        draws = self.draws_of(label, other)
        first, second = (_samples(members, draws, of) for members in self._in_common(label, other))
        return estimate(first, draws, self.verification.level, second).exponential()

    def _in_common(self, *labels: str) -> list[Sequence[ForecastScores]]:
        """Return the seeds of each row, on the cases and lead times that all have."""
        if len(labels) == 1:
            return [self.members[labels[0]]]
        every = iter(common_cases(*(member for label in labels for member in self.members[label])))
        return [[next(every) for _ in self.members[label]] for label in labels]

    def _statistic(self, metric: str) -> Statistic:
        if not METRICS[metric].geometric:
            return lambda scores, counts: scores.mean(metric, counts)
        floor = ROUNDING * (self.verification.magnitude if METRICS[metric].unit is None else 1.0)
        return lambda scores, counts: _log(np.maximum(scores.mean(metric, counts), floor))

    def _ranking(self, scores: ForecastScores, counts: Array | None) -> Array:
        return _log(ranking_score(scores, self.verification.scale, self.kind, counts))


def ranking_score(scores: ForecastScores, scale: Array, kind: Kind, counts: Array | None = None) -> Array:
    """Return geometric mean over lead times and variables of nRMSE, or of RMSE over the truth's std `scale` [variable].

    Errors below float32's rounding count as that: where a wave has come round, persistence is exact, and one perfect
    lead time would else outweigh all others. A number, or [resample] with `counts` [resample, case]. Leads that no case
    is verified at are left out.
    """
    errors = scores.mean("nrmse", counts) if kind == "nrmse" else scores.mean("rmse", counts) / scale
    errors = errors[..., scores.verified.any((0, 2)), :]
    return np.asarray(np.exp(np.log(np.maximum(errors, ROUNDING)).mean(axis=(-2, -1))))


def _samples(members: Sequence[ForecastScores], draws: Resamples, of: Statistic) -> SeedSamples:
    return SeedSamples(*(np.stack([of(scores, counts) for scores in members]) for counts in (None, draws.counts)))


def _log(values: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(values))
