"""The scorecard holds scores case by case, and gives their means, differences, skill and intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce

import numpy as np
from numpy.typing import NDArray

from emulator.foundation.time_step import TimeStep
from emulator.scores import ROUNDING
from graphs.errors import MeshcastError
from graphs.mesh import Mesh
from inference.scores import bootstrap
from inference.scores.flow import FlowScores
from inference.scores.metrics import METRICS
from inference.scores.spectra import WavenumberAxis, wavenumber_axis

Interval = tuple[NDArray[np.float64], NDArray[np.float64]]

CONTRASTS: dict[str, Callable[..., NDArray[np.float64]]] = {
    "difference": np.subtract,
    "skill": lambda score, reference: 1.0 - score / reference,
}


@dataclass(frozen=True, eq=False)
class ForecastScores:
    """Holds the scores of one emulator's forecasts, case by case.

    values: [case, lead, variable] by metric, as its function returns it, see `case_values`; NaN where the truth is
        absent or the forecast failed.
    verified: [case, lead, variable] where there is truth.
    member_mse: [case, member, lead, variable], or None without an ensemble.
    power, truth_power: [lead, wavenumber, variable], mean over the cases both are whole in, or None without spectrum.
    flow: what was found of a wind on the whole sphere, where one is forecast.
    stable_steps: [case, variable] last step before the error first passes the threshold, the last verified step where
        it never does (`censored`), NaN without truth.
    """

    label: str
    name: str
    seed: str
    init_time: NDArray[np.int64]
    trajectory: NDArray[np.int64]
    lead_steps: NDArray[np.int64]
    values: Mapping[str, NDArray[np.float64]]
    verified: NDArray[np.bool_]
    member_mse: NDArray[np.float64] | None
    power: NDArray[np.float64] | None
    truth_power: NDArray[np.float64] | None
    attributes: Mapping[str, str] = field(default_factory=dict)
    stable_steps: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    censored: NDArray[np.bool_] = field(default_factory=lambda: np.empty((0, 0), dtype=bool))
    flow: FlowScores | None = None

    @property
    def num_cases(self) -> int:
        return len(self.init_time)

    @property
    def keys(self) -> list[tuple[int, int]]:
        """Return what tells cases apart, [case]: initial time and trajectory."""
        return list(zip(self.init_time.tolist(), self.trajectory.tolist(), strict=True))

    @property
    def failed(self) -> NDArray[np.int64]:
        """Return the number of cases that have truth but no finite forecast, [lead, variable]."""
        return (self.verified & ~np.isfinite(self.values["rmse"])).sum(0)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Return names of the metrics these scores hold."""
        return tuple(name for name in METRICS if name in self.values)

    @property
    def mean_stable_steps(self) -> NDArray[np.float64]:
        """Return the mean over cases of the stable steps, [variable]; NaN without truth."""
        there = ~np.isnan(self.stable_steps)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(there, self.stable_steps, 0.0).sum(0) / there.sum(0))

    def with_stable_steps(self, scale: NDArray[np.float64], threshold: float) -> ForecastScores:
        """Return the same scores with the steps each case stayed within the threshold; a failed forecast is past it."""
        with np.errstate(invalid="ignore", divide="ignore"):
            past = self.verified & ~(self.case_values("rmse") / scale <= threshold)
        # Step of the last verified lead before each lead, and after the last: 0 before the first.
        steps = np.where(self.verified, self.lead_steps[None, :, None], 0)
        reached = np.maximum.accumulate(np.concatenate([np.zeros_like(steps[:, :1]), steps], axis=1), axis=1)
        censored = np.asarray(~past.any(1))
        first = np.where(censored, past.shape[1], past.argmax(1))
        stable = np.take_along_axis(reached, first[:, None], axis=1)[:, 0].astype(np.float64)
        stable[~self.verified.any(1)] = np.nan
        return replace(self, stable_steps=stable, censored=censored & self.verified.any(1))

    def cases(self, index: NDArray[np.int64], leads: NDArray[np.int64]) -> ForecastScores:
        """Return the scores of these cases and leads, without spectra, which are means over all cases."""
        return replace(
            self,
            init_time=self.init_time[index],
            trajectory=self.trajectory[index],
            lead_steps=self.lead_steps[leads],
            values={name: values[np.ix_(index, leads)] for name, values in self.values.items()},
            verified=self.verified[np.ix_(index, leads)],
            member_mse=None,
            power=None,
            truth_power=None,
            flow=None,
            stable_steps=self.stable_steps[index],
            censored=self.censored[index],
        )

    def case_values(self, metric: str) -> NDArray[np.float64]:
        """Return a metric of each case, [case, lead, variable]."""
        values = self.values[metric]
        if (over := METRICS[metric].over) is not None:
            with np.errstate(invalid="ignore", divide="ignore"):
                values = values / self.values[over]
        return np.sqrt(values) if METRICS[metric].root else values

    def mean(self, metric: str, counts: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Return a metric over cases: [lead, variable], or [resample, lead, variable] with `counts` [resample, case].

        NaN from the lead at which any case failed: leaving such a case out would flatter the emulator.
        """
        values = self.values[metric]
        weights = np.ones((1, len(self.init_time))) if counts is None else counts
        present = self.verified
        if "truth" not in METRICS[metric].arguments and "initial" in METRICS[metric].arguments:
            # Drift needs the truth at the initial time only; beyond the truth's end all cases count.
            started = (~np.isnan(values)).any(1, keepdims=True)
            present = started & (self.verified | ~self.verified.any(0))
        mean = bootstrap.resampled_mean(values, present, weights)
        if (over := METRICS[metric].over) is not None:
            with np.errstate(invalid="ignore", divide="ignore"):
                mean = mean / bootstrap.resampled_mean(self.values[over], present, weights)
        if METRICS[metric].root:
            np.sqrt(mean, out=mean)
        return mean[0] if counts is None else mean

    def score(self, counts: NDArray[np.float64] | None = None, steps: int = 100) -> NDArray[np.float64]:
        """Return APEBench's score, [variable]: the geometric mean over leads 1 to `steps` of the mean nRMSE.

        Koehler et al. (2024), arXiv:2411.00180. Leads beyond the last verified one are not there to be scored. Errors
        below float32's rounding count as that: where a wave has come round, persistence is exact, and one perfect lead
        time would else outweigh all others.
        """
        nrmse = np.maximum(self.mean("nrmse", counts), ROUNDING)
        return np.exp(np.log(nrmse[..., self.scored_leads(steps), :]).mean(-2))

    def scored_leads(self, steps: int = 100) -> NDArray[np.bool_]:
        """Return which leads `score` averages over, [lead]."""
        return np.asarray((self.lead_steps <= steps) & self.verified.any((0, 2)))


@dataclass(frozen=True, eq=False)
class Verification:
    """Holds the scores of several emulators against one truth.

    scale: [variable] the truth's standard deviation in space and time about its mean, over the cases verified.
    magnitude: [variable] the truth's root mean square, what nRMSE divides by on average.
    threshold: RMSE over `scale` past which a forecast no longer counts as stable.
    baselines: labels of the emulators that skill is measured against.
    left_out: what was not verified, and why, one sentence each.
    truth: title, source, licence and attribution of the truth.
    level: of the intervals.
    region: that scores are confined to, with its bounds; empty for the whole mesh.
    """

    emulators: tuple[ForecastScores, ...]
    variables: tuple[str, ...]
    units: tuple[str, ...]
    mesh: Mesh
    time_step: TimeStep
    scale: NDArray[np.float64]
    magnitude: NDArray[np.float64]
    threshold: float
    baselines: tuple[str, ...]
    left_out: tuple[str, ...]
    truth: Mapping[str, str]
    level: float = 0.95
    num_resamples: int = 4000
    block_cases: int | None = None
    bootstrap_seed: int = 0
    region: str = ""
    _intervals: dict[tuple[str, str], Interval] = field(default_factory=dict, init=False, repr=False)
    _contrasts: dict[tuple[str, str, str], dict[str, Difference]] = field(default_factory=dict, init=False, repr=False)
    _draws: dict[tuple[str, ...], bootstrap.Resamples] = field(default_factory=dict, init=False, repr=False)

    def __getitem__(self, label: str) -> ForecastScores:
        for emulator in self.emulators:
            if emulator.label == label:
                return emulator
        raise MeshcastError(f"No scores of {label!r}; there are {', '.join(e.label for e in self.emulators)}.")

    @property
    def wavenumbers(self) -> WavenumberAxis | None:
        """Return the axis of the spectra, None where the mesh has none."""
        return wavenumber_axis(self.mesh)

    @property
    def about_zero(self) -> NDArray[np.bool_]:
        """Return whether ‖truth‖ measures variability, [variable]; of a temperature in kelvin it is the mean."""
        return np.asarray(self.scale > 0.3 * self.magnitude)

    def resamples(self, emulator: ForecastScores, other: ForecastScores | None = None) -> bootstrap.Resamples:
        """Return draws of an emulator's cases; with `other`, on the same cases, blocks suit the difference."""
        error = emulator.case_values("rmse")
        series = error if other is None else error - other.case_values("rmse")
        return self.draw(emulator, series, self.num_resamples)

    def draw(self, cases: ForecastScores, series: NDArray[np.float64], num_resamples: int) -> bootstrap.Resamples:
        """Return draws of cases in blocks that suit the memory of a series [case, ...]."""
        return bootstrap.resample_cases(
            cases.init_time,
            cases.trajectory,
            np.random.default_rng(self.bootstrap_seed),
            series=series,
            block_cases=self.block_cases,
            num_resamples=num_resamples,
        )

    @property
    def has_intervals(self) -> bool:
        """Return whether the cases amount to enough independent pieces to resample."""
        return self._resampling[0] >= 2

    @property
    def interval_method(self) -> str:
        """Return how intervals are computed and what they are worth, in a sentence or two."""
        return self._resampling[1]

    @cached_property
    def _resampling(self) -> tuple[float, str]:
        draws = self._latest_draws((self.emulators[0].label,), self.emulators[0])
        return draws.num_blocks, draws.describe()

    def interval(self, label: str, metric: str) -> Interval:
        """Return lower and upper bound of a metric, [lead, variable]; of `score`, [variable]."""
        if (label, metric) not in self._intervals:
            emulator = self[label]
            draws = self._latest_draws((label,), emulator)
            samples = emulator.score(draws.counts) if metric == "score" else emulator.mean(metric, draws.counts)
            self._intervals[label, metric] = bootstrap.interval(samples, draws.num_blocks, self.level)
        return self._intervals[label, metric]

    def difference(self, label: str, other: str, metric: str = "rmse") -> Difference:
        """Return `label` minus `other`, paired: both scored on the same cases in every resample."""
        return self._paired(label, other, metric)["difference"]

    def skill(self, label: str, reference: str, metric: str = "rmse") -> Difference:
        """Return 1 - score / score of the reference, paired; for errors, where zero is perfect."""
        return self._paired(label, reference, metric)["skill"]

    def _paired(self, label: str, other: str, metric: str) -> dict[str, Difference]:
        """Return difference and skill, from one set of draws, kept since dataset, curves and findings ask for them."""
        if (label, other, metric) not in self._contrasts:
            first, second = common_cases(self[label], self[other])
            draws = self._latest_draws((label, other), first, second)
            pairs = [(scores.mean(metric), scores.mean(metric, draws.counts)) for scores in (first, second)]
            found = {}
            for name, contrast in CONTRASTS.items():
                with np.errstate(divide="ignore", invalid="ignore"):
                    estimate, samples = (contrast(*pair) for pair in zip(*pairs, strict=True))
                lower, upper = bootstrap.interval(samples, draws.num_blocks, self.level)
                found[name] = Difference(first.lead_steps, estimate, lower, upper)
            self._contrasts[label, other, metric] = found
        return self._contrasts[label, other, metric]

    def _latest_draws(
        self, key: tuple[str, ...], emulator: ForecastScores, other: ForecastScores | None = None
    ) -> bootstrap.Resamples:
        """Return `resamples`, kept until others are asked for: [resample, case] of every pair would be much."""
        if key not in self._draws:
            self._draws.clear()
            self._draws[key] = self.resamples(emulator, other)
        return self._draws[key]


@dataclass(frozen=True, eq=False)
class Difference:
    """A paired difference (or skill) of two emulators in one metric, [lead, variable], with its interval."""

    lead_steps: NDArray[np.int64]
    estimate: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]

    @property
    def significant(self) -> NDArray[np.bool_]:
        """Return where the interval excludes zero."""
        return (self.lower > 0) | (self.upper < 0)


def common_cases(*emulators: ForecastScores) -> tuple[ForecastScores, ...]:
    """Return all with the cases and leads that all have, in the order of the first; verified where all are."""
    places = [{key: index for index, key in enumerate(emulator.keys)} for emulator in emulators]
    shared = [key for key in emulators[0].keys if all(key in place for place in places)]
    leads = reduce(np.intersect1d, [emulator.lead_steps for emulator in emulators])
    if not shared or leads.size == 0:
        labels = " and ".join(emulator.label for emulator in emulators)
        raise MeshcastError(f"{labels} have no case and lead in common: nothing to compare.")
    reduced = [
        emulator.cases(np.array([place[key] for key in shared]), np.searchsorted(emulator.lead_steps, leads))
        for emulator, place in zip(emulators, places, strict=True)
    ]
    verified = np.logical_and.reduce([emulator.verified for emulator in reduced])
    return tuple(replace(emulator, verified=verified) for emulator in reduced)
