"""What a comparison hands to its report: every row with its seeds, costs and settings, and the trials before them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from inference.scores.scorecard import ForecastScores, Verification

Status = Literal["done", "loaded", "diverged", "failed"]


@dataclass(frozen=True, eq=False)
class RowInfo:
    """One row of a comparison, all its seeds together.

    label: of the configuration; kind: of the emulator, as `gnn`, `ridge`, `checkpoint` or `forecast_file`.
    status: the worst of its seeds'; reasons: why, a sentence a seed that diverged or failed.
    members: labels in the verification of the seeds that forecast, in the order of `seeds`; none where all failed.
    seeds: of those members; empty for closed forms, checkpoints and forecasts of others.
    parameters: weights that gradients change (`trainable`) and those fitted in closed form (`fixed`).
    updates, learning_rate, history, batch_size: of the fit; None where there was none.
    training_seconds: of each fit, first guess and validation included.
    inference_seconds: of the processor, a step of one case, reading the states included; None where not forecast here.
    regridding: how fields reach the emulator's own grid and come back, or a foreign forecast our nodes; empty without.
    settings: what was chosen for this row by trials or on held-out training data, by name.
    differences: where its budget, history, batch or size is not that of the other rows, a sentence each.
    logs: metrics.csv of each fit that has one.
    """

    label: str
    kind: str
    status: Status
    reasons: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    parameters: Mapping[str, int] = field(default_factory=dict)
    updates: int | None = None
    learning_rate: float | None = None
    history: int | None = None
    batch_size: int | None = None
    training_seconds: tuple[float, ...] = ()
    inference_seconds: float | None = None
    regridding: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    differences: tuple[str, ...] = ()
    logs: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Trial:
    """One short fit of a row with other settings; the best validation score chooses the row's.

    settings: by dotted path into an experiment, as `training.learning_rate`.
    score: of validation, None where the fit diverged or failed, which counts as infinitely bad.
    """

    label: str
    settings: Mapping[str, Any]
    updates: int
    score: float | None
    seconds: float | None
    status: Status
    reason: str = ""
    chosen: bool = False


@dataclass(frozen=True, eq=False)
class ComparisonStory:
    """What the report of a comparison tells beside the scores.

    score: `nrmse` or `rmse`, of whose geometric mean over lead times rows are ranked.
    reference: label of the row (not of a seed) that differences are taken to.
    rows: in the order of the configuration, with those that diverged or failed.
    trials: of all rows, in the order they were made; empty without tuning.
    notes: what a reader must know, a sentence each: starts left out, budgets that differ.
    command: the command line that made it.
    """

    name: str
    score: Literal["nrmse", "rmse"]
    reference: str
    rows: tuple[RowInfo, ...]
    trials: tuple[Trial, ...] = ()
    notes: tuple[str, ...] = ()
    command: str = ""

    def groups(self, verification: Verification) -> dict[str, list[ForecastScores]]:
        """Scores of each row's seeds by its label, for those that forecast."""
        return {row.label: [verification[member] for member in row.members] for row in self.rows if row.members}
