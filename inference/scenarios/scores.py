"""Scores of climates under forcing: those of ClimateBench, late means, single years, trends, regions, rain.

ClimateBench: Watson-Parris et al. 2022, doi:10.1029/2021MS002954. Its temperatures and rain are changes from a base
climate, so every field here is, but for scores of rain itself.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from graphs.mesh import Mesh
from inference.scenarios.regions import RegionMeans
from inference.scenarios.scenario import yearly
from inference.scenarios.sea_ice import ICE_FREE, KELVIN, cold_sea, northern_sea
from inference.scenarios.summary import SPAN, passed
from inference.scores.bootstrap import resample_cases

Array = NDArray[np.float64]
Index = NDArray[np.int64]
GLOBAL_WEIGHT = 5.0  # of the global error in the total, ClimateBench's α
RAIN = "kg m-2 s-1"
WET = 1.0 / 86_400  # [kg m-2 s-1], a millimetre a day


@dataclass(frozen=True)
class ClimateScores:
    """How far a climate is from that of several runs of a model; errors in the variable's units.

    nrmse_spatial: of the mean over the late years, over the size of the true global mean change.
    nrmse_global: of the yearly global mean over the late years, over the same.
    nrmse_total: the first and five times the second.
    late_rmse: spatial, of the mean over the late years, from the mean over runs. late_bias: of its global mean.
    yearly_rmse: spatial, of single late years of each run.
    trend_error: of the global mean's linear trend over all years [a decade].
    region_rmse: over regions, of the mean over the late years.
    threshold_years: mean distance in years between when each passes half kelvins of warming that the truth passes after
        its first 20 years, and between when their northern seas are free of ice, where the truth's become so; a 20-year
        mean that never passes counts as the year after the last. None where the truth passes none.
    wet_area_bias: relative, of the area with at least 1 mm a day, single late steps; None of other variables.
    csi: critical success index of such places, hits over hits, misses and false alarms; None as above.
    """

    nrmse_spatial: float
    nrmse_global: float
    nrmse_total: float
    late_rmse: float
    late_bias: float
    yearly_rmse: float
    trend_error: float
    region_rmse: float
    threshold_years: float | None = None
    wet_area_bias: float | None = None
    csi: float | None = None

    def plain(self) -> dict[str, float]:
        """Return those that there are, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, eq=False)
class ClimateTruth:
    """Runs of a model, to which forecasts of a climate are compared.

    years: [time] calendar year of each step. values: [run, time, node]. base: [node] mean over the base period, of
    which changes are. late: years of the late mean, the last ones. units: of the variable.
    """

    years: Index
    values: Array
    base: Array
    mesh: Mesh
    means: RegionMeans
    late: int = 20
    units: str = "K"

    def of(self, forecast: Array) -> ClimateScores:
        """Return the scores of forecasts [run, time, node], one a run or one for all."""
        count = len(self._by_year[1][self._late])
        found = self._scores(forecast, np.full((1, count), 1 / count))
        return ClimateScores(**{name: float(values[0]) for name, values in found.items()})

    def resampled(self, forecast: Array, draws: int, block: int = 5, seed: int = 0) -> dict[str, Array]:
        """Return scores [draw] by name, late years drawn with replacement in blocks (Künsch 1989)."""
        years = self._by_year[1][self._late]
        drawn = resample_cases(
            years,
            np.full_like(years, -1),
            np.random.default_rng(seed),
            block_cases=block,
            num_resamples=draws,
        )
        return self._scores(forecast, drawn.counts / len(years))

    @property
    def areas(self) -> Array:
        """Return what each node [node] counts for, nothing where the truth has no value."""
        there = ~np.isnan(self.values).all(axis=(0, 1))
        areas = np.where(there, self.mesh.areas, 0.0)
        return np.asarray(areas / areas.sum(), np.float64)

    @property
    def _late(self) -> slice:
        return slice(-self.late, None)

    @cached_property
    def _by_year(self) -> tuple[Array, Index]:
        """Return the truth's changes [run, year, node], and the years."""
        years, means = yearly(self.years, np.nan_to_num(self.values))
        return means - np.nan_to_num(self.base), years

    @cached_property
    def _sea(self) -> Array:
        """Return the northern sea [node] where the truth has values."""
        return np.where(self.areas > 0, northern_sea(self.mesh), 0.0)

    def _scores(self, forecast: Array, weights: Array) -> dict[str, Array]:
        """Return scores [draw] by name, late years counting by weights [draw, late year]."""
        forecast = np.broadcast_to(forecast, self.values.shape)
        areas, (theirs, years) = self.areas, self._by_year
        ours = yearly(self.years, np.nan_to_num(forecast))[1] - np.nan_to_num(self.base)
        mean, true = ours.mean(axis=0), theirs.mean(axis=0)  # [year, node]
        error = weights @ (mean - true)[self._late]  # [draw, node]
        size = np.abs(weights @ (true @ areas)[self._late])
        late = np.sqrt(error**2 @ areas)
        overall = np.sqrt(weights @ ((mean - true) @ areas)[self._late] ** 2)
        trends = [np.polyfit(years, field @ areas, 1)[0] if len(years) > 1 else 0.0 for field in (mean, true)]
        found = {
            "nrmse_spatial": late / size,
            "nrmse_global": overall / size,
            "nrmse_total": late / size + GLOBAL_WEIGHT * overall / size,
            "late_rmse": late,
            "late_bias": error @ areas,
            "yearly_rmse": np.sqrt(weights @ ((ours - theirs)[:, self._late] ** 2 @ areas).mean(axis=0)),
            "trend_error": np.full(len(weights), 10 * (trends[0] - trends[1])),
            "region_rmse": np.sqrt(np.mean(self.means.of(error) ** 2, axis=-1)),
        }
        if (apart := self._threshold_years(mean)) is not None:
            found["threshold_years"] = np.full(len(weights), apart)
        if self.units == RAIN:
            wet_area_bias, csi = self._wet(forecast, years[self._late], areas)
            found |= {"wet_area_bias": np.full(len(weights), wet_area_bias), "csi": np.full(len(weights), csi)}
        return found

    def _threshold_years(self, change: Array) -> float | None:
        """Return how far apart the years are in which change [year, node] and the truth pass levels."""
        theirs, years = self._by_year
        if self.units not in KELVIN or len(years) < SPAN:
            return None
        truth = theirs.mean(axis=0)
        first, never = years[0] + SPAN // 2, years[-1] - SPAN // 2 + 2
        apart = []
        levels = np.arange(0.5, 20.0, 0.5)
        pairs = [(truth @ self.areas, change @ self.areas, level) for level in levels]
        ice = [cold_sea(self._sea, part + self.base, self.units) for part in (truth, change)]
        pairs.append((-ice[0], -ice[1], -ICE_FREE))
        for known, found, level in pairs:
            year = passed(years, known, level)
            if year is not None and year > first:
                ours = passed(years, found, level)
                apart.append(abs((never if ours is None else ours) - year))
        return float(np.mean(apart)) if apart else None

    def _wet(self, forecast: Array, late_years: Index, areas: Array) -> tuple[float, float]:
        late = np.isin(self.years, late_years)
        ours, theirs = forecast[:, late] >= WET, self.values[:, late] >= WET
        wet = [float(np.mean(area @ areas)) for area in (ours, theirs)]
        hits, either = float(np.mean((ours & theirs) @ areas)), float(np.mean((ours | theirs) @ areas))
        return wet[0] / wet[1] - 1, hits / either
