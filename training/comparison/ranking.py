"""Rankings: one score a row of a comparison, and what it differs by from the first row on the same starts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from inference.comparison.label_scores import LabelScores, ranking_score
from inference.comparison.seed_bootstrap import Estimate
from inference.comparison.story import ComparisonStory
from inference.scores import bootstrap
from inference.scores.scorecard import ForecastScores, Verification, common_cases
from training.runs.study import Result


@dataclass(frozen=True)
class Row:
    """One line of the ranking.

    label: of the emulator, with its seed where there are several.
    score: geometric mean over lead times and variables of nRMSE, or of RMSE over the truth's std, on the
        test part; None where a forecast failed or was never made.
    difference: score minus the first row's, on the same starts; both with bootstrap intervals.
    result: of the run, None for a checkpoint.
    """

    label: str
    status: str
    reason: str = ""
    score: float | None = None
    interval: tuple[float, float] | None = None
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None
    parameters: dict[str, int] = field(default_factory=dict)
    result: Result | None = None


@dataclass(frozen=True)
class Line:
    """One label of the ranking, its seeds together.

    status: the worst of its seeds'.
    seeds: how many forecast.
    score: geometric mean over seeds of the score of a `Row`, None where a seed's forecast failed; interval: of it, over
        starts and seeds, see `inference.comparison.seed_bootstrap`.
    median, lowest, highest: over seeds.
    ratio: score over the reference's, with its interval, and p of its being 1.
    """

    label: str
    status: str
    seeds: int = 0
    score: float | None = None
    interval: tuple[float, float] | None = None
    median: float | None = None
    lowest: float | None = None
    highest: float | None = None
    ratio: float | None = None
    ratio_interval: tuple[float, float] | None = None
    p: float | None = None


def ranked(verification: Verification, kind: Literal["nrmse", "rmse"], rows: Mapping[str, Row]) -> list[Row]:
    """Rows with their scores, best first, and their differences from the verification's first emulator.

    rows: by label in the verification.
    """
    first, scale = verification.emulators[0], verification.scale
    found = []
    for scores in verification.emulators:
        draws = verification.resamples(scores)
        row = replace(
            rows[scores.label],
            label=scores.label,
            score=_finite(ranking_score(scores, scale, kind)),
            interval=_bounds(ranking_score(scores, scale, kind, draws.counts), draws.num_blocks, verification.level),
        )
        if scores is not first:
            own, other = common_cases(scores, first)
            draws = verification.resamples(own, other)
            samples, reference = (ranking_score(part, scale, kind, draws.counts) for part in (own, other))
            row = replace(
                row,
                difference=_finite(ranking_score(own, scale, kind) - ranking_score(other, scale, kind)),
                difference_interval=_bounds(samples - reference, draws.num_blocks, verification.level),
            )
        found.append(row)
    return sorted(found, key=lambda row: math.inf if row.score is None else row.score)


def lines_of(verification: Verification, story: ComparisonStory) -> list[Line]:
    """A line a label, best first, those without a score last."""
    scores = LabelScores.of(verification, story)
    lines = []
    for info in story.rows:
        if info.label not in scores.labels:
            lines.append(Line(info.label, info.status))
            continue
        found, seeds = scores.ranking(info.label), scores.by_seed(info.label)
        line = Line(
            info.label,
            info.status,
            len(seeds),
            _finite(found.value),
            _pair(found),
            median=_finite(np.asarray(np.median(seeds))),
            lowest=_finite(seeds.min()),
            highest=_finite(seeds.max()),
        )
        if info.label != story.reference:
            ratio = scores.ranking_ratio(info.label, story.reference)
            line = replace(line, ratio=_finite(ratio.value), ratio_interval=_pair(ratio), p=_finite(ratio.p))
        lines.append(line)
    return sorted(lines, key=lambda line: math.inf if line.score is None else line.score)


def _pair(found: Estimate) -> tuple[float, float] | None:
    return (float(found.lower), float(found.upper)) if np.isfinite([found.lower, found.upper]).all() else None


def _bounds(samples: NDArray[np.float64], num_blocks: float, level: float) -> tuple[float, float] | None:
    lower, upper = bootstrap.interval(samples, num_blocks, level)
    return (float(lower), float(upper)) if np.isfinite([lower, upper]).all() else None


def _finite(value: NDArray[np.float64]) -> float | None:
    return float(value) if np.isfinite(value) else None


def by_lead(verification: Verification, scores: ForecastScores, reference: str) -> dict[str, Any]:
    """RMSE [lead] by variable, and what it is more than the reference's."""
    found: dict[str, Any] = {}
    difference = None if scores.label == reference else verification.difference(scores.label, reference)
    for column, name in enumerate(verification.variables):
        found[name] = {"rmse": _numbers(scores.mean("rmse")[:, column])}
        if difference is not None:
            for part in ("estimate", "lower", "upper"):
                found[name][f"difference_{part}"] = _numbers(getattr(difference, part)[:, column])
    return found


def _numbers(values: NDArray[np.float64]) -> list[float | None]:
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values]
