"""The climate section of a comparison: what its rows are scored against, beside errors by lead time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emulator.fields import Fields
from emulator.task import Task, names_of
from graphs.errors import MeshcastError
from graphs.geometry import Index
from inference.scenarios.regions import read_regions, region_means
from inference.scenarios.scenario import years_of
from inference.scenarios.scores import ClimateTruth
from inference.scenarios.summary import BasePeriod


@dataclass(frozen=True)
class ClimateConfig:
    """Scores of climates in a comparison, of `forecast.steps` from one start.

    base_period: FIRST-LAST, years of the training data whose mean is the zero of changes.
    late: years of the late mean, the last ones of the forecast.
    regions: whose means are scored, as `meshcast scenario --regions` takes them.
    """

    base_period: str
    late: int = 20
    regions: tuple[str, ...] = ("ar6",)

    def __post_init__(self) -> None:
        BasePeriod.read(self.base_period, "climate.base_period")
        read_regions(self.regions)
        if self.late < 1:
            raise MeshcastError(f"climate.late must be at least 1 year, but is {self.late}.")


def truths(
    config: ClimateConfig,
    task: Task,
    train: Fields,
    test: Fields,
    init_time: Index,
    trajectory: Index,
    lead_steps: Index,
) -> dict[str, ClimateTruth]:
    """Return what forecasts of a climate from starts [case] over lead times are scored against, by predicted variable.

    Raises MeshcastError where forecasts start at several times, or the training data lack years of the base period.
    """
    if test.mesh.domain.kind != "sphere" or task.time_step.true_length is not None:
        raise MeshcastError(
            f"Scores of a climate are of years on the Earth, but the test data lie on a {test.mesh.describe()} in "
            f"steps of {task.time_step}. Leave `climate` away."
        )
    if len(np.unique(init_time)) > 1:
        raise MeshcastError(
            "Scores of a climate are of one long forecast a run, but these start at several times. Set forecast.steps "
            "so that only the first fits, or forecast.cases=1."
        )
    times = task.time_step.advance(init_time[:1].repeat(len(lead_steps)), lead_steps)
    index = np.searchsorted(test.times, times)
    base, names = BasePeriod.read(config.base_period), names_of(task.predicted)
    known = years_of(train.times)
    there = np.flatnonzero((known >= base.first) & (known <= base.last))
    if len(np.unique(known[there])) != base.last - base.first + 1:
        raise MeshcastError(
            f"climate.base_period is {base}, but the training data cover {known[0]} to {known[-1]}. Name years of "
            "theirs."
        )
    zero = np.asarray(train.read(there, names), np.float64).mean(axis=(0, 1))  # [node, variable]
    rows = trajectory if test.ensemble_axis == "trajectory" else np.arange(test.ensemble_size)
    values = np.moveaxis(np.asarray(test.read(index, names), np.float64)[:, rows], 0, 1)
    means = region_means(read_regions(config.regions), test.mesh)
    return {
        variable.name: ClimateTruth(
            years_of(times),
            values[..., column],
            zero[:, column],
            test.mesh,
            means,
            config.late,
            variable.units,
        )
        for column, variable in enumerate(task.predicted)
    }
