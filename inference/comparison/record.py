"""The record of a comparison: its rows, the seeds of each, their scores, and the trials before them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from emulator.build import TrainedEmulator
from emulator.data.forecast import Forecast
from inference.comparison.row_scores import RowScores
from inference.scores.scorecard import Verification

Status = Literal["unavailable", "failed", "diverged", "pruned", "done", "loaded"]  # the worst first
Interval = tuple[float, float]


@dataclass(frozen=True)
class SeedScore:
    """Holds the score of one seed's forecasts; None where one failed or was never computed.

    value: geometric mean over lead times and variables of nRMSE, or of RMSE over the truth's standard deviation.
    difference: `value` minus that of the reference's first seed on the same starts.
    """

    value: float | None = None
    interval: Interval | None = None
    difference: float | None = None
    difference_interval: Interval | None = None


@dataclass(frozen=True)
class RowScore:
    """Holds the score of a row, its seeds together; None where a seed's forecast failed or was never computed.

    value: geometric mean over seeds of their scores; interval: over starts and seeds, see `seed_bootstrap`.
    median, lowest, highest: over seeds.
    ratio: `value` over the reference's, with its interval, and p of its being 1.
    better, worse: at how many of the `compared` pairs of lead time and variable RMSE is significantly lower or higher
        than the reference's.
    """

    value: float | None = None
    interval: Interval | None = None
    median: float | None = None
    lowest: float | None = None
    highest: float | None = None
    ratio: float | None = None
    ratio_interval: Interval | None = None
    p: float | None = None
    better: int = 0
    worse: int = 0
    compared: int = 0


@dataclass(frozen=True, eq=False)
class Seed:
    """Describes one run of a row, or the one set of forecasts of a row that is not trained with seeds.

    seed: None for closed forms, checkpoints and forecast files.
    label: of the seed in the verification, as `GNN (seed 0)`; the row's where it did not forecast.
    reason: why it is unavailable, failed or diverged.
    run: what results/HASH.json holds of its run; None for a checkpoint or a forecast file.
    emulator: what forecasts; None where the run failed, and for a forecast file.
    parameters: weights that gradients change (`trainable`) and those fitted in closed form (`fixed`).
    inference_seconds: of the processor, a step of one case, reading the states included; None where not forecast here.
    """

    label: str
    status: Status
    seed: int | None = None
    reason: str = ""
    run: Mapping[str, Any] | None = None
    emulator: TrainedEmulator | None = None
    forecast: Forecast | None = None
    parameters: Mapping[str, int] = field(default_factory=dict)
    inference_seconds: float | None = None
    score: SeedScore = SeedScore()

    @property
    def training_seconds(self) -> float | None:
        """Return seconds the fit took, first guess and validation included."""
        return None if self.run is None else self.run["seconds"]


@dataclass(frozen=True)
class Trial:
    """Describes one short fit of a row with other settings; the best validation score chooses the row's.

    settings: by dotted path into an experiment, as `training.learning_rate`.
    score: of validation, None where the fit diverged or failed, which counts as infinitely bad.
    rank: what is compared: the score, larger where long rollouts died; None where not known, and the score counts.
    """

    label: str
    settings: Mapping[str, Any]
    updates: int
    score: float | None
    seconds: float | None
    status: Status
    reason: str = ""
    chosen: bool = False
    rank: float | None = None

    @property
    def counts_as(self) -> float:
        """Return what is compared, infinite where the fit diverged or failed."""
        found = self.score if self.rank is None else self.rank
        return math.inf if self.score is None or found is None else found


@dataclass(frozen=True)
class Energy:
    """Holds what energy the fits of a row took, all its seeds and trials together.

    kwh: kilowatt-hours; method: `measured`, `estimated` or both. uncounted: fits whose energy is not known, or not all.
    grams_co2, cost: None where no rate is configured.
    """

    kwh: float
    method: str
    uncounted: int = 0
    grams_co2: float | None = None
    cost: float | None = None


@dataclass(frozen=True, eq=False)
class Row:
    """Describes one row of a comparison, all its seeds together.

    kind: of the emulator, as `gnn`, `ridge`, `checkpoint` or `forecast_file`.
    configuration: what was fitted, as resolved for a run: `emulator`, `task`, `training`; empty where nothing was.
    updates: of its fits; None where nothing was trained. history: frames its emulators see; None where unknown.
    regridding: how fields reach the emulator's grid and come back, or a forecast file our nodes; empty without.
    settings: what was chosen for this row by trials or on held-out training data, by name.
    differences: where its budget, history, batch or size is not that of the other rows, a sentence each.
    logs: metrics.csv of each fit that has one.
    energy: of its fits and trials; None where nobody counted it, or nothing was fitted.
    """

    label: str
    kind: str
    seeds: tuple[Seed, ...]
    configuration: Mapping[str, Any] = field(default_factory=dict)
    updates: int | None = None
    history: int | None = None
    regridding: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    differences: tuple[str, ...] = ()
    logs: tuple[Path, ...] = ()
    energy: Energy | None = None
    score: RowScore = RowScore()

    @property
    def status(self) -> Status:
        """Return the worst status of its seeds."""
        return min((seed.status for seed in self.seeds), key=get_args(Status).index)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Return why seeds are unavailable, failed or diverged, a sentence each."""
        explained = [seed for seed in self.seeds if seed.reason]
        return tuple(f"{'' if seed.seed is None else f'seed {seed.seed}: '}{seed.reason}" for seed in explained)

    @property
    def forecast_seeds(self) -> tuple[Seed, ...]:
        """Return the seeds that forecast."""
        return tuple(seed for seed in self.seeds if seed.forecast is not None)

    @property
    def seed_numbers(self) -> tuple[int, ...]:
        """Return the numbers of the seeds that forecast; none for closed forms, checkpoints and forecast files."""
        return tuple(seed.seed for seed in self.forecast_seeds if seed.seed is not None)

    @property
    def seed_scores(self) -> NDArray[np.float64]:
        """Return the score of each seed that forecast, infinite where a forecast did not stay finite."""
        values = [seed.score.value for seed in self.forecast_seeds]
        return np.array([math.inf if value is None else value for value in values])

    @property
    def parameters(self) -> Mapping[str, int]:
        """Return weights of its first seed that has any."""
        return next((seed.parameters for seed in self.seeds if seed.parameters), {})

    @property
    def training_seconds(self) -> tuple[float, ...]:
        """Return seconds of each fit that ended."""
        return tuple(seed.training_seconds for seed in self.seeds if seed.training_seconds is not None)

    @property
    def inference_seconds(self) -> float | None:
        """Return mean over seeds, see `Seed`."""
        seconds = [seed.inference_seconds for seed in self.seeds if seed.inference_seconds is not None]
        return sum(seconds) / len(seconds) if seconds else None

    def of_training(self, name: str) -> Any:
        """Return a setting of its training; None where nothing was trained."""
        return None if self.updates is None else self.configuration["training"].get(name)


@dataclass(frozen=True)
class ClimateRow:
    """Scores of one row for one variable: the median over seeds, the range of seeds, and an interval over years.

    lowest, highest: of the seeds' values; interval: 95 % over blocks of late years, all seeds pooled.
    """

    label: str
    variable: str
    seeds: int
    scores: dict[str, float]
    lowest: dict[str, float]
    highest: dict[str, float]
    interval: dict[str, tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Holds what a comparison found.

    rows: in the order of the configuration, with those that failed; `ranked` has them best first.
    reference: label of the row that others are measured against.
    scores: of the rows, by metric and lead time.
    trials: of all rows, in the order they were run; empty without tuning.
    notes: what a reader must know, a sentence each: starts left out, budgets that differ.
    command: the command line that was run; folder: where its report is.
    climate: scores of climates under forcing, where they were asked for.
    """

    name: str
    rows: tuple[Row, ...]
    reference: str
    scores: RowScores
    trials: tuple[Trial, ...] = ()
    notes: tuple[str, ...] = ()
    command: str = ""
    folder: Path = Path()
    climate: tuple[ClimateRow, ...] = ()

    @property
    def verification(self) -> Verification:
        """Return the scores of every seed by itself."""
        return self.scores.verification

    @property
    def ranked(self) -> list[Row]:
        """Return the rows best first, those without a score last."""
        return sorted(self.rows, key=lambda row: math.inf if row.score.value is None else row.score.value)

    @property
    def ranked_seeds(self) -> list[Seed]:
        """Return the seeds of all rows best first, those that did not forecast last."""
        seeds = [seed for row in self.rows for seed in row.seeds]
        return sorted(
            seeds, key=lambda seed: (math.inf if seed.score.value is None else seed.score.value, seed.forecast is None)
        )

    def __getitem__(self, label: str) -> Row:
        return next(row for row in self.rows if row.label == label)
