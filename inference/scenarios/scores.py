"""Scores of climates under forcing: those of ClimateBench, late means, single years, trends, regions, rain.

ClimateBench: Watson-Parris et al. 2022, doi:10.1029/2021MS002954. Its temperatures and rain are changes from a base
climate, so every field here is, but for scores of rain itself.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from graphs.mesh import Mesh
from inference.scenarios.regions import RegionMeans

Array = NDArray[np.float64]
Index = NDArray[np.int64]
GLOBAL_WEIGHT = 5.0  # of the global error in the total, ClimateBench's α
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
    wet_area_bias: float | None = None
    csi: float | None = None

    def plain(self) -> dict[str, float]:
        """Return those that there are, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, eq=False)
class ClimateTruth:
    """Runs of a model, to which forecasts of a climate are compared.

    years: [time] calendar year of each step. values: [run, time, node]. base: [node] mean over the base period, of
    which changes are. late: years of the late mean, the last ones.
    """

    years: Index
    values: Array
    base: Array
    mesh: Mesh
    means: RegionMeans
    late: int = 20
    rain: bool = False

    def of(self, forecast: Array) -> ClimateScores:
        """Return the scores of forecasts [run, time, node], one a run or one for all."""
        return self._of(np.broadcast_to(forecast, self.values.shape), self._late_years())

    def resampled(self, forecast: Array, draws: int, block: int = 5, seed: int = 0) -> dict[str, Array]:
        """Return scores [draw] by name, late years drawn with replacement in blocks (Künsch 1989)."""
        late, generator = self._late_years(), np.random.default_rng(seed)
        forecast = np.broadcast_to(forecast, self.values.shape)
        found: dict[str, list[float]] = {}
        for _ in range(draws):
            begins = generator.integers(0, len(late), -(-len(late) // block))
            drawn = late[(begins[:, None] + np.arange(block)).ravel()[: len(late)] % len(late)]
            for name, value in self._of(forecast, drawn).plain().items():
                found.setdefault(name, []).append(value)
        return {name: np.array(values) for name, values in found.items()}

    def _late_years(self) -> Index:
        return np.unique(self.years)[-self.late :]

    def _of(self, forecast: Array, late: Index) -> ClimateScores:
        there = ~np.isnan(self.values).all(axis=(0, 1))
        areas = np.where(there, self.mesh.areas, 0.0)
        areas = areas / areas.sum()
        years, ours, theirs = (
            *yearly(self.years, np.nan_to_num(forecast)),
            yearly(self.years, np.nan_to_num(self.values))[1],
        )
        base = np.nan_to_num(self.base)
        ours, theirs = ours - base, theirs - base
        place = np.searchsorted(years, late)
        change, true = ours[:, place].mean(axis=(0, 1)), theirs[:, place].mean(axis=(0, 1))
        size = abs(float(true @ areas))
        spatial = float(np.sqrt((change - true) ** 2 @ areas))
        means = (ours.mean(axis=0) @ areas)[place], (theirs.mean(axis=0) @ areas)[place]
        overall = float(np.sqrt(np.mean((means[0] - means[1]) ** 2)))
        trends = [
            np.polyfit(years, field.mean(axis=0) @ areas, 1)[0] if len(years) > 1 else 0.0 for field in (ours, theirs)
        ]
        regions = self.means.of(change - true)
        wet, csi = self._wet(forecast, areas) if self.rain else (None, None)
        return ClimateScores(
            spatial / size,
            overall / size,
            spatial / size + GLOBAL_WEIGHT * overall / size,
            spatial,
            float((change - true) @ areas),
            float(np.sqrt(np.mean((ours[:, place] - theirs[:, place]) ** 2 @ areas))),
            10 * float(trends[0] - trends[1]),
            float(np.sqrt(np.mean(regions**2))),
            wet,
            csi,
        )

    def _wet(self, forecast: Array, areas: Array) -> tuple[float, float]:
        late = np.isin(self.years, self._late_years())
        ours, theirs = forecast[:, late] >= WET, self.values[:, late] >= WET
        wet = [float(np.mean(area @ areas)) for area in (ours, theirs)]
        hits, either = float(np.mean((ours & theirs) @ areas)), float(np.mean((ours | theirs) @ areas))
        return wet[0] / wet[1] - 1, hits / either


def yearly(years: Index, values: Array) -> tuple[Index, Array]:
    """Return calendar years and the means [run, year, node] over each of values [run, time, node]."""
    unique, inverse = np.unique(years, return_inverse=True)
    if len(unique) == len(years):
        return unique, values
    sums = np.zeros((len(values), len(unique), values.shape[2]))
    for time, place in enumerate(inverse):
        sums[:, place] += values[:, time]
    return unique, sums / np.bincount(inverse)[None, :, None]
